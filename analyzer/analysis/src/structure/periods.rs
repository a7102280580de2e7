//! Whether what repeats in a pass is a layer, or holds several.
//!
//! Models repeat more than layers: state-space blocks, attention and MLPs in an order of their own, dense and expert blocks in
//! turn. A period of that order recurs as a layer does, and the number of KV regions may be that of the periods by chance. But it
//! has several mixers ([`mixers`]), where a layer has one.

use std::collections::BTreeMap;

use super::lanes::Pass;
use crate::timeline::mixers::{self, Mixer};
use crate::timeline::{Class, LaneAt, Timeline};

/// Passes by which it is judged.
const JUDGED: usize = 64;

/// Whether most of the passes on that stream ran more than one mixer for each of what was found to repeat in them.
pub(super) fn are_several_layers(timeline: &Timeline, main: LaneAt, passes: &[Pass]) -> bool {
    let judged = passes.iter().take(JUDGED);
    let several = judged.clone().filter(|pass| {
        let found = mixers_of(timeline, main, pass);
        // Half as many again: a pass may lack some layers' records, or begin with layers of another kind.
        found * 2 >= pass.layers.len() * 3
    });
    several.count() * 2 > judged.count()
}

/// Mixers that ran in a pass: attention by what it writes into the cache, else by its kernel that ran most often, for one call may
/// run several; and scans likewise.
fn mixers_of(timeline: &Timeline, main: LaneAt, pass: &Pass) -> usize {
    let ops = timeline.lane(main);
    let mut runs: BTreeMap<(Mixer, u32), usize> = BTreeMap::new();
    for op in ops.overlapping(pass.span) {
        let name = ops.name[op];
        if timeline.names.class(name) == Class::Compute
            && let Some(mixer) = mixers::of_kernel(timeline.names.text(name))
        {
            *runs.entry((mixer, timeline.names.base(name))).or_default() += 1;
        }
    }
    let of = |wanted: Mixer| runs.iter().filter(move |((mixer, _), _)| *mixer == wanted).map(|(_, runs)| *runs);
    let written: usize = of(Mixer::CacheWrite).sum();
    let attention = if written > 0 { written } else { of(Mixer::Attention).max().unwrap_or(0) };
    attention + of(Mixer::Scan).max().unwrap_or(0)
}
