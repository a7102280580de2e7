//! What must change nothing: the order of rows, how many segments hold them, processes that take no part, when a host booted.

use kvpath_simulator::model::{Faults, Grain, HandoffMode, Model};
use proptest::prelude::*;

use crate::properties::{CHANGES, Knobs, OF_A_RUN};
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

fn knobs() -> impl Strategy<Value = Knobs> {
    (2u32..6, 40usize..3_000, 1_000..MS, -90_000 * MS..90_000 * MS).prop_map(
        |(shuffle, segment_rows, busy_ns, offset_ns)| Knobs {
            shuffle,
            segment_rows,
            stranger: (200, busy_ns),
            offset_ns,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn whatever_the_run_it_holds_and_stays(model in models(), knobs in knobs()) {
        let simulated = Simulated::of_model(&model, undistorted(&model));
        let walked = simulated.walk();
        for (name, holds) in OF_A_RUN {
            prop_assert_eq!(holds(&walked.seen()), Ok(()), "{}", name);
        }
        for (name, holds) in CHANGES {
            prop_assert_eq!(holds(&model, &simulated, &walked, &knobs), Ok(()), "{}", name);
        }
    }
}
