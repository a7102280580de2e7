//! What the calls and messages of a hand-off waited for.

use super::{Gate, GateKind, Graph, Method, Node, Op, Request, op};
use crate::timeline::Class;
use crate::timeline::build::nixl_row;

impl Graph<'_> {
    /// A transfer is made when its KV was written and decode had registered; a pull, when decode was told that prefill is done.
    pub(super) fn make_start(&self, key: i64, request: &Request, into: &mut Vec<Gate>) {
        let Some(row) = nixl_row(key) else { return };
        if request.transfers.has(row) {
            self.made(row, request, into);
        }
    }

    fn made(&self, row: u32, request: &Request, into: &mut Vec<Gate>) {
        let made = self.transfers.made(row);
        if self.transfers.is_pulled(row) {
            into.extend(self.prefill_done(made, request));
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
        let Some((lane, at)) = self.transfers.post(row, self.timeline) else { return };
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
        if request.waits_for_prefill {
            into.extend(self.prefill_done(sent, request));
        }
    }

    /// The end of the request's last pass on any stage, if it was over by then.
    fn prefill_done(&self, by: i64, request: &Request) -> Option<Gate> {
        let last = request.passes.ended_by(by)?;
        let lane = self.timeline.processes.get(&last.process)?.main?;
        let kernel = self.timeline.lane(lane).ended_by(last.span.1)?;
        Some(self.gate(Node::end(op(lane, kernel)), GateKind::PrefillDone, Method::Engine))
    }
}
