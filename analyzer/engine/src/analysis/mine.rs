//! Forward passes and layers, mined from the sequence of kernels on one stream; needs no NVTX.
//!
//! A model runs the same kernels for every layer, so some kernel occurs once a layer: the anchor. Within a forward pass
//! its occurrences lie one period apart; before the first and after the last layer come other kernels (embedding,
//! preparation, sampling), so between two passes the distance is larger. Distances are counted in kernels, which do not
//! change with the load; names are compared, never parsed, so this holds for any model and engine.
//!
//! Limits: a stage needs at least six layers, a layer at least [`MIN_PERIOD`] kernels, a recording [`MIN_ANCHORS`] layers; a
//! layer begins where the kernels before the anchor begin to repeat, which may differ from the source's layer by a
//! rotation of a few kernels; passes with fewer kernels between them than a sixteenth of a layer look like one (then they
//! are split if their length is a multiple of the usual one).

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

/// Fewer kernels a layer than this is no pattern.
const MIN_PERIOD: usize = 3;
/// Fewer anchors than this is no pattern.
const MIN_ANCHORS: usize = 8;
/// Share of an anchor's distances that must equal the most frequent one.
const MIN_REGULARITY: f64 = 0.3;
/// Share of the kernels between two anchors that must recur one period later: a kernel that runs twice a layer at equal
/// distances is regular too, but what lies between its runs is not. Not higher, because layers may alternate (local and
/// global attention, dense and expert blocks).
const MIN_RECURRENCE: f64 = 0.5;
/// Share of the kernels that the best period explains which a shorter period must explain too. A stage of six layers
/// explains 0.77 of what its whole passes do.
const NEARLY_ALL: f64 = 0.65;
/// Pairs of anchors over which recurrence is judged.
const RECURRENCE_SAMPLES: usize = 256;
/// Distances on each side whose median is "the distance here".
const NEIGHBOURS: usize = 4;

/// One forward pass: positions in the sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Layers, contiguous, in order.
    pub layers: Vec<MinedLayer>,
}

/// One layer of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinedLayer {
    /// Positions of its kernels.
    pub kernels: Range<usize>,
    /// How many of them have the same name as the kernel one period before or after.
    pub matching: usize,
}

impl Pass {
    /// Positions from its first layer's first kernel to its last layer's last.
    #[must_use]
    pub fn kernels(&self) -> Range<usize> {
        self.layers[0].kernels.start..self.layers[self.layers.len() - 1].kernels.end
    }
}

/// Finds the passes in a sequence of symbols (a number a kernel name).
#[must_use]
pub fn passes(symbols: &[u32]) -> Vec<Pass> {
    let Some(anchors) = anchor(symbols) else {
        return Vec::new();
    };
    let mut runs = split_multiples(runs(&anchors));
    runs.retain(|run| run.len() > 1);
    let mut passes: Vec<Pass> = Vec::with_capacity(runs.len());
    for (i, run) in runs.iter().enumerate() {
        let floor = passes.last().map_or(0, |pass| pass.kernels().end);
        let ceiling = runs.get(i + 1).map_or(symbols.len(), |next| next[0]);
        passes.push(layers(symbols, run, floor..ceiling));
    }
    passes
}

/// A kernel that recurs with a period.
struct Candidate {
    period: usize,
    /// Kernels that lie between two of its runs one period apart.
    explained: usize,
    /// How often it runs one period apart, and how often at all.
    regular: usize,
    at: Vec<usize>,
}

/// Positions of the kernel that best marks layers. Whole passes recur as well, with a longer period, and loops inside of
/// a layer (experts) with a shorter one that explains less: so it is the shortest period among those that explain
/// [`NEARLY_ALL`] of what the best one does. Of several kernels with that period, the one that runs least outside of it.
fn anchor(symbols: &[u32]) -> Option<Vec<usize>> {
    let mut positions: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, symbol) in symbols.iter().enumerate() {
        positions.entry(*symbol).or_default().push(at);
    }
    let candidates: Vec<Candidate> = positions.into_values().filter_map(|at| Candidate::of(symbols, at)).collect();
    let best = candidates.iter().map(|candidate| candidate.explained).max()?;
    let enough = |candidate: &&Candidate| float(candidate.explained) >= NEARLY_ALL * float(best);
    let period = candidates.iter().filter(enough).map(|candidate| candidate.period).min()?;
    candidates
        .into_iter()
        .filter(|candidate| candidate.period == period)
        // The first position makes the choice independent of the hash map's order.
        .max_by_key(|candidate| {
            let discounted = candidate.explained * candidate.regular / candidate.at.len();
            (discounted, candidate.at.len(), Reverse(candidate.at[0]))
        })
        .map(|candidate| candidate.at)
}

