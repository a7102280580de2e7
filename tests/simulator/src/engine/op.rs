//! What an operation is, and what it waits for.

use serde::{Deserialize, Serialize};

/// A time or a duration, ns.
pub type Ns = i64;
/// Number of an operation in the order in which it was added; never reused.
pub type OpId = u64;
/// Position in the engine's list of lanes.
pub type LaneId = u16;

/// A time that is not known yet.
pub(crate) const UNKNOWN: Ns = Ns::MIN;

/// One end of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Which operation.
    pub op: OpId,
    /// Whether its end is meant, not its start.
    pub is_end: bool,
}

impl Node {
    /// The start of `op`.
    #[must_use]
    pub const fn start(op: OpId) -> Self {
        Self { op, is_end: false }
    }

    /// The end of `op`.
    #[must_use]
    pub const fn end(op: OpId) -> Self {
        Self { op, is_end: true }
    }
}

/// Why one node waits for another. Of gates that open at the same time the one declared first here binds, of those of
/// one kind the one whose source has the smallest id: an operation that was not kept waiting follows its own lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// The thread's previous operation ended.
    ProgramOrder,
    /// The stream's previous operation ended.
    StreamOrder,
    /// The NIC or link carried something else before.
    LaneOrder,
    /// An operation of the legacy default stream, or one that it waits for, ended.
    DefaultStream,
    /// Another node of the same CUDA graph ended.
    GraphEdge,
    /// The call that launched it returned.
    Launch,
    /// A recorded event was waited for by the stream.
    EventWait,
    /// The work that a blocking call waits for ended.
    HostSync,
    /// The sending kernel started.
    SendStarted,
    /// The receiving kernel started: only where the message does not fit into the FIFO.
    ReceiveStarted,
    /// The message was carried over.
    Carried,
    /// The KV of the hand-off was written: by the kernel that writes it where it goes layer by layer, else by the forward
    /// pass, whose last kernel comes later than the last one that writes KV.
    KvWritten,
    /// Decode's registration arrived; where decode reads, prefill's answer.
    Registered,
    /// The transfer was posted.
    Posted,
    /// The bytes of the transfer are there.
    Transferred,
    /// A notification arrived.
    Notified,
    /// KV blocks were freed by the hand-off of an earlier request.
    BlocksFreed,
    /// An earlier request left, so this one was admitted.
    Admitted,
    /// The request arrived.
    Arrived,
}

/// What a node waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// The node that must have happened.
    pub from: Node,
    /// Why.
    pub kind: GateKind,
}

impl Gate {
    /// Waits for the end of `op`.
    #[must_use]
    pub const fn after(op: OpId, kind: GateKind) -> Self {
        Self { from: Node::end(op), kind }
    }

    /// Waits for the start of `op`.
    #[must_use]
    pub const fn with(op: OpId, kind: GateKind) -> Self {
        Self { from: Node::start(op), kind }
    }
}

/// What an operation does, and which record shows it: a row of `kernels` or `api_calls` by process and `correlation_id`, of
/// `nixl_transfers` by the operations that [`crate::truth::TransferTruth`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpKind {
    /// A request arrives. Not recorded.
    Arrival,
    /// A request is admitted. Not recorded.
    Admission,
    /// The scheduler of an engine plans a step. Not recorded.
    Schedule,
    /// The host does something else (a pause that was asked for). Not recorded.
    Pause,
    /// `cudaLaunchKernel`: `api_calls`.
    Launch,
    /// `cudaGraphLaunch`: `api_calls`.
    GraphLaunch,
    /// A compute kernel: `kernels`, in a graph by `graph_node_id` too.
    Kernel,
    /// An NCCL kernel that sends: `kernels`.
    SendKernel,
    /// An NCCL kernel that receives: `kernels`.
    ReceiveKernel,
    /// The bytes of a send on their way. Not recorded: between the start of the send and the end of the receive.
    Message,
    /// `cudaEventRecord`: `api_calls`, `cuda_events`.
    EventRecord,
    /// `cudaStreamWaitEvent`: `api_calls`, `gpu_syncs`.
    StreamWait,
    /// `cudaEventSynchronize`: `api_calls`, `gpu_syncs`.
    EventSync,
    /// Decode sends its registration (`genNotif`): it starts when `nixl_notifs` has it `sent`, with the request's id in the
    /// text.
    Register,
    /// The registration on its way; ends when it arrived: `nixl_notifs`, the same text.
    RegisterMessage,
    /// Prefill's answer, which sends decode for the KV (HTTP). Not recorded.
    ReadyMessage,
    /// The thread that makes transfers is woken: when KV and registration are there, when decode was told, or when a transfer
    /// failed. Not recorded.
    HandoffReady,
    /// `makeXferReq`: `nixl_transfers`, `made_ns` and `make_dur_ns`.
    Make,
    /// `postXferReq`: `nixl_transfers`, `posted_ns` to `post_end_ns`.
    Post,
    /// The bytes of a transfer on their way: `nixl_transfers`, which has of the end an interval only and nothing of the start.
    Wire,
    /// The notification of a transfer on its way; ends when it arrived: `nixl_notifs`.
    NotifMessage,
    /// Decode polls until it has seen what it waits for. Not recorded, but where it reads: `nixl_transfers.done_poll_ns`.
    DecodePoll,
}

