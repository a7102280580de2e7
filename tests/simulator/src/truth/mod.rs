//! The truth beside a run: what an analyzer should find, in a format that stays.
//!
//! `truth/run.json` holds one object, [`RunTruth`]; `truth/requests.jsonl` one [`RequestTruth`] a line, in the order in
//! which the requests arrived. Times are ns on the simulator's own clock, which no record shows: a host's records show
//! `clock(t) = t + offset_ns + floor((t - zero_ns) * drift_ppb / 10^9)` ([`crate::distort::Clock`]). Distortions change
//! records only, never the truth. Fields may be added; a change of what a field says raises [`FORMAT`].
//!
//! # Path
//! From the request's arrival to the end of its first-token operation, without holes: every segment starts where the one
//! before ended, and the lengths sum to `ttft_ns`. It is the chain of the gates that bound ([`crate::engine`]): a
//! segment is an operation's `work`, its `completion` after the last thing it waited for, or the `gap` between its last
//! gate and its start. Of gates that open together the one of its own lane binds
//! ([`GateKind`] says in which order). A request that waits for
//! admission has one segment of category `queue`; the path is not followed into the request it waited for. Nor is it
//! where a transfer queues for the NIC behind another request's: the gap has gate `lane_order`, and the path goes on with
//! its own request, because the other one may have come later.
//!
//! # Bubbles
//! The window of a request is from its first prefill kernel on any stage to its last one on any. In it every ns in which
//! a stage's compute stream runs no kernel (NCCL's are on other streams) is in exactly one class: `fill` before the
//! request's first kernel on the stage, `drain` after its last; else what the next kernel waited for at that ns:
//!
//! * `upstream_late`: the stage before had not sent; split into `imbalance`, `chunk_growth`, `propagated` as below;
//! * `p2p_exposed`: it had sent, and the bytes were on their way;
//! * `host`: the input was there, and the launch was not; dispatch between kernels back to back too (`kernel_gap_ns` says
//!   how much of it);
//! * `sync`: the thread that launches was still in a blocking call whose wait was over;
//! * `handoff_backpressure`: no KV block was free, because a hand-off had not ended;
//! * `no_work`: nothing was admitted; `unknown`: nothing explains an upstream wait.
//!
//! # Waits and delays
//! The wait of a chunk (not of a request's first) on a stage is all its idle time by class, between the chunk before and
//! in it. What was `upstream_late` was caused by the stage before, in the interval from its last send to this one: by
//! `excess` (what each kernel took beyond its nominal time, by layer; those that took less offset nothing), `partition`
//! (its layers cost more than this stage's), `growth` (this chunk costs more on this stage than the one before, which it
//! ran meanwhile) and `propagated` (the stage before waited itself), each `wait * part / sum of the parts`, rounded so that
//! the parts sum to the wait. Dispatch between kernels back to back is in the wait, as `host`, and passed on to nobody: all
//! stages have it, so none is late by it. `delays` sum this up by cause, processed from the last stage back: `short_ns` for waits of the next stage
//! (or own ones for the classes that are no upstream wait), `long_ns` for waits further down. Their sum is that of all
//! waits.

mod bubbles;
mod delays;
mod path;
mod writer;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use bubbles::{ALL as CLASSES, Class, Idle, Tracker};
pub use delays::{Interval, RootCauses, Sources, WaitSplit, apportion, root_causes};
pub use path::{by_category, by_layer, of_request as path_of_request};
pub use writer::{TruthError, TruthWriter};

use crate::distort::Clock;
use crate::engine::{GateKind, Ns, OpId, OpKind, StepKind};
use crate::rig::LaneInfo;

/// Version of the format.
pub const FORMAT: u32 = 1;

