//! What holds of the truth of any model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kvpath_schema::segment;
use kvpath_schema::tables::gpu::Kernels;
use kvpath_simulator::distort::{Clock, Distortions};
use kvpath_simulator::model::{Arrivals, Decode, Faults, Grain, Handoff, HandoffMode, Hosts, Model, P2p, simulate};
use kvpath_simulator::rig::CallCosts;
use kvpath_simulator::truth::{BubbleTruth, RequestTruth, TruthWriter};
use proptest::prelude::*;

fn small_models() -> impl Strategy<Value = Model> {
    let pipeline = (
        prop::collection::vec(1i16..4, 1..5),
        prop::collection::vec(20_000i64..400_000, 1..5),
        (0i64..50_000, 0u32..3, 0i64..40_000, 0i64..3_000),
        (0i64..2_000_000_000_000, 0i64..20_000, prop::bool::ANY),
    );
    let handoff = (
        prop::sample::select(vec![HandoffMode::None, HandoffMode::Push, HandoffMode::Pull]),
        prop::sample::select(vec![Grain::Whole, Grain::Chunk, Grain::Layer]),
        (0i64..400_000_000_000, 0i64..200_000, 0i64..2_000_000, prop::bool::ANY),
    );
    let load = (1u32..6, 1u32..4, prop::option::of(1i64..2_000_000), 0i64..1_000_000, 0u64..1000);
    let faults = (prop::option::of(500i64..5_000), prop::option::of(0i64..3_000_000), prop::bool::ANY);
    (pipeline, handoff, load, faults).prop_map(|(pipeline, handoff, load, faults)| {
        let (layers, layer_ns, (noise_ppm, host_lead, schedule_ns, dispatch_ns), (p2p_rate, p2p_latency, fits)) =
            pipeline;
        let (mode, grain, (rate, message_ns, decode_poll_ns, has_pool)) = handoff;
        let (requests, concurrency, mean, think_ns, seed) = load;
        let (slow, pause, fails) = faults;
        let ideal = Model::ideal(&layers, &layer_ns);
        let chunks = u32::try_from(ideal.chunks()).unwrap();
        let last = i16::try_from(layers.len() - 1).unwrap();
        Model {
            seed,
            requests,
            concurrency,
            arrivals: mean.map_or(Arrivals::Closed { think_ns }, |mean_ns| Arrivals::Open { mean_ns }),
            noise_ppm,
            host_lead,
            schedule_ns,
            calls: CallCosts { launch_ns: 2_000, event_ns: 500, dispatch_ns, sync_ns: 3_000 },
            p2p: P2p {
                bytes: 4 << 20,
                bytes_per_s: p2p_rate,
                latency_ns: p2p_latency,
                fifo_bytes: if fits { 8 << 20 } else { 0 },
            },
            handoff: Handoff {
                mode,
                grain: if mode == HandoffMode::Pull { Grain::Whole } else { grain },
                bytes_per_s: rate,
                message_ns,
                decode_poll_ns,
                pool_chunks: if has_pool { chunks } else { 0 },
                ..ideal.handoff
            },
            decode: Decode { layers: 2, kernel_ns: 5_000 },
            faults: Faults {
                slow_layers: slow.map(|factor| (last, 0, factor)).into_iter().collect(),
                host_pauses: pause.map(|ns| (0, i32::try_from(chunks).unwrap() - 1, ns)).into_iter().collect(),
                failing: if fails && mode == HandoffMode::Push { vec![(0, last)] } else { Vec::new() },
                ..Faults::default()
            },
            ..ideal
        }
    })
}

