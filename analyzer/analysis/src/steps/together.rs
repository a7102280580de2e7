//! Which steps of several processes are one. NCCL's kernels show it: a collective ends on all ranks together, and a message goes from
//! the pass that made it to the one that needs it. Processes that nothing connects have steps of their own.

use std::collections::{BTreeMap, HashMap};

use kvpath_schema::tables::derived::{StepMethod, StepUnit};

use super::{Series, StepPart, StepWork};
use crate::graph::Op;
use crate::graph::pairs::Pairs;
use crate::intervals::Span;
use crate::structure::lanes::{Lane, Pass};
use crate::structure::stages::StageWork;
use crate::timeline::{Class, Timeline};

/// Kernels of NCCL that end on two ranks within this, ns, may be the same operation.
const TOGETHER_NS: i64 = 50_000;
/// And if the next one is so many times as far away: by chance a quarter of them would be.
const NEXT_IS_FARTHER: i64 = 8;
/// Share of the kernels of the process with fewer that must end together.
const MOSTLY: f64 = 0.5;

/// Two ends of what connects two processes: when it ended there and here, ns.
type Contact = (i64, i64);

/// A step of one process that belongs to one of an earlier process.
struct Joined {
    /// Which series, and which of its steps.
    with: (usize, usize),
    method: StepMethod,
    /// Share of what connects it that agrees.
    agreeing: f64,
}

/// Puts the steps of all processes together.
pub(super) fn of<'a>(timeline: &Timeline, stages: &[StageWork<'a>], series: &[Series]) -> Vec<StepWork<'a>> {
    let pairs = Pairs::of(timeline, &neighbours(stages, series));
    let ends: Vec<Option<Vec<i64>>> = series.iter().map(|own| stages[own.stage].lane.map(ends)).collect();
    let mut joined: BTreeMap<(usize, usize), Joined> = BTreeMap::new();
    for own in 1..series.len() {
        // The one that most of its steps have in common with.
        let with = (0..own).filter(|other| is_like(&series[*other], &series[own]));
        let found = with.map(|other| {
            (
                other,
                join(
                    timeline,
                    stages,
                    &pairs,
                    (&series[other], &series[own]),
                    (ends[other].as_deref(), ends[own].as_deref()),
                ),
            )
        });
        let best = found.max_by_key(|(other, steps)| (steps.len(), std::cmp::Reverse(*other)));
        for (step, (there, method, agreeing)) in best.iter().flat_map(|(_, steps)| steps) {
            let with = (best.as_ref().map_or(0, |(other, _)| *other), *there);
            joined.insert((own, *step), Joined { with, method: *method, agreeing: *agreeing });
        }
    }
    let mut steps: Vec<StepWork> = Vec::new();
    let mut of_step: HashMap<(usize, usize), usize> = HashMap::new();
    for (own, one) in series.iter().enumerate() {
        let usual: Vec<&Pass> = super::usual(&stages[one.stage]).collect();
        for (at, (span, name)) in one.steps.iter().enumerate() {
            let part = StepPart { stage: one.stage, span: *span, passes: passes(&usual, one, at) };
            let key = (own, at);
            let found = joined.get(&key).and_then(|joined| Some((*of_step.get(&joined.with)?, joined)));
            let number = if let Some((number, joined)) = found {
                let step = &mut steps[number];
                step.parts.push(part);
                step.confidence = step.confidence.min(one.confidence * joined.agreeing);
                step.method = joined.method;
                number
            } else {
                let (name, unit, confidence) = (name.clone(), one.unit, one.confidence);
                let method = StepMethod::Alone;
                steps.push(StepWork { name, unit, method, confidence, parts: vec![part] });
                steps.len() - 1
            };
            of_step.insert(key, number);
        }
    }
    steps
}

/// Of the passes of a stage those that began in a step.
fn passes<'a>(usual: &[&'a Pass], series: &Series, at: usize) -> Vec<&'a Pass> {
    let (start, end) = series.steps[at].0;
    let from = usual.partition_point(|pass| pass.span.0 < start);
    if series.unit == StepUnit::Pass {
        return usual.get(from).copied().into_iter().collect();
    }
    usual[from..].iter().take_while(|pass| pass.span.0 < end).copied().collect()
}

fn is_like(a: &Series, b: &Series) -> bool {
    a.unit == b.unit
}

/// Stages of one pipeline that follow each other, by process.
fn neighbours(stages: &[StageWork], series: &[Series]) -> Vec<Vec<i64>> {
    let mut found = Vec::new();
    for a in series.iter().map(|own| &stages[own.stage].row) {
        for b in series.iter().map(|own| &stages[own.stage].row) {
            let is_next = a.pp_rank.zip(b.pp_rank).is_some_and(|(a, b)| a.checked_add(1) == Some(b));
            if is_next && a.tp_rank == b.tp_rank {
                found.push(vec![a.process_id, b.process_id]);
            }
        }
    }
    found
}

