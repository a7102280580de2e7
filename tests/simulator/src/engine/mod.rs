//! The discrete-event engine: operations on lanes, each bound by its last gate. Integer ns throughout.
//!
//! An operation starts `lead_ns` after the last of its start gates and ends `work_ns` after its start or, if that comes
//! later, the last of its finish gates. A blocking call or a receive is thus an operation with finish gates, and waiting
//! is never work. Threads and streams run their operations in the order in which they were added ([`Policy::Ordered`]),
//! links in the order in which they become ready ([`Policy::Arrival`]).
//!
//! On ordered lanes times follow as soon as all gates are known, so an operation is settled when it is added, or when the
//! last node that it waits for settles. Only operations of links wait in a queue, by time. They are served by
//! [`Engine::serve`]; whoever adds operations must first have added everything that may become ready before
//! [`Engine::next_ready`].

mod op;
mod walk;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

pub use op::{Binding, Gate, GateKind, Label, LaneId, NewOp, Node, Ns, Op, OpId, OpKind};
pub use walk::{Step, StepKind, WalkMove};

use op::{UNKNOWN, keep_later};

/// In which order a lane runs its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// As they were added; the gate from one to the next is of this kind.
    Ordered(GateKind),
    /// As they become ready, the smaller id first at equal times.
    Arrival,
    /// All at once: messages that do not hinder each other.
    Free,
}

#[derive(Debug)]
struct Lane {
    policy: Policy,
    last: Option<OpId>,
    /// End of the last operation served, of [`Policy::Arrival`].
    free_at: Ns,
    watched: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiter {
    op: OpId,
    is_end: bool,
    kind: GateKind,
    next: u32,
}

const NONE: u32 = u32::MAX;

/// Lanes and the operations that are still of interest.
#[derive(Debug, Default)]
pub struct Engine {
    lanes: Vec<Lane>,
    ops: VecDeque<Op>,
    base: OpId,
    waiters: Vec<Waiter>,
    free_waiters: Vec<u32>,
    ready: BinaryHeap<Reverse<(Ns, OpId)>>,
    todo: Vec<OpId>,
    settled: VecDeque<OpId>,
}

impl Engine {
    /// Adds a lane. What ends on a `watched` one is told by [`Engine::take_settled`].
    ///
    /// # Panics
    /// With more than 65,535 lanes.
    pub fn add_lane(&mut self, policy: Policy, watched: bool) -> LaneId {
        let id = LaneId::try_from(self.lanes.len()).expect("a model has far fewer than 2^16 lanes");
        self.lanes.push(Lane { policy, last: None, free_at: UNKNOWN, watched });
        id
    }

    /// The last operation added to an ordered lane.
    #[must_use]
    pub fn last_on(&self, lane: LaneId) -> Option<OpId> {
        self.lanes[usize::from(lane)].last
    }

    /// Adds an operation whose finish gates are all given.
    pub fn add(&mut self, new: NewOp, starts: &[Gate], finishes: &[Gate]) -> OpId {
        let op = self.add_open(new, starts);
        self.close(op, finishes);
        op
    }

    /// Adds an operation whose finish gates follow by [`Engine::close`]: two that wait for each other's start.
    pub fn add_open(&mut self, new: NewOp, starts: &[Gate]) -> OpId {
        let id = self.base + self.ops.len() as OpId;
        self.ops.push_back(Op {
            lane: new.lane,
            label: new.label,
            start: UNKNOWN,
            end: UNKNOWN,
            start_gate: None,
            end_gate: None,
            is_queued: false,
            lead_ns: new.lead_ns,
            work_ns: new.work_ns,
            poll_ns: new.poll_ns,
            not_before: new.not_before,
            // Held open until all gates are attached.
            open_starts: 1,
            open_ends: 1,
            waiters: [NONE; 2],
        });
        let lane = &mut self.lanes[usize::from(new.lane)];
        if let Policy::Ordered(kind) = lane.policy
            && let Some(last) = lane.last.replace(id)
        {
            self.attach(id, false, Gate::after(last, kind));
        }
        for gate in starts {
            self.attach(id, false, *gate);
        }
        self.op_mut(id).open_starts -= 1;
        self.todo.push(id);
        self.settle();
        id
    }

