//! What a stream repeats: the marks of a layer, what runs between passes only, and how many layers a pass has.

use std::collections::HashMap;

use super::Kernel;

/// What a kernel shows of the position of its stream in a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamPosition {
    /// Nothing: it runs any number of times in a layer, or was not in the sample.
    Body,
    /// It runs before the first layer or after the last one, never between two.
    Between,
    /// It runs once in each layer, as the mark of this rank.
    Mark(u16),
    /// It is of this layer: an NVTX range or a graph node tells.
    Layer(u32),
}

/// How many kernels of a layer run before a mark, in all layers but a few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lead {
    pub least: usize,
    pub usual: usize,
    pub most: usize,
}

impl Lead {
    /// Of the numbers in the layers of a sample.
    pub fn of(mut counts: Vec<usize>) -> Self {
        counts.sort_unstable();
        let at = |tenths: usize| counts.get((counts.len() * tenths / 10).min(counts.len().saturating_sub(1)));
        let at = |tenths: usize| at(tenths).copied().unwrap_or(0);
        Self { least: at(1), usual: at(5), most: at(9) }
    }
}

/// What was learnt of a stream.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each says how far another field is known")]
pub struct Pattern {
    /// By symbol.
    pub(super) places: Vec<StreamPosition>,
    /// Marks in a layer.
    pub(super) marks: u16,
    /// Kernels of a layer after its last mark.
    pub(super) trail: usize,
    /// Kernels at the beginning of a layer that fit as well at the end of the one before.
    pub(super) seam: usize,
    /// Kernels of a layer before each mark.
    pub(super) leads: Vec<Lead>,
    /// The kernel that a layer most often begins with.
    pub(super) first: Option<u32>,
    /// Whether something shows where a pass ends: kernels that run between passes only, or the beginnings of steps.
    pub(super) is_marked: bool,
    /// Whether each step of the engine is a pass, or none.
    pub(super) is_by_steps: bool,
    /// Layers of a pass; none if the passes differ too much to say.
    pub(super) layers: Option<u32>,
    /// Whether nearly all passes of the sample have that many.
    pub(super) is_sure: bool,
    /// Whether the number of layers would be another one, or none, had the number of registered regions not been known.
    pub(super) is_by_regions: bool,
    /// Layers of the nodes of instantiated graphs.
    pub(super) nodes: HashMap<i64, u32>,
}

impl Pattern {
    /// Layers of a pass, if the passes of the sample agree.
    #[must_use]
    pub fn layers(&self) -> Option<u32> {
        self.layers
    }

    /// How many kernels mark a layer: each runs once in it.
    #[must_use]
    pub fn marks(&self) -> u16 {
        self.marks
    }

    /// Kernels at the beginning of a layer that may as well be the end of the one before: what repeats fits either way. As many
    /// as a layer has, where nothing shows where it begins.
    #[must_use]
    pub fn seam(&self) -> usize {
        self.seam
    }

    /// Whether the kernels alone would not have told the number of layers: that of the registered regions did.
    #[must_use]
    pub fn is_by_regions(&self) -> bool {
        self.is_by_regions
    }

    /// Whether a pass that is open is over before this kernel.
    pub(super) fn ends_before(&self, kernel: &Kernel) -> bool {
        self.is_by_steps && kernel.is_step
    }

    pub(super) fn place(&self, kernel: &Kernel) -> StreamPosition {
        if let Some(layer) = kernel.range {
            return StreamPosition::Layer(layer);
        }
        if let Some(layer) = kernel.node.and_then(|node| self.nodes.get(&node)) {
            return StreamPosition::Layer(*layer);
        }
        self.places.get(kernel.symbol as usize).copied().unwrap_or(StreamPosition::Body)
    }
}