/// Steps of the second process that belong to steps of the first.
type JoinedSteps = BTreeMap<usize, (usize, StepMethod, f64)>;

/// `ends`: of NCCL's kernels of both ([`ends`]).
fn join(
    timeline: &Timeline,
    stages: &[StageWork],
    pairs: &Pairs,
    (a, b): (&Series, &Series),
    ends: (Option<&[i64]>, Option<&[i64]>),
) -> JoinedSteps {
    let (from, to) = (&stages[a.stage], &stages[b.stage]);
    let messages = messages(timeline, pairs, from, to);
    let (contacts, method) = match (messages.is_empty(), ends.0.zip(ends.1)) {
        (false, _) => (messages, StepMethod::Messages),
        (true, Some((there, here))) => (ending_together(there, here), StepMethod::Collectives),
        (true, None) => return JoinedSteps::new(),
    };
    let is_between_passes = method == StepMethod::Messages && a.unit == StepUnit::Pass;
    let mut votes: BTreeMap<usize, BTreeMap<usize, usize>> = BTreeMap::new();
    for (at_there, at_here) in contacts {
        let found = if is_between_passes {
            made_and_needed(a, b, (at_there, at_here))
        } else {
            at(a, at_there).zip(at(b, at_here))
        };
        if let Some((there, here)) = found {
            *votes.entry(here).or_default().entry(there).or_default() += 1;
        }
    }
    let mut found = JoinedSteps::new();
    let mut last = None;
    for (here, there) in votes {
        let all: usize = there.values().sum();
        let best = there.into_iter().max_by_key(|(there, votes)| (*votes, std::cmp::Reverse(*there)));
        // Both go on in the same order, and each step is one of the other's at most.
        if let Some((there, votes)) = best.filter(|(there, _)| last.is_none_or(|last| last < *there)) {
            last = Some(there);
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            let agreeing = votes as f64 / all as f64;
            found.insert(here, (there, method, agreeing));
        }
    }
    found
}

/// The step that runs at a time.
fn at(series: &Series, time: i64) -> Option<usize> {
    let at = series.steps.partition_point(|(span, _)| span.0 < time).checked_sub(1)?;
    (time <= series.steps[at].0.1).then_some(at)
}

/// The pass that made a message, the last that had begun, and the one that needs it, the next to end.
fn made_and_needed(a: &Series, b: &Series, (sent, received): Contact) -> Option<(usize, usize)> {
    let made = a.steps.partition_point(|(span, _)| span.0 < sent).checked_sub(1)?;
    let needed = b.steps.partition_point(|(span, _)| span.1 <= received);
    (needed < b.steps.len()).then_some((made, needed))
}

/// When each message from one stage to the next was sent and there.
fn messages(timeline: &Timeline, pairs: &Pairs, from: &StageWork, to: &StageWork) -> Vec<Contact> {
    let Some(lanes) = timeline.processes.get(&to.row.process_id) else { return Vec::new() };
    let mut found = Vec::new();
    for lane in &lanes.streams {
        let stream = timeline.lane(*lane);
        for op in (0..stream.len()).filter(|op| timeline.names.class(stream.name[*op]) == Class::PointToPoint) {
            let Ok(number) = u32::try_from(op) else { continue };
            let other = pairs.partner(*lane, number).filter(|_| pairs.receives(*lane, number) == Some(true));
            if let Some((Op::Lane(there, sent), _)) = other
                && timeline.id(there).process == from.row.process_id
            {
                found.push((timeline.lane(there).end[sent as usize], stream.end[op]));
            }
        }
    }
    found
}

/// When each kernel of NCCL ended, rising.
fn ends(lane: &Lane) -> Vec<i64> {
    let mut ends: Vec<i64> = lane.collectives.iter().chain(&lane.p2p).map(|span: &Span| span.1).collect();
    ends.sort_unstable();
    ends
}

/// Kernels of NCCL that end together on both, if most do.
fn ending_together(there: &[i64], here: &[i64]) -> Vec<Contact> {
    let nearest = |time: i64| {
        let at = there.partition_point(|end| *end < time);
        let apart = |at: &usize| there[*at].abs_diff(time);
        let near = [at.checked_sub(1), Some(at).filter(|at| *at < there.len())].into_iter().flatten();
        near.min_by_key(apart).map(|at| there[at])
    };
    let found: Vec<Contact> = (0..here.len())
        .filter_map(|at| {
            let before = at.checked_sub(1).map_or(i64::MAX, |before| here[at] - here[before]);
            let next = here.get(at + 1).map_or(i64::MAX, |next| next - here[at]);
            let other = nearest(here[at])?;
            let apart = (other - here[at]).abs();
            let is_alone = apart.saturating_mul(NEXT_IS_FARTHER) <= before.min(next);
            (apart <= TOGETHER_NS && is_alone).then_some((other, here[at]))
        })
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = found.len() as f64 / here.len().min(there.len()).max(1) as f64;
    if share >= MOSTLY { found } else { Vec::new() }
}
