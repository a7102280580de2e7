//! When a receiver brought the KV of hand-offs into its own layout.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::Handoffs;

use crate::intervals::Union;
use crate::timeline::{Class, Timeline};

/// Such kernels that begin this close behind each other are of one go, ns.
const TOGETHER_NS: i64 = 1_000_000;
/// A worker does it in the step in which it sees that the KV is there, ns.
const STEP_NS: i64 = 200_000_000;

/// Fills in the first such work of each receiver after the end of a hand-off to it.
pub fn fill(timeline: &Timeline, table: &mut Handoffs) {
    let mut of_process: BTreeMap<i64, Union> = BTreeMap::new();
    for row in 0..table.len() {
        let copied = table.copy_start_ns[row].zip(table.copy_span_ns[row]).map(|(start, span)| start + span);
        let end = copied.or(table.done_by_ns[row]).or(table.notif_arrived_ns[row]);
        let Some((peer, end)) = table.peer_process_id[row].zip(end) else { continue };
        let spans = of_process.entry(peer).or_insert_with(|| goes(timeline, peer)).spans();
        let next = spans.get(spans.partition_point(|span| span.0 < end));
        let own = next.filter(|span| span.0.saturating_sub(end) <= STEP_NS);
        table.relayout_start_ns[row] = own.map(|span| span.0);
        table.relayout_ns[row] = own.map(|span| span.1 - span.0);
    }
}

/// The times in which a process did so.
fn goes(timeline: &Timeline, process: i64) -> Union {
    let streams = timeline.processes.get(&process).map_or(&[][..], |lanes| &lanes.streams);
    let kernels = streams.iter().flat_map(|lane| {
        let own = timeline.lane(*lane);
        let is_own = |at: &usize| timeline.class(*lane, *at) == Class::Relayout;
        (0..own.len()).filter(is_own).map(|at| (own.start[at], own.end[at]))
    });
    Union::bridged(kernels, TOGETHER_NS)
}
