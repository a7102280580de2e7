//! What threads waited for that were off the CPU: another thread that woke them, or what the engine's structure says.

use super::stages::REACTS_NS;
use super::{Gate, GateKind, Graph, HOLE_NS, Method, Node, Op, Request, op};
use crate::timeline::threads::{Blocking, ThreadId};
use crate::timeline::{LaneAt, LaneId, LaneKind};

/// How far back waits of a thread are looked for that makes no recorded calls, ns: a step of an engine.
const LOOK_NS: i64 = 1_000_000_000;

impl Graph<'_> {
    /// The last wait of a thread between two times, if it was one that held it up: then it ran from its end on.
    pub(super) fn blocked(&self, thread: ThreadId, between: (i64, i64)) -> Option<Gate> {
        let row = self.timeline.threads.blocked(thread, between)?;
        Some(self.gate(Node::end(Op::OffCpu(row)), GateKind::Blocked, Method::Order))
    }

    /// The end of a wait: who ended it, and else what may have; its start: what the thread did before.
    pub(super) fn off_cpu(&self, row: u32, is_end: bool, request: &Request, into: &mut Vec<Gate>) {
        let own = self.timeline.threads.interval(row);
        if !is_end {
            return self.before(own.thread, own.start, request, into);
        }
        let mut woken = Vec::new();
        self.wake(row, request, &mut woken);
        // Who did nothing since the wait began held a lock all along: what it did before is not what was waited for.
        let is_made_since = woken.iter().any(|gate| gate.at >= own.start);
        if is_made_since {
            // Who was current on the CPU as it was woken, in a call that can do so: of another process that may be chance.
            let is_own = own.waker.is_some_and(|waker| waker.0 == own.thread.0);
            let method = if is_own { Method::Id } else { Method::Time };
            into.push(self.gate(Node::end(Op::Wake(row)), GateKind::Woken, method));
        } else if matches!(own.blocking, Blocking::Unknown | Blocking::Woken) {
            self.guessed(own.thread, (own.start, own.ready), request, into);
        }
    }

    /// What the thread had done that woke another one.
    pub(super) fn wake(&self, row: u32, request: &Request, into: &mut Vec<Gate>) {
        let own = self.timeline.threads.interval(row);
        if let Some(waker) = own.waker {
            self.before(waker, own.ready, request, into);
        }
    }

    /// A worker that looks for its next step again and again, off no CPU, waits for the engine's core: the end of that one's last wait.
    pub(super) fn step_given(&self, worker: i64, (since, until): (i64, i64)) -> Option<Gate> {
        let core = *self.stages.cores.get(&worker)?;
        // A process's main thread has its pid, which is in the lower half of its id.
        let main = i32::try_from(core & i64::from(u32::MAX)).ok()?;
        let row = self.timeline.threads.blocked((core, main), (since, until))?;
        let gate = self.gate(Node::end(Op::OffCpu(row)), GateKind::StepGiven, Method::Structure);
        (until - gate.at <= REACTS_NS).then_some(gate)
    }

    /// What a thread last did, or waited for, before a time at which it made no recorded call.
    fn before(&self, thread: ThreadId, at: i64, request: &Request, into: &mut Vec<Gate>) {
        if let Some(lane) = self.lane_of(thread) {
            let own = self.timeline.lane(lane);
            let ended = own.ended_by(at);
            into.extend(ended.map(|last| self.gate(Node::end(op(lane, last)), GateKind::ProgramOrder, Method::Order)));
            let within = own.overlapping((at.saturating_sub(1), at)).find(|call| own.end[*call] >= at);
            into.extend(
                within.map(|call| self.gate(Node::start(op(lane, call)), GateKind::ProgramOrder, Method::Order)),
            );
        }
        let since = into.iter().map(|gate| gate.at).max().unwrap_or(i64::MIN).max(at.saturating_sub(LOOK_NS));
        match self.blocked(thread, (since, at)) {
            Some(blocked) => into.push(blocked),
            None if at.saturating_sub(since) > HOLE_NS => self.guessed(thread, (since, at), request, into),
            None => {}
        }
    }

    /// What a thread may have waited for between two times, that made no recorded call then.
    fn guessed(&self, thread: ThreadId, between: (i64, i64), request: &Request, into: &mut Vec<Gate>) {
        let lane = self.lane_of(thread);
        let next = lane.and_then(|lane| Some((lane, self.timeline.lane(lane).started_from(between.1)?)));
        if let Some((lane, next)) = next {
            self.guesses(lane, next, between, request, into);
        }
    }

    fn lane_of(&self, (process, tid): ThreadId) -> Option<LaneAt> {
        self.timeline.find(LaneId { process, kind: LaneKind::Thread(tid) })
    }
}
