//! What work on a GPU waited for.

use super::pairs;
use super::{Gate, GateKind, Graph, Method, Node, Request, op};
use crate::timeline::{Awaited, Class, LaneAt, LaneKind};

/// CUPTI's number of the legacy default stream.
const LEGACY_DEFAULT: i32 = 7;

impl Graph<'_> {
    pub(super) fn gpu_start(&self, lane: LaneAt, at: usize, request: &Request, into: &mut Vec<Gate>) {
        let (id, own) = (self.timeline.id(lane), self.timeline.lane(lane));
        let start = own.start[at];
        let key = own.key[at];
        let before = own.before(at);
        if let Some(before) = before {
            into.push(self.gate(Node::end(op(lane, before)), GateKind::StreamOrder, Method::Order));
        }
        if let Some((thread, call)) = self.timeline.call(id.process, key) {
            // A kernel may start before its launch returns.
            let ended = self.timeline.lane(thread).end[call] <= start;
            let node = if ended { Node::end(op(thread, call)) } else { Node::start(op(thread, call)) };
            into.push(self.gate(node, GateKind::Launch, Method::Id));
        } else if let Some((thread, call)) = self.timeline.call_before(id.process, key) {
            // Its own launch came after this one was entered.
            let ended = self.timeline.lane(thread).end[call] <= start;
            let node = if ended { Node::end(op(thread, call)) } else { Node::start(op(thread, call)) };
            into.push(self.gate(node, GateKind::Launch, Method::Neighbour));
        } else {
            // Nothing of its launch is known: it came after what woke the process.
            self.wakes(id.process, before.map_or(i64::MIN, |before| own.end[before]), start, request, into);
        }
        if key > 0 {
            let after = own.before_key(key).map_or(i64::MIN, |before| own.key[before]);
            for awaited in self.timeline.waits.of_stream(lane, after, key) {
                self.awaited(id.process, key, awaited, GateKind::EventWait, into);
            }
        }
        if own.node.get(at).is_some_and(|node| *node != 0) {
            self.graph_siblings(lane, key, start, into);
        }
        self.default_stream(lane, at, into);
    }

    /// Kernels of the same launch on other streams: CUDA's edges are not recorded, so the one that ended last stands for them.
    fn graph_siblings(&self, lane: LaneAt, key: i64, start: i64, into: &mut Vec<Gate>) {
        let Some(process) = self.timeline.processes.get(&self.timeline.id(lane).process) else { return };
        for other in process.streams.iter().copied().filter(|other| *other != lane) {
            let sibling = self.timeline.lane(other);
            let Some(at) = sibling.ended_by(start).filter(|at| sibling.key[*at] == key) else { continue };
            into.push(self.gate(Node::end(op(other, at)), GateKind::GraphOrder, Method::Time));
        }
    }

    /// The legacy default stream waits for all blocking streams, and they for it. Which streams block is not recorded, so it
    /// counts only where nothing else explains the time.
    fn default_stream(&self, lane: LaneAt, at: usize, into: &mut Vec<Gate>) {
        let id = self.timeline.id(lane);
        let LaneKind::Stream { context, stream } = id.kind else { return };
        let own = self.timeline.lane(lane);
        let (key, start) = (own.key[at], own.start[at]);
        if key <= 0 {
            return;
        }
        let others = if stream == LEGACY_DEFAULT {
            self.timeline.processes.get(&id.process).map_or(&[][..], |p| &p.streams).to_vec()
        } else {
            let kind = LaneKind::Stream { context, stream: LEGACY_DEFAULT };
            self.timeline.find(crate::timeline::LaneId { kind, ..id }).into_iter().collect()
        };
        let explained = into.iter().any(|gate| gate.at <= start && start - gate.at <= own.dispatch_ns);
        if explained {
            return;
        }
        let in_context = |other: &LaneAt| match self.timeline.id(*other).kind {
            LaneKind::Stream { context: of, .. } => of == context && *other != lane,
            LaneKind::Thread(_) => false,
        };
        for other in others.into_iter().filter(in_context) {
            let before = self.timeline.lane(other).before_key(key);
            let node = before.map(|at| Node::end(op(other, at)));
            let gates = node.filter(|node| (0..=own.dispatch_ns).contains(&(start - self.time(*node))));
            into.extend(gates.map(|node| self.gate(node, GateKind::DefaultStream, Method::Time)));
        }
    }

    /// What a wait by the call numbered `key` of a process is for.
    pub(super) fn awaited(&self, process: i64, key: i64, awaited: Awaited, kind: GateKind, into: &mut Vec<Gate>) {
        let mut add = |stream: LaneAt, before: i64, method| {
            let found = self.timeline.lane(stream).before_key(before);
            into.extend(found.map(|at| self.gate(Node::end(op(stream, at)), kind, method)));
        };
        match awaited {
            Awaited::Event { stream, correlation, exact } => {
                add(stream, correlation, if exact { Method::Id } else { Method::Handle });
            }
            Awaited::Stream(stream) => add(stream, key, Method::Id),
            Awaited::Context(context) => {
                let streams = self.timeline.processes.get(&process).map_or(&[][..], |lanes| &lanes.streams);
                for stream in streams {
                    if matches!(self.timeline.id(*stream).kind, LaneKind::Stream { context: of, .. } if of == context) {
                        add(*stream, key, Method::Id);
                    }
                }
            }
        }
    }

    /// An NCCL kernel ends after its other end started.
    pub(super) fn gpu_end(&self, lane: LaneAt, at: u32, into: &mut Vec<Gate>) {
        if self.timeline.class(lane, at as usize) != Class::PointToPoint {
            return;
        }
        if let Some((partner, method)) = self.pairs.partner(lane, at) {
            // A send that fits into NCCL's buffer does not wait for its receiver; one that does not ends with it.
            let own = self.time(Node::end(op(lane, at as usize)));
            let together = own.abs_diff(self.time(Node::end(partner))) <= pairs::TOGETHER_NS.unsigned_abs();
            if self.pairs.receives(lane, at) == Some(true) || together {
                into.push(self.gate(Node::start(partner), GateKind::PeerStarted, method));
            }
        }
    }
}
