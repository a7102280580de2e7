//! Is a path where the work was? While exactly one prefill stage computes and only one request is in flight, that request waits for
//! that stage, so its path has to be on that stage's GPU, whatever its gates say; or on its thread, where the GPU runs dry for want of
//! launches; or on the thread of a stage before it which launches too late, so that this one runs out of chunks. This is reckoned from what ran on GPUs and when it was launched, by code that shares nothing with the walk.

mod alone;
#[cfg(test)]
mod tests;

use kvpath_schema::tables::derived::Stages;
use kvpath_schema::tables::nixl::NixlTransfers;
use kvpath_schema::tables::path::{Path, PathSegment};

use crate::intervals::{ByStart, Span};
use crate::timeline::Timeline;
use alone::{Alone, Stage};

/// Below this share a path says nothing of the times in which it is elsewhere.
pub const ENOUGH: f64 = 0.95;

/// How a segment is known of which the path says nothing.
const WITHDRAWN: &str = "withdrawn";
/// Its category, but for those that name no cause.
const UNEXPLAINED: &str = "unexplained";
/// Categories that say only that time passed.
const NO_CAUSE: [&str; 3] = ["queue", "waiting", "respond"];
/// Messages between processes that are on record: a late one holds a request up also while a stage computes ahead.
const MESSAGES: [&str; 5] = ["p2p", "ready_wait", "post", "wire", "notify"];
/// What a GPU does on a path.
const ON_GPU: [&str; 5] = ["compute", "kernel_gap", "copy", "p2p", "collective"];

/// What the thread that launches does on a path. Where the GPU runs dry after it because launches come late, it is that thread which
/// everything waits for, and what the GPU does meanwhile counts for nothing.
const ON_THREAD: [&str; 3] = ["host", "waiting", "launch"];

/// When which prefill stage computed alone.
#[derive(Debug, Default)]
pub struct Audit {
    stages: Vec<Stage>,
    alone: Vec<Alone>,
}

/// What was found of a path.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Time that could be judged, ns.
    judged: i64,
    /// Which stage computed, and where in that time the path is elsewhere: in order.
    disputed: Vec<(usize, Span)>,
}

impl Audit {
    /// Of a run.
    #[must_use]
    pub fn of(timeline: &Timeline, transfers: &NixlTransfers, table: &Stages) -> Self {
        let stages = alone::stages(table);
        let alone = alone::of(timeline, transfers, &stages);
        Self { stages, alone }
    }

    /// Puts into the rows of a path how far it agrees, and takes back what they say where it does not, if that is much. `others`
    /// are the times in which other requests are in flight, by start: in those nothing is judged.
    ///
    /// Returns whether rows were changed other than by what is said of the audit: then their sums have to be made anew.
    pub fn judge(&self, path: &mut Path, rows: &mut Vec<PathSegment>, others: &[Span]) -> bool {
        let found = self.compare(path, rows, others);
        path.judged_ns = found.judged;
        if found.judged == 0 {
            return false;
        }
        let apart: i64 = found.disputed.iter().map(|(_, span)| span.1 - span.0).sum();
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let agreement = 1.0 - apart as f64 / found.judged as f64;
        path.agreement = Some(agreement);
        if agreement >= ENOUGH {
            return false;
        }
        let longest = found.disputed.iter().rev().max_by_key(|(_, span)| span.1 - span.0);
        path.disputed_from_ns = longest.map(|(_, span)| span.0);
        path.disputed_to_ns = longest.map(|(_, span)| span.1);
        path.disputed_stage_id = longest.map(|(stage, _)| self.stages[*stage].id);
        let spans: Vec<Span> = found.disputed.iter().map(|(_, span)| *span).collect();
        withdraw(rows, &spans);
        true
    }

