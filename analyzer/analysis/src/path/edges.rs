//! All that the nodes of a path waited for: the gate that opened last, over which the path goes, and those that came before it.

use std::cmp::Reverse;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::path::{Edge, Edges};

use super::Walker;
use super::table::Context;
use super::walk::{NodeOnPath, walk_seeing};
use crate::graph::{Gate, Node, Request};

/// A node with its gates.
struct GatedNode {
    node: Node,
    at: i64,
    gates: Vec<Gate>,
    bound: Option<Gate>,
    steps_after: usize,
}

impl Walker<'_> {
    /// The gates of every node on the path of the request with that number; `None` if there is no such request. A request whose
    /// path has no end has no edges.
    #[must_use]
    pub fn edges(&self, number: i32) -> Option<Edges> {
        let request = self.requests().iter().find(|request| request.number == number)?;
        let graph = self.graph();
        let context = self.context(&graph);
        let mut edges = Edges::default();
        let Some(sink) = self.sink(request) else {
            return Some(edges);
        };
        let mut nodes: Vec<GatedNode> = Vec::new();
        let walked = walk_seeing(&graph, request, sink.node, request.source_ns, |met| nodes.push(GatedNode::of(met)));
        for (number, waited) in (0i32..).zip(nodes.iter().rev()) {
            let position = walked.steps.len().checked_sub(waited.steps_after + 1);
            let position = position.and_then(|position| i32::try_from(position).ok());
            context.edges(request, (number, position), waited, &mut edges);
        }
        Some(edges)
    }
}

impl GatedNode {
    fn of(met: &NodeOnPath) -> Self {
        let mut gates = met.gates.to_vec();
        let is_bound = |gate: &Gate| Some(gate) == met.bound.as_ref();
        gates.sort_by_key(|gate| (!is_bound(gate), Reverse(gate.at), gate.kind, gate.from));
        Self { node: met.node, at: met.at, gates, bound: met.bound, steps_after: met.steps_after }
    }
}

impl Context<'_> {
    fn edges(&self, request: &Request, (node, position): (i32, Option<i32>), waited: &GatedNode, into: &mut Edges) {
        let own = self.operation(waited.node.op);
        for gate in &waited.gates {
            let from = self.operation(gate.from.op);
            into.push(Edge {
                request: request.number,
                node,
                position,
                time_ns: waited.at,
                is_end: waited.node.is_end,
                stage_id: own.stage_id,
                process_id: own.process_id,
                correlation_id: own.correlation_id,
                transfer_id: own.transfer_id,
                name: own.name.clone(),
                gate: gate.kind.name().into(),
                method: gate.method.name().into(),
                confidence: gate.method.confidence(),
                is_bound: waited.bound.as_ref() == Some(gate),
                at_ns: gate.at,
                margin_ns: waited.bound.map(|bound| bound.at - gate.at),
                from_is_end: gate.from.is_end,
                from_stage_id: from.stage_id,
                from_process_id: from.process_id,
                from_correlation_id: from.correlation_id,
                from_transfer_id: from.transfer_id,
                from_name: from.name,
            });
        }
    }
}
