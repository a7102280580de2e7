//! The analyses together, on tables made by hand.

mod division;
mod nameless;
mod purposes;
mod ranks;
mod staging;
mod witness;

use kvpath_schema::table::Columns;
use kvpath_schema::tables::spans::Span;

use super::{Analysis, Model, Recording, Run, Settings};
use crate::synthetic::MS;

fn analyse(recording: &Recording) -> Analysis {
    Analysis::of(recording, &Settings::default())
}

/// Two stages (1, 2) and a decode process (3) without GPU records, as the CPU workload is recorded.
fn live() -> Recording {
    let mut recording = Recording::default();
    recording.process(1, "VLLM::Worker_PP0_TP0");
    recording.process(2, "VLLM::Worker_PP1_TP0");
    recording.process(3, "VLLM::EngineCore");
    recording.process(4, "bash");
    recording.agent(1, "a-0");
    recording.agent(2, "a-1");
    recording.agent(3, "d-0");
    recording
}

#[test]
fn an_empty_run_has_no_answers_and_no_panic() {
    let analysis = analyse(&Recording::default());
    assert!(analysis.stages.is_empty() && analysis.requests.is_empty() && analysis.handoffs.is_empty());
}

#[test]
fn live_transfers_become_requests_by_their_ids_across_stages() {
    let mut recording = live();
    for (request, at) in [("req-1", 100 * MS), ("req-10", 110 * MS)] {
        for (process, agent) in [(1, "a-0"), (2, "a-1")] {
            let posted = at + process * MS;
            recording.notif(process, "arrived", "d-0", posted - 5 * MS, &format!("PUSH_REG:{request}-89abcdef"));
            recording.write(process, agent, "d-0", posted, 4 << 20, request);
            recording.notif(3, "arrived", agent, posted + 12 * MS, &format!("{request}-0123abcd:1"));
        }
    }
    let analysis = analyse(&recording);
    let roles: Vec<(i64, &str)> =
        analysis.stages.process_id.iter().copied().zip(analysis.stages.role.iter().map(|role| role.text())).collect();
    assert_eq!(roles, [(1, "prefill"), (2, "prefill"), (3, "decode")], "bash takes no part");
    let ids: Vec<_> = analysis.requests.request_id.iter().flatten().map(String::as_str).collect();
    assert_eq!(ids, ["req-1", "req-10"]);
    assert_eq!(analysis.handoffs.len(), 4);
    for row in 0..4 {
        let h = analysis.handoffs.row(row);
        let posted = h.posted_ns.unwrap();
        // `req-1` is not taken for `req-10`, whose registration came later.
        assert_eq!(h.ready_ns, Some(posted - 5 * MS), "{h:?}");
        assert_eq!((h.made_ns, h.make_ns, h.post_ns), (Some(posted - 2 * MS), Some(MS), Some(MS)));
        assert_eq!((h.done_after_ns, h.done_by_ns), (Some(posted + 9 * MS), Some(posted + 10 * MS)));
        assert_eq!((h.notif_arrived_ns, h.peer_process_id), (Some(posted + 12 * MS), Some(3)));
        assert_eq!((h.bytes, h.copies, h.transfers), (4 << 20, None, 1));
    }
    assert_eq!(analysis.requests.handoff_bytes, [Some(8 << 20), Some(8 << 20)]);
    assert_eq!(analysis.requests.incomplete, [false, false]);
}

#[test]
fn a_pull_is_the_hand_off_of_the_peer_that_holds_the_kv() {
    let mut recording = live();
    recording.write(3, "d-0", "a-0", 100 * MS, 1 << 20, "req-1");
    recording.transfers.op[0] = "READ".into();
    let analysis = analyse(&recording);
    let stage = analysis.stages.process_id.iter().position(|p| *p == 1).unwrap();
    assert_eq!(analysis.stages.role[stage].text(), "prefill");
    let handoff = analysis.handoffs.row(0);
    assert_eq!(handoff.stage_id, analysis.stages.stage_id[stage]);
    assert_eq!(handoff.peer_process_id, Some(3));
}

