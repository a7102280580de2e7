//! What the queries of the library answer over tables small enough to reckon by hand.

mod joins;
mod path;

use std::collections::BTreeMap;

use kvpath_schema::segment::RunWriter;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::derived::{
    Cause, CeilingMethod, Chunk, Completeness, Handoff, HandoffFinding, HandoffWay, Layer, LayerMethod,
    LayerResolution, LayersCheck, Request, RequestMethod, RequestState, Role, Stage, StageMethod,
};
use kvpath_schema::tables::gpu::{ApiCall, ApiCalls, Kernel, Kernels, Memcpy, Memcpys};
use kvpath_schema::tables::nixl::{NixlTransfer, NixlTransfers};
use kvpath_schema::tables::rdma::{RdmaOp, RdmaOps};
use kvpath_schema::tables::sched::{OffCpu, OffCpus};
use kvpath_schema::tables::sockets::{Socket, Sockets};
use kvpath_schema::tables::ucx::{UcxOp, UcxOps, UcxTransportCall, UcxTransportCalls};

use super::derived::Tables;
use super::format::{Encoder, Format};
use super::{Session, library};
use kvpath_analysis::load::Run;
use kvpath_analysis::model::{Analysis, Model};

const MIB: i64 = 1 << 20;

/// Two stages in processes 1 and 2.
///
/// Request 0: stage 0 runs chunks [0, 100) and [100, 220), stage 1 [110, 190) and [230, 400). Stage 0 hands 4 MiB off in
/// 64 pieces in 4096 ns, request 1 the same in one piece in 1024 ns.
fn analysis() -> Analysis {
    let mut all = Analysis::default();
    for (stage_id, process_id) in [(0, 1), (1, 2)] {
        all.stages.push(Stage {
            stage_id,
            stage: stage_id,
            role: Role::Prefill,
            pp_rank: Some(stage_id),
            tp_rank: None,
            process_id,
            device_id: Some(stage_id),
            name: format!("PP{stage_id}"),
            method: StageMethod::Title,
            kernels: 10,
            regions: None,
            layers: Some(18),
            layers_method: LayerMethod::KernelSequence,
            layers_confidence: 1.0,
            kv_regions: None,
            regions_per_layer: None,
            layers_check: LayersCheck::Unknown,
            layer_median_ns: Some(5),
        });
    }
    for (request, start_ns, decode_start_ns) in [(0, 0, Some(500)), (1, 1000, None)] {
        all.requests.push(Request {
            request,
            request_id: (request == 0).then(|| "r0".to_owned()),
            method: RequestMethod::Activity,
            state: RequestState::Done,
            sent_ns: None,
            first_token_ns: None,
            start_ns,
            prefill_end_ns: Some(start_ns + 400),
            handoff_end_ns: Some(start_ns + 450),
            decode_start_ns,
            prefill_ns: Some(400),
            handoff_ns: Some(60),
            handoff_exposed_ns: Some(50),
            chunks: Some(2),
            handoff_bytes: Some(4 * MIB),
            handoffs: 1,
            incomplete: request == 1,
            overlaps: false,
        });
    }
    for (stage_id, chunk, start_ns, dur_ns, compute_ns, p2p_exposed_ns) in
        [(0, 0, 0, 100, 90, 4), (0, 1, 100, 120, 108, 2), (1, 0, 110, 80, 70, 10), (1, 1, 230, 170, 140, 30)]
    {
        let idle_ns = dur_ns - compute_ns - p2p_exposed_ns;
        all.chunks.push(Chunk {
            request: 0,
            stage_id,
            chunk,
            start_ns,
            dur_ns,
            compute_ns,
            p2p_ns: p2p_exposed_ns,
            p2p_exposed_ns,
            idle_ns,
            kernels: 5,
            layers: Some(18),
            process_id: i64::from(stage_id) + 1,
            device_id: Some(stage_id),
            end_ns: start_ns + dur_ns,
            share: None,
        });
    }
    for (layer, dur_ns) in [(0, 10), (1, 10), (2, 10), (3, 30), (4, 10)] {
        all.layers.push(Layer {
            request: 0,
            stage_id: 0,
            chunk: 0,
            layer,
            start_ns: 0,
            dur_ns,
            compute_ns: 8,
            kernels: 1,
            method: LayerMethod::KernelSequence,
            confidence: 1.0,
            layer_resolution: LayerResolution::Layer,
            seam_kernels: 0,
            seam_ns: 0,
        });
    }
    all.handoffs.push(handoff(0, 64, 4096, Cause::Scattered));
    all.handoffs.push(handoff(1, 1, 1024, Cause::Contiguous));
    all
}

