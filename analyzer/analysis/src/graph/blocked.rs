//! What threads waited for that were off the CPU: another thread that woke them, or what the engine's structure says.

use super::{Gate, GateKind, Graph, Method, Node, Op, Request, op};
use crate::timeline::threads::{Blocking, ThreadId};
use crate::timeline::{LaneId, LaneKind};

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
            return self.before(own.thread, own.start, into);
        }
        let mut woken = Vec::new();
        if own.waker.is_some() {
            self.wake(row, &mut woken);
        }
        if !woken.is_empty() {
            let wake = Node::end(Op::Wake(row));
            into.push(self.gate(wake, GateKind::Woken, Method::Id));
        } else if matches!(own.blocking, Blocking::Unknown | Blocking::Woken) {
            let lane = self.timeline.find(LaneId { process: own.thread.0, kind: LaneKind::Thread(own.thread.1) });
            let next = lane.and_then(|lane| Some((lane, self.timeline.lane(lane).started_from(own.ready)?)));
            if let Some((lane, next)) = next {
                self.guesses(lane, next, (own.start, own.ready), request, into);
            }
        }
    }

    /// What the thread had done that woke another one.
    pub(super) fn wake(&self, row: u32, into: &mut Vec<Gate>) {
        let own = self.timeline.threads.interval(row);
        if let Some(waker) = own.waker {
            self.before(waker, own.ready, into);
        }
    }

    /// What a thread last did before a time at which it made no recorded call of its own: a call, or a wait.
    fn before(&self, thread: ThreadId, at: i64, into: &mut Vec<Gate>) {
        let (process, tid) = thread;
        if let Some(lane) = self.timeline.find(LaneId { process, kind: LaneKind::Thread(tid) }) {
            let own = self.timeline.lane(lane);
            let ended = own.ended_by(at);
            into.extend(ended.map(|last| self.gate(Node::end(op(lane, last)), GateKind::ProgramOrder, Method::Order)));
            let within = own.overlapping((at.saturating_sub(1), at)).find(|call| own.end[*call] >= at);
            into.extend(within.map(|call| self.gate(Node::start(op(lane, call)), GateKind::ProgramOrder, Method::Order)));
        }
        let since = into.iter().map(|gate| gate.at).max().unwrap_or(i64::MIN).max(at.saturating_sub(LOOK_NS));
        into.extend(self.blocked(thread, (since, at)));
    }
}