    /// Gives the finish gates of an operation that [`Engine::add_open`] added.
    pub fn close(&mut self, op: OpId, finishes: &[Gate]) {
        for gate in finishes {
            self.attach(op, true, *gate);
        }
        self.op_mut(op).open_ends -= 1;
        self.todo.push(op);
        self.settle();
    }

    /// An operation that was not forgotten.
    #[must_use]
    pub fn get(&self, op: OpId) -> Option<&Op> {
        usize::try_from(op.checked_sub(self.base)?).ok().and_then(|at| self.ops.get(at))
    }

    /// When a node happens; `None` if that is not known yet or the operation was forgotten.
    #[must_use]
    pub fn time(&self, node: Node) -> Option<Ns> {
        self.get(node.op)?.time(node.is_end)
    }

    /// When the next operation of a link becomes ready.
    #[must_use]
    pub fn next_ready(&self) -> Option<Ns> {
        self.ready.peek().map(|Reverse((at, _))| *at)
    }

    /// Starts the link operation that is ready first; `false` if none waits.
    pub fn serve(&mut self) -> bool {
        let Some(Reverse((at, id))) = self.ready.pop() else { return false };
        let lane_id = usize::from(self.op_mut(id).lane);
        let lane = &mut self.lanes[lane_id];
        let (last, free_at) = (lane.last.replace(id), lane.free_at);
        let before = last.and_then(|last| self.get(last)).map(|op| op.label.request);
        let op = self.op_mut(id);
        match last {
            // The other one may have come later: then no path could lead from it back to this one's source.
            Some(_) if before != Some(op.label.request) => op.is_queued = free_at > at,
            Some(last) => {
                let gate = Gate::after(last, GateKind::LaneOrder);
                keep_later(&mut op.start_gate, Binding { at: free_at, gate });
            }
            None => {}
        }
        op.start = at.max(free_at) + op.lead_ns;
        self.fire(id, false);
        self.todo.push(id);
        self.settle();
        true
    }

    /// The next operation of a watched lane that ended, each once, by lane in order.
    pub fn take_settled(&mut self) -> Option<OpId> {
        self.settled.pop_front()
    }

    /// Forgets the oldest operation if it ended before `floor`, and returns it.
    pub fn retire(&mut self, floor: Ns) -> Option<(OpId, Op)> {
        let is_over = self.ops.front().is_some_and(|op| op.end != UNKNOWN && op.end < floor);
        is_over.then(|| {
            let id = self.base;
            self.base += 1;
            self.ops.pop_front().map(|op| (id, op))
        })?
    }

    /// Whether every operation has its times.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.ready.is_empty() && self.ops.iter().all(|op| op.end != UNKNOWN)
    }

    fn at(&self, op: OpId) -> usize {
        usize::try_from(op - self.base).expect("the ops held fit in memory")
    }

    fn op_mut(&mut self, op: OpId) -> &mut Op {
        let at = self.at(op);
        &mut self.ops[at]
    }

    /// A gate whose source was forgotten opened before everything that still matters, so it binds nothing.
    fn attach(&mut self, op: OpId, is_end: bool, gate: Gate) {
        if gate.from.op < self.base {
            return;
        }
        if let Some(at) = self.time(gate.from) {
            let op = self.op_mut(op);
            keep_later(if is_end { &mut op.end_gate } else { &mut op.start_gate }, Binding { at, gate });
            return;
        }
        let from = self.at(gate.from.op);
        let next = std::mem::replace(&mut self.ops[from].waiters[usize::from(gate.from.is_end)], NONE);
        let waiter = Waiter { op, is_end, kind: gate.kind, next };
        let slot = if let Some(slot) = self.free_waiters.pop() {
            self.waiters[slot as usize] = waiter;
            slot
        } else {
            self.waiters.push(waiter);
            u32::try_from(self.waiters.len() - 1).expect("far fewer than 2^32 gates are open at once")
        };
        self.ops[from].waiters[usize::from(gate.from.is_end)] = slot;
        let op = self.op_mut(op);
        *(if is_end { &mut op.open_ends } else { &mut op.open_starts }) += 1;
    }

