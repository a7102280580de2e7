//! Simulated runs whose paths were walked, with the client's account of every request.

use std::fmt::Write as _;
use std::path::Path;

use kvpath_analysis::load::Run;
use kvpath_analysis::model::{Model as RunModel, Recording};
use kvpath_analysis::path::RunPaths;
use kvpath_analysis::settings::Settings;
use kvpath_analysis::spill::Memory;
use kvpath_simulator::cases::Case;
use kvpath_simulator::distort::{Clock, Distortions};
use kvpath_simulator::model::{Arrivals, Decode, Grain, Handoff, HandoffMode, Model, P2p, simulate};
use kvpath_simulator::rig::CallCosts;
use kvpath_simulator::truth::RequestTruth;
use tempfile::TempDir;

use crate::properties::AnalysedRun;

pub(crate) const MS: i64 = 1_000_000;

/// Three stages of six layers, five requests of three chunks that grow, with the overheads of a real engine.
pub(crate) fn model(concurrency: u32, mode: HandoffMode, grain: Grain) -> Model {
    let ideal = Model::ideal(&[6, 6, 6], &[MS, 5 * MS / 4, 3 * MS / 2]);
    Model {
        seed: 11,
        requests: 5,
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
            latency_ns: 5_000,
            make_ns: (20_000, 30),
            post_ns: (50_000, 500),
            wake_ns: 30_000,
            message_ns: 20_000,
            decode_poll_ns: 200_000,
            decode_schedule_ns: 500_000,
            ..ideal.handoff
        },
        decode: Decode { layers: 18, kernel_ns: 15_000 },
        ..ideal
    }
}

/// No distortions, for the hosts of a model.
pub(crate) fn undistorted(model: &Model) -> Distortions {
    let names = model.hosts.names(model.stages(), model.handoff.mode != HandoffMode::None);
    Distortions::none(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A run on disk, with its truth.
pub(crate) struct Simulated {
    folder: TempDir,
    /// Clocks of its hosts.
    clocks: Vec<Clock>,
    /// What it really did.
    pub truth: Vec<RequestTruth>,
}

/// What was found in it.
pub(crate) struct WalkedRun {
    /// The clock of the host whose times it gives.
    pub reference: Clock,
    /// The error of other hosts' times, at worst, ns.
    pub eps_ns: i64,
    /// What was loaded and joined.
    pub model: RunModel,
    /// Paths.
    pub found: RunPaths,
}

impl WalkedRun {
    /// What properties are asked of.
    pub(crate) fn seen(&self) -> AnalysedRun<'_> {
        AnalysedRun { run: self.model.run(), model: &self.model, found: &self.found }
    }
}

impl Simulated {
    /// A model's.
    pub(crate) fn of_model(model: &Model, distort: Distortions) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clocks = distort.clocks.clone();
        let mut truth: Vec<RequestTruth> = Vec::new();
        let mut keep = |request: &RequestTruth| {
            truth.push(request.clone());
            Ok(())
        };
        simulate(model, Some(folder.path()), distort, true, &mut keep).expect("a run");
        Self { folder, clocks, truth }
    }

    /// One of the exact cases; hosts probe each other's clocks 20 times a second.
    pub(crate) fn of_case(number: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let case = Case::named(&number.to_string()).expect("a case");
        let found = case.make_probed(Some(folder.path()), 1, 20).expect("a run");
        Self { folder, clocks: found.run.clocks, truth: found.requests }
    }

    /// The clocks of its hosts.
    pub(crate) fn clocks(&self) -> &[Clock] {
        &self.clocks
    }

    /// Where it lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Tells the run what its client saw, and walks the paths.
    pub(crate) fn walk(&self) -> WalkedRun {
        let name = self.folder().to_str().expect("temporary folders are UTF-8");
        let open = || Run::open(name).expect("a run");
        let recording = Recording::of(&open(), &Memory::default()).expect("its tables");
        let host = recording.clocks.hosts[0].name.clone();
        let reference = self.clocks.iter().find(|clock| clock.host == host).expect("its clock").clone();
        let mut log = String::new();
        for request in &self.truth {
            let (start, end) = (reference.read(request.arrival_ns), reference.read(request.first_token_ns));
            let id = &request.request_id;
            writeln!(log, r#"{{"request": "{id}", "start_ns": {start}, "ttft_ns": {}}}"#, end - start).expect("text");
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), log).expect("the client's log");
        kvpath_import::client::import(file.path(), name, Some(&host)).expect("a log");
        let model = RunModel::new(open(), Settings::default());
        let found = model.walker().expect("what ran").paths(|_| true);
        let related =
            model.recording().expect("what was recorded").clocks.hosts.iter().filter(|host| host.reference == 0);
        let eps_ns = related.filter_map(kvpath_analysis::clocks::HostClock::eps_ns).max().unwrap_or(0);
        WalkedRun { reference, eps_ns, model, found }
    }
}