    fn compare(&self, path: &Path, rows: &[PathSegment], others: &[Span]) -> Found {
        let mut found = Found::default();
        let window = (path.source_ns, path.end_ns);
        let others = ByStart::of(others);
        let from = self.alone.partition_point(|alone| alone.span.1 <= window.0);
        let mut at = 0;
        for alone in self.alone[from..].iter().take_while(|alone| alone.span.0 < window.1) {
            let span = (alone.span.0.max(window.0), alone.span.1.min(window.1));
            for (start, end) in without(span, others.within(span).spans()) {
                found.judged += end - start;
                while at < rows.len() && rows[at].start_ns + rows[at].dur_ns <= start {
                    at += 1;
                }
                for row in rows[at..].iter().take_while(|row| row.start_ns < end) {
                    let is_of = |stage: usize| {
                        row.process_id.is_some_and(|process| self.stages[stage].processes.contains(&process))
                    };
                    let is_on_thread = ON_THREAD.contains(&&*row.category);
                    let is_there = is_of(alone.stage)
                        && (ON_GPU.contains(&&*row.category) || alone.runs_dry && is_on_thread)
                        || is_on_thread && &*row.category != "waiting" && alone.waits_for.is_some_and(is_of)
                        || is_on_thread
                            && alone.launching.iter().any(|(stage, since)| is_of(*stage) && row.start_ns >= *since);
                    let part = (row.start_ns.max(start), (row.start_ns + row.dur_ns).min(end));
                    let is_prefill = |process| self.stages.iter().any(|stage| stage.processes.contains(&process));
                    if is_recorded_wait(row) && row.process_id.is_some_and(is_prefill) {
                        found.judged -= part.1 - part.0;
                    } else if !is_there {
                        found.dispute(part, alone);
                    }
                }
            }
        }
        found
    }
}

/// A thread of a prefill stage slept, which the scheduler recorded: its GPU may work on meanwhile at what was launched before, and no longer holds the
/// request up.
fn is_recorded_wait(row: &PathSegment) -> bool {
    row.is_explained && &*row.category == "waiting"
}

impl Found {
    fn dispute(&mut self, part: Span, alone: &Alone) {
        match self.disputed.last_mut() {
            Some((stage, span)) if *stage == alone.stage && span.1 == part.0 => span.1 = part.1,
            _ => self.disputed.push((alone.stage, part)),
        }
    }
}

/// The parts of a span that lie outside of others, which are sorted and apart.
fn without(span: Span, others: &[Span]) -> Vec<Span> {
    let mut parts = Vec::new();
    let mut from = span.0;
    for (start, end) in others {
        if *start > from {
            parts.push((from, *start));
        }
        from = from.max(*end);
    }
    if from < span.1 {
        parts.push((from, span.1));
    }
    parts
}

/// Makes segments, or the parts of them that lie within `spans`, say nothing; but for recorded messages.
fn withdraw(rows: &mut Vec<PathSegment>, spans: &[Span]) {
    let mut all = Vec::with_capacity(rows.len() + spans.len());
    let mut next = 0;
    for row in rows.drain(..) {
        let (start, end) = (row.start_ns, row.start_ns + row.dur_ns);
        while next < spans.len() && spans[next].1 <= start {
            next += 1;
        }
        let mut from = start;
        let mut part = |until: i64, is_withdrawn: bool| {
            if until > from {
                let own = PathSegment { start_ns: from, dur_ns: until - from, ..row.clone() };
                all.push(if is_withdrawn { withdrawn(own) } else { own });
                from = until;
            }
        };
        for span in spans[next..].iter().take_while(|span| span.0 < end) {
            part(span.0, false);
            part(span.1.min(end), true);
        }
        part(end, false);
    }
    *rows = all;
}

fn withdrawn(row: PathSegment) -> PathSegment {
    if MESSAGES.contains(&&*row.category) {
        return row;
    }
    let category = if NO_CAUSE.contains(&&*row.category) { row.category } else { UNEXPLAINED.into() };
    PathSegment { category, method: Some(WITHDRAWN.into()), confidence: 0.0, is_explained: false, ..row }
}
