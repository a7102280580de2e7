//! The walk back. From an end it goes through the last finish gate if that opened after the start, else to the start; from a
//! start through the last start gate. Every move covers the time between two nodes, in integer ns, so the steps join without
//! holes and sum to the time from source to sink. This is a last-arriving walk, not the longest path over everything: what
//! nothing waited for is never on it.

use std::collections::HashSet;

use crate::graph::{Gate, GateKind, Graph, Method, Node, Op, Request, last};

/// What a stretch of the path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// The operation worked, from its start on.
    Work,
    /// The operation went on after the last of its finish gates.
    Completion,
    /// Time between the last start gate and the start.
    Gap,
    /// The first part of such a gap: a notification had arrived, and the program had not received it yet.
    NotificationWait,
    /// Time between the source and the start of the first operation, which has no gate after the source.
    Source,
}

impl StepKind {
    /// Name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Completion => "completion",
            Self::Gap => "gap",
            Self::NotificationWait => "untaken",
            Self::Source => "source",
        }
    }
}

/// A stretch of the path; never empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Start, ns.
    pub start: i64,
    /// End, ns.
    pub end: i64,
    /// The operation.
    pub op: Op,
    /// What it is.
    pub kind: StepKind,
    /// The gate through which the path came to it from what precedes it: of work, the one that bound its start.
    pub gate: Option<(GateKind, Method)>,
    /// How much earlier the next-to-last gate opened, ns; `None` where there was no other.
    pub margin: Option<i64>,
    /// The processes that its start and its end were seen by, where both are known.
    pub between: Option<(i64, i64)>,
    /// The path came here over a gate that may not have been the last: what may have come after it was lost.
    pub is_doubtful: bool,
}

/// A critical path as the walk back from its end found it.
#[derive(Debug, Default)]
pub struct WalkedPath {
    /// Its steps in order of time.
    pub steps: Vec<Step>,
    /// Gates that were passed over because they lead back to where the walk had been at the same ns.
    pub circles: usize,
}

/// A node of the path with the gates that the walk chose among.
#[derive(Debug)]
pub struct NodeOnPath<'a> {
    /// The node.
    pub node: Node,
    /// When it happened, ns.
    pub at: i64,
    /// Its gates.
    pub gates: &'a [Gate],
    /// The one over which the path goes on; none where it goes on to the start of the operation, or ends.
    pub bound: Option<Gate>,
    /// Steps that follow on the path.
    pub steps_after: usize,
}

/// Nodes that were passed at one time: mostly one or two, so a hash set is used only where there are many.
#[derive(Default)]
struct NodeSet {
    few: Vec<Node>,
    many: HashSet<Node>,
}

impl NodeSet {
    const FEW: usize = 16;

    fn has(&self, node: Node) -> bool {
        self.few.contains(&node) || (!self.many.is_empty() && self.many.contains(&node))
    }

    fn add(&mut self, node: Node) {
        if self.few.len() < Self::FEW {
            self.few.push(node);
        } else {
            self.many.insert(node);
        }
    }

    fn clear(&mut self) {
        self.few.clear();
        self.many.clear();
    }
}

/// Walks back from `sink` to `source` ns. The steps cover all the time from `source` to the sink, if that is later.
#[must_use]
pub fn walk(graph: &Graph, request: &Request, sink: Node, source: i64) -> WalkedPath {
    walk_seeing(graph, request, sink, source, |_| ())
}

/// The same, and shows each node, the last one first.
#[must_use]
pub fn walk_seeing(
    graph: &Graph,
    request: &Request,
    sink: Node,
    source: i64,
    mut see: impl FnMut(&NodeOnPath),
) -> WalkedPath {
    let mut walked = WalkedPath::default();
    let mut gates: Vec<Gate> = Vec::new();
    let mut node = sink;
    let mut t = graph.time(sink);
    // Nodes that were met at this very ns: operations without length can wait for each other in a circle.
    let mut met = NodeSet::default();
    let mut is_doubtful = false;
    while t > source {
        graph.gates(node, request, &mut gates);
        let start = graph.time(Node::start(node.op));
        let all = gates.len();
        gates.retain(|gate| gate.at < t || !met.has(gate.from));
        walked.circles += all - gates.len();
        let bound = last(&gates).copied().filter(|gate| !node.is_end || gate.at > start);
        see(&NodeOnPath { node, at: t, gates: &gates, bound, steps_after: walked.steps.len() });
        is_doubtful |= bound.is_some_and(|gate| graph.may_be_last_by_loss(node, &gate));
        let (since, kind, gate, next) = match (node.is_end, bound) {
            (true, Some(gate)) => (gate.at, StepKind::Completion, bound, gate.from),
            (true, None) => (start, StepKind::Work, None, Node::start(node.op)),
            (false, Some(gate)) => (gate.at, StepKind::Gap, bound, gate.from),
            (false, None) => {
                let step = Step {
                    start: source,
                    end: t,
                    op: node.op,
                    kind: StepKind::Source,
                    gate: None,
                    margin: None,
                    between: None,
                    is_doubtful,
                };
                walked.steps.push(step);
                break;
            }
        };
        let since = since.min(t);
        if since < t {
            met.clear();
            let gate = gate.map(|gate| (gate.kind, gate.method));
            let kind = if kind == StepKind::Gap && since < source { StepKind::Source } else { kind };
            let between = graph.process(next).zip(graph.process(node)).filter(|_| since >= source);
            let start = since.max(source);
            let step =
                Step { start, end: t, op: node.op, kind, gate, margin: margin(&gates, bound), between, is_doubtful };
            match graph.taken(next).filter(|taken| kind == StepKind::Gap && start < *taken && *taken < t) {
                Some(taken) => {
                    walked.steps.push(Step { start: taken, ..step });
                    walked.steps.push(Step { end: taken, kind: StepKind::NotificationWait, ..step });
                }
                None => walked.steps.push(step),
            }
        }
        met.add(node);
        t = since;
        node = next;
    }
    bind(&mut walked.steps);
    walked.steps.reverse();
    walked
}

/// How much earlier the last gate before the one that bound opened, of those from other nodes, ns.
fn margin(gates: &[Gate], bound: Option<Gate>) -> Option<i64> {
    let bound = bound?;
    let others = gates.iter().filter(|gate| gate.from != bound.from);
    others.map(|gate| bound.at - gate.at).min()
}

/// Work carries the gate of the gap before it (which is the next step in walking order).
fn bind(steps: &mut [Step]) {
    for at in 1..steps.len() {
        let before = steps[at];
        let own = &mut steps[at - 1];
        if own.kind == StepKind::Work && own.gate.is_none() && before.op == own.op {
            own.gate = before.gate;
        }
    }
}
