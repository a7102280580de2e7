//! Each stage's idle time inside each request's prefill window.
//!
//! The window runs from the request's first kernel on any stage to its last one on any. A stage that waits in an NCCL
//! kernel does not compute, so that wait is part of the bubble. Causes beyond that are not told apart here.

use kvpath_schema::table::Columns;
use kvpath_schema::tables::derived::{Bubble, Bubbles};

use crate::intervals::ByStart;
use crate::structure::requests::{RequestWork, overlapping};
use crate::structure::stages::StageWork;
use crate::timeline::Timeline;

/// Fills the table; requests without recorded compute have no rows.
#[must_use]
pub fn of(timeline: &Timeline, stages: &[StageWork], requests: &[RequestWork]) -> Bubbles {
    let mut table = Bubbles::default();
    let overlaps = overlapping(requests);
    let waits: Vec<Option<(ByStart, ByStart)>> = stages
        .iter()
        .map(|stage| stage.lane.map(|lane| (ByStart::of(&lane.p2p), ByStart::of(&lane.collectives))))
        .collect();
    for (r, request) in requests.iter().enumerate() {
        let Some(window) = request.window() else { continue };
        let whole = request.participants(stages).all(|s| request.has_all_passes(s, stages, requests));
        let shared = overlaps[r];
        let id = i32::try_from(r).unwrap_or(i32::MAX);
        for s in request.participants(stages) {
            let stage = &stages[s];
            let Some(lane) = stage.lane.filter(|lane| lane.kernels > 0) else { continue };
            let Some((p2p, collectives)) = &waits[s] else { continue };
            let (p2p, collectives) = (p2p.within(window), collectives.within(window));
            let window_ns = window.1 - window.0;
            let compute = lane.compute(timeline, window);
            let compute_ns = compute.len_ns();
            let of_pass =
                |pass: &&crate::structure::lanes::Pass| i32::try_from(pass.layers.len()).ok().filter(|n| *n > 0);
            let mut layers: Vec<i32> = request.passes[s].iter().filter_map(of_pass).collect();
            layers.sort_unstable();
            table.push(Bubble {
                request: id,
                stage_id: stage.row.stage_id,
                window_ns: whole.then_some(window_ns),
                compute_ns,
                idle_ns: whole.then_some(window_ns - compute_ns),
                p2p_wait_ns: whole.then(|| p2p.outside(&compute)),
                collective_wait_ns: whole.then(|| collectives.outside(&compute)),
                p2p_ns: p2p.len_ns(),
                chunks: i32::try_from(request.passes[s].len()).unwrap_or(i32::MAX),
                layers: layers.get(layers.len() / 2).copied(),
                incomplete: !request.has_all_passes(s, stages, requests),
                shared,
            });
        }
    }
    table
}
