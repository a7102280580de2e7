//! What ran: GPU work with its calls, waits with what they were for, messages with their other ends.

use super::tally::{JoinMethod, Kind, Tally, how};
use crate::graph::{Graph, Method};
use crate::timeline::{Class, LaneAt, LaneKind, Timeline, WaitTarget};

const SEND: Kind = ("send_to_receive", "kernels");
const STREAM_WAIT: Kind = ("stream_wait_to_event", "gpu_syncs");
const SYNC_EVENT: Kind = ("sync_to_event", "gpu_syncs");
const SYNC_STREAM: Kind = ("sync_to_stream", "gpu_syncs");
const WAIT: Kind = ("wait_to_event", "gpu_syncs");

/// Goes once over all lanes.
pub fn count(graph: &Graph, tally: &mut Tally) {
    let timeline = graph.timeline;
    for (at, (id, _)) in (0u32..).zip(&timeline.lanes) {
        match id.kind {
            LaneKind::Stream { .. } => stream(graph, at, tally),
            LaneKind::Thread(_) => thread(timeline, at, tally),
        }
    }
    tally.add_many(None, WAIT, None, timeline.waits.unknown);
}

/// Kinds of work on a GPU.
fn started(class: Class) -> Option<Kind> {
    Some(match class.table() {
        "kernels" => ("kernel_to_launch", "kernels"),
        "memcpys" => ("copy_to_call", "memcpys"),
        "memsets" => ("memset_to_call", "memsets"),
        "graph_launches" => ("graph_to_launch", "graph_launches"),
        _ => return None,
    })
}

fn stream(graph: &Graph, at: LaneAt, tally: &mut Tally) {
    let timeline = graph.timeline;
    let (process, own) = (timeline.id(at).process, timeline.lane(at));
    for op in 0..own.len() {
        let class = timeline.class(at, op);
        if let Some(kind) = started(class) {
            tally.add(process, kind, call(timeline, process, own.key[op]));
        }
        if class == Class::PointToPoint {
            let partner = u32::try_from(op).ok().and_then(|op| graph.pairs.partner(at, op));
            tally.add(process, SEND, partner.map(|(_, method)| how(method)));
        }
    }
    for awaited in timeline.waits.of_stream(at, i64::MIN, i64::MAX) {
        tally.add(process, STREAM_WAIT, Some(of_event(awaited)));
    }
}

/// As the graph takes it: a call that was not recorded stands behind its neighbour.
fn call(timeline: &Timeline, process: i64, key: i64) -> Option<JoinMethod> {
    if timeline.call(process, key).is_some() {
        return Some(how(Method::Id));
    }
    timeline.call_before(process, key).map(|_| how(Method::Neighbour))
}

fn thread(timeline: &Timeline, at: LaneAt, tally: &mut Tally) {
    let (process, own) = (timeline.id(at).process, timeline.lane(at));
    for op in 0..own.len() {
        for awaited in timeline.waits.of_call(process, own.key[op]) {
            let kind = if matches!(awaited, WaitTarget::Event { .. }) { SYNC_EVENT } else { SYNC_STREAM };
            tally.add(process, kind, Some(of_event(awaited)));
        }
    }
}

fn of_event(awaited: WaitTarget) -> JoinMethod {
    match awaited {
        WaitTarget::Event { exact: false, .. } => how(Method::Handle),
        WaitTarget::Event { .. } | WaitTarget::Stream(_) | WaitTarget::Context(_) => how(Method::Id),
    }
}
