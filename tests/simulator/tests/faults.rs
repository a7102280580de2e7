//! Each fault and each way to hand over shows where it should, with figures derived by hand. Launches of the ideal
//! pipeline take 100 ns, a pass of 20 layers has 5 + 20 * 13 = 265 kernels, and a chunk takes 20 units of 1 ms.

use kvpath_schema::segment;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::NixlTransfers;
use kvpath_simulator::distort::Distortions;
use kvpath_simulator::model::{Arrivals, Faults, Grain, Handoff, HandoffMode, Model, P2p, simulate};
use kvpath_simulator::truth::{Cause, RequestTruth};

const MS: i64 = 1_000_000;
const LAUNCH: i64 = 100;

fn run(model: &Model) -> Vec<RequestTruth> {
    let mut requests = Vec::new();
    simulate(model, None, Distortions::none(&["sim"]), true, &mut |request| {
        requests.push(request.clone());
        Ok(())
    })
    .unwrap();
    requests
}

fn ideal(stages: usize, chunks: usize) -> Model {
    Model::ideal(&vec![20; stages], &vec![MS; chunks])
}

fn with_handoff(model: &Model, change: impl Fn(&mut Handoff)) -> Model {
    let mut model = model.clone();
    change(&mut model.handoff);
    model
}

/// The host launches chunk 0 in 265 * 100 ns, pauses 50 ms and launches one kernel, which is there at 50.0266 ms; the GPU
/// was done with chunk 0 at 20.0001 ms.
#[test]
fn a_pause_of_the_host_is_the_hosts() {
    let faults = Faults { host_pauses: vec![(0, 1, 50 * MS)], ..Faults::default() };
    let request = &run(&Model { faults, ..ideal(1, 2) })[0];
    let idle = 265 * LAUNCH + 50 * MS + LAUNCH - (LAUNCH + 20 * MS);
    assert_eq!((request.bubbles[0].host_ns, request.bubbles[0].inner_ns()), (idle, idle));
    let [delay] = request.delays[..] else { panic!("{:?}", request.delays) };
    assert_eq!((delay.cause, delay.stage, delay.short_ns, delay.long_ns), (Cause::Host, 0, idle, 0));
}

/// Two requests one after another, 250 ms between. From the last kernel of the first to the first one of the second: 1 us on
/// the wire, a launch and six kernels of 1 us on decode, the pause, a launch.
#[test]
fn between_requests_there_is_no_work() {
    let model = Model { requests: 2, arrivals: Arrivals::Closed { think_ns: 250 * MS }, ..ideal(2, 3) };
    let truth = simulate(&model, None, Distortions::none(&["sim"]), false, &mut |_| Ok(())).unwrap();
    assert_eq!(truth.no_work_ns, 1_000 + LAUNCH + 6_000 + 250 * MS + LAUNCH);
}

/// Messages take 10 ms, 2.5 times as long on the slow link: 25 ms, where a chunk takes 20. Stage 1 fills for 20 + 25 and
/// then waits 5 for each of 15 messages, all of it while bytes are on their way.
#[test]
fn a_slow_link_is_p2p_exposed() {
    let p2p = P2p { bytes: 1 << 20, bytes_per_s: (1 << 20) * 100, latency_ns: 0, fifo_bytes: 4 << 20 };
    let faults = Faults { slow_links: vec![(0, 2500)], ..Faults::default() };
    let request = &run(&Model { p2p, faults, ..ideal(2, 16) })[0];
    let bubbles = request.bubbles[1];
    assert_eq!(bubbles.fill_ns, 45 * MS);
    assert_eq!((bubbles.p2p_exposed_ns, bubbles.inner_ns()), (75 * MS, 75 * MS));
}

/// A host that may be one pass ahead waits for the pass before, returns from its call 7 us after, and launches: 7 us sync
/// and 100 ns host for each of chunks 1 to 3.
#[test]
fn a_blocking_call_is_sync() {
    let mut model = Model { host_lead: 1, ..ideal(1, 4) };
    model.calls.sync_ns = 7_000;
    let bubbles = run(&model)[0].bubbles[0];
    assert_eq!((bubbles.sync_ns, bubbles.host_ns, bubbles.inner_ns()), (3 * 7_000, 3 * LAUNCH, 3 * 7_100));
}

/// Two requests of two chunks and blocks for three chunks: the second chunk of request 1 (computed until 60 ms) takes
/// blocks that request 0 holds until its hand-off, posted at 40 ms, has ended: 1 us and 100 ms later. Then it is launched.
#[test]
fn blocks_that_are_held_are_back_pressure() {
    let model = with_handoff(&Model { requests: 2, concurrency: 2, ..ideal(1, 2) }, |handoff| {
        handoff.pool_chunks = 3;
        // 20 layers and 2 chunks of 1 MiB in 100 ms.
        handoff.bytes_per_s = (40 << 20) * 10;
    });
    let requests = run(&model);
    let bubbles = requests[1].bubbles[0];
    assert_eq!(bubbles.handoff_backpressure_ns, (40 + 100 - 60) * MS + 1_000);
    assert_eq!(bubbles.host_ns, LAUNCH);
    let causes: Vec<Cause> = requests[1].delays.iter().map(|delay| delay.cause).collect();
    assert_eq!(causes, [Cause::Host, Cause::HandoffBackpressure]);
    assert_eq!(requests[0].bubbles[0].inner_ns(), 0);
}

