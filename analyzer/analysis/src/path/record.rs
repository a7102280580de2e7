//! What an operation is, whose, and which record shows it.

use std::sync::Arc;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::NixlTransfers;
use kvpath_schema::tables::path::Operation;
use kvpath_schema::tables::sched::OffCpus;

use super::places::StepPlace;
use crate::graph::{Graph, Op};
use crate::timeline::build::nixl_row;
use crate::timeline::{Class, LaneKind};

/// Of an operation, with its place; what finds its record.
#[must_use]
pub fn of(graph: &Graph, transfers: &NixlTransfers, place: StepPlace, op: Op) -> Operation {
    let StepPlace { stage, chunk, layer, layer_from, request } = place;
    let placed = Operation { stage_id: stage, chunk, layer, layer_from, of_request: request, ..Operation::default() };
    let id = |row: u32| transfers.transfer_id.get(row as usize).copied();
    let (lane, at) = match op {
        Op::Lane(lane, at) => (lane, at as usize),
        Op::Wire(row) | Op::Notif(row) => return Operation { transfer_id: id(row), ..placed },
        Op::Contact(at) => {
            return Operation { process_id: Some(graph.transfers.contact(at).process), ..placed };
        }
        Op::OffCpu(row) | Op::Wake(row) => return of_thread(graph, &placed, op, row),
        Op::Registration(at) => {
            return Operation { process_id: Some(graph.transfers.registered_with(at)), ..placed };
        }
    };
    let (timeline, lane_id) = (graph.timeline, graph.timeline.id(lane));
    let (ops, class) = (timeline.lane(lane), timeline.class(lane, at));
    let (stream_id, tid) = match lane_id.kind {
        LaneKind::Stream { stream, .. } => (Some(stream), None),
        LaneKind::Thread(tid) => (None, Some(tid)),
    };
    let is_nixl = matches!(class, Class::Make | Class::Post);
    Operation {
        process_id: Some(lane_id.process),
        tid,
        stream_id,
        table_name: Some(class.table().into()),
        correlation_id: Some(ops.key[at]).filter(|key| *key > 0 && !is_nixl),
        graph_node_id: ops.node.get(at).copied().filter(|node| *node != 0 && !is_nixl),
        transfer_id: if is_nixl { nixl_row(ops.key[at]).and_then(id) } else { None },
        name: Some(Arc::clone(timeline.names.text(ops.name[at]))),
        ..placed
    }
}

/// A thread's wait, or the thread that ended one.
fn of_thread(graph: &Graph, placed: &Operation, op: Op, row: u32) -> Operation {
    let interval = graph.timeline.threads.interval(row);
    let is_wait = matches!(op, Op::OffCpu(_));
    let thread = if is_wait { Some(interval.thread) } else { interval.waker };
    Operation {
        process_id: thread.map(|thread| thread.0),
        tid: thread.map(|thread| thread.1),
        table_name: is_wait.then(|| OffCpus::DEF.name.into()),
        name: is_wait.then(|| Arc::clone(&interval.what)),
        ..*placed
    }
}
