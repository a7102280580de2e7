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
use kvpath_schema::tables::derived::{Chunks, Handoffs, Layers, Requests, Stages, Steps};
use kvpath_schema::tables::path::{CriticalPath, Path, PathSegment, Paths};

use crate::clocks::Clocks;
use crate::facts::Facts;
use crate::graph::{Graph, Links, Request, Unit};
use crate::intervals::Span;
use crate::serving::titles;
use crate::serving::told::RequestReport;
use crate::timeline::Timeline;
use places::PassesByProcess;
use requests::Sink;

/// The paths of a run, as rows of `paths` and `critical_path`.
#[derive(Debug, Default)]
pub struct RunPaths {
    /// One a request.
    pub paths: Paths,
    /// Their segments.
    pub segments: CriticalPath,
}

impl RunPaths {
    /// Adds a path with its segments.
    pub fn add(&mut self, path: Path, segments: Vec<PathSegment>) {
        self.paths.push(path);
        for segment in segments {
            self.segments.push(segment);
        }
    }
}

/// What paths are walked over, of hosts whose clocks are related.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The clocks of those hosts.
    pub clocks: &'a Clocks,
    /// Facts.
    pub facts: &'a Facts,
    /// What ran.
    pub timeline: &'a Timeline,
    /// What waited for what.
    pub links: &'a Links,
    /// Stages.
    pub stages: &'a Stages,
    /// Requests of the recording.
    pub requests: &'a Requests,
    /// Steps of the recording, with the processes of each.
    pub steps: (&'a Steps, &'a [Vec<i64>]),
    /// Chunks.
    pub chunks: &'a Chunks,
    /// Layers.
    pub layers: &'a Layers,
    /// Hand-offs.
    pub handoffs: &'a Handoffs,
    /// Request of each row of `nixl_transfers` that carries KV.
    pub of_transfer: &'a BTreeMap<usize, i32>,
    /// Forward passes of each process by time, ns.
    pub passes: &'a BTreeMap<i64, Vec<Span>>,
}

/// What belongs to each request, made once for a run.
#[derive(Debug, Default)]
pub struct Prepared {
    places: PassesByProcess,
    requests: Vec<Request>,
    steps: Vec<Request>,
    ambiguous: usize,
}

impl Prepared {
    /// Of the requests of the recording and those that clients tell of.
    #[must_use]
    pub fn of(inputs: &Inputs, told: &[RequestReport]) -> Self {
        let places = PassesByProcess::of(inputs.stages, inputs.chunks, inputs.layers);
        let (requests, ambiguous) = requests::of(inputs, told);
        Self { places, requests, steps: requests::of_steps(inputs.steps), ambiguous }
    }

    /// The requests whose paths can be walked; steps where there are none.
    #[must_use]
    pub fn requests(&self) -> &[Request] {
        if self.requests.is_empty() { &self.steps } else { &self.requests }
    }
}

/// Looks at each path that was walked, and may change what its rows say.
pub trait Judge: std::fmt::Debug + Sync {
    /// Judges one.
    fn judge(&self, path: &mut Path, segments: &mut Vec<PathSegment>);
}

/// Walks paths.
#[derive(Debug, Clone, Copy)]
pub struct Walker<'a> {
    inputs: Inputs<'a>,
    prepared: &'a Prepared,
    judge: &'a dyn Judge,
}

/// Requests that are walked before their rows are handed on: on many threads too, so that rows do not take more memory there.
const SHARE: usize = 64;

impl<'a> Walker<'a> {
    /// Over these.
    #[must_use]
    pub fn new(inputs: Inputs<'a>, prepared: &'a Prepared, judge: &'a dyn Judge) -> Self {
        Self { inputs, prepared, judge }
    }

