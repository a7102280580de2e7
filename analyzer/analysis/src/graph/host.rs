//! What calls of host threads waited for.

use super::{Gate, GateKind, Graph, Method, Node, Request, op};
use crate::timeline::{Class, LaneAt};

/// Calls from the opening of another process's memory to the copy from it.
const AHEAD: usize = 4;

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
            }
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
