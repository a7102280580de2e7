//! Paths as tables.

use kvpath_schema::tables::nixl::NixlTransfers;
use kvpath_schema::tables::path::{Operation, Path, PathSegment};

use super::category::Category;
use super::places::PassesByProcess;
use super::record;
use super::requests::Sink;
use super::walk::{Step, StepKind, WalkedPath};
use crate::clocks::Clocks;
use crate::graph::{Graph, Method, Op, Request, Unit};
use crate::timeline::threads::{Blocking, ThreadId};
use crate::timeline::{LaneId, LaneKind};

/// Whether a path that begins so is a step's, no request's.
#[must_use]
pub fn is_of_step(source: &str) -> bool {
    matches!(source, "range" | "pass")
}

/// Joins below this are guesses.
pub const SURE: f64 = 0.9;

/// What the rows need.
#[derive(Debug)]
pub struct Context<'a> {
    /// The graph that was walked.
    pub graph: &'a Graph<'a>,
    /// Where operations belong.
    pub places: &'a PassesByProcess,
    /// Clocks of the hosts.
    pub clocks: &'a Clocks,
    /// Transfers of the run.
    pub transfers: &'a NixlTransfers,
}

impl Context<'_> {
    /// How wrong a duration between two processes can be because their hosts' clocks differ, ns.
    fn clock_error(&self, (from, to): (i64, i64), (start, end): (i64, i64)) -> i64 {
        let (Some(a), Some(b)) = (self.clocks.host_of(from), self.clocks.host_of(to)) else { return 0 };
        if a.name == b.name { 0 } else { a.eps_at_ns(start).unwrap_or(0).saturating_add(b.eps_at_ns(end).unwrap_or(0)) }
    }

    /// The row of a request's path, and those of its segments.
    #[must_use]
    pub fn rows(&self, request: &Request, sink: &Sink, walked: &WalkedPath) -> (Path, Vec<PathSegment>) {
        let mut rows: Vec<PathSegment> = Vec::with_capacity(walked.steps.len() + 1);
        for step in &walked.steps {
            self.segments(request, step, &mut rows);
        }
        let sink_end = self.graph.time(sink.node);
        let told = request.first_token_ns.filter(|_| request.unit == Unit::Request);
        let end_ns = told.map_or(sink_end, |told| told.max(sink_end));
        if end_ns > sink_end {
            rows.push(respond(rows.last(), sink_end, end_ns));
        }
        let mut path = Path {
            request: request.number,
            request_id: request.id.clone(),
            source_ns: request.source_ns,
            end_ns,
            ttft_ns: (end_ns - request.source_ns).max(0),
            source: match (request.unit, request.has_arrival) {
                (Unit::Range, _) => "range".into(),
                (Unit::Pass, _) => "pass".into(),
                (Unit::Request, true) => "client".into(),
                (Unit::Request, false) => "first_record".into(),
            },
            sink: sink.method.into(),
            incomplete: request.is_incomplete,
            ..Path::default()
        };
        settle(&mut path, &mut rows);
        (path, rows)
    }

    /// What an operation is, whose, and which record shows it.
    pub(super) fn operation(&self, op: Op) -> Operation {
        record::of(self.graph, self.transfers, self.places.of_op(self.graph, op), op)
    }

    /// The rows of a step: more than one where it is known when a thread ran within it.
    fn segments(&self, request: &Request, step: &Step, into: &mut Vec<PathSegment>) {
        let category = Category::of(self.graph, step);
        let row = self.segment(request, step, category);
        let thread = self.thread(step.op).filter(|_| category == Category::Waiting);
        let ran = thread.map(|thread| self.graph.timeline.threads.ran(thread, (step.start, step.end)));
        let mut at = step.start;
        for (start, end) in ran.unwrap_or_default().into_iter().chain([(step.end, step.end)]) {
            let part = |from: i64, until: i64| PathSegment { start_ns: from, dur_ns: until - from, ..row.clone() };
            if start > at {
                into.push(part(at, start));
            }
            if end > start {
                let known = PathSegment { category: Category::Host.name().into(), confidence: 1.0, ..part(start, end) };
                into.push(PathSegment { is_explained: !step.is_doubtful, ..known });
            }
            at = end;
        }
    }

    /// The thread of an operation.
    fn thread(&self, op: Op) -> Option<ThreadId> {
        let threads = &self.graph.timeline.threads;
        match op {
            Op::Lane(lane, _) => match self.graph.timeline.id(lane) {
                LaneId { process, kind: LaneKind::Thread(tid) } => Some((process, tid)),
                LaneId { kind: LaneKind::Stream { .. }, .. } => None,
            },
            Op::OffCpu(row) => Some(threads.interval(row).thread),
            Op::Wake(row) => threads.interval(row).waker,
            _ => None,
        }
    }

    /// Whether an operation is a wait of which the record says what it was for: a time, a disk, a signal.
    fn is_own_wait(&self, op: Op) -> bool {
        let Op::OffCpu(row) = op else { return false };
        matches!(self.graph.timeline.threads.interval(row).blocking, Blocking::Own | Blocking::Sleep)
    }

    fn segment(&self, request: &Request, step: &Step, category: Category) -> PathSegment {
        let operation = self.operation(step.op);
        let operation = Operation { of_request: operation.of_request.or(Some(request.number)), ..operation };
        let mut row = PathSegment {
            start_ns: step.start,
            dur_ns: step.end - step.start,
            category: category.name().into(),
            kind: step.kind.name().into(),
            gate: step.gate.map(|(kind, _)| kind.name().into()),
            method: step.gate.map(|(_, method)| method.name().into()),
            confidence: step.gate.map_or(1.0, |(_, method)| method.confidence()),
            margin_ns: step.margin,
            ..PathSegment::of(operation)
        };
        if let Op::Wire(transfer) = step.op {
            row.uncertain_ns = self.graph.transfers.uncertain_ns(transfer);
        }
        row.uncertain_ns += step.between.map_or(0, |between| self.clock_error(between, (step.start, step.end)));
        let is_own_wait = step.kind == StepKind::Work && self.is_own_wait(step.op);
        if step.is_doubtful || category == Category::Waiting && !is_own_wait {
            row.confidence = row.confidence.min(Method::Engine.confidence());
        }
        // Work ran, whatever led to it; that something waited is as sure as what shows it.
        let is_shown = step.kind == StepKind::Work || row.confidence >= SURE;
        row.is_explained = is_shown && !step.is_doubtful && (category.is_known() || is_own_wait);
        // A gap is not the operation's own.
        if step.kind == StepKind::Source {
            row.table_name = None;
        }
        row
    }
}

