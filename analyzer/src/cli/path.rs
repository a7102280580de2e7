//! `kvpath path RUN`.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use clap::Args;

use super::choice::By;
use super::input::{self, Input};
use super::limit::Limit;
use super::stdout::print;
use crate::error::OK;
use crate::report::against::RunComparison;
use crate::report::gathered::{PathTotals, SummedBy};
use crate::report::path;
use kvpath_analysis::graph::Request;
use kvpath_analysis::load::Run;
use kvpath_analysis::model::Model;
use kvpath_analysis::path::Walker;
use kvpath_analysis::serving::lookup::{LookupError, RequestQuery};
use kvpath_analysis::settings::Settings;
use kvpath_analysis::spill::Memory;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::Stages;

/// Where the time to first token went: the critical path of every request.
///
/// The path runs back from the first token over what was waited for last, across stages and the hand-off; its segments sum to
/// the time to first token. Give the client's own times with `kvpath import client`, else it runs from the first record of the
/// request to the last kernel of its first decode pass. In a run without hand-offs, the paths of steps: PyTorch's `ProfilerStep`s,
/// NVTX ranges that repeat, or forward passes.
#[derive(Debug, Args)]
pub struct Path {
    /// The run.
    #[command(flatten)]
    pub input: Input,
    /// Only this request, by number, id, or what its client called it; also prints its path step by step.
    #[arg(long, value_name = "ID", conflicts_with = "slowest")]
    pub request: Option<String>,
    /// Instead of requests, the NVTX ranges whose text begins so (`ProfilerStep`): each from its start to the last work that its
    /// process ended in it.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["request", "against"])]
    pub range: Option<String>,
    /// Instead of requests that a client's log tells of, the steps of a run without hand-offs.
    #[arg(long, conflicts_with_all = ["request", "range"])]
    pub steps: bool,
    /// Only the N requests with the longest time to first token, the longest first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub slowest: Option<u32>,
    /// Where it differs from this run, segment by segment: the mean over as many requests of each.
    #[arg(long, value_name = "CLEAN", conflicts_with_all = ["request", "slowest"])]
    pub against: Option<String>,
    /// What the time is summed by.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "stage,category")]
    pub by: Vec<By>,
    /// Memory.
    #[command(flatten)]
    pub limit: Limit,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Also says on stderr how long it took to read the run, to join what it holds, and to walk the paths.
    #[arg(long, conflicts_with = "against")]
    pub timings: bool,
}

/// A run whose paths can be walked.
struct WalkedRun<'a> {
    model: &'a Model,
    walker: Walker<'a>,
    /// How long reading the run took, and joining what it holds.
    took: (Duration, Duration),
}

/// A run to be walked: loaded without the segments that are damaged.
fn load(run: Run, memory: &Memory) -> anyhow::Result<(Model, Duration)> {
    let settings = Settings { memory: memory.clone(), ..Settings::default() };
    let begin = Instant::now();
    let read = Cell::new(Duration::ZERO);
    let model = Model::reading(run, &settings, |model| {
        model.recording()?;
        read.set(begin.elapsed());
        model.walker().map(drop)
    })?;
    input::warn(model.run());
    Ok((model, read.get()))
}

impl<'a> WalkedRun<'a> {
    fn of((model, read): &'a (Model, Duration), took: Duration) -> anyhow::Result<Self> {
        Ok(Self { model, walker: model.walker()?, took: (*read, took.saturating_sub(*read)) })
    }