/// Decode registers 500 ms after the request came (a call of 100 ns) with one stage whose KV has long been written.
#[test]
fn a_late_registration_is_on_the_path() {
    let request = &run(&with_handoff(&ideal(1, 2), |handoff| handoff.register_ns = 500 * MS))[0];
    assert_eq!(request.path_by_category["ready_wait"], 500 * MS + LAUNCH);
    // 1 us on the wire, a launch, six kernels.
    assert_eq!(request.ttft_ns, 500 * MS + LAUNCH + 1_000 + LAUNCH + 6_000);
}

/// KV has arrived at 40.0011 ms; decode polls every 30 ms and sees it at 60.
#[test]
fn a_slow_poll_is_on_the_path() {
    let request = &run(&with_handoff(&ideal(1, 2), |handoff| handoff.decode_poll_ns = 30 * MS))[0];
    assert_eq!(request.path_by_category["poll_delay"], 60 * MS - (40 * MS + LAUNCH + 1_000));
}

/// Stage 0 hands over at half the speed: 20 MiB in 20 ms instead of 10.
#[test]
fn a_slow_hand_off_takes_longer_on_the_wire() {
    let mut model = with_handoff(&ideal(2, 1), |handoff| handoff.bytes_per_s = (20 << 20) * 100);
    model.faults.slow_handoffs = vec![(0, 2000)];
    let request = &run(&model)[0];
    let times: Vec<i64> = request.transfers.iter().map(|t| t.completed_ns - t.wire_start_ns).collect();
    assert_eq!(times, [20 * MS, 10 * MS]);
    // Stage 0 posts at 20 ms and is on the wire until 40 ms, when stage 1 posts: neither waits for the other but for the
    // microsecond that the first transfer starts late.
    assert_eq!(request.transfers[1].wire_start_ns - request.transfers[0].completed_ns, 1_000);
}

/// A transfer that fails is on the wire twice, and only the second arrives.
#[test]
fn a_failed_transfer_is_made_again() {
    let mut model = with_handoff(&ideal(1, 1), |handoff| handoff.bytes_per_s = (20 << 20) * 100);
    let wire = run(&model)[0].path_by_category["wire"];
    model.faults.failing = vec![(0, 0)];
    let request = &run(&model)[0];
    let found: Vec<(&str, bool)> =
        request.transfers.iter().map(|t| (t.status.as_str(), t.notif_arrived_ns.is_some())).collect();
    assert_eq!(found, [("NIXL_ERR_REMOTE_DISCONNECT", false), ("done", true)]);
    assert_eq!(request.path_by_category["wire"], 2 * wire);
}

/// Decode reads 20 MiB from each of two stages, 10 ms each, from 40 ms on, and polls every 7 ms since the request came: the
/// first read is done just after 50 ms and seen at 56; the second, done just after 60 ms, is pending then and seen at 63. Each
/// is seen by itself, though decode goes on when it has seen both.
#[test]
fn pulled_transfers_are_seen_one_by_one() {
    let model = with_handoff(&ideal(2, 1), |handoff| {
        (handoff.mode, handoff.bytes_per_s, handoff.decode_poll_ns) = (HandoffMode::Pull, (20 << 20) * 100, 7 * MS);
    });
    let folder = tempfile::tempdir().unwrap();
    let mut requests = Vec::new();
    simulate(&model, Some(folder.path()), Distortions::none(&["sim"]), true, &mut |request| {
        requests.push(request.clone());
        Ok(())
    })
    .unwrap();
    let mut rows = NixlTransfers::default();
    for file in std::fs::read_dir(folder.path().join("node=sim/source=nixl")).unwrap().map(|file| file.unwrap().path())
    {
        if file.to_string_lossy().contains("nixl_transfers-") {
            segment::read_into(&file, &mut rows).unwrap();
        }
    }
    let since = requests[0].arrival_ns;
    let relative = |at: Option<i64>| at.map(|at| at - since);
    let seen: Vec<_> = (0..rows.len())
        .map(|row| (relative(rows.last_pending_poll_ns[row]), relative(rows.done_poll_ns[row])))
        .collect();
    assert_eq!(seen, [(Some(49 * MS), Some(56 * MS)), (Some(56 * MS), Some(63 * MS))]);
}

/// The same KV, in as many transfers as the grain asks for; layer by layer only the last one's bytes are left at the end.
#[test]
fn every_grain_carries_the_same_bytes() {
    let bytes = |request: &RequestTruth| request.transfers.iter().map(|t| t.bytes).sum::<i64>();
    for (mode, grain, transfers) in [
        (HandoffMode::Push, Grain::Whole, 2),
        (HandoffMode::Push, Grain::Chunk, 2 * 3),
        (HandoffMode::Push, Grain::Layer, 2 * 3 * 20),
        (HandoffMode::Pull, Grain::Whole, 2),
    ] {
        let request = &run(&with_handoff(&ideal(2, 3), |handoff| (handoff.mode, handoff.grain) = (mode, grain)))[0];
        assert_eq!(request.transfers.len(), transfers);
        assert_eq!(bytes(request), 2 * 3 * 20 * (1 << 20));
        let op = if mode == HandoffMode::Pull { "READ" } else { "WRITE" };
        assert!(request.transfers.iter().all(|t| t.op == op));
    }
}
