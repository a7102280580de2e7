//! A request's path, with what each stretch is spent on.

use std::collections::BTreeMap;

use super::{Category, LayerStretch, Segment};
use crate::engine::{GateKind, Node, Ns, Op, OpId, OpKind, StepKind};
use crate::rig::Rig;

/// The path from the end of `sink` back to `admitted`, and before that the queue from `arrival` on, in order of time.
///
/// # Panics
/// If the walk ends before it reaches `admitted`: the model has a source other than arrivals.
#[must_use]
pub fn of_request(rig: &Rig, request: u32, sink: OpId, (arrival, admission): (OpId, OpId)) -> Vec<Segment> {
    let engine = &rig.engine;
    let time = |op| engine.time(Node::end(op)).expect("a finished request's operations have times");
    let (arrived, admitted) = (time(arrival), time(admission));
    let (steps, reached) = engine.path(Node::end(sink), admitted);
    assert_eq!(reached, admitted, "the path of request {request} breaks off");
    let mut segments: Vec<Segment> = Vec::with_capacity(steps.len() + 1);
    if arrived < admitted {
        let op = engine.get(admission).expect("it was asked for its time above");
        let mut queue = segment(rig, admission, op, StepKind::Gap, op.start_gate.map(|b| b.gate.kind));
        (queue.start_ns, queue.end_ns) = (arrived, admitted);
        segments.push(queue);
    }
    for step in steps.into_iter().rev() {
        let op = engine.get(step.op).expect("the walk has seen it");
        let (start_ns, end_ns) = (step.start, step.end);
        segments.push(Segment { start_ns, end_ns, ..segment(rig, step.op, op, step.kind, step.gate) });
    }
    segments
}

fn segment(rig: &Rig, id: OpId, op: &Op, kind: StepKind, gate: Option<GateKind>) -> Segment {
    let label = &op.label;
    Segment {
        start_ns: 0,
        end_ns: 0,
        op: id,
        what: label.what,
        kind,
        category: category(label.what, kind, gate),
        gate,
        request: label.request,
        lane: op.lane,
        stage: (label.stage >= 0).then_some(label.stage),
        chunk: (label.chunk >= 0).then_some(label.chunk),
        layer: (label.layer >= 0).then_some(label.layer),
        correlation_id: (label.correlation > 0).then_some(label.correlation),
        graph_node_id: (label.what == OpKind::Kernel && label.aux > 0).then_some(label.aux),
        name: (label.name > 0).then(|| Rig::names()[usize::from(label.name)].name.to_owned()),
    }
    .on(rig)
}

impl Segment {
    /// Links belong to no stage of their own.
    fn on(mut self, rig: &Rig) -> Self {
        if self.stage.is_none() {
            self.stage = rig.lanes[usize::from(self.lane)].stage;
        }
        self
    }
}

/// What an operation's time is spent on.
fn category(what: OpKind, kind: StepKind, gate: Option<GateKind>) -> Category {
    match (what, kind) {
        (OpKind::Kernel | OpKind::SendKernel | OpKind::ReceiveKernel, StepKind::Gap)
            if gate == Some(GateKind::Launch) =>
        {
            Category::Launch
        }
        (OpKind::Kernel, StepKind::Gap) => Category::KernelGap,
        (OpKind::Kernel, _) => Category::Compute,
        (OpKind::SendKernel | OpKind::ReceiveKernel | OpKind::Message, _) => Category::P2p,
        (OpKind::EventSync, StepKind::Completion) => Category::Sync,
        (OpKind::Arrival | OpKind::Admission, _) => Category::Queue,
        (OpKind::Register | OpKind::RegisterMessage | OpKind::ReadyMessage, _) => Category::ReadyWait,
        (OpKind::HandoffReady | OpKind::Make, _) => Category::Make,
        (OpKind::Post, _) => Category::Post,
        (OpKind::Wire, _) => Category::Wire,
        (OpKind::NotifMessage, _) => Category::Notify,
        (OpKind::DecodePoll, _) => Category::PollDelay,
        (OpKind::Schedule, _) => Category::Schedule,
        _ => Category::Host,
    }
}

/// Time by category.
#[must_use]
pub fn by_category(path: &[Segment]) -> BTreeMap<String, Ns> {
    let mut sums = BTreeMap::new();
    for segment in path {
        *sums.entry(segment.category.name()).or_default() += segment.end_ns - segment.start_ns;
    }
    sums
}

impl Category {
    fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// Stretches of one request, stage, chunk and layer.
#[must_use]
pub fn by_layer(path: &[Segment]) -> Vec<LayerStretch> {
    let mut out: Vec<LayerStretch> = Vec::new();
    for s in path {
        let is_same = |last: &LayerStretch| {
            (last.request, last.stage, last.chunk, last.layer) == (s.request, s.stage, s.chunk, s.layer)
        };
        if !out.last().is_some_and(is_same) {
            out.push(LayerStretch {
                start_ns: s.start_ns,
                end_ns: s.start_ns,
                request: s.request,
                stage: s.stage,
                chunk: s.chunk,
                layer: s.layer,
                parts: BTreeMap::new(),
            });
        }
        if let Some(last) = out.last_mut() {
            last.end_ns = s.end_ns;
            *last.parts.entry(s.category).or_default() += s.end_ns - s.start_ns;
        }
    }
    out
}