#[test]
fn copies_of_a_pull_are_its_readers_and_make_no_further_request() {
    let mut recording = live();
    recording.write(3, "d-0", "a-0", 100 * MS, 1 << 20, "req-1");
    recording.transfers.op[0] = "READ".into();
    recording.transfers.local_memory[0] = Some("VRAM".into());
    recording.device_copies.extend(3, (1, 0), [((102 * MS, MS), 1 << 20)]);
    let analysis = analyse(&recording);
    assert_eq!((analysis.requests.len(), analysis.requests.handoff_bytes[0]), (1, Some(1 << 20)));
    let handoff = analysis.handoffs.row(0);
    assert_eq!((handoff.bytes, handoff.copies, handoff.copy_process_id), (1 << 20, Some(1), Some(3)));
}

#[test]
fn a_request_that_an_idle_worker_left_alone_was_aborted() {
    let mut recording = live();
    for (request, at) in [("req-1", 100 * MS), ("req-2", 600 * MS)] {
        recording.write(1, "a-0", "d-0", at, 1 << 20, request);
    }
    recording.kernel(3, 7, "decode", 615 * MS, MS);
    let requests = analyse(&recording).requests;
    assert_eq!(requests.state.iter().map(|state| state.text()).collect::<Vec<_>>(), ["aborted", "done"]);
    assert_eq!(requests.decode_start_ns, [None, Some(615 * MS)]);
}

/// The thread that computes posts the pull, and stands still for it.
#[test]
fn a_worker_that_a_pull_held_up_may_go_on_with_another_request() {
    let start_of = |is_busy: bool| {
        let mut recording = live();
        recording.write(3, "d-0", "a-0", 600 * MS, 1 << 20, "req-1");
        recording.transfers.op[0] = "READ".into();
        if is_busy {
            recording.kernel(3, 7, "decode", 595 * MS, MS);
        }
        recording.kernel(3, 7, "decode", 615 * MS, MS);
        analyse(&recording).requests.decode_start_ns[0]
    };
    assert_eq!((start_of(false), start_of(true)), (Some(615 * MS), None));
}

#[test]
fn of_transfers_that_did_not_end_no_bytes_were_handed_over() {
    let finding = |set: &dyn Fn(&mut Recording)| {
        let mut recording = live();
        recording.notif(1, "arrived", "d-0", 90 * MS, "PUSH_REG:req-1-89abcdef");
        recording.write(1, "a-0", "d-0", 100 * MS, 1 << 20, "req-1");
        set(&mut recording);
        let handoff = analyse(&recording).handoffs.row(0);
        assert_eq!((handoff.ready_ns, handoff.post_ns, handoff.descriptors), (Some(90 * MS), Some(MS), Some(4)));
        (handoff.bytes, handoff.finding.text())
    };
    let open = |recording: &mut Recording, status: &str| {
        (recording.transfers.done_poll_ns[0], recording.transfers.released_ns[0]) = (None, None);
        recording.transfers.status[0] = status.into();
    };
    assert_eq!(finding(&|_| ()), (1 << 20, "unknown"));
    assert_eq!(finding(&|recording| open(recording, "NIXL_ERR_REMOTE_DISCONNECT")), (0, "failed"));
    assert_eq!(finding(&|recording| open(recording, "pending")), (0, "unfinished"));
    let arrived = |recording: &mut Recording| {
        open(recording, "pending");
        recording.notif(3, "arrived", "a-0", 112 * MS, "req-1-0123abcd:1");
    };
    assert_eq!(finding(&arrived), (1 << 20, "unknown"), "its notification comes after its data");
}

#[test]
fn requests_are_joined_with_what_their_clients_say() {
    let mut recording = live();
    let say = |recording: &mut Recording, name: &str, id: &str, start_ns: i64, dur_ns: Option<i64>| {
        let (service, request) = ("client".into(), Some(id.to_owned()));
        recording.spans.push(Span { start_ns, dur_ns, service, name: name.into(), request });
    };
    recording.write(1, "a-0", "d-0", 100 * MS, 1 << 20, "req-1");
    recording.write(1, "a-0", "d-0", 500 * MS, 1 << 20, "req-2");
    say(&mut recording, "request", "req-1", 90 * MS, Some(40 * MS));
    say(&mut recording, "request", "req-2", 490 * MS, None);
    say(&mut recording, "failed", "req-2", 490 * MS, Some(5 * MS));
    say(&mut recording, "request", "req-3", 900 * MS, None);
    say(&mut recording, "failed", "req-3", 900 * MS, None);
    let requests = analyse(&recording).requests;
    assert_eq!(requests.state.iter().map(|state| state.text()).collect::<Vec<_>>(), ["done", "aborted", "asked"]);
    assert_eq!(requests.method.iter().map(|method| method.text()).collect::<Vec<_>>(), ["notif", "notif", "client"]);
    assert_eq!(requests.sent_ns, [Some(90 * MS), Some(490 * MS), Some(900 * MS)]);
    assert_eq!(requests.first_token_ns, [Some(130 * MS), None, None]);
    assert_eq!(requests.start_ns[2], 900 * MS);
}

