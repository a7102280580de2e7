//! Which record shows an operation.

use std::sync::Arc;

use kvpath_schema::cell::Name;
use kvpath_schema::tables::nixl::NixlTransfers;

use crate::graph::{Graph, Op};
use crate::timeline::build::nixl_row;
use crate::timeline::{Class, LaneKind};

/// What finds the record of an operation, as the columns of tables have it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// Process.
    pub process_id: Option<i64>,
    /// Thread, of calls.
    pub tid: Option<i32>,
    /// CUDA stream, of work on a GPU.
    pub stream_id: Option<i32>,
    /// Raw table; none for what lies between records.
    pub table_name: Option<Name>,
    /// `correlation_id`.
    pub correlation_id: Option<i64>,
    /// `kernels.graph_node_id`.
    pub graph_node_id: Option<i64>,
    /// `nixl_transfers.transfer_id`.
    pub transfer_id: Option<i64>,
    /// Name of the kernel or call.
    pub name: Option<Name>,
}

/// Of an operation.
#[must_use]
pub fn of(graph: &Graph, transfers: &NixlTransfers, op: Op) -> Record {
    let id = |row: u32| transfers.transfer_id.get(row as usize).copied();
    let (lane, at) = match op {
        Op::Lane(lane, at) => (lane, at as usize),
        Op::Wire(row) | Op::Notif(row) => return Record { transfer_id: id(row), ..Record::default() },
        Op::Registration(at) => {
            return Record { process_id: Some(graph.transfers.registered_with(at)), ..Record::default() };
        }
    };
    let (timeline, lane_id) = (graph.timeline, graph.timeline.id(lane));
    let (ops, class) = (timeline.lane(lane), timeline.class(lane, at));
    let (stream_id, tid) = match lane_id.kind {
        LaneKind::Stream { stream, .. } => (Some(stream), None),
        LaneKind::Thread(tid) => (None, Some(tid)),
    };
    let is_nixl = matches!(class, Class::Make | Class::Post);
    Record {
        process_id: Some(lane_id.process),
        tid,
        stream_id,
        table_name: Some(class.table().into()),
        correlation_id: Some(ops.key[at]).filter(|key| *key > 0 && !is_nixl),
        graph_node_id: ops.node.get(at).copied().filter(|node| *node != 0 && !is_nixl),
        transfer_id: if is_nixl { nixl_row(ops.key[at]).and_then(id) } else { None },
        name: Some(Arc::clone(timeline.names.text(ops.name[at]))),
    }
}
