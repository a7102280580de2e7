//! How much longer each operation could have taken without a later first token.
//!
//! Back from the sink over all gates, not only the last ones: a node may happen as late as the earliest of what waits for it
//! may, less the lag between the two. The lag of a gate that opened last is the gap that was seen, for there the gap is what
//! the wait for it cost; of one that opened before, the gap holds waiting for the others too, so it is the 5th percentile of
//! the gaps after gates of its kind that opened last in this request, or what was seen if that is less, or 0 where none of its
//! kind did. An operation that went on after what it waited for has that completion as its lag, not its whole time.
//!
//! All lags are at most the gaps that were seen, so slack is never below 0; those on the path are the gaps that were seen, so
//! it is 0 there.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::path::{Slack, Slacks};

use super::Walker;
use super::record;
use super::table::Context;
use super::walk::walk_seeing;
use crate::graph::{Gate, GateKind, Graph, Node, Request, last};

/// The part of the graph from which a sink can be reached, from the source on.
#[derive(Debug, Default)]
struct Reach {
    /// Nodes, by when they happened, the last first.
    nodes: Vec<(i64, Node)>,
    /// Into each node: where from, and with what lag, ns.
    edges: Vec<Vec<(usize, i64)>>,
}

/// An edge before its lag is known.
struct Seen {
    from: Node,
    to: Node,
    gap: i64,
    /// `None` for the operation itself, from its start to its end.
    kind: Option<GateKind>,
    /// Whether the whole gap is its lag.
    is_bound: bool,
}

impl Walker {
    /// Slack of every operation from which the first token of the request with that number can be reached; `None` if there is
    /// no such request.
    #[must_use]
    pub fn slack(&self, number: i32) -> Option<Slacks> {
        let request = self.requests().iter().find(|request| request.number == number)?;
        let graph = self.graph();
        let context = Context { graph: &graph, places: &self.places, raw: &self.raw };
        let mut slacks = Slacks::default();
        let Some(sink) = self.sink(request) else {
            return Some(slacks);
        };
        let reach = Reach::of(&graph, request, sink.node);
        let mut rows: Vec<(Node, i64, i64)> = reach
            .slack()
            .into_iter()
            .zip(&reach.nodes)
            .filter(|(_, (_, node))| node.is_end)
            .map(|((slack, free), (_, node))| (*node, slack, free))
            .collect();
        rows.sort_unstable_by_key(|(node, ..)| (graph.time(Node::start(node.op)), graph.time(*node), node.op));
        for (node, slack_ns, free_slack_ns) in rows {
            slacks.push(context.slack(request, node, (slack_ns, free_slack_ns)));
        }
        Some(slacks)
    }
}

impl Reach {
    fn of(graph: &Graph, request: &Request, sink: Node) -> Self {
        let mut on_path: HashSet<(Node, Node)> = HashSet::new();
        let _ = walk_seeing(graph, request, sink, request.source_ns, |met| {
            on_path.insert((met.bound.map_or(Node::start(met.node.op), |gate| gate.from), met.node));
        });
        let mut seen: Vec<Seen> = Vec::new();
        let mut nodes: HashMap<Node, i64> = HashMap::from([(sink, graph.time(sink))]);
        let mut open = vec![sink];
        let mut gates: Vec<Gate> = Vec::new();
        while let Some(node) = open.pop() {
            graph.gates(node, request, &mut gates);
            gates.retain(|gate| gate.at > request.source_ns);
            let at = nodes[&node];
            let first = seen.len();
            edges_into(graph, (node, at), &gates, &mut seen);
            for edge in &mut seen[first..] {
                edge.is_bound |= on_path.contains(&(edge.from, node));
                let from = graph.time(edge.from);
                if nodes.insert(edge.from, from).is_none() && from > request.source_ns {
                    open.push(edge.from);
                }
            }
        }
        Self::with_lags(sink, nodes, &seen)
    }

