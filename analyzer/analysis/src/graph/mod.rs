//! What waited for what. Nothing is built ahead: the gates of a node are looked up when a walk asks for them, so a path costs
//! its own length, not the run's.

mod blocked;
pub mod collectives;
mod gpu;
mod handoff;
mod host;
mod links;
pub mod pairs;
pub mod request;
pub mod stages;
#[cfg(test)]
mod tests;
pub mod transfers;

pub use crate::method::Method;
pub use host::HOLE_NS;
pub use links::Links;
pub use request::{PassOf, Passes, Request, Unit};
pub use transfers::Transfers;

use crate::timeline::{LaneAt, Timeline};
use pairs::Pairs;
use stages::Stages;

/// An operation: a position in a lane, or something between processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Of a stream or thread.
    Lane(LaneAt, u32),
    /// The bytes of a transfer on their way: its row.
    Wire(u32),
    /// The notification of a transfer on its way: its row.
    Notif(u32),
    /// Decode's registration on its way: position in [`Transfers::registrations`].
    Registration(u32),
    /// Two agents meet: one loads what the other says of itself. Position in the contacts of [`Transfers`].
    Contact(u32),
    /// A thread was off the CPU and waited, until it could go on: row of [`crate::timeline::Threads`].
    OffCpu(u32),
    /// Another thread ended that: where it was then.
    Wake(u32),
}

/// One end of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Which operation.
    pub op: Op,
    /// Its end, not its start.
    pub is_end: bool,
}

impl Node {
    /// The start of `op`.
    #[must_use]
    pub const fn start(op: Op) -> Self {
        Self { op, is_end: false }
    }

    /// The end of `op`.
    #[must_use]
    pub const fn end(op: Op) -> Self {
        Self { op, is_end: true }
    }
}

/// Why a node waited for another. Of gates that open at the same time the one declared first here is taken, of one kind the
/// one from the smallest node: what was not kept waiting follows its own lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GateKind {
    /// The thread's operation before it ended.
    ProgramOrder,
    /// The stream's operation before it ended.
    StreamOrder,
    /// Work of the legacy default stream, or that it waits for, ended.
    DefaultStream,
    /// Another kernel of the same CUDA graph launch ended, or of the one that the stream ran before.
    GraphOrder,
    /// The call that launched it.
    Launch,
    /// The stream was made to wait for a recorded event.
    EventWait,
    /// The GPU was idle: code was loaded into it on first use.
    Loading,
    /// What a blocking call waits for ended.
    HostSync,
    /// The other end of an NCCL message started, or another rank the same collective.
    PeerStarted,
    /// Activations were copied into the device by another stage.
    CopiedIn,
    /// The stage that made the activations had waited for its GPU, and could say so.
    PeerDone,
    /// The thread of the stage before had come to send: what it sends is announced over a socket first.
    PeerSends,
    /// The agents of both ends had begun to meet.
    Met,
    /// The KV of the hand-off was written.
    KvWritten,
    /// Decode's registration arrived.
    Registered,
    /// Prefill's work was done: the router, or decode, was told.
    PrefillDone,
    /// The thread had waited, and could go on.
    Blocked,
    /// Another thread woke it.
    Woken,
    /// The engine's core had waited, and then gave the worker its step.
    StepGiven,
    /// The transfer was posted.
    Posted,
    /// Another transfer to the same receiver, posted before, was there: it had the link.
    LinkFree,
    /// The transfer failed that this one makes again.
    Failed,
    /// The bytes of the transfer were there.
    Transferred,
    /// The notification of a transfer arrived.
    Notified,
}

impl GateKind {
    /// Name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProgramOrder => "program_order",
            Self::StreamOrder => "stream_order",
            Self::DefaultStream => "default_stream",
            Self::GraphOrder => "graph_order",
            Self::Launch => "launch",
            Self::EventWait => "event_wait",
            Self::HostSync => "host_sync",
            Self::Loading => "loading",
            Self::PeerStarted => "peer_started",
            Self::CopiedIn => "copied_in",
            Self::PeerDone => "peer_done",
            Self::PeerSends => "peer_sends",
            Self::Met => "met",
            Self::KvWritten => "kv_written",
            Self::Registered => "registered",
            Self::PrefillDone => "prefill_done",
            Self::Blocked => "blocked",
            Self::Woken => "woken",
            Self::StepGiven => "step_given",
            Self::Posted => "posted",
            Self::LinkFree => "link_free",
            Self::Failed => "failed",
            Self::Transferred => "transferred",
            Self::Notified => "notified",
        }
    }
}

/// What a node waited for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    /// The node that had to happen.
    pub from: Node,
    /// When it did, ns.
    pub at: i64,
    /// Why.
    pub kind: GateKind,
    /// How it was found.
    pub method: Method,
}

/// Everything that gates are looked up in.
#[derive(Debug)]
pub struct Graph<'a> {
    /// What ran.
    pub timeline: &'a Timeline,
    /// Hand-offs.
    pub transfers: &'a Transfers,
    /// Sends and receives, and collectives.
    pub pairs: &'a Pairs,
    /// Which pass made what another one computes on.
    pub stages: &'a Stages,
}

