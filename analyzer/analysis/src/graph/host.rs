//! What calls of host threads waited for.

use super::stages::REACTS_NS;
use super::{Gate, GateKind, Graph, Method, Node, Op, Request, op};
use crate::timeline::threads::ThreadId;
use crate::timeline::{Class, LaneAt, LaneId, LaneKind};

/// Calls from the opening of another process's memory to the copy from it.
const AHEAD: usize = 4;
/// Between two calls a thread runs code of the program: plans, allocates, prepares a launch. What takes longer than this may as well
/// be waiting, ns.
pub const HOLE_NS: i64 = 1_000_000;
/// Shorter times off the CPU are not recorded one by one, ns.
const WAIT_NS: i64 = 100_000;
/// Calls of a step of an engine before its first launch: events that are made and asked for, copies.
const FIRST_CALLS: usize = 64;

impl Graph<'_> {
    pub(super) fn host_start(&self, lane: LaneAt, at: usize, request: &Request, into: &mut Vec<Gate>) {
        let (id, own) = (self.timeline.id(lane), self.timeline.lane(lane));
        let before = own.before(at);
        if let Some(before) = before {
            into.push(self.gate(Node::end(op(lane, before)), GateKind::ProgramOrder, Method::Order));
        }
        // A call within another one.
        if let Some(outer) = at.checked_sub(1).filter(|outer| own.end[*outer] > own.start[at]) {
            into.push(self.gate(Node::start(op(lane, outer)), GateKind::ProgramOrder, Method::Order));
        }
        match self.timeline.class(lane, at) {
            Class::Make => self.make_start((lane, at), request, into),
            Class::Post => {}
            _ => {
                let since = before.map_or(i64::MIN, |before| own.end[before]);
                self.wakes(id.process, since, own.start[at], request, into);
                // Memory of another process is opened after the wait for it, before the first copy.
                let calls = &own.key[at..own.len().min(at + AHEAD)];
                let from = calls.iter().find_map(|key| self.transfers.fetched_from(id.process, *key));
                into.extend(from.and_then(|from| self.peer_done(from, own.start[at])));
                let since = since.max(request.source_ns);
                // Guesses stand only where no record shows what it waited for, or did: it moves KV between two copies of it.
                let is_known = into.iter().any(|gate| gate.at > since);
                if own.start[at].saturating_sub(since) > WAIT_NS && !is_known {
                    let blocked = self.thread(lane).and_then(|thread| self.blocked(thread, (since, own.start[at])));
                    if let Some(blocked) = blocked {
                        into.push(blocked);
                    } else if own.start[at].saturating_sub(since) > HOLE_NS
                        && self.timeline.is_staging(lane, at).is_none()
                    {
                        self.guesses(lane, at, (since, own.start[at]), request, into);
                    }
                }
            }
        }
    }

    fn thread(&self, lane: LaneAt) -> Option<ThreadId> {
        match self.timeline.id(lane) {
            LaneId { process, kind: LaneKind::Thread(tid) } => Some((process, tid)),
            LaneId { kind: LaneKind::Stream { .. }, .. } => None,
        }
    }

    /// What a thread may have waited for between two times, before its call at a position: no record shows it.
    pub(super) fn guesses(
        &self,
        lane: LaneAt,
        at: usize,
        between: (i64, i64),
        request: &Request,
        into: &mut Vec<Gate>,
    ) {
        self.hole(lane, at, between, into);
        self.handed_over((self.timeline.id(lane).process, between.0, between.1), request, into);
        self.handed_on(lane, between, request, into);
    }

    /// What a thread may have waited for that made no call for long: that its GPU was idle, and else the stage before.
    fn hole(&self, lane: LaneAt, at: usize, (since, until): (i64, i64), into: &mut Vec<Gate>) {
        let id = self.timeline.id(lane);
        let LaneKind::Thread(tid) = id.kind else { return };
        let mut waited = |ended: Option<(i64, Node)>, kind, method| {
            let gate = ended.filter(|(end, _)| *end > since).map(|(_, node)| self.gate(node, kind, method));
            into.extend(gate);
        };
        if let Some(loaded) = self.timeline.threads.loaded((id.process, tid), (since, until)) {
            waited(self.last_ended(id.process, loaded), GateKind::Loading, Method::Time);
        }
        // Calls that are not recorded wait for the GPU too: memory that is freed, code that is loaded, results that are asked for.
        // Copies of a transport are waited for by its own calls.
        let idle = self.last_ended(id.process, until).filter(|(end, _)| until - end <= REACTS_NS);
        let idle = idle.filter(|(end, node)| !self.is_peer_copy(node.op) && self.is_idle(id.process, (*end, until)));
        waited(idle, GateKind::HostSync, Method::Structure);
        into.extend(self.step_given(id.process, (since, until)));
        let own = self.timeline.lane(lane);
        let calls = &own.key[at..own.len().min(at + FIRST_CALLS)];
        let launched = calls.iter().find_map(|key| self.timeline.started_by(id.process, *key));
        if let Some((stream, first)) = launched {
            self.announced((stream, first), (since, until), into);
            self.fed((id.process, self.timeline.lane(stream).start[first]), (since, until), into);
        }
    }

    /// The operation of a process that ended last by then, on any stream.
    fn last_ended(&self, process: i64, by: i64) -> Option<(i64, Node)> {
        let streams = self.timeline.processes.get(&process).map_or(&[][..], |lanes| &lanes.streams);
        let ended = streams.iter().filter_map(|stream| {
            let last = self.timeline.lane(*stream).ended_by(by)?;
            Some((self.timeline.lane(*stream).end[last], Node::end(op(*stream, last))))
        });
        ended.max()
    }

    /// Whether an operation copies from one device to another.
    pub(super) fn is_peer_copy(&self, op: Op) -> bool {
        matches!(op, Op::Lane(lane, at) if self.timeline.class(lane, at as usize) == Class::PeerCopy)
    }

    /// Whether a process ran nothing on its GPU from a time on until another.
    fn is_idle(&self, process: i64, (from, until): (i64, i64)) -> bool {
        let streams = self.timeline.processes.get(&process).map_or(&[][..], |lanes| &lanes.streams);
        streams.iter().all(|stream| self.timeline.lane(*stream).overlapping((from, until)).next().is_none())
    }

    /// A thread that hands KV over does nothing for a request before a pass of it has ended on its stage.
    fn handed_on(&self, lane: LaneAt, (since, until): (i64, i64), request: &Request, into: &mut Vec<Gate>) {
        let process = self.timeline.id(lane).process;
        let ended = request.passes.of_process(Some(process)).iter().map(|pass| pass.span.1);
        let last = ended.filter(|end| since < *end && *end <= until).max();
        // The keys of calls of NIXL are below those of CUDA's.
        let Some(last) = last.filter(|_| self.timeline.lane(lane).before_key(0).is_some()) else { return };
        let main = self.timeline.processes.get(&process).and_then(|lanes| lanes.main);
        let kernel = main.and_then(|main| Some(op(main, self.timeline.lane(main).ended_by(last)?)));
        into.extend(kernel.map(|op| self.gate(Node::end(op), GateKind::KvWritten, Method::Structure)));
    }

    /// Decode cannot begin with a request before prefill is done with it. How it learned of that is recorded of transfers; where
    /// there are none, only that it made no call until then.
    fn handed_over(&self, (process, since, until): (i64, i64, i64), request: &Request, into: &mut Vec<Gate>) {
        if request.decode == Some(process) && request.transfers.rows().is_empty() {
            let done = self.prefill_done(until, request).filter(|gate| gate.at > since);
            into.extend(done.map(|gate| Gate { method: Method::Structure, ..gate }));
        }
    }

    /// The last wait of a process for its GPU that was over by then: after it the process can tell the next stage to fetch. How
    /// it does that is not recorded.
    fn peer_done(&self, process: i64, by: i64) -> Option<Gate> {
        let (thread, at) = self.transfers.waited_by(process, by, self.timeline)?;
        Some(self.gate(Node::end(op(thread, at)), GateKind::PeerDone, Method::Time))
    }

    /// A blocking call returns after what it waits for.
    pub(super) fn host_end(&self, lane: LaneAt, at: usize, into: &mut Vec<Gate>) {
        if self.timeline.class(lane, at) != Class::Call {
            return;
        }
        let (process, own) = (self.timeline.id(lane).process, self.timeline.lane(lane));
        let key = own.key[at];
        let mut waits = false;
        for awaited in self.timeline.waits.of_call(process, key) {
            self.awaited(process, key, awaited, GateKind::HostSync, into);
            waits = true;
        }
        if !waits
            && self.timeline.names.text(own.name[at]).contains("Memcpy")
            && let Some((stream, copy)) = self.timeline.started_by(process, key)
        {
            // An asynchronous copy blocks where its memory is pageable, which is not recorded: then the call returns after it.
            let is_async = self.timeline.names.text(own.name[at]).contains("Async");
            let method = if is_async { Method::Time } else { Method::Id };
            into.push(self.gate(Node::end(op(stream, copy)), GateKind::HostSync, method));
        }
    }

    /// What came to a process from outside between two times, and may have been what it waited for: KV of the request that had
    /// been handed over, activations that another stage copied into its device.
    pub(super) fn wakes(&self, process: i64, since: i64, until: i64, request: &Request, into: &mut Vec<Gate>) {
        let signs = request.transfers.signs(process, since, until);
        into.extend(signs.map(|(node, kind, method)| self.gate(node, kind, method)));
        let copies = self.transfers.copied_in(process, since, until);
        into.extend(copies.into_iter().map(|copy| self.gate(Node::end(copy), GateKind::CopiedIn, Method::Time)));
    }
}