/// A process that is started anew makes an agent of the same name: who it was depends on when.
#[test]
fn hand_offs_before_and_after_a_restart_are_of_the_process_that_had_the_name_then() {
    let made_anew = |recording: &mut Recording, process: i64, name: &str| {
        recording.process(process, "VLLM::EngineCore");
        recording.agent(process, name);
        *recording.agents.time_ns.last_mut().unwrap() = 500 * MS;
    };
    let mut recording = live();
    made_anew(&mut recording, 13, "d-0");
    recording.write(1, "a-0", "d-0", 100 * MS, 1 << 20, "req-1");
    recording.write(1, "a-0", "d-0", 900 * MS, 1 << 20, "req-2");
    assert_eq!(analyse(&recording).handoffs.peer_process_id, [Some(3), Some(13)]);
    let mut recording = live();
    made_anew(&mut recording, 11, "a-0");
    recording.write(3, "d-0", "a-0", 100 * MS, 1 << 20, "req-1");
    recording.write(3, "d-0", "a-0", 900 * MS, 1 << 20, "req-2");
    recording.transfers.op = vec!["READ".into(), "READ".into()];
    let analysis = analyse(&recording);
    let senders = analysis.handoffs.stage_id.iter().map(|stage| {
        let at = analysis.stages.stage_id.iter().position(|other| other == stage).unwrap();
        analysis.stages.process_id[at]
    });
    assert_eq!(senders.collect::<Vec<_>>(), [1, 11]);
}

/// Chunks of a request carry one text: the hand-off has arrived with the last of them, and where one is missing it is not known.
#[test]
fn a_hand_off_has_arrived_with_the_last_of_its_notifs() {
    let mut recording = live();
    for at in [100, 101] {
        recording.write(1, "a-0", "d-0", at * MS, 1 << 20, "req-1");
        recording.notif(3, "arrived", "a-0", (at + 20 + (at - 100) * 30) * MS, "req-1-0123abcd:1");
    }
    assert_eq!(analyse(&recording).handoffs.notif_arrived_ns, [Some(151 * MS)]);
    recording.write(1, "a-0", "d-0", 102 * MS, 1 << 20, "req-1");
    assert_eq!(analyse(&recording).handoffs.notif_arrived_ns, [None]);
}

#[test]
fn descriptors_show_the_regions_that_they_touch() {
    let mut recording = live();
    for layer in 0..4 {
        recording.region(1, layer, 0x10_000 * (1 + u64::try_from(layer).unwrap()), 0x8000);
    }
    recording.write(1, "a-0", "d-0", 100 * MS, 3 << 12, "req-1");
    recording.descriptor(0, 0x10_000, 1 << 12);
    recording.descriptor(0, 0x17_000, 1 << 12);
    recording.descriptor(0, 0x30_000, 1 << 12);
    recording.transfers.descriptors[0] = Some(3);
    let analysis = analyse(&recording);
    let handoff = analysis.handoffs.row(0);
    assert_eq!(handoff.regions, Some(2), "regions 0 and 2");
    assert_eq!((analysis.stages.regions[0], analysis.stages.layers[0]), (Some(4), None), "a region is no layer");
    recording.transfers.descriptors[0] = Some(9);
    assert_eq!(analyse(&recording).handoffs.regions, [None], "not all descriptors were recorded");
}

#[test]
fn a_transfer_not_seen_to_end_has_no_rate() {
    let mut recording = live();
    recording.write(1, "a-0", "d-0", 100 * MS, 1 << 20, "req-1");
    recording.transfers.done_poll_ns[0] = None;
    recording.transfers.status[0] = "pending".into();
    let handoff = analyse(&recording).handoffs.row(0);
    assert_eq!((handoff.done_by_ns, handoff.span_ns, handoff.rate_bytes_per_s), (None, None, None));
}

