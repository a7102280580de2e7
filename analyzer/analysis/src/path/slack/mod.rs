//! How much longer each operation could have taken without a later first token.
//!
//! Back from the sink over all gates, not only the last ones: a node may happen as late as the earliest of what waits for it
//! may, less the lag between the two. The lag of a gate that opened last is the gap that was seen, for there the gap is what
//! the wait for it cost; of one that opened before, the gap holds waiting for the others too, so it is the 5th percentile of
//! the gaps after gates of its kind that opened last in this request, and where none of its kind did of all that the same sort
//! of operation waited for, or what was seen if that is less, or 0 where none is known. An operation that went on after what it
//! waited for has that completion as its lag, not its whole time; a call that holds other calls ends as long after them as
//! it did.
//!
//! All lags are at most the gaps that were seen, so slack is never below 0; those on the path are the gaps that were seen, so
//! it is 0 there.
//!
//! What it promises: an operation that takes longer by no more than its slack delays no first token if everything that waited
//! for it is recorded, and reacts as quickly as the quickest twentieth does. So it is the most that there can be: what reacts
//! as slowly as it mostly does is later by the difference already when the last of the slack is used, and what waits for an
//! operation in a way that no record shows (a flag in shared memory, a lock, a blocking stream, a link that is busy so shortly
//! that rates do not tell), or by a gate that clocks show after what waited for it, is not in it. It holds for one operation
//! at a time: those that follow each other share theirs.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::path::{Slack, Slacks};

use super::Walker;
use super::table::Context;
use super::walk::walk_seeing;
use crate::graph::{Gate, GateKind, Graph, Node, Op, Request, last, op};
use crate::timeline::LaneKind;

/// The part of the graph from which a sink can be reached, from the source on.
#[derive(Debug, Default)]
struct ReachableGraph {
    /// Nodes, by when they happened, the last first.
    nodes: Vec<(i64, Node)>,
    /// Into each node: where from, and with what lag, ns.
    edges: Vec<Vec<(usize, i64)>>,
}

/// What reacts to a gate: how long that takes at least depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Reacts {
    /// A stream, by its start or end of an operation.
    Stream { is_end: bool },
    /// A thread, by entering a call or returning from one.
    Thread { is_end: bool },
    /// What is on its way between processes.
    Message,
}

/// An edge before its lag is known.
struct EdgeBeforeLag {
    from: Node,
    to: Node,
    gap: i64,
    /// `None` for the operation itself, from its start, or from what it called, to its end.
    kind: Option<(GateKind, Reacts)>,
    /// Whether the whole gap is its lag.
    is_bound: bool,
}

