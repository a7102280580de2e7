//! How long a GPU takes from one kernel to the next that was launched long before.

use super::{LaneAt, Timeline};

/// Operations of a lane that are looked at.
const SAMPLES: usize = 4096;
/// Fewer samples have no 99th percentile.
const ENOUGH: usize = 200;
/// At least this is dispatch, ns: launch latency of a graph or a large kernel on an idle GPU (H200: up to 10 us).
const LEAST_NS: i64 = 20_000;

/// More is no dispatch, ns.
pub const MOST_NS: i64 = 100_000;

/// The 99th percentile of the gaps before operations whose launch had returned before the one before them ended: those
/// gaps are the GPU's own, but for what other streams kept waiting, which is left out where a wait for an event shows it and
/// limited where nothing does. Longer gaps want another explanation.
#[must_use]
pub fn of(timeline: &Timeline, lane: LaneAt) -> i64 {
    let process = timeline.id(lane).process;
    let own = timeline.lane(lane);
    let step = own.len().div_ceil(SAMPLES).max(1);
    let mut gaps: Vec<i64> = (1..own.len())
        .step_by(step)
        .filter_map(|at| {
            let before = own.before(at)?;
            let (thread, call) = timeline.call(process, own.key[at])?;
            let was_launched = timeline.lane(thread).end[call] <= own.end[before];
            let waits = timeline.waits.of_stream(lane, own.key[before], own.key[at]).next().is_some();
            (was_launched && !waits).then_some(own.start[at] - own.end[before])
        })
        .collect();
    gaps.sort_unstable();
    if gaps.len() < ENOUGH {
        return LEAST_NS;
    }
    gaps[(gaps.len() - 1) * 99 / 100].clamp(LEAST_NS, MOST_NS)
}
