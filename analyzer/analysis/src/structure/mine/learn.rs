//! From a sample of a stream to its pattern.

use std::collections::HashMap;

use super::pattern::Pattern;
use super::scanner::Scanner;
use super::{Kernel, Layer, Pass, known, loops, marks, mode, period, share, steps};

/// Share of the passes that must have the same number of layers for it to be that of the stage.
const AGREE: f64 = 0.5;
/// The same for it to be relied on where nothing shows a pass's end.
const SURE: f64 = 0.8;
/// Share of the signs that must lie at multiples of the number of layers.
const ALIGNED: f64 = 0.8;
/// Fewer signs than this show nothing.
const MIN_SIGNS: usize = 3;
/// Share of a kernel's runs that must be left when loops are written once.
const NEVER_LOOPS: f64 = 0.9;
/// A pass has at least so many layers, where only signs show them.
const MIN_LAYERS: usize = 3;
/// And at most so many.
const MOST_LAYERS: usize = 512;

impl Pattern {
    /// Learns from the kernels of one stream, in the order of their start. `regions` is how many memory regions the process
    /// registered for KV, one or two a layer, if that is known. None if nothing repeats.
    #[must_use]
    pub fn learn(sample: &[Kernel], regions: Option<u32>) -> Option<Self> {
        if let Some(pattern) = by_ranges(sample) {
            return Some(pattern);
        }
        if let Some(pattern) = by_steps(sample) {
            return Some(pattern);
        }
        let symbols: Vec<u32> = sample.iter().map(|kernel| kernel.symbol).collect();
        let mut runs: HashMap<u32, usize> = HashMap::new();
        for symbol in &symbols {
            *runs.entry(*symbol).or_default() += 1;
        }
        // What runs in loops marks no layer.
        let never_loops = |symbol: u32, left: usize| share(left, runs[&symbol]) >= NEVER_LOOPS;
        let without_loops = period::marking(&loops::collapse(&symbols), never_loops);
        let with_loops = period::marking(&symbols, |_, _| true).filter(|kernel| Some(*kernel) != without_loops);
        let mut found = [without_loops, with_loops].map(|kernel| {
            let mut pattern = marks::around(sample, kernel?, false)?;
            count(&mut pattern, sample, regions);
            Some(pattern)
        });
        let is_as_known = |pattern: &Option<Self>| {
            pattern.as_ref().is_some_and(|pattern| {
                pattern.layers.is_some_and(|n| regions.is_some_and(|all| all == n || all == 2 * n))
            })
        };
        let has_layers = |pattern: &Option<Self>| pattern.as_ref().is_some_and(|pattern| pattern.layers.is_some());
        let best = found
            .iter()
            .position(is_as_known)
            .or_else(|| found.iter().position(has_layers))
            .or_else(|| found.iter().position(Option::is_some))?;
        let by_kernels = found.iter().position(has_layers).unwrap_or(best);
        let mut pattern = found[best].take()?;
        pattern.is_by_regions |= best != by_kernels;
        Some(pattern)
    }
}

/// Where copies show the engine's steps, these are the passes, and what repeats in each is a layer.
fn by_steps(sample: &[Kernel]) -> Option<Pattern> {
    let mut pattern = marks::around(sample, steps::marking(sample)?, true)?;
    count(&mut pattern, sample, None);
    Some(pattern).filter(|pattern| pattern.layers.is_some())
}

/// Where NVTX ranges tell the layers of kernels, nothing is mined.
fn by_ranges(sample: &[Kernel]) -> Option<Pattern> {
    let told = sample.iter().filter(|kernel| kernel.range.is_some()).count();
    if told * 2 < sample.len() || told == 0 {
        return None;
    }
    let mut pattern = Pattern {
        places: Vec::new(),
        marks: 0,
        trail: 0,
        seam: 0,
        leads: Vec::new(),
        first: None,
        is_marked: true,
        is_by_steps: false,
        layers: None,
        is_sure: false,
        is_by_regions: false,
        nodes: HashMap::new(),
    };
    let lengths: Vec<usize> = passes(&pattern, sample).iter().map(|pass| pass.layers.len()).collect();
    pattern.layers = u32::try_from(mode(&lengths).0).ok().filter(|n| *n > 1);
    Some(pattern)
}