fn distortions(model: &Model) -> Distortions {
    let names = model.hosts.names(model.stages(), model.handoff.mode != HandoffMode::None);
    Distortions::none(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn truth_of(model: &Model, distort: Distortions) -> Vec<RequestTruth> {
    let mut requests = Vec::new();
    simulate(model, None, distort, true, &mut |request| {
        requests.push(request.clone());
        Ok(())
    })
    .unwrap();
    requests
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]

    /// Every request comes out once, its path without holes from its arrival to its first token, its parts summing up.
    #[test]
    fn paths_are_contiguous_and_sum_to_ttft(model in small_models()) {
        let requests = truth_of(&model, distortions(&model));
        prop_assert_eq!(requests.len(), model.requests as usize);
        for (number, request) in (0u32..).zip(&requests) {
            prop_assert_eq!(request.request, number);
            let mut at = request.arrival_ns;
            for segment in &request.path {
                prop_assert!(segment.start_ns == at && segment.end_ns > at, "{:?} at {}", segment, at);
                at = segment.end_ns;
            }
            prop_assert_eq!(at, request.first_token_ns);
            prop_assert_eq!(request.path_by_category.values().sum::<i64>(), request.ttft_ns);
            let stretches = request.path_by_layer.iter().flat_map(|stretch| stretch.parts.values());
            prop_assert_eq!(stretches.sum::<i64>(), request.ttft_ns);
        }
    }

    /// The parts of a hand-off follow each other, from the KV's writing to the kernel that may read it.
    #[test]
    fn hand_offs_are_in_order(model in small_models()) {
        for request in truth_of(&model, distortions(&model)) {
            for transfer in &request.transfers {
                let times = [
                    transfer.written_ns, transfer.made_ns, transfer.make_end_ns, transfer.posted_ns, transfer.post_end_ns,
                ];
                prop_assert!(times.is_sorted(), "{:?}", transfer);
                prop_assert!(transfer.posted_ns <= transfer.wire_start_ns && transfer.wire_start_ns <= transfer.completed_ns);
                prop_assert!(transfer.completed_ns <= transfer.notif_arrived_ns.unwrap_or(i64::MAX));
                let read = request.decode_kernel_ns.unwrap_or(i64::MAX);
                prop_assert!(transfer.status != "done" || transfer.completed_ns <= read, "{:?} {}", transfer, read);
            }
            prop_assert_eq!(request.decode_kernel_ns.is_some(), !request.transfers.is_empty());
        }
    }

    /// Every idle ns of a stage is in one class, every wait in one cause.
    #[test]
    fn windows_and_waits_add_up(model in small_models()) {
        for request in truth_of(&model, distortions(&model)) {
            for bubbles in &request.bubbles {
                prop_assert_eq!(bubbles.busy_ns + bubbles.idle_ns(), bubbles.window_ns);
                prop_assert!(bubbles.kernel_gap_ns <= bubbles.host_ns);
            }
            let inner: i64 = request.bubbles.iter().map(BubbleTruth::inner_ns).sum();
            let waits: i64 = request.waits.iter().map(|wait| wait.wait_ns).sum();
            let causes: i64 = request.delays.iter().map(|delay| delay.short_ns + delay.long_ns).sum();
            prop_assert_eq!(inner, waits);
            prop_assert_eq!(causes, waits);
            prop_assert!(request.waits.iter().all(|wait| wait.by_class.values().sum::<i64>() == wait.wait_ns));
        }
    }

    /// A transfer goes through its life in order.
    #[test]
    fn transfers_live_in_order(model in small_models()) {
        for transfer in truth_of(&model, distortions(&model)).iter().flat_map(|request| &request.transfers) {
            let life = [transfer.made_ns, transfer.posted_ns, transfer.post_end_ns, transfer.wire_start_ns, transfer.completed_ns];
            prop_assert!(life.is_sorted(), "{:?}", transfer);
            prop_assert!(transfer.notif_arrived_ns.is_none_or(|at| at >= transfer.completed_ns));
        }
    }

    /// With the order of all lanes fixed (no NIC that serves who comes first), nothing gets earlier if kernels get longer.
    #[test]
    fn makespan_is_monotone(model in small_models(), factor in 1_000i64..3_000, longer in 0i64..2_000, at in 0usize..4) {
        let mut model = Model { arrivals: Arrivals::Closed { think_ns: 1_000 }, ..model };
        model.handoff.mode = HandoffMode::None;
        let stage = i16::try_from(at % model.layers.len()).unwrap();
        let mut slowed = |factor| {
            model.faults = Faults { slow_layers: vec![(stage, 0, factor)], ..Faults::default() };
            truth_of(&model, distortions(&model))
        };
        let (before, after) = (slowed(factor), slowed(factor + longer));
        for (before, after) in before.iter().zip(after) {
            prop_assert!(after.first_token_ns >= before.first_token_ns);
        }
    }

    /// What is done to the records does not touch the truth, and one seed makes one truth.
    #[test]
    fn distortions_leave_the_truth_alone(model in small_models(), loss_ppm in 0u32..500_000, shuffle in 1u32..5) {
        let plain = truth_of(&model, distortions(&model));
        let mut distort = Distortions { loss_ppm, shuffle, poll_ns: 77_777, ..distortions(&model) };
        distort.clocks[0] = Clock { offset_ns: -5_000_000, drift_ppb: 30_000, ..distort.clocks[0].clone() };
        let lossy = truth_of(&model, distort);
        prop_assert_eq!(plain, lossy);
    }
}

fn served() -> Model {
    let mut model = Model::ideal(&[6, 8], &[200_000, 300_000]);
    model.requests = 5;
    model.concurrency = 2;
    model.noise_ppm = 20_000;
    model.host_lead = 2;
    model.hosts = Hosts::Each;
    model.calls.dispatch_ns = 1_000;
    model.handoff.bytes_per_s = 50_000_000_000;
    model
}

fn write(model: &Model, distort: Distortions, run: &Path) -> Vec<RequestTruth> {
    let mut writer = TruthWriter::new(run).unwrap();
    let mut requests = Vec::new();
    let truth = simulate(model, Some(run), distort, true, &mut |request| {
        requests.push(request.clone());
        writer.request(request)
    })
    .unwrap();
    writer.finish(&truth).unwrap();
    requests
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
    into.sort();
}

/// Segments and truth, byte for byte; another seed makes others.
#[test]
fn a_seed_makes_the_same_bytes() {
    let bytes = |seed| {
        let folder = tempfile::tempdir().unwrap();
        let model = Model { seed, ..served() };
        let distort =
            Distortions { loss_ppm: 20_000, shuffle: 3, poll_ns: 50_000, segment_rows: 600, ..distortions(&model) };
        write(&model, distort, folder.path());
        let mut paths = Vec::new();
        files(folder.path(), &mut paths);
        let name = |path: &PathBuf| path.strip_prefix(folder.path()).unwrap().to_owned();
        paths.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect::<BTreeMap<_, _>>()
    };
    let first = bytes(3);
    assert!(first.len() > 40, "several segments a table: {}", first.len());
    // Not printed where they differ: they fill pages.
    let (is_same, is_other) = (first == bytes(3), first != bytes(4));
    assert!(is_same && is_other);
}

/// Busy time by the truth is that of the recorded kernels, whoever records them, and the truth reads back as it was.
#[test]
fn records_hold_what_the_truth_says() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model { hosts: Hosts::One, ..served() };
    let requests = write(&model, Distortions { shuffle: 4, segment_rows: 500, ..distortions(&model) }, folder.path());
    let text = std::fs::read_to_string(folder.path().join("truth/requests.jsonl")).unwrap();
    let back: Vec<RequestTruth> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(back, requests);
    let mut paths = Vec::new();
    files(folder.path(), &mut paths);
    let mut kernels = Kernels::default();
    for path in paths.iter().filter(|path| path.to_string_lossy().contains("/kernels-")) {
        segment::read_into(path, &mut kernels).unwrap();
    }
    for request in &requests {
        let (start, end) = request.window_ns.unwrap();
        for bubbles in &request.bubbles {
            let process = 2_190 + 16 * i64::from(bubbles.stage);
            let is_compute = |row: &usize| kernels.process_id[*row] == process && kernels.stream_id[*row] == 17;
            let busy: i64 = (0..kernels.start_ns.len())
                .filter(is_compute)
                .map(|row| {
                    let until = kernels.start_ns[row] + kernels.dur_ns[row];
                    (until.min(end) - kernels.start_ns[row].max(start)).max(0)
                })
                .sum();
            assert_eq!(busy, bubbles.busy_ns);
        }
    }
}