impl Walker<'_> {
    /// Slack of every operation from which the first token of the request with that number can be reached; `None` if there is
    /// no such request.
    #[must_use]
    pub fn slack(&self, number: i32) -> Option<Slacks> {
        let request = self.requests().iter().find(|request| request.number == number)?;
        let graph = self.graph();
        let context = self.context(&graph);
        let mut slacks = Slacks::default();
        let Some(sink) = self.sink(request) else {
            return Some(slacks);
        };
        let reach = ReachableGraph::of(&graph, request, sink.node);
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

impl ReachableGraph {
    fn of(graph: &Graph, request: &Request, sink: Node) -> Self {
        let mut on_path: HashSet<(Node, Node)> = HashSet::new();
        let _ = walk_seeing(graph, request, sink, request.source_ns, |met| {
            on_path.insert((met.bound.map_or(Node::start(met.node.op), |gate| gate.from), met.node));
        });
        let mut seen: Vec<EdgeBeforeLag> = Vec::new();
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

    fn with_lags(sink: Node, nodes: HashMap<Node, i64>, seen: &[EdgeBeforeLag]) -> Self {
        let mut gaps: HashMap<(Option<GateKind>, Reacts), Vec<i64>> = HashMap::new();
        for edge in seen.iter().filter(|edge| edge.is_bound) {
            if let Some((kind, reacts)) = edge.kind {
                gaps.entry((Some(kind), reacts)).or_default().push(edge.gap);
                gaps.entry((None, reacts)).or_default().push(edge.gap);
            }
        }
        let usual: HashMap<(Option<GateKind>, Reacts), i64> =
            gaps.into_iter().map(|(after, gaps)| (after, fifth_percentile(gaps))).collect();
        let usual = |kind: GateKind, reacts: Reacts| {
            usual.get(&(Some(kind), reacts)).or_else(|| usual.get(&(None, reacts))).copied().unwrap_or(0)
        };
        let mut nodes: Vec<(i64, Node)> = nodes.into_iter().map(|(node, at)| (at, node)).collect();
        // Of those at the same ns the sink is first: nothing comes after it.
        nodes.sort_unstable_by_key(|(at, node)| (Reverse(*at), *node != sink, Reverse(*node)));
        let number: HashMap<Node, usize> = nodes.iter().enumerate().map(|(at, (_, node))| (*node, at)).collect();
        let mut edges: Vec<Vec<(usize, i64)>> = vec![Vec::new(); nodes.len()];
        for edge in seen {
            let usual = edge.kind.map_or(edge.gap, |(kind, reacts)| usual(kind, reacts));
            let lag = if edge.is_bound { edge.gap } else { edge.gap.min(usual) };
            edges[number[&edge.to]].push((number[&edge.from], lag));
        }
        Self { nodes, edges }
    }

    /// Slack and free slack of each node, ns. From the sink back, of nodes at the same ns those with the least slack first:
    /// nothing that is met later makes it less.
    fn slack(&self) -> Vec<(i64, i64)> {
        let mut found: Vec<(i64, i64)> = vec![(i64::MAX, i64::MAX); self.nodes.len()];
        let mut open = BinaryHeap::new();
        if let (Some(sink), Some((at, _))) = (found.first_mut(), self.nodes.first()) {
            *sink = (0, 0);
            open.push((*at, Reverse(0i64), 0usize));
        }
        let mut is_done = vec![false; self.nodes.len()];
        while let Some((at, Reverse(own), node)) = open.pop() {
            if std::mem::replace(&mut is_done[node], true) {
                continue;
            }
            for (before, lag) in &self.edges[node] {
                let since = self.nodes[*before].0;
                let room = at.saturating_sub(since).saturating_sub(*lag);
                let entry = &mut found[*before];
                entry.1 = entry.1.min(room);
                let slack = own.saturating_add(room);
                if slack < entry.0 {
                    entry.0 = slack;
                    open.push((since, Reverse(slack), *before));
                }
            }
        }
        found
    }
}

/// What a node waited for, and of an end the operation itself.
fn edges_into(graph: &Graph, (node, at): (Node, i64), gates: &[Gate], into: &mut Vec<EdgeBeforeLag>) {
    let start = graph.time(Node::start(node.op));
    let bound = last(gates).filter(|gate| !node.is_end || gate.at > start);
    let reacts = Reacts::of(graph, node);
    for gate in gates {
        let gap = at - gate.at;
        let is_bound = Some(gate) == bound;
        into.push(EdgeBeforeLag { from: gate.from, to: node, gap, kind: Some((gate.kind, reacts)), is_bound });
    }
    if node.is_end {
        // What went on after what it waited for is the operation's own; before, it may have waited all the time.
        let own = at - bound.map_or(start, |gate| gate.at);
        into.push(EdgeBeforeLag {
            from: Node::start(node.op),
            to: node,
            gap: own,
            kind: None,
            is_bound: bound.is_none(),
        });
        // A call that it made is a part of it.
        let within = last_within(graph, node.op).map(Node::end);
        into.extend(within.map(|from| EdgeBeforeLag {
            from,
            to: node,
            gap: at - graph.time(from),
            kind: None,
            is_bound: true,
        }));
    }
}

/// The last call that a call of a thread made.
fn last_within(graph: &Graph, own: Op) -> Option<Op> {
    const LOOK: usize = 16;
    let Op::Lane(lane, at) = own else { return None };
    if !matches!(graph.timeline.id(lane).kind, LaneKind::Thread(_)) {
        return None;
    }
    let (calls, at) = (graph.timeline.lane(lane), at as usize);
    let until = calls.start.partition_point(|start| *start < calls.end[at]);
    let within = (until.saturating_sub(LOOK).max(at + 1)..until).filter(|other| calls.end[*other] <= calls.end[at]);
    within.max_by_key(|other| (calls.end[*other], *other)).map(|other| op(lane, other))
}

impl Reacts {
    fn of(graph: &Graph, node: Node) -> Self {
        let Op::Lane(lane, _) = node.op else { return Self::Message };
        match graph.timeline.id(lane).kind {
            LaneKind::Stream { .. } => Self::Stream { is_end: node.is_end },
            LaneKind::Thread(_) => Self::Thread { is_end: node.is_end },
        }
    }
}

fn fifth_percentile(mut gaps: Vec<i64>) -> i64 {
    gaps.sort_unstable();
    gaps.get(gaps.len().saturating_sub(1) * 5 / 100).copied().unwrap_or(0)
}

impl Context<'_> {
    fn slack(&self, request: &Request, node: Node, (slack_ns, free_slack_ns): (i64, i64)) -> Slack {
        let start_ns = self.graph.time(Node::start(node.op));
        Slack {
            request: request.number,
            start_ns,
            dur_ns: self.graph.time(node) - start_ns,
            slack_ns,
            free_slack_ns,
            ..Slack::of(self.operation(node.op))
        }
    }
}

#[cfg(test)]
mod tests;