impl Candidate {
    fn of(symbols: &[u32], at: Vec<usize>) -> Option<Self> {
        if at.len() < MIN_ANCHORS {
            return None;
        }
        let distances: Vec<usize> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (period, regular) = mode(&distances);
        let is_one = period >= MIN_PERIOD
            && float(regular) >= MIN_REGULARITY * float(distances.len())
            && recurrence(symbols, &at, period) >= MIN_RECURRENCE;
        is_one.then_some(Self { period, explained: period * regular, regular, at })
    }
}

fn float(n: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of kernels are far below 2^52")]
    let n = n as f64;
    n
}

/// Share of the kernels from an anchor to the next, one period on, that equal the kernel one period later.
fn recurrence(symbols: &[u32], anchors: &[usize], period: usize) -> f64 {
    let pairs: Vec<usize> = anchors.windows(2).filter(|pair| pair[1] - pair[0] == period).map(|pair| pair[0]).collect();
    let step = pairs.len().div_ceil(RECURRENCE_SAMPLES).max(1);
    let (mut same, mut all) = (0usize, 0usize);
    for at in pairs.into_iter().step_by(step) {
        let end = (at + period).min(symbols.len() - period);
        all += period;
        same += (at..end).filter(|i| symbols[*i] == symbols[i + period]).count();
    }
    float(same) / float(all.max(1))
}

/// The most frequent value (the smallest of equals) and how often it occurs.
fn mode(values: &[usize]) -> (usize, usize) {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for value in values {
        *counts.entry(*value).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(value, count)| (*count, Reverse(*value))).unwrap_or((0, 0))
}

/// Splits anchors where the distance differs from the distances around it.
fn runs(anchors: &[usize]) -> Vec<Vec<usize>> {
    let distances: Vec<usize> = anchors.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut runs = vec![vec![anchors[0]]];
    for (i, distance) in distances.iter().enumerate() {
        let around = &distances[i.saturating_sub(NEIGHBOURS)..(i + NEIGHBOURS + 1).min(distances.len())];
        let mut sorted = around.to_vec();
        sorted.sort_unstable();
        let usual = sorted[sorted.len() / 2];
        let tolerance = (usual / 16).max(2);
        if distance.abs_diff(usual) > tolerance {
            runs.push(Vec::new());
        }
        runs.last_mut().expect("one run was there from the start").push(anchors[i + 1]);
    }
    runs
}

/// Splits a run that is several usual runs long: passes with nothing between them.
fn split_multiples(runs: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    let lengths: Vec<usize> = runs.iter().map(Vec::len).filter(|n| *n > 1).collect();
    let (usual, _) = mode(&lengths);
    let mut out = Vec::with_capacity(runs.len());
    for run in runs {
        if usual > 1 && run.len() > usual && run.len().is_multiple_of(usual) {
            out.extend(run.chunks(usual).map(<[usize]>::to_vec));
        } else {
            out.push(run);
        }
    }
    out
}

