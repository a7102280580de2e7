//! Steps: what a program does again and again, in recordings that show no hand-off. A plain server, a training step, one rank.
//!
//! A step is a `ProfilerStep`, else a range that repeats ([`ranges`]), else a forward pass that the kernels show
//! ([`crate::structure::mine`]). What several processes do at once is one step where NCCL's kernels connect it ([`together`]).
//! [`rows`] makes rows of them.

mod ranges;
pub mod rows;
#[cfg(test)]
mod tests;
mod together;

use kvpath_schema::tables::derived::{StepMethod, StepUnit};

use crate::facts::Facts;
use crate::intervals::Span;
use crate::structure::lanes::Pass;
use crate::structure::stages::StageWork;
use crate::timeline::Timeline;

/// What one process did in a step.
#[derive(Debug)]
pub struct StepPart<'a> {
    /// Position in the list of stages.
    pub stage: usize,
    /// Its range, or its pass from first to last kernel, ns.
    pub span: Span,
    /// Forward passes in it, by time.
    pub passes: Vec<&'a Pass>,
}

/// A step.
#[derive(Debug)]
pub struct StepWork<'a> {
    /// Text of its range.
    pub name: Option<String>,
    /// What it is.
    pub unit: StepUnit,
    /// How it is known who took part.
    pub method: StepMethod,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
    /// What each process did, in the order of stages; at least one.
    pub parts: Vec<StepPart<'a>>,
}

impl StepWork<'_> {
    /// From the start of its first part to the end of the last, ns.
    #[must_use]
    pub fn span(&self) -> Span {
        let start = self.parts.iter().map(|part| part.span.0).min().unwrap_or(0);
        (start, self.parts.iter().map(|part| part.span.1).max().unwrap_or(start))
    }
}

/// The steps of one process.
#[derive(Debug)]
struct Series {
    /// Position in the list of stages.
    stage: usize,
    unit: StepUnit,
    /// How sure it is that these are steps.
    confidence: f64,
    /// Of ranges that do not overlap, by time, with their texts.
    steps: Vec<(Span, Option<String>)>,
}

/// The steps of a run, by start.
#[must_use]
pub fn of<'a>(facts: &Facts, timeline: &Timeline, stages: &[StageWork<'a>]) -> Vec<StepWork<'a>> {
    let series =
        (0..stages.len()).filter_map(|s| ranges::of(facts, timeline, s, &stages[s]).or_else(|| passes(s, &stages[s])));
    let series: Vec<Series> = series.collect();
    let mut steps = together::of(timeline, stages, &series);
    steps.sort_by_key(StepWork::span);
    steps
}

/// The passes of a stage as steps.
fn passes(stage: usize, work: &StageWork) -> Option<Series> {
    let steps: Vec<(Span, Option<String>)> = usual(work).map(|pass| (pass.span, None)).collect();
    let confidence = if work.row.layers.is_some() { work.row.layers_confidence } else { UNSURE };
    (!steps.is_empty()).then_some(Series { stage, unit: StepUnit::Pass, confidence, steps })
}

/// The passes of a stage that have as many layers as most: others are cut, or something else, as what fills weights before a server
/// serves.
fn usual<'a>(work: &StageWork<'a>) -> impl Iterator<Item = &'a Pass> {
    let passes: &'a [Pass] = work.lane.map_or(&[], |lane| &lane.passes);
    let layers = work.row.layers.and_then(|layers| usize::try_from(layers).ok());
    passes.iter().filter(move |pass| layers.is_none_or(|layers| pass.layers.len() == layers))
}

/// Of passes whose layers could not be counted.
const UNSURE: f64 = 0.5;
