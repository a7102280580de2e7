//! The pipeline that is simulated: every setting, checked.
//!
//! A request is prefilled in chunks by stages one after another, its KV handed over to one decode worker over NIXL, whose
//! first step makes the first token. A forward pass serves one request; requests follow each other first come, first
//! served.

mod build;
mod costs;
mod drive;
mod handoff;
mod topology;

use serde::{Deserialize, Serialize};

use crate::engine::Ns;
use crate::rig::CallCosts;
use topology::slots;

pub use drive::{RunError, Simulation, simulate};
pub use topology::{BEGIN_NS, Topology};

/// Who hands KV over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum HandoffMode {
    /// Nobody: the last prefill kernel makes the first token.
    None,
    /// Prefill writes into decode, as vLLM's `NixlPushConnector`.
    Push,
    /// Decode reads from prefill, as vLLM's `NixlConnector`; whole requests only.
    Pull,
}

/// What a transfer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// A request's KV of a stage, after its last chunk.
    Whole,
    /// A chunk's KV of a stage.
    Chunk,
    /// A chunk's KV of a layer, as soon as it is written.
    Layer,
}

/// Which process runs on which host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Hosts {
    /// All on one.
    One,
    /// Prefill on one, decode on another.
    Split,
    /// Each stage, and decode, on its own.
    Each,
}

/// When requests arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Each arrives so long after the one that it takes the place of has its first token, ns.
    Closed {
        /// Pause between the two.
        think_ns: Ns,
    },
    /// At random, that far apart on average, ns; those above the concurrency wait in a queue.
    Open {
        /// Mean distance.
        mean_ns: Ns,
    },
}

/// The wire between two stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct P2p {
    /// Activations of a chunk, bytes.
    pub bytes: i64,
    /// Bytes a second; 0 means that messages take no time.
    pub bytes_per_s: i64,
    /// From both ends ready to the first byte, ns.
    pub latency_ns: Ns,
    /// Messages up to this size leave the sender without the receiver, bytes.
    pub fifo_bytes: i64,
}

/// The hand-off to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "settings that have nothing to do with each other")]
pub struct Handoff {
    /// Who hands over.
    pub mode: HandoffMode,
    /// What a transfer carries.
    pub grain: Grain,
    /// KV of one layer and chunk, bytes.
    pub layer_chunk_bytes: i64,
    /// KV blocks of a chunk, in each layer.
    pub blocks: i64,
    /// Blocks lie apart, so that none merge.
    pub is_scattered: bool,
    /// A block holds all layers of a stage, so its address names none.
    pub is_cross_layer: bool,
    /// One region holds all layers of a process, and agents prepare lists of its blocks: a row a layer, or one where a block holds
    /// all layers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_prepared: bool,
    /// Handles, KV places and event handles are used again as soon as they may be; for one request at a time.
    pub reuses: bool,
    /// NIC of decode, bytes a second; 0 means that transfers take no time.
    pub bytes_per_s: i64,
    /// From the post to the first byte, ns.
    pub latency_ns: Ns,
    /// A make: once, and for each descriptor asked for, ns.
    pub make_ns: (Ns, Ns),
    /// A post: once, and for each merged descriptor, ns.
    pub post_ns: (Ns, Ns),
    /// Waking the thread that writes, ns.
    pub wake_ns: Ns,
    /// A message (registration, notification, answer) on its way, ns.
    pub message_ns: Ns,
    /// Decode registers so long after the request was admitted, ns.
    pub register_ns: Ns,
    /// Decode polls so often, ns; 0 means that it sees at once.
    pub decode_poll_ns: Ns,
    /// Decode plans its first step, ns.
    pub decode_schedule_ns: Ns,
    /// KV blocks of a stage, in chunks; 0 means no limit.
    pub pool_chunks: u32,
}

/// The decode worker's first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decode {
    /// Layers; 0 leaves only the kernels before and after them.
    pub layers: i16,
    /// Each kernel, ns.
    pub kernel_ns: Ns,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Faults {
    /// Layers that take longer: stage, layer within it, factor in thousandths.
    pub slow_layers: Vec<(i16, i16, i64)>,
    /// Pauses of a stage's launching thread: stage, chunk (of every request), ns.
    pub host_pauses: Vec<(i16, i32, Ns)>,
    /// Links that are slower: the stage they lead from, factor in thousandths.
    pub slow_links: Vec<(i16, i64)>,
    /// Hand-offs that are slower: stage, factor in thousandths.
    pub slow_handoffs: Vec<(i16, i64)>,
    /// First pushes that fail and are made again: request, stage.
    pub failing: Vec<(u32, i16)>,
}