/// The run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunTruth {
    /// [`FORMAT`].
    pub format: u32,
    /// What it was made by: the case's name, or `model`.
    pub made_by: String,
    /// Seed.
    pub seed: u64,
    /// Every setting of the model; null for cases that are written out by hand.
    pub model: Option<serde_json::Value>,
    /// Hosts and their clocks, in the order of `process.host`.
    pub clocks: Vec<Clock>,
    /// Lanes: `lane` of a segment is a position here.
    pub lanes: Vec<LaneInfo>,
    /// Stages: prefill by rank, then decode.
    pub stages: Vec<StageTruth>,
    /// Requests.
    pub requests: u64,
    /// Time of the run in which no request was in prefill, from the first window's start to the last one's end, ns.
    pub no_work_ns: Ns,
    /// Rows by table: (written, lost).
    pub rows: BTreeMap<String, (u64, u64)>,
    /// What the case shows in its own terms, where that is no field.
    pub figures: BTreeMap<String, i64>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTruth {
    /// Number.
    pub stage: i16,
    /// `prefill` or `decode`.
    pub role: String,
    /// `processes.process_id`.
    pub process_id: i64,
    /// Position of its host in `clocks`.
    pub host: usize,
    /// Layers.
    pub layers: i16,
    /// Number of its first layer in the model.
    pub first_layer: i16,
    /// `layer`, `set` or `none`: whether the addresses of its descriptors name layers.
    pub layer_resolution: String,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestTruth {
    /// Number, by arrival.
    pub request: u32,
    /// Id without the engine's suffix; `nixl_transfers.request` shows it.
    pub request_id: String,
    /// When it arrived: the source of its path.
    pub arrival_ns: Ns,
    /// When it was admitted.
    pub admitted_ns: Ns,
    /// End of the first-token operation: the sink of its path.
    pub first_token_ns: Ns,
    /// From arrival to first token.
    pub ttft_ns: Ns,
    /// The first-token operation.
    pub sink_op: OpId,
    /// Start of the first decode kernel that may read its KV: its hand-offs end. From the last `notif_arrived_ns` on it was
    /// scheduled. Null without decode.
    pub decode_kernel_ns: Option<Ns>,
    /// Prefill window: first kernel's start, last kernel's end. Null without a pipeline.
    pub window_ns: Option<(Ns, Ns)>,
    /// Time on the path by category.
    pub path_by_category: BTreeMap<String, Ns>,
    /// Path in stretches of one stage, chunk and layer.
    pub path_by_layer: Vec<LayerStretch>,
    /// Path by operation; empty if the run was made with less detail.
    pub path: Vec<Segment>,
    /// Bubbles of each prefill stage.
    pub bubbles: Vec<BubbleTruth>,
    /// Waits that are not zero, by chunk and stage.
    pub waits: Vec<WaitTruth>,
    /// What caused them.
    pub delays: Vec<DelayTruth>,
    /// Transfers of its KV.
    pub transfers: Vec<TransferTruth>,
    /// What the case shows of this request in its own terms.
    pub figures: BTreeMap<String, i64>,
}

/// What a stretch of time on the path is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A compute kernel runs, of prefill or decode (the stage tells).
    Compute,
    /// Dispatch of a kernel after the one before it on its stream, or after one that it waits for.
    KernelGap,
    /// Dispatch of a kernel after its launch.
    Launch,
    /// A host thread works: launches, other calls, pauses.
    Host,
    /// A blocking call returns.
    Sync,
    /// A message between stages is on its way, or its kernels run.
    P2p,
    /// The request waits to be admitted.
    Queue,
    /// Decode's registration is made and on its way.
    ReadyWait,
    /// `makeXferReq`, and the wake-up of the thread that calls it.
    Make,
    /// `postXferReq`.
    Post,
    /// The bytes of a transfer are on their way.
    Wire,
    /// The notification is on its way.
    Notify,
    /// What has ended is not seen until the next poll.
    PollDelay,
    /// An engine plans a step: prefill's or decode's, the stage tells.
    Schedule,
}

/// A segment of the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Start, ns.
    pub start_ns: Ns,
    /// End, ns.
    pub end_ns: Ns,
    /// The operation; the same number names the same operation everywhere in the truth.
    pub op: OpId,
    /// What it does.
    pub what: OpKind,
    /// Its work, its completion after a finish gate, or the gap before its start.
    pub kind: StepKind,
    /// What the time is spent on.
    pub category: Category,
    /// The gate that led here: of a gap or of work the one that bound its start, of a completion its finish gate. Null at
    /// the source.
    pub gate: Option<GateKind>,
    /// Request for which the operation was done: another one's work may keep this one waiting.
    pub request: u32,
    /// Position in `lanes`.
    pub lane: u16,
    /// Stage, where it belongs to one.
    pub stage: Option<i16>,
    /// Chunk, where it belongs to one.
    pub chunk: Option<i32>,
    /// Layer within the stage, where it belongs to one.
    pub layer: Option<i16>,
    /// `correlation_id` in the records of its lane's process; null where there is none.
    pub correlation_id: Option<u64>,
    /// `kernels.graph_node_id`, which tells the kernels of one graph launch apart; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph_node_id: Option<u64>,
    /// Kernel name; null for what is no kernel.
    pub name: Option<String>,
}

/// Consecutive segments of one request, stage, chunk and layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerStretch {
    /// Start, ns.
    pub start_ns: Ns,
    /// End, ns.
    pub end_ns: Ns,
    /// Request for which it was done.
    pub request: u32,
    /// Stage.
    pub stage: Option<i16>,
    /// Chunk.
    pub chunk: Option<i32>,
    /// Layer.
    pub layer: Option<i16>,
    /// Time by category, ns.
    pub parts: BTreeMap<Category, Ns>,
}

