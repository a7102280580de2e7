//! The critical path of every request: back from its first token over the gates that opened last.
//!
//! [`requests`] says what belongs to a request and where its path ends; [`walk`] goes back over [`crate::graph`]; [`category`]
//! and [`places`] say what each step is and whose; [`table`] makes rows of it. [`edges`] lists what else each node waited for,
//! [`slack`] what could have taken longer.

pub mod category;
pub mod edges;
pub mod places;
pub mod record;
pub mod requests;
pub mod slack;
pub mod table;
pub mod walk;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::path::{CriticalPath, Path, PathSegment, Paths};
use kvpath_schema::tables::spans::Spans;

use crate::analysis::{Analysis, Raw, Settings};
use crate::error::LoadError;
use crate::graph::pairs::Pairs;
use crate::graph::stages::Stages;
use crate::graph::{Graph, Request, Transfers};
use crate::load::Run;
use crate::load::limits::{SPAN, TIME, within};
use places::Places;
use requests::{Sink, Told};

/// The paths of a run.
#[derive(Debug, Default)]
pub struct Found {
    /// One a request.
    pub paths: Paths,
    /// Their segments.
    pub segments: CriticalPath,
}

/// A run, ready to be walked.
#[derive(Debug)]
pub struct Walker {
    /// The tables that it was made of.
    pub raw: Raw,
    /// What they say.
    pub analysis: Analysis,
    transfers: Transfers,
    pairs: Pairs,
    stages: Stages,
    places: Places,
    requests: Vec<Request>,
    /// Requests that a client tells of by an id that several recorded ones hold: they have no path of their own.
    pub ambiguous: usize,
}

/// Requests that are walked before their rows are handed on: on many threads too, so that rows do not take more memory there.
const SHARE: usize = 64;

impl Walker {
    /// Loads a run, analyses it, and joins what ran.
    ///
    /// # Errors
    /// A segment that does not decode.
    pub fn of(run: &Run, settings: &Settings) -> Result<Self, LoadError> {
        let raw = Raw::within(run, &settings.memory)?;
        let analysis = Analysis::of(&raw, settings);
        Self::join(run, raw, analysis)
    }

    /// Joins what was loaded and analysed.
    ///
    /// # Errors
    /// A segment of `spans` that does not decode.
    pub fn join(run: &Run, raw: Raw, analysis: Analysis) -> Result<Self, LoadError> {
        let stages = &analysis.stages;
        let prefill = (0..stages.stage_id.len()).filter(|row| &*stages.role[*row] == "prefill");
        let devices: Vec<(i64, Option<i32>)> =
            prefill.map(|row| (stages.process_id[row], stages.device_id[row])).collect();
        let transfers = Transfers::of(&raw, &raw.timeline, &devices);
        let pairs = Pairs::of(&raw.timeline, &pipelines(&analysis));
        let passes = Stages::of(stages, &analysis.chunks, &analysis.passes);
        let places = Places::of(stages, &analysis.chunks, &analysis.layers);
        let (requests, ambiguous) = requests::of(&analysis, &transfers, &told(&spans(run, &raw)?));
        Ok(Self { raw, analysis, transfers, pairs, stages: passes, places, requests, ambiguous })
    }