fn handoff(request: i32, copies: i64, span_ns: i64, cause: Cause) -> Handoff {
    // Powers of two, so that rates are exact: 4 MiB in 1024 ns are 4096 bytes a ns.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let rate = (4 * MIB / span_ns) as f64 * 1e9;
    Handoff {
        copy_process_id: Some(1),
        request,
        stage_id: 0,
        peer_process_id: None,
        peer_device_id: Some(2),
        same_gpu: Some(false),
        way: HandoffWay::Push,
        transfers: 0,
        bytes: 4 * MIB,
        made_descriptors: None,
        descriptors: None,
        regions: None,
        layers: None,
        peer_layers: None,
        layers_method: None,
        copies: Some(copies),
        piece_median_bytes: Some(4 * MIB / copies),
        small_piece_bytes: Some(if copies == 1 { 0 } else { 4 * MIB }),
        copy_start_ns: Some(i64::from(request) * 10_000),
        copy_span_ns: Some(span_ns),
        copy_busy_ns: Some(span_ns),
        ready_ns: None,
        made_ns: None,
        make_ns: None,
        posted_ns: None,
        post_ns: None,
        done_after_ns: None,
        done_by_ns: None,
        notif_arrived_ns: None,
        relayout_start_ns: None,
        relayout_ns: None,
        staging_out_start_ns: None,
        staging_out_ns: None,
        staging_out_bytes: None,
        staging_in_start_ns: None,
        staging_in_ns: None,
        staging_in_bytes: None,
        staging_method: None,
        rate_bytes_per_s: Some(rate),
        span_ns: Some(span_ns),
        ceiling_bytes_per_s: Some(4096e9),
        ceiling_method: CeilingMethod::BestCopy,
        poll_off_ns: None,
        poll_off: None,
        finding: HandoffFinding::of(Completeness::Complete, cause),
        completeness: Completeness::Complete,
        cause,
    }
}

