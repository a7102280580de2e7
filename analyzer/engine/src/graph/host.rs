//! What calls of host threads waited for.

use super::{Gate, GateKind, Graph, Method, Node, Op, Request, op};
use crate::timeline::{Class, LaneAt};

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
            Class::Make => self.make_start(own.key[at], request, into),
            Class::Post => {}
            _ => {
                let since = before.map_or(i64::MIN, |before| own.end[before]);
                self.wakes(id.process, since, own.start[at], request, into);
            }
        }
    }

    /// A blocking call returns after what it waits for.
    pub(super) fn host_end(&self, lane: LaneAt, at: usize, into: &mut Vec<Gate>) {
        if self.timeline.class(lane, at) != Class::Call {
            return;
        }
        let (process, own) = (self.timeline.id(lane).process, self.timeline.lane(lane));
        let key = own.key[at];
        if let Some(awaited) = self.timeline.waits.of_call(process, key) {
            self.awaited(process, key, awaited, GateKind::HostSync, into);
        } else if self.timeline.names.text(own.name[at]).contains("Memcpy")
            && let Some((stream, copy)) = self.timeline.started_by(process, key)
        {
            into.push(self.gate(Node::end(op(stream, copy)), GateKind::HostSync, Method::Id));
        }
        let start = own.start[at];
        into.retain(|gate| gate.at > start);
    }

    /// What came to a process from outside between two times, and may have been what it waited for: KV of the request that had
    /// been handed over, activations that another stage copied into its device.
    pub(super) fn wakes(&self, process: i64, since: i64, until: i64, request: &Request, into: &mut Vec<Gate>) {
        let within = |node: Node| (since < self.time(node) && self.time(node) <= until).then_some(node);
        for row in &request.transfers {
            if self.transfers.receiver(*row) != Some(process) {
                continue;
            }
            let seen = match self.transfers.is_pulled(*row) {
                true => within(Node::end(Op::Wire(*row))).map(|node| (node, GateKind::Transferred)),
                false if self.transfers.has_arrived(*row) => {
                    within(Node::end(Op::Notif(*row))).map(|node| (node, GateKind::Notified))
                }
                false => None,
            };
            into.extend(seen.map(|(node, kind)| self.gate(node, kind, Method::Id)));
        }
        if let Some(copy) = self.transfers.copied_in(process, since, until) {
            into.push(self.gate(Node::end(copy), GateKind::CopiedIn, Method::Time));
        }
    }
}
