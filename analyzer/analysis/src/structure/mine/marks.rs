//! Which kernels mark a layer, in which order, and where between two of them a layer begins.

use std::collections::HashMap;

use super::pattern::{Pattern, StreamPosition};
use super::{Kernel, beginning, mode, share};

/// Share of the layers in which a mark runs exactly once.
const ONCE: f64 = 0.9;
/// A mark runs at most this much more often than there are layers.
const ELSEWHERE: f64 = 1.05;
/// Of the kernels that run between passes, the share that must lie at one place of the marks' order.
const AT_ONE_PLACE: f64 = 0.8;
/// Layers further apart than so many usual ones have something else between them.
const FAR: usize = 8;
/// Marks of a layer at most.
const MOST_MARKS: usize = 256;

/// Stretches of the sample from one run of a kernel to the next: layers, but for where they begin.
struct Turns<'a> {
    sample: &'a [Kernel],
    /// Position of the kernel; each turn ends where the next begins.
    at: Vec<usize>,
    /// Longer turns are no layers.
    longest: usize,
}

impl Turns<'_> {
    fn whole(&self) -> impl Iterator<Item = (usize, &[Kernel])> {
        let turns = self.at.windows(2).enumerate();
        turns
            .filter(|(_, ends)| ends[1] - ends[0] <= self.longest)
            .map(|(turn, ends)| (turn, &self.sample[ends[0]..ends[1]]))
    }
}

/// A pattern of which only the number of layers is still to be found, around a kernel that runs once a layer. `is_by_steps` says
/// whether the engine's steps show where passes end.
pub(super) fn around(sample: &[Kernel], kernel: u32, is_by_steps: bool) -> Option<Pattern> {
    let at: Vec<usize> = (0..sample.len()).filter(|i| sample[*i].symbol == kernel).collect();
    let mut lengths: Vec<usize> = at.windows(2).map(|ends| ends[1] - ends[0]).collect();
    lengths.sort_unstable();
    let usual = *lengths.get(lengths.len() / 2)?;
    let turns = Turns { sample, at, longest: usual * FAR };
    let symbols = sample.iter().map(|kernel| kernel.symbol).max()? as usize + 1;
    let mut order = marks(&turns, kernel, symbols);
    let mut rank = vec![None; symbols];
    for (r, symbol) in order.iter().enumerate() {
        rank[*symbol as usize] = Some(r);
    }
    let between = between(&turns, &rank, symbols);
    let (first, is_first_known, between) = rotation(&turns, &rank, between, order.len());
    order.rotate_left(first);
    let mut places = vec![StreamPosition::Body; symbols];
    for (r, symbol) in order.iter().enumerate() {
        places[*symbol as usize] = StreamPosition::Mark(u16::try_from(r).ok()?);
    }
    for symbol in &between {
        places[*symbol as usize] = StreamPosition::Between;
    }
    // What runs in no layer at all, as what fills weights, comes before a pass too, but shows no end of one.
    let mut in_layers = vec![false; symbols];
    for kernel in turns.whole().flat_map(|(_, kernels)| kernels) {
        in_layers[kernel.symbol as usize] = true;
    }
    for (place, _) in places.iter_mut().zip(&in_layers).filter(|(_, is_in)| !**is_in) {
        *place = StreamPosition::Between;
    }
    let mut pattern = Pattern {
        places,
        marks: u16::try_from(order.len()).ok()?,
        trail: 0,
        seam: 0,
        leads: Vec::new(),
        first: None,
        is_marked: is_by_steps || !between.is_empty(),
        is_by_steps,
        layers: None,
        is_sure: false,
        is_by_regions: false,
        nodes: HashMap::new(),
    };
    beginning::find(&mut pattern, sample, is_first_known, usual);
    Some(pattern)
}