/// The copies of those hand-offs, one to another device and one of another process; a launch with its kernel; and two
/// transfers: one seen to the end, one still pending.
fn segments(run: &mut RunWriter) {
    let mut copies = Memcpys::default();
    let mut copy = |start_ns, process_id, bytes, device| {
        copies.push(Memcpy {
            start_ns,
            dur_ns: 16,
            process_id,
            device_id: 0,
            context_id: 1,
            stream_id: 1,
            correlation_id: 0,
            bytes,
            kind: "PtoP".into(),
            src_device_id: Some(0),
            dst_device_id: Some(device),
            graph_node_id: None,
        });
    };
    (0..64).for_each(|i| copy(64 * i, 1, 65_536, 2));
    copy(10_000, 1, 4 * MIB, 2);
    copy(0, 1, 65_536, 1);
    copy(0, 2, 65_536, 2);
    run.write("cupti", &copies, 0).unwrap();

    let mut kernels = Kernels::default();
    for (start_ns, correlation_id) in [(30, 1), (90, 0)] {
        kernels.push(Kernel {
            start_ns,
            dur_ns: 5,
            process_id: 1,
            device_id: 0,
            context_id: 1,
            stream_id: 1,
            correlation_id,
            name: "k".into(),
            graph_node_id: None,
            grid_x: None,
            grid_y: None,
            grid_z: None,
            block_x: None,
            block_y: None,
            block_z: None,
        });
    }
    run.write("cupti", &kernels, 0).unwrap();
    let mut calls = ApiCalls::default();
    for (process_id, correlation_id) in [(1, 1), (1, 0), (2, 1)] {
        calls.push(ApiCall {
            start_ns: 10,
            dur_ns: 4,
            process_id,
            tid: 1,
            correlation_id,
            name: "cudaLaunchKernel".into(),
        });
    }
    run.write("cupti", &calls, 0).unwrap();

    let mut transfers = NixlTransfers::default();
    for (transfer_id, done) in [(1, true), (2, false)] {
        transfers.push(NixlTransfer {
            transfer_id,
            process_id: 1,
            tid: 1,
            handle: 0x10,
            epoch: transfer_id,
            agent_ptr: 1,
            agent: Some("p".into()),
            peer: Some("d".into()),
            op: "WRITE".into(),
            made_ns: Some(100),
            make_dur_ns: Some(20),
            made_descriptors: Some(64),
            posted_ns: Some(150),
            post_end_ns: Some(160),
            last_pending_poll_ns: done.then_some(200),
            done_poll_ns: done.then_some(230),
            pending_polls: Some(i64::from(done)),
            released_ns: done.then_some(240),
            status: if done { "done" } else { "pending" }.into(),
            bytes: Some(4 * MIB),
            descriptors: Some(4),
            local_memory: None,
            remote_memory: None,
            notif: None,
            notif_bytes: None,
            request: Some("r0".to_owned()),
            chunk: None,
            sender_rank: None,
            library: "nixl".into(),
            layout: None,
        });
    }
    run.write("nixl", &transfers, 0).unwrap();
    ucx(run);
    rdma(run);
    sockets(run);
    sched(run);
}

/// A registration, one that was refused, and a state of a queue pair.
fn rdma(run: &mut RunWriter) {
    let mut rows = RdmaOps::default();
    for (op, dur_ns, bytes, status) in
        [("reg_mr", 50, Some(4096), "ok"), ("reg_mr", 7, Some(9), "error"), ("modify_qp", 5, None, "ok")]
    {
        rows.push(RdmaOp {
            start_ns: 0,
            dur_ns,
            process_id: 1,
            tid: 1,
            op: op.into(),
            bytes,
            addr: None,
            qp_state: (op == "modify_qp").then(|| "RTS".into()),
            object: None,
            status: status.into(),
        });
    }
    run.write("rdma", &rows, 0).unwrap();
}

/// A connection in two spans.
fn sockets(run: &mut RunWriter) {
    let mut rows = Sockets::default();
    for (start_ns, sent_bytes) in [(0, 100), (200, 50)] {
        rows.push(Socket {
            start_ns,
            dur_ns: 200,
            process_id: 1,
            family: "inet".into(),
            protocol: "tcp".into(),
            local: Some("10.0.0.1:1".into()),
            remote: Some("10.0.0.2:2".into()),
            socket: 7,
            sent_bytes,
            sent_calls: 2,
            received_bytes: 3,
            received_calls: 1,
            errors: 0,
            first_ns: 20,
            last_ns: start_ns + 90,
        });
    }
    run.write("sockets", &rows, 0).unwrap();
}

/// A thread that waited for a CPU in two long intervals and in short ones.
fn sched(run: &mut RunWriter) {
    let mut rows = OffCpus::default();
    for (state, off_ns, run_queue_ns, intervals) in
        [("sleeping", 300, 40, 1), ("preempted", 250, 250, 1), ("short", 90, 60, 7)]
    {
        let (start_ns, process_id, tid) = (0, 1, 9);
        rows.push(OffCpu {
            start_ns,
            dur_ns: 300,
            process_id,
            tid,
            state: state.into(),
            off_ns,
            run_queue_ns,
            intervals,
            ..OffCpu::default()
        });
    }
    run.write("sched", &rows, 0).unwrap();
}