/// Bubbles of a stage in a request's window; `busy_ns` and the classes sum to `window_ns`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BubbleTruth {
    /// Stage.
    pub stage: i16,
    /// Length of the window.
    pub window_ns: Ns,
    /// A compute kernel ran, of any request.
    pub busy_ns: Ns,
    /// Before the request's first kernel on the stage.
    pub fill_ns: Ns,
    /// After its last.
    pub drain_ns: Ns,
    /// The stage before took longer than it should, or has more to do.
    pub imbalance_ns: Ns,
    /// The chunk costs more than the one before.
    pub chunk_growth_ns: Ns,
    /// The stage before waited.
    pub propagated_ns: Ns,
    /// Bytes were on their way from the stage before.
    pub p2p_exposed_ns: Ns,
    /// The launch was not there.
    pub host_ns: Ns,
    /// Of that, dispatch of kernels back to back.
    pub kernel_gap_ns: Ns,
    /// A blocking call had not returned.
    pub sync_ns: Ns,
    /// KV blocks had not been freed.
    pub handoff_backpressure_ns: Ns,
    /// Nothing was admitted.
    pub no_work_ns: Ns,
    /// Nothing explains it.
    pub unknown_ns: Ns,
}

impl BubbleTruth {
    /// All that was idle, ns.
    #[must_use]
    pub fn idle_ns(&self) -> Ns {
        self.fill_ns + self.drain_ns + self.inner_ns()
    }

    /// What was idle between the request's first kernel and its last, ns.
    #[must_use]
    pub fn inner_ns(&self) -> Ns {
        self.imbalance_ns
            + self.chunk_growth_ns
            + self.propagated_ns
            + self.p2p_exposed_ns
            + self.host_ns
            + self.sync_ns
            + self.handoff_backpressure_ns
            + self.no_work_ns
            + self.unknown_ns
    }
}

/// The wait of a stage for a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitTruth {
    /// Chunk.
    pub chunk: i32,
    /// Stage that waited.
    pub stage: i16,
    /// All of it, ns.
    pub wait_ns: Ns,
    /// By class, ns; `upstream_late` undivided.
    pub by_class: BTreeMap<Class, Ns>,
    /// What the stage before had in its interval, ns: what `upstream_late` is divided by.
    pub sources: Sources,
}

/// What caused waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Kernels of a layer took longer than nominal.
    Excess,
    /// The stage has more to do than the next.
    Partition,
    /// Chunks grow.
    Growth,
    /// Messages between stages.
    P2p,
    /// Launches.
    Host,
    /// Blocking calls.
    Sync,
    /// Hand-offs that hold KV blocks.
    HandoffBackpressure,
    /// No request.
    NoWork,
    /// Nothing known.
    Unattributed,
}

/// A cause and the waits it brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayTruth {
    /// What.
    pub cause: Cause,
    /// Where: the stage that was late, or that waited for its own host.
    pub stage: i16,
    /// In which layer, of [`Cause::Excess`]; null outside layers.
    pub layer: Option<i16>,
    /// Waits that it caused directly, ns.
    pub short_ns: Ns,
    /// Waits further down the pipeline, ns.
    pub long_ns: Ns,
}

/// A transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferTruth {
    /// `nixl_transfers.transfer_id` at the host that posted.
    pub transfer_id: i64,
    /// Position of that host in `clocks`.
    pub host: usize,
    /// Stage whose KV it carries.
    pub stage: i16,
    /// Chunk; null if it carries several.
    pub chunk: Option<i32>,
    /// Layer within the stage; null if it carries several.
    pub layer: Option<i16>,
    /// `WRITE` or `READ`.
    pub op: String,
    /// Payload, bytes.
    pub bytes: i64,
    /// `op` of its make on a path.
    pub make_op: OpId,
    /// `op` of its post.
    pub post_op: OpId,
    /// `op` of its bytes on the wire.
    pub wire_op: OpId,
    /// `op` of its notification's way; null if it had none or failed.
    pub notif_op: Option<OpId>,
    /// When the last of its KV was written (the end of the pass, where it carries more than a layer): the hand-off begins. Until
    /// `made_ns` it waits to be ready.
    pub written_ns: Ns,
    /// Entry of make.
    pub made_ns: Ns,
    /// Return of make.
    pub make_end_ns: Ns,
    /// Entry of post.
    pub posted_ns: Ns,
    /// Return of post.
    pub post_end_ns: Ns,
    /// When its first byte left.
    pub wire_start_ns: Ns,
    /// When it was complete: what the recorded interval must contain.
    pub completed_ns: Ns,
    /// When its notification arrived; null if it had none or failed.
    pub notif_arrived_ns: Option<Ns>,
    /// `done` or an error of NIXL.
    pub status: String,
}
