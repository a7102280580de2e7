//! The `requests` table: when each began, was computed, handed over and taken up by decode.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns;
use kvpath_schema::tables::derived::{Completeness, Handoffs, Request, RequestMethod, Requests, Role};

use crate::structure::requests::{RequestWork, overlapping};
use crate::structure::stages::StageWork;
use crate::timeline::Timeline;

/// Fills `requests`.
#[must_use]
pub fn of(timeline: &Timeline, stages: &[StageWork], work: &[RequestWork], handoffs: &Handoffs) -> Requests {
    let mut table = Requests::default();
    let overlaps = overlapping(work);
    let mut of_request: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for row in 0..handoffs.len() {
        of_request.entry(handoffs.request[row]).or_default().push(row);
    }
    for (at, request) in work.iter().enumerate() {
        let r = i32::try_from(at).unwrap_or(i32::MAX);
        let rows = of_request.remove(&r).unwrap_or_default();
        let participants: Vec<usize> = request.participants(stages).collect();
        let ends = rows.iter().map(|row| end_of(handoffs, *row));
        let handoff_end_ns = ends.collect::<Option<Vec<i64>>>().and_then(|ends| ends.into_iter().max());
        let whole = participants.iter().all(|s| request.has_all_passes(*s, stages, work));
        let incomplete = !whole || rows.iter().any(|row| handoffs.completeness[*row] == Completeness::Incomplete);
        let prefill_end_ns = request.compute_end().filter(|_| whole);
        let start_ns = request.compute_start().unwrap_or_else(|| first_sign(handoffs, &rows));
        let chunks = participants.first().map(|s| request.passes[*s].len()).filter(|n| *n > 0);
        table.push(Request {
            request: r,
            request_id: request.id.clone(),
            method: if request.id.is_some() { RequestMethod::Notif } else { RequestMethod::Activity },
            start_ns,
            prefill_end_ns,
            handoff_end_ns,
            decode_start_ns: handoff_end_ns.and_then(|end| {
                decode_start(timeline, stages, end, rows.iter().map(|row| handoffs.peer_process_id[*row]))
            }),
            prefill_ns: prefill_end_ns.map(|end| end - start_ns),
            handoff_exposed_ns: prefill_end_ns.zip(handoff_end_ns).map(|(from, to)| (to - from).max(0)),
            handoff_ns: handoff_end_ns.zip(begin(handoffs, &rows)).map(|(end, begin)| end - begin),
            chunks: chunks.and_then(|n| i32::try_from(n).ok()),
            handoff_bytes: (!rows.is_empty()).then(|| total(rows.iter().map(|row| handoffs.bytes[*row]))),
            handoffs: i32::try_from(rows.len()).unwrap_or(i32::MAX),
            incomplete,
            overlaps: overlaps[at],
        });
    }
    table
}

/// The end of the data's way: last copy, else completion seen, else the notif's arrival.
fn end_of(handoffs: &Handoffs, row: usize) -> Option<i64> {
    if handoffs.completeness[row] == Completeness::Incomplete {
        return handoffs.done_by_ns[row];
    }
    let copied = handoffs.copy_start_ns[row].zip(handoffs.copy_span_ns[row]).map(|(start, span)| start + span);
    copied.or(handoffs.done_by_ns[row]).or(handoffs.notif_arrived_ns[row])
}

/// When the first of a request's hand-offs began.
fn begin(handoffs: &Handoffs, rows: &[usize]) -> Option<i64> {
    let signs = |row: usize| [handoffs.made_ns[row], handoffs.posted_ns[row], handoffs.copy_start_ns[row]];
    rows.iter().flat_map(|row| signs(*row)).flatten().min()
}

/// The first sign of a request without forward passes.
fn first_sign(handoffs: &Handoffs, rows: &[usize]) -> i64 {
    let ready = rows.iter().filter_map(|row| handoffs.ready_ns[*row]).min();
    ready.into_iter().chain(begin(handoffs, rows)).min().unwrap_or(0)
}

/// A sum that hostile sizes cannot overflow.
fn total(values: impl Iterator<Item = i64>) -> i64 {
    values.fold(0, i64::saturating_add)
}

/// A decode worker that ran a kernel this shortly before a hand-off ended is busy with other requests, and its next
/// kernel says nothing of this one.
const DECODE_IDLE_NS: i64 = 1_000_000;

/// The first kernel after `end` of the one worker that received everything; `None` where several did, the receiver is unknown or
/// no decode worker, or it was busy.
fn decode_start(
    timeline: &Timeline,
    stages: &[StageWork],
    end: i64,
    mut peers: impl Iterator<Item = Option<i64>>,
) -> Option<i64> {
    let peer = peers.next()??;
    let decodes = stages.iter().any(|stage| stage.row.role == Role::Decode && stage.row.process_id == peer);
    if !decodes || peers.any(|other| other != Some(peer)) {
        return None;
    }
    let mut first = None;
    for at in &timeline.processes.get(&peer)?.streams {
        let stream = timeline.lane(*at);
        let is_kernel = |op: &usize| timeline.names.class(stream.name[*op]).table() == "kernels";
        if stream.overlapping((end - DECODE_IDLE_NS, end)).any(|op| is_kernel(&op)) {
            return None;
        }
        let after = stream.start.partition_point(|start| *start < end);
        let next = (after..stream.len()).find(is_kernel).map(|op| stream.start[op]);
        first = [first, next].into_iter().flatten().min();
    }
    first
}
