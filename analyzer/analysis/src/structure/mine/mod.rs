//! Forward passes and layers, mined from the sequence of kernels on one stream; needs no NVTX.
//!
//! A model runs the same kernels for every layer, so some kernels run exactly once in each: the marks. In a layer they
//! come in the same order, so a layer ends where that order starts again. What runs between two marks may be anything: a
//! loop of more or fewer rounds, a kernel that was inserted, a variant for another shape; and if records of some marks
//! were lost, the others still show the layer (an alignment whose band is a layer). Some kernels run before the first
//! layer and after the last one only: they show where a pass ends. Without any (a middle stage may run nothing but
//! layers), what else is known of the number of layers does, and that all layers of a pass run the same loops. Copies from the
//! host show where an engine's steps begin (`steps.rs`): where they do, a pass is what lies in one, and neither names nor
//! regions decide. Names are compared, never parsed, so this holds for any model and engine.
//!
//! [`Pattern::learn`] takes a sample of a stream, a [`Scanner`] follows the pattern, and a [`Miner`] does both.
//!
//! Limits: a stage needs at least three layers, a layer at least three kernels, a sample eight layers; a layer begins where
//! the kernels after the last mark begin to repeat, which may differ from the source's layer by a rotation of a few
//! kernels. Where a stage runs loops within its layers and nothing else repeats above these, loops and layers cannot be
//! told apart by names, and the number of regions decides.

mod beginning;
mod known;
mod learn;
mod loops;
mod marks;
mod miner;
mod open;
mod pattern;
mod period;
mod scanner;
mod steps;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::intervals::Span;
pub use miner::{Miner, SAMPLE};
pub use pattern::Pattern;
pub use scanner::Scanner;

/// A kernel of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kernel {
    /// A number a name.
    pub symbol: u32,
    /// When it ran, ns.
    pub span: Span,
    /// Node of an instantiated CUDA graph, where it is one.
    pub node: Option<i64>,
    /// Whether the host copied something to the stream after the kernel before: a step of the engine may begin with it.
    pub is_step: bool,
    /// Layer of which an NVTX range says that it launched this kernel.
    pub range: Option<u32>,
}

/// One forward pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// From its first kernel to its last, those before and after the layers among them.
    pub span: Span,
    /// Kernels.
    pub kernels: u64,
    /// Layers, contiguous, in order; at least two.
    pub layers: Vec<Layer>,
}

/// One layer of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Its first kernel's start, ns.
    pub start_ns: i64,
    /// The next layer's first kernel's start; its own last kernel's end for the last layer of a pass, ns.
    pub end_ns: i64,
    /// Time in which a kernel of it ran, ns.
    pub busy_ns: i64,
    /// Kernels.
    pub kernels: u32,
    /// How many of the pattern's marks ran.
    pub marks: u32,
    /// Kernels whose layer an NVTX range tells.
    pub ranges: u32,
    /// Kernels whose layer a node of a graph tells.
    pub nodes: u32,
    /// End of the kernels at its beginning that may as well be of the layer before, ns; its start where there are none.
    pub seam_end_ns: i64,
    /// End of its last kernel, ns.
    until_ns: i64,
}

impl Layer {
    fn starting(start_ns: i64) -> Self {
        let (end_ns, seam_end_ns, until_ns) = (start_ns, start_ns, start_ns);
        Self { start_ns, end_ns, busy_ns: 0, kernels: 0, marks: 0, ranges: 0, nodes: 0, seam_end_ns, until_ns }
    }

    /// Adds the next kernel; so many may be of the layer before as well.
    fn add(&mut self, kernel: &Kernel, seam: usize) {
        let (start, end) = kernel.span;
        self.busy_ns += end.saturating_sub(start.max(self.until_ns)).max(0);
        self.until_ns = self.until_ns.max(end);
        self.end_ns = self.until_ns;
        self.kernels = self.kernels.saturating_add(1);
        if self.kernels as usize <= seam {
            self.seam_end_ns = self.until_ns;
        }
    }

    /// Takes in what follows it.
    fn join(&mut self, next: &Self) {
        self.busy_ns = self.busy_ns.saturating_add(next.busy_ns);
        self.until_ns = self.until_ns.max(next.until_ns);
        self.end_ns = self.until_ns;
        self.kernels = self.kernels.saturating_add(next.kernels);
        self.marks += next.marks;
        self.ranges += next.ranges;
        self.nodes += next.nodes;
    }
}

/// The most frequent value (the smallest of equals) and how often it occurs.
fn mode(values: &[usize]) -> (usize, usize) {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for value in values {
        *counts.entry(*value).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(value, count)| (*count, Reverse(*value))).unwrap_or((0, 0))
}

#[expect(clippy::cast_precision_loss, reason = "counts of kernels are far below 2^52")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