/// Stage 1 then stage 2 run `chunks` chunks of 12 layers from `at`; returns the end of each stage.
fn prefill(recording: &mut Recording, at: i64, chunks: i64) -> (i64, i64) {
    let (mut first, mut second) = (at, at);
    for _ in 0..chunks {
        first = recording.pass(1, first, 12, MS / 10);
        second = recording.pass(2, second.max(first), 12, MS / 10);
    }
    (first, second)
}

#[test]
fn without_ids_each_group_with_a_hand_off_is_a_request_and_warm_up_is_none() {
    let mut recording = live();
    prefill(&mut recording, 0, 1);
    for at in [1_000 * MS, 2_000 * MS] {
        let (first, second) = prefill(&mut recording, at, 3);
        recording.copy(1, first + 50 * MS, MS, 8 << 20);
        recording.copy(2, second + 50 * MS, MS, 8 << 20);
    }
    let analysis = analyse(&recording);
    assert_eq!(analysis.requests.len(), 2);
    assert_eq!(analysis.requests.chunks, [Some(3), Some(3)]);
    assert_eq!(analysis.requests.start_ns, [1_000 * MS, 2_000 * MS]);
    let stage = analysis.stages.row(0);
    assert_eq!((stage.layers, stage.layers_method.text()), (Some(12), "kernel_sequence"));
    // 3 chunks of 75 kernels of 0.1 ms, one chunk behind: the window is 4 chunks long.
    let bubble = analysis.bubbles.row(0);
    assert_eq!((bubble.window_ns, bubble.compute_ns, bubble.idle_ns), (Some(30 * MS), 22_500_000, Some(7_500_000)));
}

#[test]
fn chunk_wise_pushes_while_the_stage_computes_are_one_request() {
    let mut recording = live();
    // NIXL recorded, but without request ids: SGLang 0.5.23 sends no notif.
    recording.processes.name[..3]
        .clone_from_slice(&["sglang::scheduler_PP0", "sglang::scheduler_PP1", "sglang::scheduler"].map(str::to_owned));
    for at in [0, 1_000 * MS] {
        let (first, _) = prefill(&mut recording, at, 4);
        for (chunk, posted) in [(3, at + 8 * MS), (3, at + 16 * MS), (3, at + 24 * MS), (1, first + 20 * MS)] {
            recording.write(1, "a-0", "d-0", posted, chunk << 20, "x");
        }
    }
    recording.transfers.request.fill(None);
    recording.transfers.notif.fill(None);
    let analysis = analyse(&recording);
    assert_eq!(analysis.requests.len(), 2);
    assert_eq!(analysis.handoffs.transfers, [4, 4]);
    assert_eq!(analysis.handoffs.bytes, [10 << 20, 10 << 20]);
}

#[test]
fn requests_that_follow_without_pause_get_their_own_passes_by_id() {
    let mut recording = live();
    let mut at = 0;
    for request in ["req-0", "req-1", "req-2"] {
        for _ in 0..2 {
            at = recording.pass(1, at, 12, MS / 10);
        }
        recording.write(1, "a-0", "d-0", at + MS, 1 << 20, request);
    }
    let analysis = analyse(&recording);
    assert_eq!(analysis.requests.chunks, [Some(2), Some(2), Some(2)]);
    let starts: Vec<i64> = analysis.requests.start_ns.iter().map(|ns| ns / MS).collect();
    assert_eq!(starts, [0, 15, 30]);
}

#[test]
fn communication_is_never_compute() {
    let mut recording = live();
    let (first, second) = prefill(&mut recording, 0, 2);
    recording.kernel(2, 8, "ncclDevKernel_SendRecv", 0, 7_500_000);
    recording.copy(1, first + 50 * MS, MS, 8 << 20);
    recording.copy(2, second + 50 * MS, MS, 8 << 20);
    let analysis = analyse(&recording);
    let bubble = analysis.bubbles.row(1);
    assert_eq!(bubble.stage_id, 1);
    assert_eq!((bubble.compute_ns, bubble.p2p_ns, bubble.p2p_wait_ns), (15 * MS, 7_500_000, Some(7_500_000)));
    assert_eq!(bubble.idle_ns, bubble.window_ns.map(|window| window - bubble.compute_ns));
    assert_eq!(bubble.collective_wait_ns, Some(0));
    let chunk = analysis.chunks.row(2);
    assert_eq!((chunk.stage_id, chunk.chunk, chunk.p2p_ns), (1, 0, 7_500_000), "the receive of its first chunk");
}

