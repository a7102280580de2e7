//! The kernel that best marks layers in a sequence of symbols: it recurs at one distance, the period, and what lies
//! between its runs recurs with it.

use std::cmp::Reverse;
use std::collections::HashMap;

/// Fewer kernels a layer than this is no pattern.
const MIN_PERIOD: usize = 3;
/// Fewer layers than this are no pattern.
const MIN_LAYERS: usize = 8;
/// Share of a kernel's distances that must equal the most frequent one.
const MIN_REGULARITY: f64 = 0.3;
/// Share of the kernels between two runs that must recur one period later: a kernel that runs twice a layer at equal
/// distances is regular too, but what lies between its runs is not. Not higher, because layers may alternate (local and
/// global attention, dense and expert blocks).
const MIN_RECURRENCE: f64 = 0.5;
/// Share of the kernels that the best period explains which a shorter period must explain too. A stage of six layers
/// explains 0.77 of what its whole passes do.
const NEARLY_ALL: f64 = 0.65;
/// Pairs of runs over which recurrence is judged.
const RECURRENCE_SAMPLES: usize = 256;

/// A kernel that recurs with a period.
struct Candidate {
    symbol: u32,
    period: usize,
    /// Kernels that lie between two of its runs one period apart.
    explained: usize,
    /// How often it runs one period apart, and how often at all.
    regular: usize,
    runs: usize,
    first: usize,
}

/// The symbol that best marks layers, among those that `may` do so. Whole passes recur as well, with a longer period, and loops inside of a layer with a
/// shorter one that explains less: so it is the shortest period among those that explain [`NEARLY_ALL`] of what the best
/// one does. Of several kernels with that period, the one that runs least outside of it.
#[must_use]
pub fn marking(symbols: &[u32], may: impl Fn(u32, usize) -> bool) -> Option<u32> {
    let mut positions: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, symbol) in symbols.iter().enumerate() {
        positions.entry(*symbol).or_default().push(at);
    }
    let candidates: Vec<Candidate> = positions
        .into_iter()
        .filter(|(symbol, at)| may(*symbol, at.len()))
        .filter_map(|(symbol, at)| Candidate::of(symbols, symbol, &at))
        .collect();
    let best = candidates.iter().map(|candidate| candidate.explained).max()?;
    let enough = |candidate: &&Candidate| float(candidate.explained) >= NEARLY_ALL * float(best);
    let period = candidates.iter().filter(enough).map(|candidate| candidate.period).min()?;
    candidates
        .into_iter()
        .filter(|candidate| candidate.period == period)
        // The first position makes the choice independent of the hash map's order.
        .max_by_key(|candidate| {
            let discounted = candidate.explained * candidate.regular / candidate.runs;
            (discounted, candidate.runs, Reverse(candidate.first))
        })
        .map(|candidate| candidate.symbol)
}

impl Candidate {
    fn of(symbols: &[u32], symbol: u32, at: &[usize]) -> Option<Self> {
        if at.len() < MIN_LAYERS {
            return None;
        }
        let distances: Vec<usize> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (period, regular) = super::mode(&distances);
        let is_one = period >= MIN_PERIOD
            && float(regular) >= MIN_REGULARITY * float(distances.len())
            && recurrence(symbols, at, period) >= MIN_RECURRENCE;
        is_one.then_some(Self { symbol, period, explained: period * regular, regular, runs: at.len(), first: at[0] })
    }
}

fn float(n: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of kernels are far below 2^52")]
    let n = n as f64;
    n
}

/// Share of the kernels from a run to the next, one period on, that equal the kernel one period later.
fn recurrence(symbols: &[u32], at: &[usize], period: usize) -> f64 {
    let pairs: Vec<usize> = at.windows(2).filter(|pair| pair[1] - pair[0] == period).map(|pair| pair[0]).collect();
    let step = pairs.len().div_ceil(RECURRENCE_SAMPLES).max(1);
    let (mut same, mut all) = (0usize, 0usize);
    for at in pairs.into_iter().step_by(step) {
        let end = (at + period).min(symbols.len() - period);
        all += period;
        same += (at..end).filter(|i| symbols[*i] == symbols[i + period]).count();
    }
    float(same) / float(all.max(1))
}