/// The kernels that run once in nearly every turn, in their order.
fn marks(turns: &Turns, kernel: u32, symbols: usize) -> Vec<u32> {
    let (mut once, mut place) = (vec![0usize; symbols], vec![0u64; symbols]);
    let mut total = vec![0usize; symbols];
    for kernel in turns.sample {
        total[kernel.symbol as usize] += 1;
    }
    let mut seen: Vec<(usize, usize, usize)> = vec![(usize::MAX, 0, 0); symbols];
    let mut here: Vec<u32> = Vec::new();
    let mut all = 0usize;
    for (turn, kernels) in turns.whole() {
        all += 1;
        here.clear();
        for (i, kernel) in kernels.iter().enumerate() {
            let entry = &mut seen[kernel.symbol as usize];
            if entry.0 == turn {
                entry.1 += 1;
            } else {
                *entry = (turn, 1, i);
                here.push(kernel.symbol);
            }
        }
        for symbol in &here {
            let (_, count, i) = seen[*symbol as usize];
            if count == 1 {
                once[*symbol as usize] += 1;
                // A millionth of the turn is fine enough to order a few hundred kernels.
                place[*symbol as usize] += (i as u64) * 1_000_000 / (kernels.len() as u64);
            }
        }
    }
    let runs = turns.at.len();
    let is_mark = |symbol: usize| {
        share(once[symbol], all) >= ONCE && share(total[symbol], runs) <= ELSEWHERE || symbol == kernel as usize
    };
    let mut marks: Vec<usize> = (0..symbols).filter(|symbol| is_mark(*symbol)).collect();
    marks.sort_by_key(|symbol| {
        let mean = place[*symbol].checked_div(once[*symbol] as u64).unwrap_or(0);
        (*symbol != kernel as usize, mean, *symbol)
    });
    marks.truncate(MOST_MARKS);
    marks.into_iter().filter_map(|symbol| u32::try_from(symbol).ok()).collect()
}

/// For each kernel that does not run in neighbouring turns: (its place after so many marks of the turn, how often).
fn between(turns: &Turns, rank: &[Option<usize>], symbols: usize) -> HashMap<u32, Vec<usize>> {
    let mut in_turns: Vec<Vec<usize>> = vec![Vec::new(); symbols];
    let mut total = vec![0usize; symbols];
    for kernel in turns.sample {
        total[kernel.symbol as usize] += 1;
    }
    let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
    for (turn, kernels) in turns.whole() {
        let mut passed = 0;
        for kernel in kernels {
            let symbol = kernel.symbol as usize;
            if rank[symbol].is_some() {
                passed += 1;
                continue;
            }
            if in_turns[symbol].last() != Some(&turn) {
                in_turns[symbol].push(turn);
            }
            places.entry(kernel.symbol).or_default().push(passed);
        }
    }
    places.retain(|symbol, _| {
        let turns = &in_turns[*symbol as usize];
        let close = |a: Option<&usize>, b: usize| a.is_some_and(|a| a.abs_diff(b) <= 2);
        let neighbours = (0..turns.len())
            .filter(|i| {
                close(i.checked_sub(1).and_then(|p| turns.get(p)), turns[*i]) || close(turns.get(i + 1), turns[*i])
            })
            .count();
        total[*symbol as usize] >= 2 && neighbours * 5 <= turns.len()
    });
    places
}

/// Which mark comes first in a layer, and the kernels that run between passes: these lie before it. Without any, the mark
/// after the widest pauses comes first, if more of these lie before it than before any others: the second value says so.
fn rotation(
    turns: &Turns,
    rank: &[Option<usize>],
    places: HashMap<u32, Vec<usize>>,
    marks: usize,
) -> (usize, bool, Vec<u32>) {
    let all: Vec<usize> = places.values().flatten().copied().collect();
    if !all.is_empty() {
        let (place, _) = mode(&all);
        let mut between: Vec<u32> = places
            .into_iter()
            .filter(|(_, at)| share(at.iter().filter(|p| **p == place).count(), at.len()) >= AT_ONE_PLACE)
            .map(|(symbol, _)| symbol)
            .collect();
        between.sort_unstable();
        if !between.is_empty() {
            return (place % marks, true, between);
        }
    }
    let mut pauses: Vec<(i64, usize)> = Vec::new();
    for (turn, kernels) in turns.whole() {
        let mut passed = 0;
        // The pause before the next turn belongs to this one.
        for (kernel, at) in kernels.iter().zip(turns.at[turn] + 1..) {
            passed += usize::from(rank[kernel.symbol as usize].is_some());
            pauses.push((beginning::pause(turns.sample, at), passed));
        }
    }
    let (place, is_clear) = beginning::widest(pauses, turns.at.len());
    (place % marks, is_clear, Vec::new())
}