fn passes(pattern: &Pattern, sample: &[Kernel]) -> Vec<Pass> {
    let mut scanner = Scanner::new(pattern.clone());
    let mut passes = Vec::new();
    scanner.feed(sample, &mut passes);
    scanner.finish(&mut passes);
    passes
}

/// Sets the number of layers, and what follows from it.
fn count(pattern: &mut Pattern, sample: &[Kernel], regions: Option<u32>) {
    let found = passes(pattern, sample);
    if pattern.is_marked {
        by_lengths(pattern, &found, regions);
    } else {
        by_signs(pattern, &found, regions);
    }
    let has_nodes = sample.iter().any(|kernel| kernel.node.is_some());
    if let Some(layers) = pattern.layers.filter(|_| has_nodes) {
        pattern.nodes = known::nodes(sample, &passes(pattern, sample), layers);
    }
}

/// By how many layers lie between the kernels that run between passes.
fn by_lengths(pattern: &mut Pattern, found: &[Pass], regions: Option<u32>) {
    let lengths: Vec<usize> = found.iter().map(|pass| pass.layers.len()).collect();
    let share = |n: usize| share(lengths.iter().filter(|length| **length == n).count(), lengths.len());
    let (usual, _) = mode(&lengths);
    let of_regions = candidates(regions).into_iter().find(|n| share(*n) >= AGREE / 2.0);
    let layers = of_regions.unwrap_or(usual);
    if share(layers) >= AGREE || of_regions.is_some() {
        pattern.layers = u32::try_from(layers).ok();
        pattern.is_sure = share(layers) >= SURE;
        pattern.is_by_regions = layers != usual || share(usual) < AGREE;
    }
}

/// Layers that a number of regions can mean: one a layer, or one for K and one for V.
fn candidates(regions: Option<u32>) -> Vec<usize> {
    let all = regions.map_or(0, |n| n as usize);
    let halves = if all.is_multiple_of(2) { all / 2 } else { 0 };
    [all, halves].into_iter().filter(|n| *n >= 2).collect()
}

/// Where nothing runs between passes: all layers of a pass run the same loops, the next pass may run others, and a pause
/// ends a pass.
fn by_signs(pattern: &mut Pattern, found: &[Pass], regions: Option<u32>) {
    let changes = |pair: &[Layer]| pair[0].kernels != pair[1].kernels;
    let mut signs: Vec<usize> = Vec::new();
    for pass in found {
        signs.extend((1..pass.layers.len()).filter(|at| changes(&pass.layers[at - 1..=*at])));
    }
    let ends: Vec<usize> = found.iter().map(|pass| pass.layers.len()).collect();
    // The end of the last pass is that of the recording, or an arbitrary one.
    let ends = if ends.len() > 1 { ends } else { Vec::new() };
    let all = signs.len() + ends.len();
    let aligned =
        |n: &usize| share(signs.iter().chain(&ends).filter(|at| at.is_multiple_of(*n)).count(), all) >= ALIGNED;
    let of_regions = candidates(regions).into_iter().find(|n| all == 0 || aligned(n));
    let by_signs = || {
        let most = found.iter().map(|pass| pass.layers.len()).max().unwrap_or(0).min(MOST_LAYERS);
        (MIN_LAYERS..=most).rev().find(aligned).filter(|_| all >= MIN_SIGNS)
    };
    let by_signs = by_signs();
    let layers = of_regions.or(by_signs);
    pattern.layers = layers.and_then(|n| u32::try_from(n).ok());
    pattern.is_sure = layers.is_some();
    pattern.is_by_regions = layers != by_signs;
}
