//! The `requests` table: when each began, was computed, handed over and taken up by decode.

use std::collections::{BTreeMap, BTreeSet};

use kvpath_schema::table::Columns;
use kvpath_schema::tables::derived::{
    Completeness, HandoffWay, Handoffs, Request, RequestMethod, RequestState, Requests, Role,
};

use crate::structure::requests::{RequestWork, overlapping};
use crate::structure::stages::StageWork;
use crate::timeline::{LaneAt, Timeline};

/// Fills `requests`.
#[must_use]
pub fn of(timeline: &Timeline, stages: &[StageWork], work: &[RequestWork], handoffs: &Handoffs) -> Requests {
    let mut table = Requests::default();
    let overlaps = overlapping(work);
    let mut of_request: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for row in 0..handoffs.len() {
        of_request.entry(handoffs.request[row]).or_default().push(row);
    }
    let ends = ends_by_peer(handoffs);
    let stage_of: BTreeMap<i32, i32> = stages.iter().map(|stage| (stage.row.stage_id, stage.row.stage)).collect();
    let senders = |rows: &[usize]| -> BTreeSet<Option<i32>> {
        rows.iter().map(|row| stage_of.get(&handoffs.stage_id[*row]).copied()).collect()
    };
    for (at, request) in work.iter().enumerate() {
        let r = i32::try_from(at).unwrap_or(i32::MAX);
        let rows = of_request.remove(&r).unwrap_or_default();
        let participants: Vec<usize> = request.participants(stages).collect();
        let own = rows.iter().map(|row| end_of(handoffs, *row));
        let handoff_end_ns = own.collect::<Option<Vec<i64>>>().and_then(|ends| ends.into_iter().max());
        let whole = participants.iter().all(|s| request.has_all_passes(*s, stages, work));
        let incomplete = !whole || rows.iter().any(|row| handoffs.completeness[*row] == Completeness::Incomplete);
        let prefill_end_ns = request.compute_end().filter(|_| whole);
        let sent = request.told.map(|told| told.arrival_ns);
        let first = || if rows.is_empty() { sent.unwrap_or(0) } else { first_sign(handoffs, &rows) };
        let start_ns = request.compute_start().unwrap_or_else(first).max(sent.unwrap_or(i64::MIN));
        let peers = rows.iter().map(|row| handoffs.peer_process_id[*row]);
        let asked = |end: i64| asked(handoffs, &rows).unwrap_or(end).min(end);
        let began =
            handoff_end_ns.map_or(Began::Unknown, |end| began(timeline, stages, (r, (asked(end), end), &ends), peers));
        let began = if request.told.is_some_and(|told| told.has_failed) { Began::Never } else { began };
        let chunks = participants.first().map(|s| request.passes[*s].len()).filter(|n| *n > 0);
        table.push(Request {
            request: r,
            request_id: request.id.clone(),
            method: match (request.is_by_client, request.id.is_some()) {
                (true, _) => RequestMethod::Client,
                (false, true) => RequestMethod::Notif,
                (false, false) => RequestMethod::Activity,
            },
            state: state(stages, request, (handoff_end_ns, &began)),
            sent_ns: request.told.map(|told| told.arrival_ns),
            first_token_ns: request.told.and_then(|told| told.first_token_ns),
            start_ns,
            prefill_end_ns,
            handoff_end_ns,
            decode_start_ns: began.start(),
            prefill_ns: prefill_end_ns.map(|end| end - start_ns),
            handoff_exposed_ns: prefill_end_ns.zip(handoff_end_ns).map(|(from, to)| (to - from).max(0)),
            handoff_ns: handoff_end_ns.zip(begin(handoffs, &rows)).map(|(end, begin)| end - begin),
            chunks: chunks.and_then(|n| i32::try_from(n).ok()),
            handoff_bytes: (!rows.is_empty()).then(|| total(rows.iter().map(|row| handoffs.bytes[*row]))),
            handoffs: i32::try_from(senders(&rows).len()).unwrap_or(i32::MAX),
            incomplete,
            overlaps: overlaps[at],
        });
    }
    table
}

/// The end of a hand-off: of the data's way, and where the receiver then brings it to its GPU or into its own layout, of that.
fn end_of(handoffs: &Handoffs, row: usize) -> Option<i64> {
    let end = end_of_way(handoffs, row)?;
    let span = |start: Option<i64>, dur: Option<i64>| start.zip(dur).map(|(start, dur)| start + dur);
    let relaid = span(handoffs.relayout_start_ns[row], handoffs.relayout_ns[row]);
    let staged = span(handoffs.staging_in_start_ns[row], handoffs.staging_in_ns[row]);
    [Some(end), relaid, staged].into_iter().flatten().max()
}

