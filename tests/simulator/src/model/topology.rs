//! Processes, threads, streams, wires and registered memory of a pipeline.

use super::{HandoffMode, Hosts, Model};
use crate::engine::{LaneId, Ns};
use crate::record::{Recorder, Region};
use crate::rig::{LaneKind, Rig};
use crate::truth::StageTruth;

/// When the first request may arrive: later than everything that is set up.
pub const BEGIN_NS: Ns = 100_000_000_000;

/// A prefill stage.
#[derive(Debug, Clone, Copy)]
pub struct StageLanes {
    /// Position of its process.
    pub process: usize,
    /// Thread that launches.
    pub main: LaneId,
    /// Thread that makes and posts transfers.
    pub writer: LaneId,
    /// Thread at which notifications arrive.
    pub listener_tid: i32,
    /// Stream of the forward passes.
    pub compute: LaneId,
    /// Stream of receives.
    pub receives: LaneId,
    /// Stream of sends.
    pub sends: LaneId,
    /// Wire to the next stage.
    pub link: LaneId,
}

/// The decode worker.
#[derive(Debug, Clone, Copy)]
pub struct DecodeLanes {
    /// Position of its process.
    pub process: usize,
    /// Thread that polls, plans and launches.
    pub main: LaneId,
    /// Thread that registers with prefill, and that reads.
    pub nixl: LaneId,
    /// Thread at which notifications arrive.
    pub listener_tid: i32,
    /// Its stream.
    pub stream: LaneId,
    /// Its NIC.
    pub nic: LaneId,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Stages by rank.
    pub stages: Vec<StageLanes>,
    /// Decode, if there is a hand-off.
    pub decode: Option<DecodeLanes>,
    /// Requests and notifications on their way.
    pub messages: LaneId,
}

impl Hosts {
    /// Host of each prefill stage, and of decode.
    fn of(self, stages: usize) -> (Vec<usize>, usize) {
        match self {
            Self::One => (vec![0; stages], 0),
            Self::Split => (vec![0; stages], 1),
            Self::Each => ((0..stages).collect(), stages),
        }
    }

    /// Their names; decode's is there only with a hand-off.
    #[must_use]
    pub fn names(self, stages: usize, has_decode: bool) -> Vec<String> {
        let mut names = match self {
            Self::One => vec!["sim".to_owned()],
            Self::Split => vec!["prefill".to_owned()],
            Self::Each => (0..stages).map(|s| format!("prefill-{s}")).collect(),
        };
        if has_decode && self != Self::One {
            names.push("decode".to_owned());
        }
        names
    }
}

impl Topology {
    /// Sets everything up.
    #[must_use]
    pub fn build(model: &Model, rig: &mut Rig) -> Self {
        let (stage_hosts, decode_host) = model.hosts.of(model.stages());
        let messages = rig.wire(LaneKind::Messages, None, "messages");
        let stages = stage_hosts.into_iter().enumerate().map(|(s, host)| stage(rig, s, host)).collect();
        let decode = (model.handoff.mode != HandoffMode::None).then(|| decode(rig, model.stages(), decode_host));
        Self { stages, decode, messages }
    }

    /// Number of the decode worker among the stages.
    #[must_use]
    pub fn decode_stage(&self) -> i16 {
        i16::try_from(self.stages.len()).unwrap_or(i16::MAX)
    }

    /// Stages as the truth names them.
    #[must_use]
    pub fn truth(&self, model: &Model, rig: &Rig) -> Vec<StageTruth> {
        let resolution = if model.handoff.is_cross_layer { "none" } else { "layer" };
        let mut first_layer = 0;
        let mut out = Vec::new();
        for (s, stage) in self.stages.iter().enumerate() {
            let layers = model.layers[s];
            let process = &rig.processes[stage.process];
            out.push(StageTruth {
                stage: i16::try_from(s).unwrap_or(i16::MAX),
                role: "prefill".to_owned(),
                process_id: process.process_id,
                host: process.host,
                layers,
                first_layer,
                layer_resolution: resolution.to_owned(),
            });
            first_layer += layers;
        }
        if let Some(decode) = &self.decode {
            let process = &rig.processes[decode.process];
            out.push(StageTruth {
                stage: self.decode_stage(),
                role: "decode".to_owned(),
                process_id: process.process_id,
                host: process.host,
                layers: model.decode.layers,
                first_layer: 0,
                layer_resolution: resolution.to_owned(),
            });
        }
        out
    }