    /// The requests that it knows; steps where it knows none.
    #[must_use]
    pub fn requests(&self) -> &'a [Request] {
        self.prepared.requests()
    }

    /// The steps of a run without hand-offs, also where a client tells of requests.
    #[must_use]
    pub fn steps(&self) -> &'a [Request] {
        &self.prepared.steps
    }

    /// Requests that a client tells of by an id that several recorded ones hold: they have no path of their own.
    #[must_use]
    pub fn ambiguous(&self) -> usize {
        self.prepared.ambiguous
    }

    /// The NVTX ranges whose text begins so, as if each were a request: training steps, rounds of a benchmark. By time; their
    /// numbers count from 0.
    #[must_use]
    pub fn ranges(&self, text: &str) -> Vec<Request> {
        let rows = self.inputs.facts.nvtx.of_texts(|own| own.starts_with(text).then_some(()));
        let mut found: Vec<((i64, i64), i64, &str)> = rows
            .filter_map(|(row, ())| {
                let mark = self.inputs.facts.nvtx.mark(row);
                Some(((mark.start, mark.start.checked_add(mark.dur?)?), mark.thread.0, mark.text))
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        let numbered = (0i32..).zip(found);
        let of = |(number, (span, process, text)): (i32, ((i64, i64), i64, &str))| {
            requests::of_span(Unit::Range, (number, Some(text)), vec![process], span)
        };
        numbered.map(of).collect()
    }

    /// Where gates are looked up.
    #[must_use]
    pub fn graph(&self) -> Graph<'a> {
        self.inputs.links.graph(self.inputs.timeline)
    }

    /// What rows of paths are made with.
    fn context<'g>(&self, graph: &'g Graph<'a>) -> table::Context<'g>
    where
        'a: 'g,
    {
        let Inputs { clocks, facts, .. } = self.inputs;
        table::Context { graph, places: &self.prepared.places, clocks, transfers: &facts.transfers }
    }

    /// Where the path of a request ends; `None` if nothing of it was recorded.
    #[must_use]
    pub fn sink(&self, request: &Request) -> Option<Sink> {
        let Inputs { timeline, links, passes, .. } = self.inputs;
        let decode_pass = |process, start| pass_end(passes, process, start);
        let title = |process| {
            let processes = &self.inputs.facts.processes;
            let row = processes.process_id.iter().position(|other| *other == process);
            row.map_or("", |row| &processes.name[row])
        };
        let is_sampled_by_prefill = request.decode.is_some_and(|process| titles::samples_in_prefill(title(process)));
        let sink = requests::sink((timeline, &links.transfers), request, is_sampled_by_prefill, decode_pass)?;
        // What was over before the request came is not its work: the client's clock is another one.
        (self.graph().time(sink.node) > request.source_ns).then_some(sink)
    }

    /// The path of a request with its segments.
    #[must_use]
    pub fn path(&self, request: &Request) -> Option<(Path, Vec<PathSegment>)> {
        let graph = self.graph();
        let context = self.context(&graph);
        let sink = self.sink(request)?;
        let walked = walk::walk(&graph, request, sink.node, request.source_ns);
        let (mut path, mut segments) = context.rows(request, &sink, &walked);
        self.judge.judge(&mut path, &mut segments);
        Some((path, segments))
    }

    /// The paths of the requests that `wanted` picks, in their order, a share at a time: only so much is in memory.
    pub fn each(&self, wanted: impl Fn(&Request) -> bool, mut take: impl FnMut(Path, Vec<PathSegment>)) {
        let picked: Vec<&Request> = self.requests().iter().filter(|request| wanted(request)).collect();
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
    pub fn paths(&self, wanted: impl Fn(&Request) -> bool) -> RunPaths {
        let mut found = RunPaths::default();
        self.each(wanted, |path, segments| found.add(path, segments));
        found
    }
}

/// The end of the pass of a process that runs at `time`, or begins next, ns.
fn pass_end(passes: &BTreeMap<i64, Vec<Span>>, process: i64, time: i64) -> Option<i64> {
    let passes = passes.get(&process)?;
    let at = passes.partition_point(|pass| pass.1 <= time);
    passes.get(at).map(|pass| pass.1)
}
