//! Cases 9, 10, 12 and 13: transfers.

use super::script::{CALLS, Script};
use super::{CaseSetup, CaseTruth, of_model};
use crate::engine::{Gate, GateKind, NewOp, OpKind};
use crate::ids;
use crate::model::{Arrivals, BEGIN_NS, Decode, Handoff, HandoffMode, Model, P2p, RunError};
use crate::names::{LAYER, SAMPLE};
use crate::record::{Piece, Region, TransferPlan};
use crate::rig::{CallCosts, LaneKind};

const US: i64 = 1_000;

/// Two stages of eight layers that push to decode, with all that costs time: what several cases vary.
pub(super) fn served() -> Model {
    let ideal = Model::ideal(&[8, 8], &[600_000, 700_000, 800_000]);
    Model {
        requests: 3,
        arrivals: Arrivals::Closed { think_ns: 250_000_000 },
        calls: CallCosts { launch_ns: 3_000, event_ns: 1_000, dispatch_ns: 1_200, sync_ns: 5_000 },
        schedule_ns: 200_000,
        host_lead: 2,
        p2p: P2p { bytes: 64 << 20, bytes_per_s: 400_000_000_000, latency_ns: 10_000, fifo_bytes: 4 << 20 },
        handoff: Handoff {
            mode: HandoffMode::Push,
            layer_chunk_bytes: 16 << 20,
            blocks: 32,
            bytes_per_s: 50_000_000_000,
            latency_ns: 5_000,
            make_ns: (20_000, 30),
            post_ns: (50_000, 1_000),
            wake_ns: 30_000,
            message_ns: 20_000,
            decode_poll_ns: 300_000,
            decode_schedule_ns: 500_000,
            ..ideal.handoff
        },
        decode: Decode { layers: 16, kernel_ns: 15_000 },
        ..ideal
    }
}

/// Prefill computes 200 us and pushes for 500 us, while decode computes `beside` us and then needs the KV: decode is done
/// after the transfer, 200 us before its end, or before it begins.
pub(super) fn exposed(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    let mut script = Script::new(place);
    let (prefill, launches) = script.stage("prefill", "VLLM::Worker_PP0");
    let (decode, engine) = script.stage("decode", "VLLM::EngineCore");
    let rig = &mut script.rig;
    let writer = rig.thread(prefill, 2_191, 0, "nixl-push-write");
    let (compute0, compute1) = (rig.stream(prefill, 17, 0, "compute 0"), rig.stream(decode, 17, 1, "compute 1"));
    let nic = rig.wire(LaneKind::Nic, Some(1), "NIC of decode");
    let (local, remote) = (0x7f00_0000_0000, 0x7a00_0000_0000);
    for (process, addr) in [(prefill, local), (decode, remote)] {
        script.recorder.agent(&script.rig, process, BEGIN_NS - 2_000_000_000);
        let region = Region { addr, bytes: 1 << 30 };
        script.recorder.regions(&script.rig, process, BEGIN_NS - 1_000_000_000, 1_000_000, &[region]);
    }
    // Launch 5 us, compute 200 us, then 500 us on the wire: it runs from 205 to 705 us.
    for (beside_us, non_overlapped_us, on_path_us) in [(900, 0, 0), (500, 200, 500), (100, 500, 500)] {
        let request = script.begin();
        script.take_up(launches, &request, 0);
        script.take_up(engine, &request, 1);
        let (here, there) = (request.at(0, OpKind::Kernel), request.at(1, OpKind::Kernel));
        let rig = &mut script.rig;
        let written = rig.launch(&CALLS, launches, compute0, (LAYER[6].0, 200 * US), here);
        rig.launch(&CALLS, engine, compute1, (LAYER[1].0, beside_us * US), there);
        let ready = [Gate::after(written, GateKind::KvWritten)];
        rig.host(writer, 0, here.doing(OpKind::HandoffReady), &ready);
        let make = rig.host(writer, 0, here.doing(OpKind::Make), &[]);
        let post = rig.host(writer, 0, here.doing(OpKind::Post), &[]);
        let wire = NewOp::new(nic, 500 * US, here.doing(OpKind::Wire));
        let wire = rig.engine.add(wire, &[Gate::after(post, GateKind::Posted)], &[]);
        let way = NewOp::new(script.messages, 0, here.doing(OpKind::NotifMessage));
        let arrival = rig.engine.add(way, &[Gate::after(wire, GateKind::Transferred)], &[]);
        let poll = NewOp::new(engine, 0, there.doing(OpKind::DecodePoll));
        rig.engine.add(poll, &[], &[Gate::after(arrival, GateKind::Notified)]);
        let sink = rig.launch(&CALLS, engine, compute1, (SAMPLE, 100 * US), there);
        let number = request.label.request;
        let plan = TransferPlan {
            stage: 0,
            chunk: None,
            layer: None,
            poster: (prefill, 2_191),
            peer: (decode, 2_207),
            is_read: false,
            handle: 0x7fd4_3c00_0000,
            made_descriptors: 1,
            pieces: vec![Piece { local, remote, bytes: 25_000_000 }],
            notif: Some(format!("{}:1", ids::internal(number))),
            error: None,
            written,
            make,
            post,
            wire,
            arrival: Some(arrival),
            seen: None,
        };
        let figures =
            [("total_ns", 500 * US), ("non_overlapped_ns", non_overlapped_us * US), ("on_path_ns", on_path_us * US)];
        script.end(request, sink, vec![plan], &figures);
    }
    script.finish()
}

/// Polls 700 us apart, which no completion falls on.
pub(super) fn polls(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    of_model(place, &served(), |distort| distort.poll_ns = 700_000)
}

/// As few event handles as the hosts can do with (three), one transfer handle, one place for KV.
pub(super) fn reuse(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    let model = served();
    of_model(place, &Model { requests: 5, handoff: Handoff { reuses: true, ..model.handoff }, ..model }, |_| {})
}

/// One region for all layers of a stage.
pub(super) fn cross_layer(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    let model = served();
    of_model(place, &Model { handoff: Handoff { is_cross_layer: true, ..model.handoff }, ..model }, |_| {})
}
