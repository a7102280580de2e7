//! Engine steps, and the kernel that marks a layer in them.
//!
//! An engine begins each step of its model runner with copies from the host, on the stream that computes: token ids,
//! positions, block tables. No model copies from the host between two of its layers, for that would stall it. So between two
//! such copies lies one forward pass or none, and what runs equally often in every pass and divides it into parts that are
//! alike is a layer. A stream whose copies divide it otherwise (weights that are fetched a layer at a time) shows no such
//! kernel, and its copies then say nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::{Kernel, loops, mode, share};

/// Fewer layers than this show nothing.
const MIN_LAYERS: usize = 3;
/// Steps with layers that there must be at least: one alone shows not that the next is like it.
const MIN_STEPS: usize = 2;
/// Share of the steps in which a kernel repeats that must have the same number of its runs.
const SAME_NUMBER: f64 = 0.8;
/// Share of a step that the layers must be.
const MOST_OF_IT: f64 = 0.5;
/// Share of the kernels of a layer that the next one must run too, on average.
const ALIKE: f64 = 0.9;
/// Steps by which likeness is judged.
const JUDGED: usize = 8;

/// A kernel that repeats in steps.
struct Candidate {
    symbol: u32,
    layers: usize,
    /// Steps that have so many.
    steps: usize,
    first: usize,
}

/// The kernel that best marks layers in steps; none where copies show no steps, or no layers in them.
pub(super) fn marking(sample: &[Kernel]) -> Option<u32> {
    let steps = split(sample);
    let mut runs: BTreeMap<u32, Vec<(usize, Vec<usize>)>> = BTreeMap::new();
    for (number, step) in steps.iter().enumerate() {
        let mut here: HashMap<u32, Vec<usize>> = HashMap::new();
        for (at, symbol) in step.iter().enumerate() {
            here.entry(*symbol).or_default().push(at);
        }
        for (symbol, at) in here.into_iter().filter(|(_, at)| at.len() >= MIN_LAYERS) {
            runs.entry(symbol).or_default().push((number, at));
        }
    }
    let candidates: Vec<Candidate> =
        runs.into_iter().filter_map(|(symbol, runs)| Candidate::of(&steps, symbol, &runs)).collect();
    // A kernel that runs once more, before the layers or after them, is alone with its number; a part of the layers that is
    // of another kind has a number of its own, which is the smaller one.
    let mut votes: BTreeMap<usize, usize> = BTreeMap::new();
    for candidate in &candidates {
        *votes.entry(candidate.layers).or_default() += candidate.steps;
    }
    let most = votes.values().max()?;
    let (layers, _) = votes.iter().rev().find(|(_, steps)| **steps * 2 >= *most)?;
    let of_number = candidates.iter().filter(|candidate| candidate.layers == *layers);
    let best =
        of_number.max_by_key(|candidate| (candidate.steps, Reverse(candidate.first), Reverse(candidate.symbol)))?;
    (best.steps >= MIN_STEPS).then_some(best.symbol)
}

/// The symbols of each step, with every loop written once. What runs before the first copy may be cut, or many passes.
fn split(sample: &[Kernel]) -> Vec<Vec<u32>> {
    let mut steps: Vec<Vec<u32>> = Vec::new();
    for kernel in sample {
        if kernel.is_step {
            steps.push(Vec::new());
        }
        if let Some(step) = steps.last_mut() {
            step.push(kernel.symbol);
        }
    }
    steps.iter().map(|step| loops::collapse(step)).collect()
}

impl Candidate {
    fn of(steps: &[Vec<u32>], symbol: u32, runs: &[(usize, Vec<usize>)]) -> Option<Self> {
        let counts: Vec<usize> = runs.iter().map(|(_, at)| at.len()).collect();
        let (layers, equal) = mode(&counts);
        if share(equal, counts.len()) < SAME_NUMBER {
            return None;
        }
        let (mut alike, mut turns, mut covers) = (0.0, 0usize, 0usize);
        let judged = runs.iter().filter(|(_, at)| at.len() == layers).take(JUDGED);
        for (number, at) in judged.clone() {
            let step = &steps[*number];
            let sorted = |ends: &[usize]| {
                let mut turn = step[ends[0]..ends[1]].to_vec();
                turn.sort_unstable();
                turn
            };
            let turn: Vec<Vec<u32>> = at.windows(2).map(sorted).collect();
            alike += turn.windows(2).map(|pair| likeness(&pair[0], &pair[1])).sum::<f64>();
            turns += turn.len() - 1;
            let whole = (at[at.len() - 1] - at[0]) * at.len() / (at.len() - 1);
            covers += usize::from(share(whole, step.len()) >= MOST_OF_IT);
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of kernels are far below 2^52")]
        let is_one = alike >= ALIKE * turns as f64 && covers * 2 > judged.count();
        is_one.then_some(Self { symbol, layers, steps: equal, first: runs[0].1[0] })
    }
}

/// Share of the kernels of the longer of two sorted sequences that the other one has too.
fn likeness(a: &[u32], b: &[u32]) -> f64 {
    let (mut i, mut j, mut common) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        common += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    share(common, a.len().max(b.len()))
}