/// The end of the data's way: last copy, else completion seen, else the notif's arrival.
fn end_of_way(handoffs: &Handoffs, row: usize) -> Option<i64> {
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
/// kernel says nothing of this one: between the steps of a worker that generates lie up to some ms.
const DECODE_IDLE_NS: i64 = 5_000_000;

/// An idle worker begins with KV that is there within a step. If it has not for so long when another request's KV comes, it begins
/// with that.
const DECODE_WAITS_NS: i64 = 200_000_000;

/// Whether decode began with a request.
enum Began {
    /// Its first kernel, ns.
    At(i64),
    /// It did not.
    Never,
    /// Not known.
    Unknown,
}

impl Began {
    fn start(&self) -> Option<i64> {
        if let Self::At(at) = self { Some(*at) } else { None }
    }
}

/// When hand-offs to each process ended, and of which requests, rising.
type EndsByPeer = BTreeMap<i64, Vec<(i64, i32)>>;

fn ends_by_peer(handoffs: &Handoffs) -> EndsByPeer {
    let mut found = EndsByPeer::new();
    for row in 0..handoffs.len() {
        if let Some((peer, end)) = handoffs.peer_process_id[row].zip(end_of(handoffs, row)) {
            found.entry(peer).or_default().push((end, handoffs.request[row]));
        }
    }
    for ends in found.values_mut() {
        ends.sort_unstable();
    }
    found
}

/// When the receiver began to pull a request's KV, where it did: from then on its thread may have been held up by that.
fn asked(handoffs: &Handoffs, rows: &[usize]) -> Option<i64> {
    let pulled = rows.iter().filter(|row| handoffs.way[**row] == HandoffWay::Pull);
    pulled.filter_map(|row| handoffs.made_ns[*row].or(handoffs.posted_ns[*row])).min()
}

/// The first kernel after `end` of the worker that received everything, on any of its ranks; not known where several workers did,
/// the receiver is unknown or no decode worker, or it was busy since it `asked`: what it works on may be another request's.
fn began(
    timeline: &Timeline,
    stages: &[StageWork],
    (request, (asked, end), ends): (i32, (i64, i64), &EndsByPeer),
    peers: impl Iterator<Item = Option<i64>>,
) -> Began {
    let Some(peers) = peers.collect::<Option<BTreeSet<i64>>>() else { return Began::Unknown };
    let decodes = |peer: &i64| {
        stages
            .iter()
            .find(|stage| stage.row.role == Role::Decode && stage.row.process_id == *peer)
            .map(|stage| stage.row.stage)
    };
    let Some(workers) = peers.iter().map(decodes).collect::<Option<BTreeSet<i32>>>() else { return Began::Unknown };
    if workers.len() != 1 {
        return Began::Unknown;
    }
    let mut first: Option<i64> = None;
    for peer in &peers {
        let Some(lanes) = timeline.processes.get(peer) else { return Began::Unknown };
        for at in &lanes.streams {
            let stream = timeline.lane(*at);
            let is_kernel = |op: &usize| is_work(timeline, *at, *op);
            if stream.overlapping((asked - DECODE_IDLE_NS, end)).any(|op| is_kernel(&op)) {
                return Began::Unknown;
            }
            let after = stream.start.partition_point(|start| *start < end);
            let next = (after..stream.len()).find(is_kernel).map(|op| stream.start[op]);
            first = [first, next].into_iter().flatten().min();
        }
    }
    let Some(first) = first else { return Began::Unknown };
    let next = |peer: &i64| {
        let ends = ends.get(peer).map_or(&[][..], Vec::as_slice);
        ends.get(ends.partition_point(|other| other.0 <= end)).map(|other| other.0).filter(|other| *other <= first)
    };
    // KV that came before, and with which the worker had not begun yet, has the first claim to that kernel.
    let is_another = |peer: &i64| {
        let ends = ends.get(peer).map_or(&[][..], Vec::as_slice);
        let before = ends[..ends.partition_point(|other| other.0 < end)].iter().rfind(|other| other.1 != request);
        before.is_some_and(|(before, _)| {
            asked - before <= DECODE_WAITS_NS && !has_worked(timeline, *peer, (*before, end))
        })
    };
    if peers.iter().any(is_another) {
        return Began::Unknown;
    }
    match peers.iter().filter_map(next).min() {
        Some(other) if other.saturating_sub(end) > DECODE_WAITS_NS => Began::Never,
        _ => Began::At(first),
    }
}

/// Whether a decode worker ran kernels in a time, other than those that bring KV into its layout.
fn has_worked(timeline: &Timeline, process: i64, span: (i64, i64)) -> bool {
    let streams = timeline.processes.get(&process).map_or(&[][..], |lanes| &lanes.streams);
    streams.iter().any(|at| timeline.lane(*at).overlapping(span).any(|op| is_work(timeline, *at, op)))
}

/// Whether an operation is a kernel that works on what decode generates: what brings the KV to its GPU and into decode's layout is of
/// the hand-off.
fn is_work(timeline: &Timeline, lane: LaneAt, op: usize) -> bool {
    let class = timeline.names.class(timeline.lane(lane).name[op]);
    class.table() == "kernels" && !class.is_of_handoff()
}

/// How far a request came.
fn state(stages: &[StageWork], request: &RequestWork, (handoff_end_ns, began): (Option<i64>, &Began)) -> RequestState {
    let posts = || request.posts.iter().map(|(s, p)| (*s, &stages[*s].posts[*p]));
    // What failed and was made again did not fail.
    let has_failed = posts().any(|(s, post)| {
        post.failed
            && !posts()
                .any(|(other, again)| other == s && !again.failed && again.at >= post.at && again.chunk == post.chunk)
    });
    let (token, gave_up) = request.told.map_or((None, false), |told| (told.first_token_ns, told.has_failed));
    let is_computed = request.passes.iter().any(|passes| !passes.is_empty());
    match (handoff_end_ns, began) {
        _ if token.is_some() => RequestState::Done,
        _ if request.posts.is_empty() && is_computed => RequestState::Prefilled,
        _ if request.posts.is_empty() => RequestState::Asked,
        (None, _) if has_failed || gave_up => RequestState::Failed,
        (None, _) => RequestState::Unfinished,
        (Some(_), Began::Never) => RequestState::Aborted,
        (Some(_), Began::At(_)) => RequestState::Done,
        (Some(_), Began::Unknown) => RequestState::HandedOver,
    }
}
