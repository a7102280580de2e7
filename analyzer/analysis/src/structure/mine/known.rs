//! Layers of the nodes of CUDA graphs: found once, where a graph first runs, and used for all of its launches.

use std::collections::HashMap;

use super::{Kernel, Pass};

/// The layer of each node, by the passes that have as many layers as the stage: the one in which it ran most often.
pub(super) fn nodes(sample: &[Kernel], passes: &[Pass], layers: u32) -> HashMap<i64, u32> {
    let mut votes: HashMap<i64, HashMap<u32, usize>> = HashMap::new();
    let mut at = 0;
    for pass in passes.iter().filter(|pass| u32::try_from(pass.layers.len()) == Ok(layers)) {
        for (number, layer) in (0u32..).zip(&pass.layers) {
            while sample.get(at).is_some_and(|kernel| kernel.span.0 < layer.start_ns) {
                at += 1;
            }
            // The last layer's end is that of a kernel: none of the pass starts at or after it.
            while let Some(kernel) = sample.get(at).filter(|kernel| kernel.span.0 < layer.end_ns) {
                if let Some(node) = kernel.node {
                    *votes.entry(node).or_default().entry(number).or_default() += 1;
                }
                at += 1;
            }
        }
    }
    let most = |votes: HashMap<u32, usize>| {
        votes.into_iter().max_by_key(|(layer, count)| (*count, std::cmp::Reverse(*layer))).map_or(0, |(layer, _)| layer)
    };
    votes.into_iter().map(|(node, votes)| (node, most(votes))).collect()
}