/// Of transfer 1 (and 2, whose post covers the same time): two puts, one that ended late, and a flush that was not seen to
/// end; another thread's put, which belongs to none.
fn ucx(run: &mut RunWriter) {
    let mut ops = UcxOps::default();
    for (op, tid, ended_by_ns, transport) in [
        ("put", 1, Some(158), Some("tcp")),
        ("put", 1, Some(220), Some("tcp")),
        ("flush", 1, None, None),
        ("put", 2, Some(158), Some("tcp")),
    ] {
        ops.push(UcxOp {
            start_ns: 152,
            dur_ns: 3,
            process_id: 1,
            tid,
            op: op.into(),
            bytes: Some(if op == "put" { 2 * MIB } else { 0 }),
            ep: 1,
            remote_addr: None,
            status: "ended".into(),
            ended_by_ns,
            transport: transport.map(Into::into),
            function: transport.map(|_| "put_zcopy".into()),
        });
    }
    run.write("ucx", &ops, 0).unwrap();
    let mut all = UcxTransportCalls::default();
    for (start_ns, function, calls) in [(0, "put_zcopy", 4), (100, "put_zcopy", 3), (0, "am_bcopy", 2)] {
        let (transport, function) = ("tcp".into(), function.into());
        all.push(UcxTransportCall { start_ns, dur_ns: 100, process_id: 1, transport, function, calls });
    }
    run.write("ucx", &all, 0).unwrap();
}

