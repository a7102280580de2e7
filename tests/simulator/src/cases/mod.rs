//! The exact cases: small runs whose every figure follows from a formula.

mod clocks;
mod cuda;
mod handoff;
mod nccl;
mod pipeline;
mod script;

use std::path::Path;

use crate::distort::Distortions;
use crate::model::{Model, RunError, simulate};
use crate::truth::{RequestTruth, RunTruth, TruthWriter};

/// A case.
pub struct Case {
    /// Its number.
    pub number: u32,
    /// Name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    run: fn(&CaseSetup) -> Result<CaseTruth, RunError>,
}

/// Where a case is written, and what its random figures come from.
#[derive(Debug, Clone, Copy)]
struct CaseSetup<'a> {
    run: Option<&'a Path>,
    seed: u64,
    probe_hz: u32,
}

/// The truth of a small run, all at once.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseTruth {
    /// The run.
    pub run: RunTruth,
    /// Its requests.
    pub requests: Vec<RequestTruth>,
}

/// All cases, by number.
pub const CASES: &[Case] = &[
    Case {
        number: 1,
        name: "balanced",
        about: "equal stages, equal chunks: bubble (p-1)/(m+p-1)",
        run: pipeline::balanced,
    },
    Case {
        number: 2,
        name: "growing",
        about: "chunks that grow from 1 to 4.47: fill, growth, drain",
        run: pipeline::growing,
    },
    Case {
        number: 3,
        name: "slow-layer",
        about: "stage 1 layer 7 three times slower: waits 30 + 30 + 124",
        run: pipeline::slow_layer,
    },
    Case {
        number: 4,
        name: "random-costs",
        about: "random stage costs: makespan is the longest staircase",
        run: pipeline::random_costs,
    },
    Case { number: 5, name: "two-waits", about: "two event waits on one kernel, in both orders", run: cuda::two_waits },
    Case {
        number: 6,
        name: "default-stream",
        about: "the legacy default stream as a barrier",
        run: cuda::default_stream,
    },
    Case { number: 7, name: "graph", about: "a CUDA graph with fork and join, either branch longer", run: cuda::graph },
    Case { number: 8, name: "nccl", about: "late sender and late receiver, below and above the FIFO", run: nccl::late },
    Case {
        number: 9,
        name: "exposed",
        about: "a transfer hidden, partly exposed, wholly exposed",
        run: handoff::exposed,
    },
    Case { number: 10, name: "polls", about: "completion lies in the interval that polls leave", run: handoff::polls },
    Case { number: 11, name: "clocks", about: "hosts 5 ms and 30 ppm apart", run: clocks::offsets },
    Case {
        number: 12,
        name: "reuse",
        about: "event handles, request handles and addresses used again",
        run: handoff::reuse,
    },
    Case {
        number: 13,
        name: "cross-layer",
        about: "KV blocks that hold all layers: layer_resolution none",
        run: handoff::cross_layer,
    },
    Case { number: 14, name: "loss", about: "1 % of the records lost", run: clocks::loss },
];

impl Case {
    /// The case of that name or number.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        CASES.iter().find(|case| case.name == name || case.number.to_string() == name)
    }

    /// Makes it: records and truth below `run`, or nowhere if that is `None`.
    ///
    /// # Errors
    /// Records or truth cannot be written.
    pub fn make(&self, run: Option<&Path>, seed: u64) -> Result<CaseTruth, RunError> {
        self.make_probed(run, seed, 0)
    }

    /// The same with so many clock probes a second between its hosts.
    ///
    /// # Errors
    /// Records or truth cannot be written.
    pub fn make_probed(&self, run: Option<&Path>, seed: u64, probe_hz: u32) -> Result<CaseTruth, RunError> {
        let mut found = (self.run)(&CaseSetup { run, seed, probe_hz })?;
        self.name.clone_into(&mut found.run.made_by);
        if let Some(run) = run {
            let mut writer = TruthWriter::new(run)?;
            for request in &found.requests {
                writer.request(request)?;
            }
            writer.finish(&found.run)?;
        }
        Ok(found)
    }
}

/// A case that is a model with certain settings.
fn of_model(place: &CaseSetup, model: &Model, distort: impl FnOnce(&mut Distortions)) -> Result<CaseTruth, RunError> {
    let model = Model { seed: place.seed, ..model.clone() };
    let names = model.hosts.names(model.stages(), model.handoff.mode != crate::model::HandoffMode::None);
    let mut distortions = Distortions::none(&names.iter().map(String::as_str).collect::<Vec<_>>());
    distortions.probe_hz = place.probe_hz;
    distort(&mut distortions);
    let mut requests = Vec::new();
    let run = simulate(&model, place.run, distortions, true, &mut |request| {
        requests.push(request.clone());
        Ok(())
    })?;
    Ok(CaseTruth { run, requests })
}