/// The layers around the anchors of one pass, all within `room`.
fn layers(symbols: &[u32], anchors: &[usize], room: Range<usize>) -> Pass {
    let distances: Vec<usize> = anchors.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (period, _) = mode(&distances);
    let lead = lead(symbols, anchors, period).min(anchors[0] - room.start);
    let tail = tail(symbols, anchors[anchors.len() - 1], period, lead).min(room.end);
    let begin: Vec<usize> = anchors.iter().map(|at| at - lead).collect();
    let layers = begin
        .iter()
        .enumerate()
        .map(|(i, start)| {
            let end = begin.get(i + 1).copied().unwrap_or(tail);
            let same = |other: Option<usize>, at: usize| other.and_then(|o| symbols.get(o)) == Some(&symbols[at]);
            let matching = (*start..end)
                .filter(|at| {
                    let before = at.checked_sub(period).filter(|b| i > 0 && *b >= begin[0]);
                    let after = Some(at + period).filter(|a| i + 1 < begin.len() && *a < tail);
                    same(before, *at) || same(after, *at)
                })
                .count();
            MinedLayer { kernels: *start..end, matching }
        })
        .collect();
    Pass { layers }
}

/// How many kernels before its anchor a layer begins: as far as the first layers look alike, one stranger allowed.
fn lead(symbols: &[u32], anchors: &[usize], period: usize) -> usize {
    let mut lead = 0;
    let mut strangers = 0;
    for back in 1..period.min(anchors[0] + 1) {
        if symbols[anchors[0] - back] == symbols[anchors[1] - back] {
            lead = back;
            strangers = 0;
        } else {
            strangers += 1;
            if strangers > 1 {
                break;
            }
        }
    }
    lead
}

