//! The pass that runs.

use super::pattern::Pattern;
use super::{Layer, Pass};

/// A pass that has not ended.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub start_ns: i64,
    pub end_ns: i64,
    /// Kernels before its first layer and after its last.
    pub others: u64,
    pub layers: Vec<Layer>,
    /// The last mark that ran, in the layer that runs.
    pub mark: Option<u16>,
    /// The layer that runs, where a range or a graph node tells.
    pub known: Option<u32>,
    /// Whether a range or a node told of the last kernel that said anything.
    pub is_told: bool,
}

impl Open {
    /// Adds the pass to `out`, if it has layers.
    pub fn end(self, pattern: &Pattern, out: &mut Vec<Pass>) {
        let marks = u32::from(pattern.marks);
        let mut layers: Vec<Layer> = Vec::with_capacity(self.layers.len());
        let mut others = self.others;
        for layer in self.layers {
            // With less than half of its marks it is none: part of the one before, or of what precedes the first.
            if layer.ranges + layer.nodes > 0 || layer.marks * 2 >= marks {
                layers.push(layer);
            } else if let Some(before) = layers.last_mut() {
                before.join(&layer);
            } else {
                others += u64::from(layer.kernels);
            }
        }
        if layers.len() < 2 {
            return;
        }
        for at in 1..layers.len() {
            layers[at - 1].end_ns = layers[at].start_ns;
        }
        let count = |layers: &[Layer]| layers.iter().map(|layer| u64::from(layer.kernels)).sum::<u64>();
        let end_ns = layers.iter().map(|layer| layer.until_ns).fold(self.end_ns, i64::max);
        let usual = pattern.layers.filter(|_| pattern.is_sure).map_or(0, |n| n as usize);
        if usual < 2 || layers.len() <= usual || !layers.len().is_multiple_of(usual) {
            let kernels = count(&layers) + others;
            out.push(Pass { span: (self.start_ns, end_ns), kernels, layers });
            return;
        }
        // Several passes with nothing between them that shows it.
        let pieces = layers.len() / usual;
        for (piece, layers) in layers.chunks(usual).enumerate() {
            let start = if piece == 0 { self.start_ns } else { layers[0].start_ns };
            let mut layers = layers.to_vec();
            let last = layers.last_mut().expect("a piece has layers");
            last.end_ns = last.until_ns;
            let end = if piece + 1 == pieces { end_ns } else { last.end_ns };
            let kernels = count(&layers) + if piece == 0 { others } else { 0 };
            out.push(Pass { span: (start, end), kernels, layers });
        }
    }
}
