//! The walk back from a node over the gates that bound.
//!
//! From an end it goes through the last finish gate if that opened after the start, else to the start; from a start
//! through the last start gate. Every move covers the time between the two nodes, so the steps join without holes.

use super::{Engine, GateKind, Node, Ns, OpId};

/// What a stretch of the path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// The operation worked, from its start on.
    Work,
    /// The operation went on after the last of its finish gates.
    Completion,
    /// Time between the last start gate and the start.
    Gap,
}

/// A stretch of the path, ns; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Start, ns.
    pub start: Ns,
    /// End, ns.
    pub end: Ns,
    /// The operation.
    pub op: OpId,
    /// What it is.
    pub kind: StepKind,
    /// The gate through which the path came to this stretch from what precedes it.
    pub gate: Option<GateKind>,
}

/// A move of the walk, for those who must follow it into other lanes.
#[derive(Debug, Clone, Copy)]
pub enum WalkMove {
    /// Time passed.
    Step(Step),
    /// The walk went through this gate to its source.
    Through(super::Gate),
}

impl Engine {
    /// Walks back from `from` until `floor`; `visit` says whether to go on. Returns the time reached.
    pub fn walk(&self, from: Node, floor: Ns, mut visit: impl FnMut(WalkMove) -> bool) -> Ns {
        let Some(mut t) = self.time(from) else { return floor };
        let mut node = from;
        while t > floor {
            let Some(op) = self.get(node.op) else { break };
            let queue = |start: super::Binding| if op.is_queued { GateKind::LaneOrder } else { start.gate.kind };
            let (since, kind, gate, next) = match (node.is_end, op.start_gate, op.end_gate) {
                (true, _, Some(end)) if end.at > op.start => {
                    (end.at, StepKind::Completion, Some(end.gate.kind), Some(end.gate))
                }
                (true, start, _) => (op.start, StepKind::Work, start.map(queue), None),
                // A floor of its own above its last gate makes a source of it.
                (false, Some(start), _) if start.at >= op.not_before => {
                    (start.at, StepKind::Gap, Some(queue(start)), Some(start.gate))
                }
                (false, ..) => break,
            };
            if since < t {
                let start = since.max(floor);
                if !visit(WalkMove::Step(Step { start, end: t, op: node.op, kind, gate })) {
                    return start;
                }
            }
            t = since;
            match next {
                Some(gate) => {
                    if t > floor && !visit(WalkMove::Through(gate)) {
                        return t;
                    }
                    node = gate.from;
                }
                None => node = Node::start(node.op),
            }
        }
        t.max(floor)
    }

    /// The steps back from `from` until `floor`, the last in time first, and the time reached.
    #[must_use]
    pub fn path(&self, from: Node, floor: Ns) -> (Vec<Step>, Ns) {
        let mut steps = Vec::new();
        let reached = self.walk(from, floor, |step| {
            if let WalkMove::Step(step) = step {
                steps.push(step);
            }
            true
        });
        (steps, reached)
    }
}