    /// The requests that it knows.
    #[must_use]
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The NVTX ranges whose text begins so, as if each were a request: training steps, rounds of a benchmark. By time; their
    /// numbers count from 0.
    #[must_use]
    pub fn ranges(&self, text: &str) -> Vec<Request> {
        let rows = self.raw.nvtx.of_texts(|own| own.starts_with(text).then_some(()));
        let mut found: Vec<((i64, i64), i64, &str)> = rows
            .filter_map(|(row, ())| {
                let mark = self.raw.nvtx.mark(row);
                Some(((mark.start, mark.start.checked_add(mark.dur?)?), mark.thread.0, mark.text))
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        let numbered = (0i32..).zip(found);
        numbered.map(|(number, (span, process, text))| requests::of_range(number, text, process, span)).collect()
    }

    /// Where gates are looked up.
    #[must_use]
    pub fn graph(&self) -> Graph<'_> {
        Graph { timeline: &self.raw.timeline, transfers: &self.transfers, pairs: &self.pairs, stages: &self.stages }
    }

    /// Where the path of a request ends; `None` if nothing of it was recorded.
    #[must_use]
    pub fn sink(&self, request: &Request) -> Option<Sink> {
        let decode_pass = |process, start| self.analysis.pass_end(process, start);
        let sink = requests::sink(&self.raw.timeline, &self.transfers, request, decode_pass)?;
        // What was over before the request came is not its work: the client's clock is another one.
        (self.graph().time(sink.node) > request.source_ns).then_some(sink)
    }

    /// The path of a request with its segments.
    #[must_use]
    pub fn path(&self, request: &Request) -> Option<(Path, Vec<PathSegment>)> {
        let graph = self.graph();
        let context = table::Context { graph: &graph, places: &self.places, raw: &self.raw };
        let sink = self.sink(request)?;
        let walked = walk::walk(&graph, request, sink.node, request.source_ns);
        Some(context.rows(request, &sink, &walked))
    }

    /// The paths of the requests that `wanted` picks, in their order, a share at a time: only so much is in memory.
    pub fn each(&self, wanted: impl Fn(&Request) -> bool, mut take: impl FnMut(Path, Vec<PathSegment>)) {
        let picked: Vec<&Request> = self.requests.iter().filter(|request| wanted(request)).collect();
        self.each_of(&picked, |path, segments| {
            take(path, segments);
            ControlFlow::Continue(())
        });
    }

    /// Those of given requests, until `take` wants no more.
    pub fn each_of(&self, picked: &[&Request], mut take: impl FnMut(Path, Vec<PathSegment>) -> ControlFlow<()>) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for share in picked.chunks(SHARE.max(threads)) {
            let each = share.len().div_ceil(threads).max(1);
            let found: Vec<Vec<_>> = std::thread::scope(|scope| {
                let walk = |part: &[&Request]| part.iter().filter_map(|request| self.path(request)).collect();
                let running: Vec<_> = share.chunks(each).map(|part| scope.spawn(move || walk(part))).collect();
                let joined = running.into_iter().map(std::thread::ScopedJoinHandle::join);
                joined.map(|found| found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
            });
            for (path, segments) in found.into_iter().flatten() {
                if take(path, segments).is_break() {
                    return;
                }
            }
        }
    }

    /// All of them at once.
    #[must_use]
    pub fn paths(&self, wanted: impl Fn(&Request) -> bool) -> Found {
        let mut found = Found::default();
        self.each(wanted, |path, segments| {
            found.paths.push(path);
            for segment in segments {
                found.segments.push(segment);
            }
        });
        found
    }
}

/// The processes of each pipeline, stage by stage: one a TP rank. A run without hand-offs shows no roles.
fn pipelines(analysis: &Analysis) -> Vec<Vec<i64>> {
    let stages = &analysis.stages;
    let rows =
        (0..stages.stage_id.len()).filter(|row| &*stages.role[*row] != "decode" && stages.pp_rank[*row].is_some());
    let mut by_rank: BTreeMap<Option<i32>, Vec<(Option<i32>, i64)>> = BTreeMap::new();
    for row in rows {
        by_rank.entry(stages.tp_rank[row]).or_default().push((stages.pp_rank[row], stages.process_id[row]));
    }
    let sorted = by_rank.into_values().map(|mut ranks| {
        ranks.sort_unstable();
        ranks.into_iter().map(|(_, process)| process).collect()
    });
    sorted.collect()
}

/// What programs say of requests, on the clock of the reference.
fn spans(run: &Run, raw: &Raw) -> Result<Spans, LoadError> {
    let mut all = Spans::default();
    for host in &raw.clocks.hosts {
        let mut own: Spans = run.of_host(&host.name).table()?;
        let starts = own.start_ns.iter().copied();
        within("spans", "start_ns", starts, -TIME..=TIME)?;
        within("spans", "dur_ns", own.dur_ns.iter().copied().flatten(), 0..=SPAN)?;
        for (start, dur) in own.start_ns.iter_mut().zip(&mut own.dur_ns) {
            let end = dur.map(|dur| host.time(start.saturating_add(dur)));
            *start = host.time(*start);
            *dur = end.map(|end| end.saturating_sub(*start));
        }
        all.append(own);
    }
    Ok(all)
}

/// What clients say of requests.
fn told(spans: &Spans) -> Vec<Told> {
    let rows = (0..spans.len()).filter(|row| &*spans.service[*row] == "client" && &*spans.name[*row] == "request");
    let mut told: Vec<Told> = rows
        .filter_map(|row| {
            Some(Told {
                id: spans.request[row].clone()?,
                arrival_ns: spans.start_ns[row],
                first_token_ns: spans.start_ns[row].checked_add(spans.dur_ns[row]?)?,
            })
        })
        .collect();
    told.sort_by(|a, b| (a.arrival_ns, &a.id).cmp(&(b.arrival_ns, &b.id)));
    told
}