impl Graph<'_> {
    /// When a node happened, ns.
    #[must_use]
    pub fn time(&self, node: Node) -> i64 {
        match (node.op, node.is_end) {
            (Op::Lane(lane, at), false) => self.timeline.lane(lane).start[at as usize],
            (Op::Lane(lane, at), true) => self.timeline.lane(lane).end[at as usize],
            (Op::Wire(row), is_end) => self.transfers.wire(row, is_end),
            (Op::Notif(row), false) => self.transfers.wire(row, true),
            (Op::Notif(row), true) => self.transfers.arrival(row),
            (Op::Registration(at), is_end) => self.transfers.registration(at, is_end),
            (Op::Contact(at), _) => self.transfers.contact(at).at_ns,
            (Op::OffCpu(row), false) => self.timeline.threads.interval(row).start,
            (Op::OffCpu(row), true) | (Op::Wake(row), _) => self.timeline.threads.interval(row).ready,
        }
    }

    /// When the program received the notification whose arrival this node is, ns; `None` where no record shows it.
    #[must_use]
    pub fn taken(&self, node: Node) -> Option<i64> {
        match (node.op, node.is_end) {
            (Op::Notif(row), true) => self.transfers.taken(row),
            _ => None,
        }
    }

    /// The process on whose clock the time of a node was read; `None` if that is not known.
    #[must_use]
    pub fn process(&self, node: Node) -> Option<i64> {
        match (node.op, node.is_end) {
            (Op::Lane(lane, _), _) => Some(self.timeline.id(lane).process),
            (Op::Wire(row), _) | (Op::Notif(row), false) => Some(self.transfers.poster(row)),
            (Op::Notif(row), true) if !self.transfers.is_pulled(row) => self.transfers.receiver(row),
            (Op::Notif(row), true) => self.transfers.sender(row),
            (Op::Registration(at), false) => self.transfers.registrations[at as usize].from,
            (Op::Registration(at), true) => Some(self.transfers.registered_with(at)),
            (Op::Contact(at), _) => Some(self.transfers.contact(at).process),
            (Op::OffCpu(row), _) => Some(self.timeline.threads.interval(row).thread.0),
            (Op::Wake(row), _) => self.timeline.threads.interval(row).waker.map(|waker| waker.0),
        }
    }

    /// The gates of a node, none later than it, each once. Those of an end that opened before its start did not keep it waiting,
    /// but might have.
    pub fn gates(&self, node: Node, request: &Request, into: &mut Vec<Gate>) {
        into.clear();
        match (node.op, node.is_end) {
            (Op::Lane(lane, at), is_end) => match (self.is_stream(lane), is_end) {
                (true, false) => self.gpu_start(lane, at as usize, request, into),
                (true, true) => self.gpu_end(lane, at, into),
                (false, false) => self.host_start(lane, at as usize, request, into),
                (false, true) => self.host_end(lane, at as usize, into),
            },
            (Op::Wire(row), false) => self.wire_start(row, request, into),
            (Op::Notif(row), false) => {
                into.push(self.gate(Node::end(Op::Wire(row)), GateKind::Transferred, Method::Id));
            }
            (Op::Registration(at), false) => self.registration_start(at, request, into),
            (Op::Contact(at), false) => self.contact_start(at, request, into),
            (Op::Wire(row), true) => self.wire_end(row, request, into),
            (Op::OffCpu(row), is_end) => self.off_cpu(row, is_end, request, into),
            (Op::Wake(row), _) => self.wake(row, request, into),
            (_, true) => {}
        }
        if let Op::Lane(lane, _) = node.op {
            self.told(lane, node, request, into);
        }
        let latest = self.time(node);
        into.retain(|gate| gate.at <= latest);
        // Several waits may be for the same.
        let surest = |a: &Gate, b: &Gate| b.method.confidence().total_cmp(&a.method.confidence());
        into.sort_by(|a, b| (a.from, a.kind).cmp(&(b.from, b.kind)).then_with(|| surest(a, b)));
        into.dedup_by_key(|gate| (gate.from, gate.kind));
    }

    fn gate(&self, from: Node, kind: GateKind, method: Method) -> Gate {
        Gate { from, at: self.time(from), kind, method }
    }

    fn is_stream(&self, lane: LaneAt) -> bool {
        matches!(self.timeline.id(lane).kind, crate::timeline::LaneKind::Stream { .. })
    }
}

/// The operation at a position of a lane.
#[must_use]
pub fn op(lane: LaneAt, at: usize) -> Op {
    Op::Lane(lane, u32::try_from(at).unwrap_or(u32::MAX))
}

/// The gate that opened last; `None` if there is none.
#[must_use]
pub fn last(gates: &[Gate]) -> Option<&Gate> {
    gates.iter().max_by_key(|gate| (gate.at, std::cmp::Reverse((gate.kind, gate.from))))
}