    /// Tells those who wait for a node that it has a time.
    fn fire(&mut self, id: OpId, is_end: bool) {
        let op = self.op_mut(id);
        let at = if is_end { op.end } else { op.start };
        let mut slot = std::mem::replace(&mut op.waiters[usize::from(is_end)], NONE);
        while slot != NONE {
            let waiter = self.waiters[slot as usize];
            self.free_waiters.push(slot);
            slot = waiter.next;
            let binding = Binding { at, gate: Gate { from: Node { op: id, is_end }, kind: waiter.kind } };
            let op = self.op_mut(waiter.op);
            let (best, open) = if waiter.is_end {
                (&mut op.end_gate, &mut op.open_ends)
            } else {
                (&mut op.start_gate, &mut op.open_starts)
            };
            keep_later(best, binding);
            *open -= 1;
            if *open == 0 {
                self.todo.push(waiter.op);
            }
        }
    }

    fn settle(&mut self) {
        while let Some(id) = self.todo.pop() {
            if self.try_start(id) {
                self.try_end(id);
            }
        }
    }

    /// Whether the operation has started.
    fn try_start(&mut self, id: OpId) -> bool {
        let op = self.op_mut(id);
        if op.start != UNKNOWN {
            return true;
        }
        if op.open_starts > 0 {
            return false;
        }
        let ready = op.start_gate.map_or(op.not_before, |binding| binding.at.max(op.not_before));
        let (lane, lead) = (op.lane, op.lead_ns);
        if self.lanes[usize::from(lane)].policy == Policy::Arrival {
            // A mark that it stands in the queue: it may be looked at again before it is served.
            let op = self.op_mut(id);
            op.open_starts = u32::MAX;
            self.ready.push(Reverse((ready, id)));
            return false;
        }
        self.op_mut(id).start = ready + lead;
        self.fire(id, false);
        true
    }

