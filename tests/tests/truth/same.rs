//! What must change nothing: the order of rows, how many segments hold them, processes that take no part, when a host booted.

use kvpath_schema::segment::RunWriter;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{ApiCall, ApiCalls, Kernel, Kernels};
use kvpath_schema::tables::path::{CriticalPath, Paths};
use kvpath_schema::tables::process::{Process, Processes};
use kvpath_simulator::distort::Distortions;
use kvpath_simulator::model::{Faults, Grain, HandoffMode, Model};
use proptest::prelude::*;

use crate::walks::{MS, Simulated, model, undistorted};

fn models() -> impl Strategy<Value = Model> {
    let modes = vec![
        (HandoffMode::Push, Grain::Whole),
        (HandoffMode::Push, Grain::Chunk),
        (HandoffMode::Push, Grain::Layer),
        (HandoffMode::Pull, Grain::Whole),
        (HandoffMode::None, Grain::Whole),
    ];
    let faults = (prop::option::of(500i64..4_000), prop::option::of(0..20 * MS));
    (prop::sample::select(modes), 1u32..4, 1u32..5, 0u64..1_000, 0i64..40_000, faults).prop_map(
        |((mode, grain), requests, concurrency, seed, noise_ppm, (slow, pause))| {
            let base = model(concurrency, mode, grain);
            let faults = Faults {
                slow_layers: slow.map(|factor| (1, 1, factor)).into_iter().collect(),
                host_pauses: pause.map(|ns| (0, 1, ns)).into_iter().collect(),
                ..Faults::default()
            };
            // Small: what is held is that nothing changes, not how long it takes.
            Model { layers: vec![2, 2, 2], requests, seed, noise_ppm, faults, ..base }
        },
    )
}

fn walked(simulated: &Simulated) -> (Paths, CriticalPath) {
    let found = simulated.walk().found;
    (found.paths, found.segments)
}

/// A process of some other program, on the same GPU and NVLink for all that is recorded.
fn add_stranger(simulated: &Simulated, busy_ns: i64) {
    let (process_id, tid, begin) = (77_777, 77_777, simulated.truth[0].arrival_ns);
    let (mut kernels, mut calls, mut processes) = (Kernels::default(), ApiCalls::default(), Processes::default());
    processes.push(Process { process_id, pid: 77_777, name: "python train.py".into(), start_ns: None, end_ns: None });
    for at in 0..200 {
        let start_ns = begin + at * busy_ns;
        calls.push(ApiCall {
            start_ns: start_ns - 2_000,
            dur_ns: 1_000,
            process_id,
            tid,
            correlation_id: at + 1,
            name: "cudaLaunchKernel".into(),
        });
        kernels.push(Kernel {
            start_ns,
            dur_ns: busy_ns,
            process_id,
            device_id: 0,
            context_id: 1,
            stream_id: 7,
            correlation_id: at + 1,
            name: "backward".into(),
            graph_node_id: None,
            grid_x: None,
            grid_y: None,
            grid_z: None,
            block_x: None,
            block_y: None,
            block_z: None,
        });
    }
    let mut writer = RunWriter::new(simulated.folder(), "sim", "a test", None);
    writer.write("other", &kernels, 0).expect("a segment");
    writer.write("other", &calls, 0).expect("a segment");
    writer.write("other", &processes, 0).expect("a segment");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn rows_in_any_order_and_any_number_of_segments(
        model in models(), shuffle in 2u32..6, segment_rows in 40usize..3_000,
    ) {
        let plain = Simulated::of_model(&model, undistorted(&model));
        let mixed = Simulated::of_model(&model, Distortions { shuffle, segment_rows, ..undistorted(&model) });
        prop_assert_eq!(&plain.truth, &mixed.truth);
        prop_assert_eq!(walked(&plain), walked(&mixed));
    }

    /// Not of runs without a hand-off: there nothing but the times tells which processes serve.
    #[test]
    fn strangers(model in models(), busy_ns in 1_000..MS) {
        prop_assume!(model.handoff.mode != HandoffMode::None);
        let simulated = Simulated::of_model(&model, undistorted(&model));
        let before = walked(&simulated);
        add_stranger(&simulated, busy_ns);
        prop_assert_eq!(before, walked(&simulated));
    }

    #[test]
    fn clocks_that_show_another_time(model in models(), offset_ns in -90_000 * MS..90_000 * MS) {
        let plain = Simulated::of_model(&model, undistorted(&model));
        let mut distort = undistorted(&model);
        for clock in &mut distort.clocks {
            clock.offset_ns = offset_ns;
        }
        let (paths, segments) = walked(&Simulated::of_model(&model, distort));
        let (mut shifted_paths, mut shifted) = walked(&plain);
        for time in shifted_paths.source_ns.iter_mut().chain(&mut shifted_paths.end_ns).chain(&mut shifted.start_ns) {
            *time += offset_ns;
        }
        prop_assert_eq!(paths, shifted_paths);
        prop_assert_eq!(segments, shifted);
    }
}
