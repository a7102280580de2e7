//! One model of a run: what was loaded, and what follows from it, each made when it is first asked for and then kept.
//!
//! Whatever answers a question (SQL, reports, checks) asks here, so that no table of a run is read twice. [`derived`] lists the
//! tables that the model can make.

mod analysis;
mod auditor;
pub mod derived;
mod recording;
#[cfg(test)]
mod tests;

pub use analysis::Analysis;
pub use recording::Recording;

use auditor::Auditor;

use std::sync::{Arc, OnceLock};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Chunks, Clock, Clocks as ClockTable};
use kvpath_schema::tables::nixl::{NixlNotifs, NixlTransfers};
use kvpath_schema::tables::spans::Spans;
use kvpath_schema::tables::stuck::Stuck as StuckTable;

use crate::error::LoadError;
use crate::facts::Facts;
use crate::facts::regions::Regions;
use crate::findings::Findings;
use crate::gpu_clock;
use crate::graph::Links;
use crate::joins::{self, Counter, Joined};
use crate::load::losses::Losses;
use crate::load::{Run, batches};
use crate::path::{self, Prepared, Walker};
use crate::serving::told::{self, RequestReport};
use crate::settings::Settings;
use crate::structure::held_layers;
use crate::stuck;

/// What was asked for, or why it cannot be had: the same each time it is asked.
pub type Loaded<T> = Result<T, Arc<LoadError>>;

/// The recorder's source of transfers and messages.
const SOURCE: &str = "nixl";

type Once<T> = OnceLock<Loaded<T>>;

/// A run, and all that was computed from it so far.
#[derive(Debug, Default)]
pub struct Model {
    run: Run,
    settings: Settings,
    recording: Once<Recording>,
    analysis: Once<Analysis>,
    losses: Once<Losses>,
    links: Once<Links>,
    prepared: Once<Prepared>,
    auditor: Once<Auditor>,
    joined: Once<Joined>,
    clocks: Once<ClockTable>,
    findings: Once<Findings>,
    stuck: Once<StuckTable>,
}

fn once<T>(cell: &Once<T>, make: impl FnOnce() -> Loaded<T>) -> Loaded<&T> {
    cell.get_or_init(make).as_ref().map_err(Arc::clone)
}

impl Model {
    /// Of an opened run; nothing is read yet.
    #[must_use]
    pub fn new(run: Run, settings: Settings) -> Self {
        Self { run, settings, ..Self::default() }
    }