    fn try_end(&mut self, id: OpId) {
        let op = self.op_mut(id);
        if op.end != UNKNOWN || op.open_ends > 0 {
            return;
        }
        let last = op.end_gate.map_or(op.start, |binding| binding.at.max(op.start));
        let seen = match op.poll_ns {
            ..=0 => last,
            every => op.start + (last - op.start + every - 1) / every * every,
        };
        op.end = seen + op.work_ns;
        let (lane, end) = (usize::from(op.lane), op.end);
        let lane = &mut self.lanes[lane];
        lane.free_at = end;
        if lane.watched {
            self.settled.push_back(id);
        }
        self.fire(id, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label::of(OpKind::Kernel);

    #[test]
    fn the_last_gate_binds_and_ties_follow_the_lane() {
        let mut engine = Engine::default();
        let (a, b) = (
            engine.add_lane(Policy::Ordered(GateKind::StreamOrder), false),
            engine.add_lane(Policy::Ordered(GateKind::StreamOrder), false),
        );
        let first = engine.add(NewOp { not_before: 5, ..NewOp::new(a, 10, LABEL) }, &[], &[]);
        let other = engine.add(NewOp { not_before: 5, ..NewOp::new(b, 10, LABEL) }, &[], &[]);
        let tied = engine.add(NewOp::new(a, 1, LABEL).lead(2), &[Gate::after(other, GateKind::EventWait)], &[]);
        let op = engine.get(tied).unwrap();
        assert_eq!((op.start, op.end), (17, 18));
        assert_eq!(op.start_gate.unwrap().gate, Gate::after(first, GateKind::StreamOrder));
    }

    #[test]
    fn two_may_wait_for_each_others_start() {
        let mut engine = Engine::default();
        let (a, b, link) = (
            engine.add_lane(Policy::Ordered(GateKind::StreamOrder), false),
            engine.add_lane(Policy::Ordered(GateKind::StreamOrder), false),
            engine.add_lane(Policy::Free, false),
        );
        let send = engine.add_open(NewOp { not_before: 10, ..NewOp::new(a, 0, LABEL) }, &[]);
        let receive = engine.add_open(NewOp { not_before: 30, ..NewOp::new(b, 0, LABEL) }, &[]);
        let starts = [Gate::with(send, GateKind::SendStarted), Gate::with(receive, GateKind::ReceiveStarted)];
        let wire = engine.add(NewOp::new(link, 7, LABEL), &starts, &[]);
        engine.close(send, &[Gate::after(wire, GateKind::Carried)]);
        engine.close(receive, &[Gate::after(wire, GateKind::Carried)]);
        assert_eq!(engine.time(Node::end(send)), Some(37));
        assert_eq!(engine.time(Node::end(receive)), Some(37));
        assert!(engine.is_settled());
    }

    #[test]
    fn links_serve_who_is_ready_first() {
        let mut engine = Engine::default();
        let free = engine.add_lane(Policy::Free, false);
        let link = engine.add_lane(Policy::Arrival, false);
        let at = |engine: &mut Engine, ns| engine.add(NewOp { not_before: ns, ..NewOp::new(free, 0, LABEL) }, &[], &[]);
        let (late, early) = (at(&mut engine, 20), at(&mut engine, 10));
        let second = engine.add(NewOp::new(link, 50, LABEL), &[Gate::after(late, GateKind::Posted)], &[]);
        let first = engine.add(NewOp::new(link, 50, LABEL), &[Gate::after(early, GateKind::Posted)], &[]);
        while engine.serve() {}
        assert_eq!(engine.time(Node::end(first)), Some(60));
        assert_eq!(engine.time(Node::end(second)), Some(110));
    }

    #[test]
    fn who_queues_behind_another_request_goes_on_with_its_own() {
        let mut engine = Engine::default();
        let (free, link) = (engine.add_lane(Policy::Free, false), engine.add_lane(Policy::Arrival, false));
        let mut send = |at, request| {
            let label = Label { request, ..LABEL };
            let post = engine.add(NewOp { not_before: at, ..NewOp::new(free, 0, label) }, &[], &[]);
            (post, engine.add(NewOp::new(link, 50, label), &[Gate::after(post, GateKind::Posted)], &[]))
        };
        let ((_, first), (post, second)) = (send(10, 1), send(20, 0));
        while engine.serve() {}
        assert_eq!(engine.time(Node::end(second)), Some(110));
        let (steps, reached) = engine.path(Node::end(second), 0);
        let seen: Vec<_> = steps.iter().map(|s| (s.op, s.kind, s.gate, s.end - s.start)).collect();
        let queue = Some(GateKind::LaneOrder);
        assert_eq!(seen, [(second, StepKind::Work, queue, 50), (second, StepKind::Gap, queue, 40)]);
        assert_eq!((reached, engine.time(Node::end(post))), (20, Some(20)));
        assert_eq!(engine.time(Node::end(first)), Some(60));
    }

    /// Decode waits for every transfer of a request: layers times chunks times stages.
    #[test]
    fn an_operation_may_wait_for_more_than_2_to_the_16() {
        let mut engine = Engine::default();
        let (free, link) = (engine.add_lane(Policy::Free, false), engine.add_lane(Policy::Arrival, false));
        let sent: Vec<OpId> = (0..70_000)
            .map(|ns| engine.add(NewOp { not_before: ns, ..NewOp::new(link, 1, LABEL) }, &[], &[]))
            .collect();
        let gates: Vec<Gate> = sent.into_iter().map(|op| Gate::after(op, GateKind::Notified)).collect();
        let last = engine.add(NewOp { not_before: 0, ..NewOp::new(free, 0, LABEL) }, &[], &gates);
        while engine.serve() {}
        assert_eq!(engine.time(Node::end(last)), Some(70_000));
    }

    #[test]
    fn polling_sees_on_its_grid() {
        let mut engine = Engine::default();
        let lane = engine.add_lane(Policy::Free, false);
        let event = engine.add(NewOp { not_before: 25, ..NewOp::new(lane, 0, LABEL) }, &[], &[]);
        let poll = NewOp { not_before: 0, poll_ns: 10, ..NewOp::new(lane, 1, LABEL) };
        let poll = engine.add(poll, &[], &[Gate::after(event, GateKind::Notified)]);
        assert_eq!(engine.time(Node::end(poll)), Some(31));
    }
}