/// End of the last layer: as far after its anchor as the layer before goes on alike, one stranger allowed.
fn tail(symbols: &[u32], anchor: usize, period: usize, lead: usize) -> usize {
    let mut end = anchor + 1;
    let mut strangers = 0;
    for at in anchor + 1..(anchor + period - lead).min(symbols.len()) {
        if symbols[at] == symbols[at - period] {
            end = at + 1;
            strangers = 0;
        } else {
            strangers += 1;
            if strangers > 1 {
                break;
            }
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One pass: 3 kernels of preparation, `layers` times `unit`, 2 kernels at the end.
    fn pass(layers: usize, unit: &[u32], gemm: u32) -> Vec<u32> {
        let mut out = vec![900, 901, 902];
        for layer in 0..layers {
            let first = if layer == 0 { 700 } else { unit[0] };
            out.push(first);
            out.extend(unit[1..].iter().map(|s| if *s == 99 { gemm } else { *s }));
        }
        out.extend([903, 904]);
        out
    }
    const UNIT: &[u32] = &[1, 99, 2, 2, 3, 4, 5, 99, 6, 99, 7, 99];

    #[test]
    fn passes_back_to_back_are_told_apart_and_counted() {
        let mut sequence = vec![800; 300]; // weights being filled: one kernel over and over
        for gemm in [50, 50, 51, 52] {
            sequence.extend(pass(18, UNIT, gemm));
        }
        let found = passes(&sequence);
        assert_eq!(found.iter().map(|p| p.layers.len()).collect::<Vec<_>>(), [18, 18, 18, 18]);
        for pass in &found {
            let lengths: Vec<usize> = pass.layers.iter().map(|l| l.kernels.len()).collect();
            assert!(lengths[..17].iter().all(|n| *n == UNIT.len()), "{lengths:?}");
            assert!(pass.layers.iter().all(|l| l.matching * 10 >= l.kernels.len() * 9), "{:?}", pass.layers);
        }
    }

    #[test]
    fn a_cut_pass_shows_fewer_layers() {
        let mut sequence = Vec::new();
        for _ in 0..3 {
            sequence.extend(pass(12, UNIT, 50));
        }
        let cut = pass(12, UNIT, 50);
        sequence.extend(&cut[..=3 + 5 * UNIT.len()]);
        let found = passes(&sequence);
        assert_eq!(found.iter().map(|p| p.layers.len()).collect::<Vec<_>>(), [12, 12, 12, 5]);
    }

    #[test]
    fn an_inserted_kernel_does_not_break_a_pass() {
        let mut sequence = Vec::new();
        for _ in 0..3 {
            let mut one = pass(10, UNIT, 50);
            one.insert(3 + 4 * UNIT.len() + 2, 777);
            sequence.extend(one);
        }
        assert_eq!(passes(&sequence).iter().map(|p| p.layers.len()).collect::<Vec<_>>(), [10, 10, 10]);
    }

    #[test]
    fn a_layer_kernel_that_also_prepares_is_no_anchor() {
        // As in a recorded vLLM stage: a fill kernel runs once a layer, and twice between passes.
        let mut sequence = Vec::new();
        for _ in 0..6 {
            let mut one = pass(18, UNIT, 50);
            one.insert(1, 5);
            one.push(5);
            sequence.extend(one);
        }
        assert_eq!(passes(&sequence).iter().map(|p| p.layers.len()).collect::<Vec<_>>(), [18; 6]);
    }

    #[test]
    fn a_kernel_twice_a_layer_at_equal_distances_is_no_anchor() {
        let unit = &[1, 9, 2, 3, 9, 4];
        let mut sequence = Vec::new();
        for _ in 0..4 {
            sequence.extend([900, 901, 902]);
            for _ in 0..12 {
                sequence.extend(unit);
            }
        }
        assert_eq!(passes(&sequence).iter().map(|p| p.layers.len()).collect::<Vec<_>>(), [12; 4]);
    }

    #[test]
    fn many_passes_alike_are_not_taken_for_layers() {
        let mut sequence = Vec::new();
        for _ in 0..40 {
            sequence.extend(pass(8, UNIT, 50));
        }
        assert_eq!(passes(&sequence).iter().map(|p| p.layers.len()).collect::<Vec<_>>(), [8; 40]);
    }

    #[test]
    fn a_loop_inside_of_a_layer_is_not_taken_for_layers() {
        let mut sequence = Vec::new();
        for _ in 0..5 {
            sequence.extend(900..906);
            for _ in 0..12 {
                sequence.extend([1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13]);
                for _ in 0..8 {
                    sequence.extend([20, 21, 22]);
                }
            }
        }
        assert_eq!(passes(&sequence).iter().map(|p| p.layers.len()).collect::<Vec<_>>(), [12; 5]);
    }

    #[test]
    fn alternating_layers_are_counted_one_by_one() {
        let mut sequence = Vec::new();
        for _ in 0..4 {
            sequence.extend([900, 901, 902, 903]);
            for layer in 0..20 {
                sequence.extend([1, 2, 3, 4 + layer % 2, 6, 7, 8 + layer % 2, 10]);
            }
        }
        assert_eq!(passes(&sequence).iter().map(|p| p.layers.len()).collect::<Vec<_>>(), [20; 4]);
    }

    #[test]
    fn no_pattern_is_no_pass() {
        assert!(passes(&[]).is_empty());
        assert!(passes(&[5; 1000]).is_empty());
        let distinct: Vec<u32> = (0..1000).collect();
        assert!(passes(&distinct).is_empty());
    }

    proptest! {
        /// Any layer count, unit length and number of passes come back as they were made; layers are disjoint, in order.
        #[test]
        fn what_was_made_is_found(layers in 6usize..40, unit_len in 4u32..30, chunks in 2usize..6) {
            let unit: Vec<u32> = (1..=unit_len).collect();
            let mut sequence = Vec::new();
            for _ in 0..chunks {
                // Preparation and end are longer than the tolerance, as in every engine seen.
                sequence.extend(900..=902 + unit_len / 8);
                for _ in 0..layers { sequence.extend(&unit); }
            }
            let found = passes(&sequence);
            prop_assert_eq!(found.iter().map(|p| p.layers.len()).collect::<Vec<_>>(), vec![layers; chunks]);
            let mut end = 0;
            for layer in found.iter().flat_map(|p| &p.layers) {
                prop_assert!(layer.kernels.start >= end && !layer.kernels.is_empty());
                end = layer.kernels.end;
            }
        }

        /// Any input at all: no panic, and layers stay disjoint and inside.
        #[test]
        fn any_sequence_is_survived(sequence in prop::collection::vec(0u32..6, 0..400)) {
            let mut end = 0;
            for layer in passes(&sequence).iter().flat_map(|p| &p.layers) {
                prop_assert!(layer.kernels.start >= end && layer.kernels.end <= sequence.len());
                prop_assert!(layer.kernels.start < layer.kernels.end && layer.matching <= layer.kernels.len());
                end = layer.kernels.end;
            }
        }
    }
}