fn ask(query: &str, params: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    segments(&mut RunWriter::new(folder.path(), "host", "test 0", None));
    let run = Run::open(folder.path().to_str().unwrap()).unwrap();
    let given: BTreeMap<String, String> = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let query = library::find(query).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let csv = runtime.block_on(async {
        let session = Session::build(
            vec![(&run, Tables::with_paths(Model::computed(run.clone(), analysis(), joins::joined()), &path::found()))],
            256 << 20,
        )
        .unwrap();
        let plan = session.bind(session.plan(query.text).await.unwrap(), &query.header.params, &given).unwrap();
        let mut answer = session.run(plan).await.unwrap();
        let mut encoder = Encoder::new(Format::Csv, &answer.schema(), session.reserve("test")).unwrap();
        while let Some(batch) = answer.next().await.unwrap() {
            encoder.write(&batch).unwrap();
        }
        encoder.finish().unwrap();
        encoder.take()
    });
    String::from_utf8(csv).unwrap().lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn the_window_of_a_request_is_divided_without_rest() {
    // Of 400: stage 0 computes 198 and stage 1 210.
    let rows = ask("bubbles.idle_by_stage", &[("request", "0")]);
    assert_eq!(rows, ["0,0,400,198,0,22,0,180,0.505", "0,1,400,210,110,40,40,0,0.475"]);
    for row in rows {
        let cells: Vec<f64> = row.split(',').map(|cell| cell.parse().unwrap()).collect();
        assert!((cells[3..8].iter().sum::<f64>() - cells[2]).abs() < f64::EPSILON, "{row}");
    }
    assert!(ask("bubbles.idle_by_stage", &[("request", "1")]).is_empty());
}

#[test]
fn chunks_and_stages_are_summed() {
    let rows = ask("chunks.by_stage", &[("request", "0")]);
    assert_eq!(rows[0], "0,0,0,0,100,90,4,6,,18");
    assert_eq!(rows[2], "0,1,0,100,120,108,2,10,1.2,18");
    assert_eq!(rows[3], "0,1,1,230,170,140,30,0,2.0,18");
    let rows = ask("timeline.busy_by_stage", &[]);
    assert_eq!(rows, ["0,PP0,2,220,198,6,6,16,0.9", "1,PP1,2,250,210,40,40,0,0.84"]);
}

#[test]
fn requests_divide_until_the_last_end_that_is_known() {
    assert_eq!(
        ask("requests.summary", &[]),
        ["0,r0,0,2,400,60,50,4194304,1,false", "1,,1000,2,400,60,50,4194304,1,true"]
    );
    let rows = ask("requests.ttft_parts", &[]);
    assert_eq!(rows[0], "0,r0,500,400,50,50,0.8,0.1");
    assert!(rows[1].starts_with("1,,450,400,50,,0.888"), "{}", rows[1]);
}

#[test]
fn scattered_hand_offs_stand_against_their_ceiling() {
    assert_eq!(ask("handoffs.slowest", &[("rows", "1")]), ["0,r0,0,4194304,4096,1024.0,0.25,scattered"]);
    assert_eq!(
        ask("handoffs.scattered", &[]),
        [
            "0,0,4194304,64,65536,1.0,1024.0,4096.0,best_copy,0.25,scattered",
            "1,0,4194304,1,4194304,0.0,4096.0,4096.0,best_copy,1.0,contiguous"
        ]
    );
}

#[test]
fn copies_fall_into_classes_and_foreign_ones_are_left_out() {
    let rows = ["0,0,65536,64,4194304,1024,4096.0", "1,0,4194304,1,4194304,16,262144.0"];
    assert_eq!(ask("handoffs.copy_sizes", &[]), rows);
    assert_eq!(ask("handoffs.copy_sizes", &[("request", "1")]), rows[1..]);
    assert_eq!(ask("timeline.copies_by_kind", &[])[0], "1,PtoP,0,2,65,8388608,1040,65536,8065.969230769231");
}

#[test]
fn the_life_of_a_transfer_is_divided_and_its_end_stays_an_interval() {
    let rows = ask("handoffs.transfers", &[]);
    assert_eq!(rows[0], "2,r0,p,d,WRITE,4194304,64,4,20,30,10,0,,,0,pending");
    assert_eq!(rows[1], "1,r0,p,d,WRITE,4194304,64,4,20,30,10,50,80,10,1,done");
    assert_eq!(ask("nixl.merging", &[]), ["p,d,WRITE,2,128,8,16.0,1048576.0"]);
}

#[test]
fn ops_of_ucx_belong_to_the_post_of_their_thread() {
    let rows = ask("ucx.by_transfer", &[]);
    assert_eq!(rows[0], "1,r0,put,tcp,put_zcopy,2,4194304,4194304,6,10,70,0");
    assert_eq!(rows[1], "1,r0,flush,,,1,0,4194304,3,10,,1");
    assert_eq!(ask("ucx.transports", &[]), ["1,tcp,put_zcopy,7,3,6291456", "1,tcp,am_bcopy,2,0,0"]);
}

#[test]
fn what_setting_up_rdma_cost_is_summed_by_call() {
    assert_eq!(ask("rdma.setup", &[]), ["1,reg_mr,,2,1,4096,57,50", "1,modify_qp,RTS,1,0,,5,5"]);
}

#[test]
fn a_connection_is_summed_over_its_spans() {
    assert_eq!(ask("sockets.connections", &[]), ["1,inet,tcp,10.0.0.1:1,10.0.0.2:2,150,4,6,2,0,270"]);
}

#[test]
fn waits_for_a_cpu_are_summed_by_thread() {
    assert_eq!(ask("timeline.off_cpu", &[]), ["1,9,,640,350,250,250,9"]);
}

#[test]
fn a_layer_stands_out_against_its_chunk() {
    assert_eq!(ask("layers.slowest", &[("rows", "1")]), ["0,0,0,3,0,30,10,20,22,1.0"]);
    let rows = ask("layers.by_stage", &[]);
    assert!(rows[0].starts_with("0,PP0,18,kernel_sequence,1.0,5,10,"), "{}", rows[0]);
    assert_eq!(rows[1], "1,PP1,18,kernel_sequence,1.0,0,,,");
}

#[test]
fn launches_join_kernels_of_their_own_process_and_unknown_ones_do_not() {
    assert_eq!(ask("timeline.launch_delay", &[]), ["1,1,20,20,4"]);
    assert_eq!(ask("timeline.api_calls", &[])[0], "1,cudaLaunchKernel,2,8,4,4");
}