#[test]
fn scattered_pieces_are_told_from_contiguous_ones() {
    let mut recording = live();
    let (first, second) = prefill(&mut recording, 0, 2);
    recording.copy(1, first + MS, MS, 64 << 20);
    for piece in 0..1024 {
        recording.copy(2, second + MS + piece * 20_000, 10_000, 64 << 10);
    }
    let analysis = analyse(&recording);
    let findings: Vec<&str> = analysis.handoffs.finding.iter().map(|f| f.text()).collect();
    assert_eq!(findings, ["contiguous", "scattered"]);
    assert_eq!(analysis.handoffs.copies, [Some(1), Some(1024)]);
    let slow = analysis.handoffs.row(1);
    assert_eq!((slow.copy_span_ns, slow.copy_busy_ns), (Some(1023 * 20_000 + 10_000), Some(10_240_000)));
}

#[test]
fn the_order_of_rows_changes_nothing() {
    let mut recording = live();
    for at in [0, 1_000 * MS] {
        let (first, second) = prefill(&mut recording, at, 3);
        recording.copy(1, first + 5 * MS, MS, 8 << 20);
        recording.copy(2, second + 5 * MS, MS, 8 << 20);
    }
    let forward = analyse(&recording);
    // Rows of lanes and copies are put in order as they are read (tests of timeline and raw); here those of the tables.
    let transfers = std::mem::take(&mut recording.transfers);
    for row in (0..transfers.len()).rev() {
        recording.transfers.push(transfers.row(row));
    }
    let backward = analyse(&recording);
    assert_eq!(forward.chunks, backward.chunks);
    assert_eq!(forward.layers, backward.layers);
    assert_eq!(forward.handoffs, backward.handoffs);
    assert_eq!(forward.requests, backward.requests);
}

#[test]
fn a_title_that_names_the_role_holds_against_traffic() {
    let mut recording = Recording::default();
    recording.process(1, "VLLM::EngineCore prefill");
    recording.process(3, "VLLM::EngineCore decode");
    // The decode worker reads, and the recording does not say from whom.
    recording.write(3, "d-0", "gone", 100 * MS, 1 << 20, "req-1");
    recording.transfers.op[0] = "READ".into();
    recording.copy(3, 101 * MS, MS, 1 << 20);
    let analysis = analyse(&recording);
    let decode = analysis.stages.process_id.iter().position(|p| *p == 3).unwrap();
    assert_eq!(analysis.stages.role[decode].text(), "decode");
    recording.processes.name = vec!["a".to_owned(), "b".to_owned()];
    let untitled = analyse(&recording);
    let decode = untitled.stages.process_id.iter().position(|p| *p == 3).unwrap();
    assert_eq!(untitled.stages.role[decode].text(), "decode", "a process that only reads receives");
}

#[test]
fn copies_of_hand_offs_that_were_open_together_are_nobodys() {
    let mut recording = live();
    let (first, second) = prefill(&mut recording, 0, 2);
    let at = first.max(second) + MS;
    recording.write(1, "a-0", "d-0", at, 8 << 20, "req-0");
    recording.write(1, "a-0", "d-0", at + MS, 8 << 20, "req-1");
    for piece in 0..16 {
        recording.copy(1, at + 2 * MS + piece * 20_000, 10_000, 1 << 20);
    }
    let analysis = analyse(&recording);
    let findings: Vec<&str> = analysis.handoffs.finding.iter().map(|f| f.text()).collect();
    assert_eq!(findings, ["overlapping", "overlapping"]);
    assert_eq!(analysis.handoffs.rate_bytes_per_s, [None, None]);
    assert_eq!(analysis.requests.incomplete, [false, false], "nothing was lost");
    assert!(analysis.coverage.verdict.iter().all(|v| v == crate::coverage::COMPLETE), "{:?}", analysis.coverage);
}

