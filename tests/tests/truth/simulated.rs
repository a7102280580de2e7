//! Simulated runs, with the truth of every prefill kernel: which request, chunk and layer it is of.

use std::collections::BTreeMap;
use std::path::Path;

use kvpath_analysis::load::Run;
use kvpath_analysis::model::{Analysis, Recording};
use kvpath_analysis::settings::Settings;
use kvpath_analysis::spill::Memory;
use kvpath_analysis::timeline::{Lane, LaneId, LaneKind};
use kvpath_simulator::cases::Case;
use kvpath_simulator::distort::Distortions;
use kvpath_simulator::engine::OpKind;
use kvpath_simulator::model::{Arrivals, Decode, Grain, Handoff, HandoffMode, Model, P2p, simulate};
use kvpath_simulator::names;
use kvpath_simulator::rig::CallCosts;
use kvpath_simulator::truth::{RequestTruth, RunTruth};

pub(crate) const MS: i64 = 1_000_000;

/// Three stages of eight layers under load: six requests of four chunks that grow, with the overheads of a real engine.
pub(crate) fn model(concurrency: u32, mode: HandoffMode, grain: Grain) -> Model {
    let ideal = Model::ideal(&[8, 8, 8], &[MS, 5 * MS / 4, 3 * MS / 2, 7 * MS / 4]);
    Model {
        seed: 7,
        requests: 6,
        concurrency,
        arrivals: Arrivals::Closed { think_ns: 10 * MS },
        noise_ppm: 10_000,
        prologue_ns: 3_000,
        calls: CallCosts { launch_ns: 3_000, event_ns: 1_000, dispatch_ns: 1_200, sync_ns: 5_000 },
        schedule_ns: 300_000,
        host_lead: 2,
        p2p: P2p { bytes: 128 << 20, bytes_per_s: 300_000_000_000, latency_ns: 10_000, fifo_bytes: 4 << 20 },
        handoff: Handoff {
            mode,
            grain,
            layer_chunk_bytes: 32 << 20,
            blocks: 64,
            bytes_per_s: 50_000_000_000,
            make_ns: (20_000, 30),
            post_ns: (50_000, 500),
            wake_ns: 30_000,
            message_ns: 20_000,
            decode_poll_ns: 200_000,
            decode_schedule_ns: 500_000,
            ..ideal.handoff
        },
        decode: Decode { layers: 24, kernel_ns: 15_000 },
        ..ideal
    }
}

/// A pass as it really was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TruePass {
    /// From its first kernel to its last, ns.
    pub span: (i64, i64),
    /// Start of each layer's first kernel, ns, and at last the end of its last one.
    pub layers: Vec<i64>,
}

/// What a run really did: passes by (request id, stage, chunk).
pub(crate) type Truth = BTreeMap<(String, i32, i32), TruePass>;

/// What the analysis found in a run.
pub(crate) fn analysed(folder: &Path) -> (Recording, Analysis) {
    let run = Run::open(folder.to_str().expect("temporary folders are UTF-8")).expect("a run");
    let recording = Recording::of(&run, &Memory::default()).expect("its tables");
    let analysis = Analysis::of(&recording, &Settings::default());
    (recording, analysis)
}

/// Simulates a run, once without losses for the truth and once with them; returns that truth and what was found.
pub(crate) fn of_model(model: &Model, loss_ppm: u32) -> (Truth, Analysis) {
    let make = |loss_ppm| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let distort = Distortions { loss_ppm, ..Distortions::none(&["sim"]) };
        let mut requests: Vec<RequestTruth> = Vec::new();
        let mut keep = |request: &RequestTruth| {
            requests.push(request.clone());
            Ok(())
        };
        let run = simulate(model, Some(folder.path()), distort, true, &mut keep).expect("a run");
        (folder, run, requests)
    };
    let (folder, run, requests) = make(0);
    let (recording, whole) = analysed(folder.path());
    let chunks = model.chunks();
    let truth = truth(&recording, &run, &requests, chunks);
    if loss_ppm == 0 {
        return (truth, whole);
    }
    let (folder, ..) = make(loss_ppm);
    (truth, analysed(folder.path()).1)
}

/// One of the exact cases, if one host recorded it.
pub(crate) fn of_case(number: &str) -> Option<(Truth, Analysis)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let found = Case::named(number).expect("a case").make(Some(folder.path()), 1).expect("a run");
    if found.run.clocks.len() > 1 || found.run.stages.iter().all(|stage| stage.role != "prefill") {
        return None;
    }
    let model: Model = serde_json::from_value(found.run.model?).expect("the settings of a model");
    // The case itself may lose records; its truth is the same without.
    let (truth, _) = of_model(&model, 0);
    Some((truth, analysed(folder.path()).1))
}

/// Every pass of a run that lost nothing. A stage computes requests in the order of their numbers, each kernel of a pass
/// in the order in which it was launched; every kernel that the truth of a path names must agree with that.
fn truth(recording: &Recording, run: &RunTruth, requests: &[RequestTruth], chunks: usize) -> Truth {
    let (before, each) = (names::PROLOGUE.len(), names::LAYER.len());
    let mut out = Truth::new();
    for stage in run.stages.iter().filter(|stage| stage.role == "prefill") {
        let layers = usize::try_from(stage.layers).expect("a count");
        let lane = run.lanes.iter().position(|lane| lane.stage == Some(stage.stage) && lane.name == "compute");
        let stream = run.lanes[lane.expect("a compute stream")].stream_id.expect("its id");
        let is_compute = |(id, _): &&(LaneId, Lane)| {
            let is_stream = matches!(id.kind, LaneKind::Stream { stream: of, .. } if of == stream);
            id.process == stage.process_id && is_stream
        };
        let (_, ops) = recording.timeline.lanes.iter().find(is_compute).expect("a compute stream");
        let rows: Vec<usize> = (0..ops.len()).collect();
        let (start, end) = (|row: usize| ops.start[row], |row: usize| ops.end[row]);
        let mut of_kernel: BTreeMap<i64, (u32, i32, Option<i16>)> = BTreeMap::new();
        for (pass, rows) in rows.chunks(before + layers * each).enumerate() {
            let (request, chunk) = (pass / chunks, pass % chunks);
            let number = i32::try_from(chunk).expect("a chunk");
            for (at, row) in rows.iter().enumerate() {
                let layer = at.checked_sub(before).and_then(|at| i16::try_from(at / each).ok());
                let request = u32::try_from(request).expect("a request");
                of_kernel.insert(ops.key[*row], (request, number, layer));
            }
            let last = end(rows[rows.len() - 1]);
            let mut starts: Vec<i64> = (0..layers).map(|layer| start(rows[before + layer * each])).collect();
            starts.push(last);
            let key = (requests[request].request_id.clone(), i32::from(stage.stage), number);
            out.insert(key, TruePass { span: (start(rows[0]), last), layers: starts });
        }
        let on_path = requests.iter().flat_map(|request| &request.path);
        for segment in on_path.filter(|s| s.what == OpKind::Kernel && s.stage == Some(stage.stage)) {
            let id = segment.correlation_id.and_then(|id| i64::try_from(id).ok()).expect("a kernel has a launch");
            let told = (segment.request, segment.chunk.expect("a chunk"), segment.layer);
            assert_eq!(of_kernel[&id], told, "{segment:?}");
        }
    }
    out
}