    fn run(&self) -> &'a Run {
        self.model.run()
    }

    fn stages(&self) -> anyhow::Result<&'a Stages> {
        Ok(&self.model.analysis()?.stages)
    }

    /// The number of the request that `id` names.
    fn number(&self, id: &str) -> Result<i32, LookupError> {
        let requests = self.walker.requests().iter();
        RequestQuery::Text(id.to_owned()).among(requests.map(|request| (request.number, request.id.as_deref())))
    }

    /// The paths of ranges; at least one.
    fn of_ranges(&self, text: &str, mut into: PathTotals) -> anyhow::Result<PathTotals> {
        let ranges = self.walker.ranges(text);
        self.walker.each_of(&ranges.iter().collect::<Vec<_>>(), |path, rows| {
            into.add(path, rows);
            ControlFlow::Continue(())
        });
        anyhow::ensure!(!into.paths.is_empty(), "{}: no work in a range that begins `{text}`", self.run().name);
        Ok(into)
    }

    /// The paths of steps; at least one.
    fn of_steps(&self, mut into: PathTotals) -> anyhow::Result<PathTotals> {
        self.walker.each_of(&self.walker.steps().iter().collect::<Vec<_>>(), |path, rows| {
            into.add(path, rows);
            ControlFlow::Continue(())
        });
        anyhow::ensure!(
            !into.paths.is_empty(),
            "{0}: no step: hand-offs were recorded, whose requests `kvpath path {0}` shows, or no range that repeats and no forward pass",
            self.run().name
        );
        Ok(into)
    }

    /// All paths, or that of one request; at least one.
    fn of_requests(&self, only: Option<i32>, mut into: PathTotals) -> anyhow::Result<PathTotals> {
        let is_wanted = |request: &Request| only.is_none_or(|only| only == request.number);
        anyhow::ensure!(
            !self.walker.requests().is_empty(),
            "{0}: no path: no hand-off was recorded, no client's log was imported, and neither a range that repeats nor a forward pass was \
             found; `kvpath check {0}` says what was recorded of each process",
            self.run().name
        );
        self.walker.each(is_wanted, |path, rows| into.add(path, rows));
        anyhow::ensure!(
            !into.paths.is_empty(),
            "{0}: no path: nothing that was recorded lies between the arrival and the first token of any of its {1} requests (was a \
             client's log of another clock imported?), or it has none; `kvpath check {0}` says what was recorded of each process",
            self.run().name,
            self.walker.requests().len()
        );
        let without = self.walker.requests().iter().filter(|request| is_wanted(request)).count() - into.paths.len();
        if without > 0 {
            eprintln!(
                "kvpath: {without} requests have no path: nothing that was recorded lies between their arrival and first token"
            );
        }
        if only.is_none() && self.walker.ambiguous() > 0 {
            eprintln!(
                "kvpath: {}: {} requests of the client have an id that several recorded ones hold; they have no path of their own",
                self.run().name,
                self.walker.ambiguous()
            );
        }
        Ok(into)
    }
}

impl Path {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let memory = self.limit.memory();
        let begin = Instant::now();
        let loaded = load(self.input.open()?, &memory)?;
        let own = WalkedRun::of(&loaded, begin.elapsed())?;
        let only = self.request.as_deref().map(|id| own.number(id)).transpose()?;
        let begin = Instant::now();
        let by: Vec<SummedBy> = self.by.iter().map(|by| by.0).collect();
        let mut found = PathTotals::by(&by);
        if only.is_some() {
            found = found.with_segments();
        }
        found = match &self.range {
            Some(text) => own.of_ranges(text, found)?,
            None if self.steps => own.of_steps(found)?,
            None => own.of_requests(only, found)?,
        };
        if self.timings {
            let (read, joined) = own.took;
            eprintln!(
                "kvpath: read in {:.4} s, joined in {:.4} s, {} paths walked in {:.4} s",
                read.as_secs_f64(),
                joined.as_secs_f64(),
                found.paths.len(),
                begin.elapsed().as_secs_f64()
            );
        }
        if let Some(count) = self.slowest {
            found.keep_slowest(usize::try_from(count).unwrap_or(usize::MAX));
        }
        let body = path::Body { run: own.run(), stages: own.stages()?, found: &found };
        let Some(other) = &self.against else {
            print(&if self.json { format!("{}\n", path::json(&body)?) } else { path::text(&body) })?;
            return Ok(OK);
        };
        let loaded = load(self.input.open_other(other)?, &memory)?;
        let clean = WalkedRun::of(&loaded, Duration::ZERO)?;
        let of_other = PathTotals::by(&by);
        let found = if self.steps { clean.of_steps(of_other)? } else { clean.of_requests(None, of_other)? };
        anyhow::ensure!(
            found.unit() == body.found.unit(),
            "{}: the paths are of {}s, those of {} of {}s",
            body.run.name,
            body.found.unit(),
            clean.run().name,
            found.unit()
        );
        let other = path::Body { run: clean.run(), stages: clean.stages()?, found: &found };
        let against = RunComparison::of(&body, &other);
        print(&if self.json { format!("{}\n", against.json()?) } else { against.text() })?;
        Ok(OK)
    }
}