    fn with_lags(sink: Node, nodes: HashMap<Node, i64>, seen: &[Seen]) -> Self {
        let mut gaps: HashMap<GateKind, Vec<i64>> = HashMap::new();
        for edge in seen.iter().filter(|edge| edge.is_bound) {
            if let Some(kind) = edge.kind {
                gaps.entry(kind).or_default().push(edge.gap);
            }
        }
        let usual: HashMap<GateKind, i64> =
            gaps.into_iter().map(|(kind, gaps)| (kind, fifth_percentile(gaps))).collect();
        let mut nodes: Vec<(i64, Node)> = nodes.into_iter().map(|(node, at)| (at, node)).collect();
        // Of those at the same ns the sink is first: nothing comes after it.
        nodes.sort_unstable_by_key(|(at, node)| (Reverse(*at), *node != sink, Reverse(*node)));
        let number: HashMap<Node, usize> = nodes.iter().enumerate().map(|(at, (_, node))| (*node, at)).collect();
        let mut edges: Vec<Vec<(usize, i64)>> = vec![Vec::new(); nodes.len()];
        for edge in seen {
            let usual = edge.kind.map_or(edge.gap, |kind| usual.get(&kind).copied().unwrap_or(0));
            let lag = if edge.is_bound { edge.gap } else { edge.gap.min(usual) };
            edges[number[&edge.to]].push((number[&edge.from], lag));
        }
        Self { nodes, edges }
    }

    /// Slack and free slack of each node, ns.
    fn slack(&self) -> Vec<(i64, i64)> {
        let mut found: Vec<(i64, i64)> = vec![(i64::MAX, i64::MAX); self.nodes.len()];
        if let Some(sink) = found.first_mut() {
            *sink = (0, 0);
        }
        let mut from = 0;
        while from < self.nodes.len() {
            let at = self.nodes[from].0;
            let until = from + self.nodes[from..].partition_point(|(other, _)| *other == at);
            // Nodes of the same ns may wait for each other in any order.
            let mut is_again = true;
            while is_again {
                is_again = false;
                for node in from..until {
                    is_again |= self.relax(node, &mut found);
                }
            }
            from = until;
        }
        found
    }

    /// Hands the slack of a node on to what it waits for; whether that changed a node of the same ns.
    fn relax(&self, node: usize, found: &mut [(i64, i64)]) -> bool {
        let (at, own) = (self.nodes[node].0, found[node].0);
        let mut is_again = false;
        for (before, lag) in &self.edges[node] {
            let since = self.nodes[*before].0;
            let room = at.saturating_sub(since).saturating_sub(*lag);
            let entry = &mut found[*before];
            let new = (entry.0.min(own.saturating_add(room)), entry.1.min(room));
            is_again |= since == at && new != *entry;
            *entry = new;
        }
        is_again
    }
}

/// What a node waited for, and of an end the operation itself.
fn edges_into(graph: &Graph, (node, at): (Node, i64), gates: &[Gate], into: &mut Vec<Seen>) {
    let start = graph.time(Node::start(node.op));
    let bound = last(gates).filter(|gate| !node.is_end || gate.at > start);
    for gate in gates {
        let gap = at - gate.at;
        let is_bound = Some(gate) == bound;
        into.push(Seen { from: gate.from, to: node, gap, kind: Some(gate.kind), is_bound });
    }
    if node.is_end {
        // What went on after what it waited for is the operation's own; before, it may have waited all the time.
        let own = at - bound.map_or(start, |gate| gate.at);
        into.push(Seen { from: Node::start(node.op), to: node, gap: own, kind: None, is_bound: bound.is_none() });
    }
}

fn fifth_percentile(mut gaps: Vec<i64>) -> i64 {
    gaps.sort_unstable();
    gaps.get(gaps.len().saturating_sub(1) * 5 / 100).copied().unwrap_or(0)
}

impl Context<'_> {
    fn slack(&self, request: &Request, node: Node, (slack_ns, free_slack_ns): (i64, i64)) -> Slack {
        let (place, record) =
            (self.places.of_op(self.graph, node.op), record::of(self.graph, &self.raw.transfers, node.op));
        let start_ns = self.graph.time(Node::start(node.op));
        Slack {
            request: request.number,
            start_ns,
            dur_ns: self.graph.time(node) - start_ns,
            slack_ns,
            free_slack_ns,
            stage_id: place.stage,
            chunk: place.chunk,
            layer: place.layer,
            of_request: place.request,
            process_id: record.process_id,
            tid: record.tid,
            stream_id: record.stream_id,
            table_name: record.table_name,
            correlation_id: record.correlation_id,
            graph_node_id: record.graph_node_id,
            transfer_id: record.transfer_id,
            name: record.name,
        }
    }
}

#[cfg(test)]
mod tests;