/// Numbers the segments of a path, and sums up what they say.
pub fn settle(path: &mut Path, rows: &mut [PathSegment]) {
    for (position, row) in rows.iter_mut().enumerate() {
        row.request = path.request;
        row.position = i32::try_from(position).unwrap_or(i32::MAX);
    }
    let sum = |keep: &dyn Fn(&PathSegment) -> bool| rows.iter().filter(|row| keep(row)).map(|row| row.dur_ns).sum();
    path.segments = i32::try_from(rows.len()).unwrap_or(i32::MAX);
    path.unexplained_ns = sum(&|row| !row.is_explained);
    path.guessed_ns = sum(&|row| row.confidence < SURE);
    path.uncertain_ns = rows.iter().map(|row| row.uncertain_ns).sum();
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let coverage = if path.ttft_ns > 0 { 1.0 - path.unexplained_ns as f64 / path.ttft_ns as f64 } else { 0.0 };
    path.coverage = coverage;
}

/// From the last recorded work to the token at the client: sampling's copy, detokenizing, HTTP.
fn respond(last: Option<&PathSegment>, start_ns: i64, end_ns: i64) -> PathSegment {
    PathSegment {
        start_ns,
        dur_ns: end_ns - start_ns,
        category: Category::Respond.name().into(),
        kind: StepKind::Gap.name().into(),
        confidence: 1.0,
        stage_id: last.and_then(|row| row.stage_id),
        of_request: last.and_then(|row| row.of_request),
        process_id: last.and_then(|row| row.process_id),
        ..PathSegment::default()
    }
}
