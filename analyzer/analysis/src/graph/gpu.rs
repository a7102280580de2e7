//! What work on a GPU waited for.

use super::pairs;
use super::{Gate, GateKind, Graph, Method, Node, Op, Request, op};
use crate::timeline::{Class, LaneAt, LaneKind, WaitTarget};

/// CUPTI's number of the legacy default stream.
const LEGACY_DEFAULT: i32 = 7;
/// Streams that wait for each other one behind the other without work of their own: programs use two or three.
const CHAIN: usize = 8;
/// Calls of a process in which such a stream's waits are looked for: those of a few passes.
const LOOK_BACK: i64 = 16_384;

impl Graph<'_> {
    pub(super) fn gpu_start(&self, lane: LaneAt, at: usize, request: &Request, into: &mut Vec<Gate>) {
        let (id, own) = (self.timeline.id(lane), self.timeline.lane(lane));
        let start = own.start[at];
        let key = own.key[at];
        let before = own.before(at);
        if let Some(before) = before {
            into.push(self.gate(Node::end(op(lane, before)), GateKind::StreamOrder, Method::Order));
            if own.key[before] != key && self.may_be_of_graph(lane, before) {
                self.rest_of_launch(lane, before, (GateKind::GraphOrder, Method::Time), into);
            }
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
        }
        if self.timeline.call(id.process, key).is_none() {
            // Nothing of its own launch is known: it came after what woke the process.
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
        if self.timeline.class(lane, at) != Class::PointToPoint {
            self.pass_start(lane, start, into);
        } else if self.pairs.receives(lane, u32::try_from(at).unwrap_or(u32::MAX)) != Some(true) {
            self.send_start(lane, start, into);
        }
        self.unrecorded_wait(lane, at, into);
    }

    /// Whether a gate of a stream's operation may be the last only because the record of one was lost that ran before it on that
    /// stream: it would have to be no longer than those near it.
    #[must_use]
    pub fn may_be_last_by_loss(&self, node: Node, bound: &Gate) -> bool {
        const NEAR: usize = 256;
        let Op::Lane(lane, at) = node.op else { return false };
        let is_own = matches!(bound.from.op, Op::Lane(other, _) if other == lane);
        if node.is_end || is_own || !self.is_stream(lane) {
            return false;
        }
        let (own, at) = (self.timeline.lane(lane), at as usize);
        let Some(before) = own.before(at) else { return false };
        let near = before.saturating_sub(NEAR)..=before;
        let longest = near.map(|at| own.end[at].saturating_sub(own.start[at])).max().unwrap_or(0);
        bound.at.saturating_sub(own.end[before]) <= longest && self.timeline.may_lack_before(lane, at)
    }

    /// Of a graph's memsets no node is recorded.
    fn may_be_of_graph(&self, lane: LaneAt, at: usize) -> bool {
        let node = self.timeline.lane(lane).node.get(at);
        node.is_some_and(|node| *node != 0 || self.timeline.class(lane, at) == Class::Memset)
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

    /// A stream goes on, and an event that is recorded after a graph launch happens, when all of the graph is done: of the other
    /// streams that ran work of the launch that `at` is of, the last to end.
    fn rest_of_launch(&self, lane: LaneAt, at: usize, (kind, method): (GateKind, Method), into: &mut Vec<Gate>) {
        let key = self.timeline.lane(lane).key[at];
        let Some(process) = self.timeline.processes.get(&self.timeline.id(lane).process) else { return };
        for other in process.streams.iter().copied().filter(|other| *other != lane) {
            let last = self.last_of_launch(other, key);
            into.extend(last.map(|at| self.gate(Node::end(op(other, at)), kind, method)));
        }
    }

    /// The operation of a launch on a stream that ended last: a graph's may overlap there, and then follow each other closely.
    fn last_of_launch(&self, stream: LaneAt, key: i64) -> Option<usize> {
        const LOOK: usize = 16;
        let own = self.timeline.lane(stream);
        let last = own.before_key(key.checked_add(1)?).filter(|at| key > 0 && own.key[*at] == key)?;
        let near = last.saturating_sub(LOOK)..=last;
        near.filter(|at| own.key[*at] == key).max_by_key(|at| (own.end[*at], *at))
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
    pub(super) fn awaited(&self, process: i64, key: i64, awaited: WaitTarget, kind: GateKind, into: &mut Vec<Gate>) {
        match awaited {
            WaitTarget::Event { stream, correlation, exact } => {
                let method = if exact { Method::Id } else { Method::Handle };
                self.reached(stream, correlation, (kind, method), into);
            }
            WaitTarget::Stream(stream) => self.reached(stream, key, (kind, Method::Id), into),
            WaitTarget::Context(context) => {
                let streams = self.timeline.processes.get(&process).map_or(&[][..], |lanes| &lanes.streams);
                for stream in streams {
                    if matches!(self.timeline.id(*stream).kind, LaneKind::Stream { context: of, .. } if of == context)
                        && let Some(at) = self.last_before(*stream, key)
                    {
                        into.push(self.gate(Node::end(op(*stream, at)), kind, Method::Id));
                    }
                }
            }
        }
    }

    /// A stream has reached the call numbered `by` when what was launched on it before has ended, and all that it was made to wait
    /// for since: an event that is recorded behind such a wait happens after what that wait is for, though the stream ran nothing
    /// of its own in between.
    fn reached(&self, stream: LaneAt, by: i64, (kind, method): (GateKind, Method), into: &mut Vec<Gate>) {
        let mut seen: Vec<(LaneAt, i64)> = Vec::new();
        let mut open = vec![(stream, by, method)];
        while let Some((stream, by, method)) = open.pop() {
            if seen.len() == CHAIN || seen.iter().any(|(other, later)| *other == stream && *later >= by) {
                continue;
            }
            seen.push((stream, by));
            let last = self.last_before(stream, by);
            if let Some(at) = last {
                into.push(self.gate(Node::end(op(stream, at)), kind, method));
                self.rest_of_launch(stream, at, (kind, method), into);
            }
            let after = last.map_or(0, |at| self.timeline.lane(stream).key[at]).max(by.saturating_sub(LOOK_BACK));
            let from = open.len();
            for awaited in self.timeline.waits.of_stream(stream, after, by) {
                let WaitTarget::Event { stream: other, correlation, exact } = awaited else { continue };
                let wait = (other, correlation, if exact { method } else { Method::Handle });
                // A later event of the same stream happens after the earlier ones.
                match open[from..].iter_mut().find(|(open, ..)| *open == other) {
                    Some(known) if known.1 < correlation => *known = wait,
                    Some(_) => {}
                    None => open.push(wait),
                }
            }
        }
    }

    /// The last operation that was launched on a stream before the call with that number.
    fn last_before(&self, stream: LaneAt, key: i64) -> Option<usize> {
        let at = self.timeline.lane(stream).before_key(key)?;
        Some(self.last_of_launch(stream, self.timeline.lane(stream).key[at]).unwrap_or(at))
    }

    /// A kernel that was launched to begin before the one ahead of it on its stream is done waits for that all the same (programmatic
    /// dependent launch). Branches of a graph do not.
    fn overlapped(&self, lane: LaneAt, at: usize, into: &mut Vec<Gate>) {
        let own = self.timeline.lane(lane);
        let is_of_graph = |at: usize| own.node.get(at).is_some_and(|node| *node != 0);
        let ahead = at.checked_sub(1).filter(|ahead| own.end[*ahead] > own.start[at] && own.end[*ahead] <= own.end[at]);
        if let Some(ahead) = ahead.filter(|ahead| !is_of_graph(*ahead) && !is_of_graph(at)) {
            into.push(self.gate(Node::end(op(lane, ahead)), GateKind::StreamOrder, Method::Order));
        }
    }

    /// Importers of traces do not always know what a stream was made to wait for. Where nothing else explains when an operation began
    /// and no wait of its stream is recorded at all, it waited for what another stream of its process had just ended. Not so the
    /// copies of a transport, which wait for its calls alone.
    fn unrecorded_wait(&self, lane: LaneAt, at: usize, into: &mut Vec<Gate>) {
        let (own, start) = (op(lane, at), self.timeline.lane(lane).start[at]);
        let dispatch_ns = self.timeline.lane(lane).dispatch_ns;
        let since = start.saturating_sub(dispatch_ns);
        if self.timeline.waits.is_waiting(lane)
            || self.is_peer_copy(own)
            || into.iter().any(|gate| since <= gate.at && gate.at <= start)
        {
            return;
        }
        let Some(process) = self.timeline.processes.get(&self.timeline.id(lane).process) else { return };
        let others = process.streams.iter().copied().filter(|other| *other != lane);
        let ended = others.filter_map(|other| {
            let at = self.timeline.lane(other).ended_by(start)?;
            Some((self.timeline.lane(other).end[at], op(other, at)))
        });
        let last = ended.max().filter(|(end, other)| *end >= since && !self.is_peer_copy(*other));
        into.extend(last.map(|(_, op)| self.gate(Node::end(op), GateKind::EventWait, Method::Time)));
    }

    /// An NCCL kernel ends after its other end started, a collective after all of its ranks have.
    pub(super) fn gpu_end(&self, lane: LaneAt, at: u32, into: &mut Vec<Gate>) {
        self.overlapped(lane, at as usize, into);
        match self.timeline.class(lane, at as usize) {
            Class::PointToPoint => {}
            Class::Collective => return self.collective_end(lane, at, into),
            _ => return,
        }
        if let Some((partner, method)) = self.pairs.partner(lane, at) {
            // A send that fits into NCCL's buffer does not wait for its receiver; one that does not ends with it.
            let own = self.time(Node::end(op(lane, at as usize)));
            let together = own.abs_diff(self.time(Node::end(partner))) <= pairs::TOGETHER_NS.unsigned_abs();
            if self.pairs.receives(lane, at) == Some(true) || together {
                into.push(self.gate(Node::start(partner), GateKind::PeerStarted, method));
            }
        } else {
            let own = self.timeline.lane(lane);
            self.lost_send(lane, (own.start[at as usize], own.end[at as usize]), into);
        }
    }
}