/// Every setting of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Seed of all that is random.
    pub seed: u64,
    /// Requests.
    pub requests: u32,
    /// Requests that are admitted at a time.
    pub concurrency: u32,
    /// When they arrive.
    pub arrivals: Arrivals,
    /// Layers of each prefill stage.
    pub layers: Vec<i16>,
    /// Time of a layer for each chunk, ns.
    pub layer_ns: Vec<Ns>,
    /// Where given, time of all layers of a stage for a chunk, `[stage][chunk]`, instead of `layer_ns`.
    pub stage_ns: Option<Vec<Vec<Ns>>>,
    /// Kernels take so much more or less at random, millionths.
    pub noise_ppm: i64,
    /// Each kernel before the layers, ns; taken from the first layer, of which they are at most a quarter.
    pub prologue_ns: Ns,
    /// CUDA calls.
    pub calls: CallCosts,
    /// Planning a step, ns.
    pub schedule_ns: Ns,
    /// Forward passes that a host thread may be ahead of its GPU; 0 means no limit.
    pub host_lead: u32,
    /// Between stages.
    pub p2p: P2p,
    /// To decode.
    pub handoff: Handoff,
    /// Decode's first step.
    pub decode: Decode,
    /// Hosts.
    pub hosts: Hosts,
    /// What goes wrong.
    pub faults: Faults,
}

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// Nothing to simulate.
    #[error("{0} must be at least 1")]
    Empty(&'static str),
    /// A time or size below zero.
    #[error("{0} must not be negative")]
    Negative(&'static str),
    /// Costs that do not fit stages or chunks.
    #[error("stage costs are given for {found}, but the model has {expected}")]
    Shape {
        /// What is given.
        found: String,
        /// What is asked for.
        expected: String,
    },
    /// Too many or too large.
    #[error("{0}")]
    TooLarge(&'static str),
    /// KV of one request does not fit.
    #[error("a pool of {pool} chunks does not hold a request of {chunks}: it would wait for itself")]
    Pool {
        /// Pool.
        pool: u32,
        /// Chunks.
        chunks: usize,
    },
    /// What is in use cannot be used again.
    #[error("handles can be used again at once only if one request runs at a time, with one transfer a stage")]
    Reuse,
    /// Blocks of all layers cannot be sent layer by layer.
    #[error("blocks that hold all layers cannot be handed over layer by layer")]
    CrossLayer,
    /// Decode reads a request's KV when all of it is there.
    #[error("decode can pull whole requests only")]
    PullGrain,
    /// A fault at a place that does not exist.
    #[error("{what}: there is no stage {stage} (or no such layer, chunk, link or push of it)")]
    Fault {
        /// Which fault.
        what: &'static str,
        /// Stage.
        stage: i16,
    },
}

/// The longest that a single operation may take: so long that sums of them stay far below 2^63.
const LONGEST_NS: Ns = 10_000_000_000_000;

impl Model {
    /// A pipeline without overheads, of one request: messages take no time, KV is pushed when all is computed, in 1 us, and
    /// decode has only the kernels before and after its layers. What exact cases start from.
    #[must_use]
    pub fn ideal(layers: &[i16], layer_ns: &[Ns]) -> Self {
        Self {
            seed: 0,
            requests: 1,
            concurrency: 1,
            arrivals: Arrivals::Closed { think_ns: 0 },
            layers: layers.to_vec(),
            layer_ns: layer_ns.to_vec(),
            stage_ns: None,
            noise_ppm: 0,
            prologue_ns: 200,
            // A launch takes less than any kernel that it precedes, so no kernel waits for it but the first.
            calls: CallCosts { launch_ns: 100, event_ns: 0, dispatch_ns: 0, sync_ns: 0 },
            schedule_ns: 0,
            host_lead: 0,
            p2p: P2p { bytes: 1 << 20, bytes_per_s: 0, latency_ns: 0, fifo_bytes: 1 << 22 },
            handoff: Handoff {
                mode: HandoffMode::Push,
                grain: Grain::Whole,
                layer_chunk_bytes: 1 << 20,
                blocks: 16,
                is_scattered: false,
                is_cross_layer: false,
                is_prepared: false,
                reuses: false,
                bytes_per_s: 0,
                // Not at once: completion lies after the post.
                latency_ns: 1_000,
                make_ns: (0, 0),
                post_ns: (0, 0),
                wake_ns: 0,
                message_ns: 0,
                register_ns: 0,
                decode_poll_ns: 0,
                decode_schedule_ns: 0,
                pool_chunks: 0,
            },
            decode: Decode { layers: 0, kernel_ns: 1_000 },
            hosts: Hosts::One,
            faults: Faults::default(),
        }
    }

    /// Chunks of a request.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.layer_ns.len()
    }

    /// Prefill stages.
    #[must_use]
    pub fn stages(&self) -> usize {
        self.layers.len()
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first that makes no sense.
    pub fn check(&self) -> Result<(), ModelError> {
        let empty = [
            (self.requests == 0, "requests"),
            (self.concurrency == 0, "concurrency"),
            (self.layers.is_empty(), "stages"),
            (self.layer_ns.is_empty(), "chunks"),
            (self.layers.iter().any(|n| *n < 1), "layers of a stage"),
        ];
        if let Some((_, what)) = empty.iter().find(|(is_wrong, _)| *is_wrong) {
            return Err(ModelError::Empty(what));
        }
        self.check_signs()?;
        self.check_sizes()?;
        if let Some(costs) = &self.stage_ns
            && (costs.len() != self.stages() || costs.iter().any(|row| row.len() != self.chunks()))
        {
            let found =
                format!("{} stages of {:?} chunks", costs.len(), costs.iter().map(Vec::len).collect::<Vec<_>>());
            let expected = format!("{} stages of {} chunks", self.stages(), self.chunks());
            return Err(ModelError::Shape { found, expected });
        }
        let handoff = &self.handoff;
        if handoff.mode == HandoffMode::Pull && handoff.grain != Grain::Whole {
            return Err(ModelError::PullGrain);
        }
        if handoff.reuses && (self.concurrency > 1 || handoff.grain != Grain::Whole) {
            return Err(ModelError::Reuse);
        }
        if handoff.is_cross_layer && handoff.grain == Grain::Layer {
            return Err(ModelError::CrossLayer);
        }
        let pool = handoff.pool_chunks;
        if pool > 0 && (pool as usize) < self.chunks() {
            return Err(ModelError::Pool { pool, chunks: self.chunks() });
        }
        self.check_faults()
    }

    /// What would not fit numbers or memory.
    fn check_sizes(&self) -> Result<(), ModelError> {
        let handoff = &self.handoff;
        let layers = self.layers.iter().map(|n| i64::from(*n)).sum::<i64>();
        let chunks = i64::try_from(self.chunks()).unwrap_or(i64::MAX);
        if self.stages() > 1000 || chunks > 100_000 {
            return Err(ModelError::TooLarge("at most 1,000 stages and 100,000 chunks"));
        }
        if layers > i64::from(i16::MAX) {
            return Err(ModelError::TooLarge("at most 32,767 layers"));
        }
        let passes = i128::from(chunks) * i128::from(layers);
        if passes > 1_000_000 {
            return Err(ModelError::TooLarge(
                "at most 1,000,000 layers times chunks: a request is in memory as a whole",
            ));
        }
        let most = if handoff.is_scattered { 10_000_000 } else { 1_000_000_000_000 };
        if i128::from(handoff.blocks) * passes > most {
            return Err(ModelError::TooLarge("at most 10,000,000 scattered blocks a request, or 10^12 others"));
        }
        // Places are twice as large as the KV in them.
        let bytes = i128::from(handoff.layer_chunk_bytes) * passes;
        if bytes * 2 * i128::from(slots(self)) > 1 << 43 {
            return Err(ModelError::TooLarge("KV of the requests in the system must not exceed 4 TiB"));
        }
        let worst = |factors: &mut dyn Iterator<Item = i64>| factors.max().unwrap_or(0).max(1000);
        let faults = &self.faults;
        let stage_ns = self.stage_ns.iter().flatten().flatten();
        let layer_ns = i128::from(self.layer_ns.iter().chain(stage_ns).copied().max().unwrap_or(0));
        let slow = i128::from(worst(&mut faults.slow_layers.iter().map(|(.., factor)| *factor)));
        let kv = i64::try_from(bytes).unwrap_or(i64::MAX);
        let wire_ns =
            costs::transfer_ns(kv, handoff.bytes_per_s, worst(&mut faults.slow_handoffs.iter().map(|(_, f)| *f)));
        let p2p_ns = costs::transfer_ns(
            self.p2p.bytes,
            self.p2p.bytes_per_s,
            worst(&mut faults.slow_links.iter().map(|(_, f)| *f)),
        );
        if layer_ns * slow / 1000 > LONGEST_NS.into() || wire_ns.max(p2p_ns) > LONGEST_NS {
            return Err(ModelError::TooLarge("no kernel, message or transfer may take longer than 10,000 s"));
        }
        Ok(())
    }

    fn check_signs(&self) -> Result<(), ModelError> {
        let (handoff, p2p, calls) = (&self.handoff, &self.p2p, &self.calls);
        let smallest = |values: &[Ns]| values.iter().copied().min().unwrap_or(0);
        let think = match self.arrivals {
            Arrivals::Closed { think_ns } => think_ns,
            Arrivals::Open { mean_ns } => mean_ns,
        };
        let stage_ns = self.stage_ns.iter().flatten().flatten().copied().min().unwrap_or(0);
        let negative = [
            (smallest(&self.layer_ns).min(stage_ns), "costs of layers"),
            (think, "the distance of requests"),
            (self.noise_ppm, "noise"),
            (
                smallest(&[self.prologue_ns, self.schedule_ns, self.decode.kernel_ns]),
                "times of kernels and of planning",
            ),
            (smallest(&[calls.launch_ns, calls.event_ns, calls.dispatch_ns, calls.sync_ns]), "costs of calls"),
            (smallest(&[p2p.bytes, p2p.bytes_per_s, p2p.latency_ns, p2p.fifo_bytes]), "the wire between stages"),
            (smallest(&[handoff.layer_chunk_bytes, handoff.blocks, handoff.bytes_per_s]), "sizes of the hand-off"),
            (smallest(&[handoff.latency_ns, handoff.wake_ns, handoff.message_ns]), "latencies of the hand-off"),
            (smallest(&[handoff.make_ns.0, handoff.make_ns.1, handoff.post_ns.0, handoff.post_ns.1]), "make and post"),
            (smallest(&[handoff.register_ns, handoff.decode_poll_ns, handoff.decode_schedule_ns]), "decode's times"),
        ];
        if self.noise_ppm > 1_000_000 {
            return Err(ModelError::TooLarge("noise above 100 % would make durations negative"));
        }
        match negative.iter().find(|(value, _)| *value < 0) {
            Some((_, what)) => Err(ModelError::Negative(what)),
            None => Ok(()),
        }
    }

    fn check_faults(&self) -> Result<(), ModelError> {
        let layers = |stage: i16| usize::try_from(stage).ok().and_then(|s| self.layers.get(s)).copied();
        let has = |stage: i16| layers(stage).is_some();
        let chunks = i32::try_from(self.chunks()).unwrap_or(i32::MAX);
        let pushes = self.handoff.mode == HandoffMode::Push;
        let faults = &self.faults;
        let slow = faults.slow_layers.iter();
        let bad = slow
            .map(|(s, l, factor)| (*s, "slow layer", layers(*s).is_some_and(|n| (0..n).contains(l)) && *factor >= 0))
            .chain(
                faults
                    .host_pauses
                    .iter()
                    .map(|(s, c, ns)| (*s, "host pause", has(*s) && (0..chunks).contains(c) && *ns >= 0)),
            )
            .chain(faults.slow_links.iter().map(|(s, factor)| (*s, "slow link", has(s + 1) && *s >= 0 && *factor >= 0)))
            .chain(faults.slow_handoffs.iter().map(|(s, factor)| (*s, "slow hand-off", has(*s) && *factor >= 0)))
            .chain(
                faults.failing.iter().map(|(r, s)| (*s, "failing transfer", pushes && *r < self.requests && has(*s))),
            )
            .find(|(.., is_right)| !is_right);
        match bad {
            Some((stage, what, _)) => Err(ModelError::Fault { what, stage }),
            None => Ok(()),
        }
    }
}
