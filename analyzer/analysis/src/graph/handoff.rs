//! What the calls and messages of a hand-off waited for.

use super::{Gate, GateKind, Graph, Method, Node, Op, Request, op};
use crate::timeline::build::nixl_row;
use crate::timeline::{Class, LaneAt, LaneId, LaneKind};

impl Graph<'_> {
    /// A transfer is made when its KV was written and decode had registered; a pull, when decode was told that prefill is done: what
    /// the thread of a busy worker did before was for other requests, and kept this one waiting no longer than a step.
    pub(super) fn make_start(&self, (lane, at): (LaneAt, usize), request: &Request, into: &mut Vec<Gate>) {
        let own = self.timeline.lane(lane);
        let Some(row) = nixl_row(own.key[at]).filter(|row| request.transfers.has(*row)) else { return };
        let before = into.len();
        self.made(row, request, into);
        let is_own = |gate: &Gate| matches!(gate.from.op, Op::Lane(lane, at) if self.is_of_transfer(lane, at, request));
        if self.transfers.is_pulled(row) && into.len() > before {
            let mut position = 0;
            into.retain(|gate| {
                position += 1;
                position > before || gate.kind != GateKind::ProgramOrder || is_own(gate)
            });
        }
    }

    /// Whether an operation makes or posts one of the request's transfers.
    fn is_of_transfer(&self, lane: LaneAt, at: u32, request: &Request) -> bool {
        let row = nixl_row(self.timeline.lane(lane).key[at as usize]);
        let is_call = matches!(self.timeline.class(lane, at as usize), Class::Make | Class::Post);
        is_call && row.is_some_and(|row| request.transfers.has(row))
    }

    /// What a receiving process that serves others too did for the request began when it was told of something, or got it, and what a
    /// thread that only pushes did, when decode had registered: what they did before was for others. Where what kept an operation waiting opened
    /// earlier than that, the last such sign did.
    pub(super) fn told(&self, lane: LaneAt, node: Node, request: &Request, into: &mut Vec<Gate>) {
        let (process, at) = (self.timeline.id(lane).process, self.time(node));
        let since = into.iter().map(|gate| gate.at).filter(|gate| *gate <= at).max();
        let is_later = |time: i64| since.is_none_or(|since| since < time);
        let sign = request.transfers.last_sign(process, at).filter(|_| request.decode_is_shared);
        if let Some((node, kind, method)) = sign {
            let gate = self.gate(node, kind, method);
            into.extend(Some(gate).filter(|gate| is_later(gate.at)));
        } else if request.is_pulled_by(process) {
            into.extend(self.prefill_done(at, request).filter(|gate| is_later(gate.at)));
        } else if request.senders.contains(&lane) {
            let own = request.registrations.iter().filter(|at| self.transfers.registered_with(**at) == process);
            let own = own.map(|at| self.gate(Node::end(Op::Registration(*at)), GateKind::Registered, Method::Id));
            let met = request.contacts.iter().filter(|at| self.is_contact_of(**at, lane)).map(|at| self.met(*at));
            let last = own.chain(met).filter(|gate| gate.at <= at && is_later(gate.at)).max_by_key(|gate| gate.at);
            into.extend(last);
        }
    }

    fn made(&self, row: u32, request: &Request, into: &mut Vec<Gate>) {
        let made = self.transfers.made(row);
        into.extend(self.transfers.contact_before_make(row).map(|contact| self.met(contact)));
        if self.transfers.is_pulled(row) {
            let done = self.prefill_done(made, request);
            into.extend(done.or_else(|| self.sender_done(made, row)));
            return;
        }
        let sender = self.transfers.sender(row);
        let mut passes = request.passes.of_process(sender).iter().filter(|pass| pass.span.0 < made);
        let part = self.transfers.part(row, request);
        let pass = match part.pass {
            Some(chunk) => passes.find(|pass| pass.chunk == chunk),
            None => passes.max_by_key(|pass| pass.span),
        };
        // The last kernel of it that ended before: the one that writes KV is not the last of its layer. Without passes, the
        // last one of the process.
        let process = pass.map(|pass| pass.process).or(sender);
        let lane = process.and_then(|process| self.timeline.processes.get(&process)?.main);
        if let Some(lane) = lane {
            let until = made.min(part.until.unwrap_or(i64::MAX)).min(pass.map_or(i64::MAX, |pass| pass.span.1));
            let kernel = self.timeline.lane(lane).ended_by(until);
            let method = if part.is_known && pass.is_some() { Method::Count } else { Method::Time };
            into.extend(kernel.map(|at| self.gate(Node::end(op(lane, at)), GateKind::KvWritten, method)));
        }
        let failed = request.transfers.failed_before(row, made, self.transfers);
        into.extend(failed.map(|other| self.gate(Node::end(Op::Wire(other)), GateKind::Failed, Method::Id)));
        for at in &request.registrations {
            if Some(self.transfers.registered_with(*at)) == sender {
                into.push(self.gate(Node::end(Op::Registration(*at)), GateKind::Registered, Method::Id));
            }
        }
    }

    /// The calls of a transfer whose record was lost are not known: only when it was posted, and by whom.
    pub(super) fn wire_start(&self, row: u32, request: &Request, into: &mut Vec<Gate>) {
        if self.transfers.is_lost(row) {
            self.made(row, request, into);
            let thread = self.transfers.thread(row, self.timeline);
            let before =
                thread.and_then(|lane| Some((lane, self.timeline.lane(lane).ended_by(self.transfers.posted(row))?)));
            into.extend(
                before.map(|(lane, at)| self.gate(Node::end(op(lane, at)), GateKind::ProgramOrder, Method::Neighbour)),
            );
            return;
        }
        let Some((lane, at)) = self.transfers.post(row, self.timeline) else {
            // Its call is not on record, as of Mooncake, but when it was given the transfer: most callers wait for one after another.
            self.made(row, request, into);
            let before = self.transfers.before_on_thread(row);
            into.extend(
                before.map(|other| self.gate(Node::end(Op::Wire(other)), GateKind::ProgramOrder, Method::Neighbour)),
            );
            return;
        };
        debug_assert_eq!(self.timeline.class(lane, at), Class::Post);
        let posted = Node::end(op(lane, at));
        let is_over = self.time(posted) <= self.time(Node::start(Op::Wire(row)));
        let from = if is_over { posted } else { Node::start(op(lane, at)) };
        into.push(self.gate(from, GateKind::Posted, Method::Id));
    }

    /// Another request's transfer may have had the link too, but then it may have come later: the path stays with its own.
    pub(super) fn wire_end(&self, row: u32, request: &Request, into: &mut Vec<Gate>) {
        let before = self.transfers.behind(row).filter(|other| request.transfers.has(*other));
        into.extend(before.map(|other| self.gate(Node::end(Op::Wire(other)), GateKind::LinkFree, Method::Time)));
    }

    /// Decode registers when the request reached it: where the router sends it on after prefill, that is after all passes.
    pub(super) fn registration_start(&self, at: u32, request: &Request, into: &mut Vec<Gate>) {
        let sent = self.time(Node::start(Op::Registration(at)));
        into.extend(self.transfers.contact_before_registration(at).map(|contact| self.met(contact)));
        if request.waits_for_prefill {
            into.extend(self.prefill_done(sent, request));
        }
    }

    /// Two agents meet when one of them has a request for the other: a worker that pulls or registers when prefill is done, a stage
    /// that pushes when decode has registered.
    pub(super) fn contact_start(&self, contact: u32, request: &Request, into: &mut Vec<Gate>) {
        let process = self.transfers.contact(contact).process;
        let at = self.transfers.contact(contact).at_ns;
        if request.waits_for_prefill || request.is_pulled_by(process) {
            into.extend(self.prefill_done(at, request));
        }
        let own = request.registrations.iter().filter(|at| self.transfers.registered_with(**at) == process);
        into.extend(own.map(|at| self.gate(Node::end(Op::Registration(*at)), GateKind::Registered, Method::Time)));
    }

    /// Whether that thread was who met another agent.
    fn is_contact_of(&self, contact: u32, lane: LaneAt) -> bool {
        let contact = self.transfers.contact(contact);
        self.timeline.id(lane) == LaneId { process: contact.process, kind: LaneKind::Thread(contact.tid) }
    }

    fn met(&self, contact: u32) -> Gate {
        self.gate(Node::end(Op::Contact(contact)), GateKind::Met, Method::Neighbour)
    }

    /// Of a request whose passes are not known: the last pass of the process whose KV it pulls.
    fn sender_done(&self, by: i64, row: u32) -> Option<Gate> {
        let sender = self.transfers.sender(row)?;
        let pass = self.stages.ended_by(sender, by)?;
        let lane = self.timeline.processes.get(&sender)?.main?;
        let kernel = self.timeline.lane(lane).ended_by(pass.1)?;
        let done = self.staged_after(lane, kernel, by).unwrap_or(kernel);
        Some(self.gate(Node::end(op(lane, done)), GateKind::PrefillDone, Method::Time))
    }

    /// The end of the request's last pass on any stage, if it was over by then; where that stage then copies KV into host memory, from
    /// which it is handed over, of that.
    pub(super) fn prefill_done(&self, by: i64, request: &Request) -> Option<Gate> {
        let last = request.passes.ended_by(by)?;
        let lane = self.timeline.processes.get(&last.process)?.main?;
        let kernel = self.timeline.lane(lane).ended_by(last.span.1)?;
        let done = self.staged_after(lane, kernel, by).unwrap_or(kernel);
        Some(self.gate(Node::end(op(lane, done)), GateKind::PrefillDone, Method::Engine))
    }

    /// The last copy of KV into host memory after the end of a pass, before the next one and over by then.
    fn staged_after(&self, lane: LaneAt, kernel: usize, by: i64) -> Option<usize> {
        /// What follows a pass: numbers of the next one, the kernel that collects the first blocks. Another pass has more.
        const LOOK: usize = 16;
        let own = self.timeline.lane(lane);
        let is_out = |at: &usize| self.timeline.class(lane, *at) == Class::StagedOut;
        let is_staging = |at: &usize| is_out(at) || self.timeline.class(lane, *at) == Class::StagingGather;
        let first = (kernel + 1..own.len().min(kernel + LOOK)).find(is_out)?;
        let between = (first..own.len()).take_while(|at| own.start[*at] <= by);
        let series = between.take_while(|at| is_staging(at) || self.timeline.class(lane, *at) != Class::Compute);
        series.filter(|at| is_out(at) && own.end[*at] <= by).last()
    }
}