/// Attributes of an operation that the truth repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// What it does.
    pub what: OpKind,
    /// Request it works for.
    pub request: u32,
    /// Stage it works at; decode has the number after the last prefill stage.
    pub stage: i16,
    /// Chunk, or -1.
    pub chunk: i32,
    /// Layer within the stage, or -1.
    pub layer: i16,
    /// Kernel name: position in [`crate::rig::Rig::names`]; 0 for other operations.
    pub name: u16,
    /// Joins calls and what they launched, within a process; 0 where there is none.
    pub correlation: u64,
    /// `event_sync_id` of event calls, `graph_node_id` of kernels in graphs; else 0.
    pub aux: u64,
    /// Stream that an event call names; else 0.
    pub stream: LaneId,
}

impl Label {
    /// A label that names nothing but what is done.
    #[must_use]
    pub const fn of(what: OpKind) -> Self {
        Self { what, request: 0, stage: -1, chunk: -1, layer: -1, name: 0, correlation: 0, aux: 0, stream: 0 }
    }

    /// The same for other operations of the same request, stage, chunk and layer.
    #[must_use]
    pub const fn doing(self, what: OpKind) -> Self {
        Self { what, name: 0, correlation: 0, aux: 0, stream: 0, ..self }
    }
}

/// An operation to be added.
#[derive(Debug, Clone, Copy)]
pub struct NewOp {
    /// Lane.
    pub lane: LaneId,
    /// Time from the last start gate to its start, ns: dispatch, latency.
    pub lead_ns: Ns,
    /// Time from its start (or, if later, its last finish gate) to its end, ns.
    pub work_ns: Ns,
    /// Where positive, it looks for its finish gates only every so often from its start on, ns: polling.
    pub poll_ns: Ns,
    /// It does not start before this, ns.
    pub not_before: Ns,
    /// Attributes.
    pub label: Label,
}

impl NewOp {
    /// An operation of that length.
    #[must_use]
    pub const fn new(lane: LaneId, work_ns: Ns, label: Label) -> Self {
        Self { lane, lead_ns: 0, work_ns, poll_ns: 0, not_before: UNKNOWN, label }
    }

    /// With that lead.
    #[must_use]
    pub const fn lead(mut self, ns: Ns) -> Self {
        self.lead_ns = ns;
        self
    }
}

/// The gate that bound a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// When it opened, ns.
    pub at: Ns,
    /// What it waited for.
    pub gate: Gate,
}

/// An operation.
#[derive(Debug, Clone)]
pub struct Op {
    /// Lane.
    pub lane: LaneId,
    /// Attributes.
    pub label: Label,
    /// Start, ns.
    pub start: Ns,
    /// End, ns.
    pub end: Ns,
    /// Its last start gate; `None` for a source.
    pub start_gate: Option<Binding>,
    /// Its last finish gate; `None` if it has none.
    pub end_gate: Option<Binding>,
    /// It became ready at its `start_gate`, and then queued behind an operation of another request.
    pub is_queued: bool,
    pub(crate) lead_ns: Ns,
    pub(crate) work_ns: Ns,
    pub(crate) poll_ns: Ns,
    pub(crate) not_before: Ns,
    pub(crate) open_starts: u32,
    pub(crate) open_ends: u32,
    /// Lists of those who wait for its start and its end.
    pub(crate) waiters: [u32; 2],
}

impl Op {
    /// When the node happens, if that is known.
    #[must_use]
    pub fn time(&self, is_end: bool) -> Option<Ns> {
        let at = if is_end { self.end } else { self.start };
        (at != UNKNOWN).then_some(at)
    }
}

/// Keeps the later of two gates; of equals the kind declared first, then the smaller id.
pub(crate) fn keep_later(best: &mut Option<Binding>, new: Binding) {
    let rank = |b: &Binding| (b.at, std::cmp::Reverse((b.gate.kind, b.gate.from.op)));
    if best.as_ref().is_none_or(|old| rank(&new) > rank(old)) {
        *best = Some(new);
    }
}