    /// Loads what `needed` asks a model for, without the segments that are found damaged on the way.
    ///
    /// # Errors
    /// As `needed`; damage too, where it is not accepted or nothing else is left to read.
    pub fn reading(mut run: Run, settings: &Settings, needed: impl Fn(&Self) -> Loaded<()>) -> Loaded<Self> {
        loop {
            let model = Self::new(run.clone(), settings.clone());
            match needed(&model) {
                Ok(()) => return Ok(model),
                Err(error) if run.without_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// One whose analysis and joins were computed elsewhere, as in tests of what reads them.
    #[must_use]
    pub fn computed(run: Run, analysis: Analysis, joined: Joined) -> Self {
        let clocks = OnceLock::from(Ok(analysis.clocks.clone()));
        Self {
            run,
            analysis: OnceLock::from(Ok(analysis)),
            joined: OnceLock::from(Ok(joined)),
            clocks,
            ..Self::default()
        }
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// What was recorded.
    ///
    /// # Errors
    /// A segment that does not decode, or values that cannot be.
    pub fn recording(&self) -> Loaded<&Recording> {
        once(&self.recording, || Ok(Recording::of(&self.run, &self.settings.memory)?))
    }

    /// What the run consists of.
    ///
    /// # Errors
    /// As [`Model::recording`].
    pub fn analysis(&self) -> Loaded<&Analysis> {
        once(&self.analysis, || Ok(Analysis::of(self.recording()?, &self.settings)))
    }

    /// What the run justifies saying, without sizes on paths.
    ///
    /// # Errors
    /// As [`Model::recording`].
    pub fn findings(&self) -> Loaded<&Findings> {
        once(&self.findings, || Ok(self.analysis()?.findings(self.stuck()?)))
    }

    /// Hand-offs that failed or that somebody waited for in vain.
    ///
    /// # Errors
    /// As [`Model::recording`].
    pub fn stuck(&self) -> Loaded<&StuckTable> {
        once(&self.stuck, || {
            let (recording, analysis) = (self.recording()?, self.analysis()?);
            let has_lost = self.losses()?.has_lost(SOURCE, &[NixlTransfers::DEF, NixlNotifs::DEF]);
            let of = |facts: &Facts, analysis: &Analysis| {
                stuck::of(&stuck::Inputs {
                    facts,
                    stages: &analysis.stages,
                    requests: &analysis.requests,
                    handoffs: &analysis.handoffs,
                    of_transfer: &analysis.of_transfer,
                    passes: &analysis.passes,
                    has_lost,
                })
            };
            let mut table = of(&recording.facts, analysis);
            // Of other hosts' transfers the request is not said: theirs are numbered after these.
            for apart in &recording.apart {
                table.append(of(&apart.facts, &Analysis::default()));
            }
            table.item = (0..).take(table.len()).collect();
            Ok(table)
        })
    }

    /// What the recording itself says that it lacks.
    ///
    /// # Errors
    /// A segment that does not decode.
    pub fn losses(&self) -> Loaded<&Losses> {
        once(&self.losses, || Ok(Losses::of(&self.run)?))
    }

    /// Walks the paths of requests.
    ///
    /// # Errors
    /// As [`Model::recording`].
    pub fn walker(&self) -> Loaded<Walker<'_>> {
        let inputs = self.path_inputs()?;
        let recording = self.recording()?;
        let prepared = once(&self.prepared, || Ok(Prepared::of(&inputs, &told(recording))))?;
        let audit = || Ok(Auditor::of(&inputs, prepared));
        Ok(Walker::new(inputs, prepared, once(&self.auditor, audit)?))
    }

    /// What could be joined with what.
    ///
    /// # Errors
    /// As [`Model::recording`].
    pub fn joined(&self) -> Loaded<&Joined> {
        once(&self.joined, || self.count_joins())
    }

    /// The clocks of hosts, and what launches say of GPU times.
    ///
    /// # Errors
    /// As [`Model::recording`].
    pub fn clocks(&self) -> Loaded<&ClockTable> {
        once(&self.clocks, || {
            let recording = self.recording()?;
            let mut table = recording.clocks.table();
            let all = std::iter::once(recording).chain(&recording.apart);
            let mut rows: Vec<Clock> = all.flat_map(|own| gpu_clock::rows(&own.timeline, &recording.clocks)).collect();
            rows.sort_by_key(|row| (row.host_index, row.process_id));
            for row in rows {
                table.push(row);
            }
            Ok(table)
        })
    }

    fn links(&self) -> Loaded<&Links> {
        once(&self.links, || Ok(links(self.recording()?, self.analysis()?)))
    }

    fn path_inputs(&self) -> Loaded<path::Inputs<'_>> {
        let (recording, analysis) = (self.recording()?, self.analysis()?);
        Ok(path::Inputs {
            clocks: &recording.clocks,
            facts: &recording.facts,
            timeline: &recording.timeline,
            links: self.links()?,
            stages: &analysis.stages,
            requests: &analysis.requests,
            steps: (&analysis.steps, &analysis.step_processes),
            chunks: &analysis.chunks,
            layers: &analysis.layers,
            handoffs: &analysis.handoffs,
            of_transfer: &analysis.of_transfer,
            passes: &analysis.passes,
        })
    }

    fn count_joins(&self) -> Loaded<Joined> {
        let recording = self.recording()?;
        let mut counter = Counter::default();
        if recording.apart.is_empty() {
            add_joins(&mut counter, recording, self.analysis()?, self.links()?);
        } else {
            for own in std::iter::once(recording).chain(&recording.apart) {
                let analysis = Analysis::of_related(own, &self.settings);
                add_joins(&mut counter, own, &analysis, &links(own, &analysis));
            }
        }
        let hosts = &recording.clocks.hosts;
        counter.add_ops(|table, take| {
            for host in hosts {
                let clock = (hosts.len() > 1).then_some(host);
                batches::for_each(&self.run.of_host(&host.name), table, &joins::COLUMNS, |batch| take(batch, clock))?;
            }
            Ok(self.run.of_table(table.name).next().is_some())
        })?;
        Ok(counter.finish())
    }
}

/// What clients say of requests, on whichever host they ran.
fn told(recording: &Recording) -> Vec<RequestReport> {
    let mut spans = Spans::default();
    for own in std::iter::once(recording).chain(&recording.apart) {
        spans.append(own.facts.spans.clone());
    }
    told::of(&spans)
}

fn links(recording: &Recording, analysis: &Analysis) -> Links {
    let Analysis { stages, chunks, passes, .. } = analysis;
    // Chunks of steps say no more of what follows what than passes do.
    let of_steps = Chunks::default();
    let chunks = if analysis.steps.is_empty() { chunks } else { &of_steps };
    Links::of(&recording.facts, &recording.timeline, (stages, chunks), passes)
}

fn add_joins(counter: &mut Counter, recording: &Recording, analysis: &Analysis, links: &Links) {
    let Analysis { stages, requests, of_transfer, .. } = analysis;
    let regions = Regions::of(&recording.facts);
    let mined = held_layers::mined(stages.process_id.iter().copied().zip(stages.layers.iter().copied()));
    let known = held_layers::of(&recording.facts, &regions, &mined);
    counter.add(&joins::Inputs {
        facts: &recording.facts,
        timeline: &recording.timeline,
        links,
        stages,
        requests,
        of_transfer,
        regions: &regions,
        known: &known,
    });
}