    /// Records agents and regions: one region a layer, prefill's of the layers of its stage, decode's of all; and the lists that
    /// they prepare: each of its own, and stages of their layers at decode, or decode of each stage's if it reads.
    pub fn record(&self, model: &Model, rig: &Rig, recorder: &mut Recorder) {
        let Some(decode) = &self.decode else { return };
        let theirs = |layers: std::ops::Range<i16>| {
            let first = layers.start;
            layers_at(model, layers.end - first, |layer| remote_addr(model, first + layer))
        };
        let all = theirs(0..model.layers.iter().sum());
        let mut first = 0;
        for (s, stage) in self.stages.iter().enumerate() {
            let layers = model.layers[s];
            recorder.agent(rig, stage.process, BEGIN_NS - 20_000_000_000);
            let own = layers_at(model, layers, |layer| local_addr(model, s, layer));
            recorder.regions(rig, stage.process, BEGIN_NS - 10_000_000_000, 3_000_000, &regions(model, &own));
            let theirs = theirs(first..first + layers);
            first += layers;
            if model.handoff.is_prepared {
                let is_read = model.handoff.mode == HandoffMode::Pull;
                let (by, of, rows) = if is_read {
                    (decode.process, stage.process, &own)
                } else {
                    (stage.process, decode.process, &theirs)
                };
                recorder.prepared(
                    rig,
                    (stage.process, None),
                    BEGIN_NS - 9_900_000_000,
                    block_bytes(model, layers),
                    &own,
                );
                recorder.prepared(rig, (by, Some(of)), BEGIN_NS - 8_000_000_000, block_bytes(model, layers), rows);
            }
        }
        recorder.agent(rig, decode.process, BEGIN_NS - 20_000_000_000);
        recorder.regions(rig, decode.process, BEGIN_NS - 9_000_000_000, 5_000_000, &regions(model, &all));
        if model.handoff.is_prepared {
            let layers = model.layers.iter().sum();
            recorder.prepared(rig, (decode.process, None), BEGIN_NS - 8_900_000_000, block_bytes(model, layers), &all);
        }
    }
}

/// Requests whose KV a region has room for; places are used again after that many, which is more than are admitted.
pub fn slots(model: &Model) -> i64 {
    i64::from(model.concurrency).max(6) + 2
}

/// Size of a layer's region. Twice what the blocks need, so that scattered ones have gaps between them.
fn region_bytes(model: &Model) -> i64 {
    model.handoff.layer_chunk_bytes * i64::try_from(model.chunks()).unwrap_or(1) * slots(model) * 2
}

/// Size of a block: of a layer, or of so many.
fn block_bytes(model: &Model, layers: i16) -> i64 {
    let of_layer = model.handoff.layer_chunk_bytes / model.handoff.blocks.max(1);
    if model.handoff.is_cross_layer { of_layer * i64::from(layers) } else { of_layer }
}

/// The memory of each of so many layers, or of all where blocks hold all.
fn layers_at(model: &Model, layers: i16, addr: impl Fn(i16) -> u64) -> Vec<Region> {
    let bytes = region_bytes(model);
    if model.handoff.is_cross_layer {
        return vec![Region { addr: addr(0), bytes: bytes * i64::from(layers) }];
    }
    (0..layers).map(|layer| Region { addr: addr(layer), bytes }).collect()
}

/// A region for each, or one for all of them, which follow each other.
fn regions(model: &Model, layers: &[Region]) -> Vec<Region> {
    match layers.first().filter(|_| model.handoff.is_prepared) {
        Some(first) => vec![Region { addr: first.addr, bytes: layers.iter().map(|layer| layer.bytes).sum() }],
        None => layers.to_vec(),
    }
}

/// Where a stage's region of a layer begins.
pub fn local_addr(model: &Model, stage: usize, layer: i16) -> u64 {
    0x7f00_0000_0000
        + (stage as u64) * 0x80_0000_0000
        + u64::from(layer.unsigned_abs()) * region_bytes(model).unsigned_abs()
}

/// Where decode's region of a layer of the model begins.
pub fn remote_addr(model: &Model, layer: i16) -> u64 {
    0x7a00_0000_0000 + u64::from(layer.unsigned_abs()) * region_bytes(model).unsigned_abs()
}

fn stage(rig: &mut Rig, s: usize, host: usize) -> StageLanes {
    let (id, number) = (i64::try_from(s).unwrap_or(0), i16::try_from(s).unwrap_or(i16::MAX));
    let pid = 2_190 + 16 * id;
    let process = rig.process(pid, &format!("VLLM::Worker_PP{s}"), host, i32::from(number));
    rig.processes[process].agent = Some(agent_name(s as u64));
    let tid = i32::try_from(pid).unwrap_or(0);
    StageLanes {
        process,
        main: rig.thread(process, tid, number, "VLLM::Worker_PP"),
        writer: rig.thread(process, tid + 1, number, "nixl-push-write"),
        listener_tid: tid + 2,
        compute: rig.stream(process, 17, number, "compute"),
        receives: rig.stream(process, 33, number, "receives"),
        sends: rig.stream(process, 37, number, "sends"),
        link: rig.wire(LaneKind::Link, Some(number), &format!("stage {s} to {}", s + 1)),
    }
}

fn decode(rig: &mut Rig, stages: usize, host: usize) -> DecodeLanes {
    let number = i16::try_from(stages).unwrap_or(i16::MAX);
    let process = rig.process(1_783, "VLLM::EngineCore", host, i32::from(number));
    rig.processes[process].agent = Some(agent_name(255));
    DecodeLanes {
        process,
        main: rig.thread(process, 1_783, number, "VLLM::EngineCor"),
        nixl: rig.thread(process, 1_784, number, "nixl-handshake"),
        listener_tid: 1_785,
        stream: rig.stream(process, 17, number, "decode"),
        nic: rig.wire(LaneKind::Nic, Some(number), "NIC of decode"),
    }
}

/// Engines name agents by a random UUID; this one is stable.
fn agent_name(n: u64) -> String {
    format!("{:08x}-5eed-4000-8000-{:012x}", 0x51a0_0000 + n, n)
}