#[test]
fn replicas_are_no_pipeline() {
    let mut recording = Recording::default();
    for process in [1, 2] {
        recording.process(process, "VLLM::EngineCore");
        let end = recording.pass(process, process * 1_000 * MS, 12, MS / 10);
        let end = recording.pass(process, end, 12, MS / 10);
        recording.kernel(process, 7, "ncclDevKernel_AllReduce_Sum_bf16_RING_LL", end, MS);
        recording.copy(process, end + 5 * MS, MS, 8 << 20);
    }
    let analysis = analyse(&recording);
    assert_eq!(analysis.stages.pp_rank, [None, None]);
    assert_eq!(analysis.requests.len(), 2);
    assert_eq!(analysis.requests.incomplete, [false, false], "each request ran on one of them");
    assert_eq!(analysis.bubbles.len(), 2);
    assert_eq!(analysis.bubbles.p2p_ns, [0, 0], "a collective is no send");
}

#[test]
fn an_end_that_names_no_handle_is_nobodys_where_two_are_open() {
    let mut recording = live();
    let mut mark = |start_ns: i64, text: &str| recording.nvtx.push(start_ns, None, (1, 1), text);
    for (at, text) in [(0, "nixl::postXferReq.write"), (10, "nixl::postXferReq.write"), (200, "nixl::xfer.complete")] {
        mark(at, text);
    }
    mark(3_000 * MS, "nixl::postXferReq.write");
    mark(3_001 * MS, "nixl::xfer.complete");
    let analysis = analyse(&recording);
    let done: Vec<_> = analysis.handoffs.done_by_ns.iter().flatten().copied().collect();
    assert_eq!(done, [3_001 * MS]);
}

#[test]
fn a_failed_transfer_is_counted_once() {
    let mut recording = live();
    recording.write(1, "a-0", "d-0", 100 * MS, 1 << 20, "req-1");
    recording.transfers.status[0] = "NIXL_ERR_REMOTE_DISCONNECT".into();
    recording.transfers.done_poll_ns[0] = None;
    recording.write(1, "a-0", "d-0", 200 * MS, 1 << 20, "req-1");
    let handoff = analyse(&recording).handoffs.row(0);
    assert_eq!((handoff.transfers, handoff.bytes, handoff.descriptors), (2, 1 << 20, Some(4)));
    assert_eq!((handoff.posted_ns, handoff.done_by_ns), (Some(100 * MS), Some(210 * MS)));
    assert_eq!(handoff.span_ns, Some(10 * MS), "the time between the two is no transfer's");
}

#[test]
fn activations_are_no_kv() {
    let mut recording = live();
    let (first, second) = prefill(&mut recording, 0, 2);
    for (id, lane) in &mut recording.timeline.lanes {
        lane.device = i32::try_from(id.process - 1).ok();
    }
    for (process, end, from) in [(1, first, 0), (2, second, 1)] {
        recording.write(process, &format!("a-{}", process - 1), "d-0", end + 3 * MS, 8 << 20, "req-1");
        recording.device_copies.extend(process, (from, 2), [((end + 4 * MS, MS), 8 << 20)]);
        // Stage 2 fetches its input after the post, or stage 1 sends it.
        recording.device_copies.extend(process, (0, 1), [((end + 6 * MS, MS), 64 << 20)]);
    }
    let analysis = analyse(&recording);
    assert_eq!(analysis.handoffs.bytes, [8 << 20, 8 << 20]);
    assert_eq!(analysis.handoffs.copies, [Some(1), Some(1)]);
}

/// Whatever is asked of a run, each of its raw tables is read once.
#[test]
fn every_raw_table_is_read_at_most_once() {
    for name in ["vllm-full", "sglang", "taken"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/v1").join(name);
        let model = Model::new(Run::open(folder.to_str().unwrap()).unwrap(), Settings::default());
        for _ in 0..2 {
            model.losses().unwrap();
            model.joined().unwrap();
            model.clocks().unwrap();
            assert!(!model.walker().unwrap().paths(|_| true).paths.is_empty(), "{name}");
        }
        let reads = model.run().reads();
        assert!(reads.len() > 10, "{name}: {reads:?}");
        assert!(reads.values().all(|times| *times == 1), "{name}: {reads:?}");
    }
}
