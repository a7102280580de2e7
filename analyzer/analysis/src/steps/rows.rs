//! Steps as rows: the `steps` table, the bubbles of stages in them, and what of their GPU work no record shows.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Bubble, Bubbles, Step, Steps};

use super::StepWork;
use crate::intervals::{ByStart, Span};
use crate::structure::lanes::Pass;
use crate::structure::requests::RequestWork;
use crate::structure::stages::StageWork;
use crate::timeline::{Class, LaneAt, Timeline};

/// Work of GPUs that no record shows: when it was launched, or ran as a graph of which only the whole is recorded, by stage.
#[derive(Debug)]
struct Hidden(Vec<ByStart<'static>>);

impl Hidden {
    fn of(timeline: &Timeline, stages: &[StageWork]) -> Self {
        Self(stages.iter().map(|stage| ByStart::of(of_process(timeline, stage.row.process_id))).collect())
    }

    /// Whether a stage ran something in a time that is not on record, or nothing at all is.
    fn is_any(&self, timeline: &Timeline, stage: (usize, &StageWork), window: Span) -> bool {
        let runs = |lane: &LaneAt| timeline.lane(*lane).overlapping(window).next().is_some();
        self.0[stage.0].any_meets(window) || !stage.1.lane.is_some_and(|lane| lane.streams.iter().any(runs))
    }
}

fn of_process(timeline: &Timeline, process: i64) -> Vec<Span> {
    let Some(lanes) = timeline.processes.get(&process) else { return Vec::new() };
    let mut found = Vec::new();
    for stream in lanes.streams.iter().map(|lane| timeline.lane(*lane)) {
        let graphs = (0..stream.len()).filter(|op| timeline.names.class(stream.name[*op]) == Class::GraphRun);
        found.extend(graphs.map(|op| (stream.start[op], stream.end[op])));
    }
    for thread in lanes.threads.iter().map(|lane| timeline.lane(*lane)) {
        // A call of the driver within one of the runtime launches the same, and what is captured into a graph does not run.
        let (mut until, mut is_capturing) = (i64::MIN, false);
        for op in 0..thread.len() {
            let name = thread.name[op];
            let call = timeline.names.text(name);
            is_capturing |= call.contains("StreamBeginCapture");
            is_capturing &= !call.contains("StreamEndCapture");
            let is_launch = timeline.names.class(name) == Class::Call && launches(call);
            if !is_launch || is_capturing || thread.start[op] < until {
                continue;
            }
            until = thread.end[op];
            if thread.key[op] > 0 && timeline.started_by(process, thread.key[op]).is_none() {
                found.push((thread.start[op], thread.end[op]));
            }
        }
    }
    found.sort_unstable();
    found
}

/// Whether a call always begins work on a GPU.
fn launches(call: &str) -> bool {
    ["LaunchKernel", "LaunchCooperativeKernel", "GraphLaunch"].iter().any(|word| call.contains(word))
}

/// The work of steps as that of requests, for tables that list it.
#[must_use]
pub fn as_requests<'a>(steps: &[StepWork<'a>], stages: usize) -> Vec<RequestWork<'a>> {
    let of_step = |step: &StepWork<'a>| {
        let mut passes: Vec<Vec<&'a Pass>> = vec![Vec::new(); stages];
        for part in &step.parts {
            passes[part.stage].clone_from(&part.passes);
        }
        RequestWork::of_passes(passes)
    };
    steps.iter().map(of_step).collect()
}

/// Both tables; steps have numbers from `first` on.
#[must_use]
pub fn of(timeline: &Timeline, stages: &[StageWork], steps: &[StepWork], first: i32) -> (Steps, Bubbles) {
    let hidden = Hidden::of(timeline, stages);
    let waits: Vec<Option<(ByStart, ByStart)>> = stages
        .iter()
        .map(|stage| stage.lane.map(|lane| (ByStart::of(&lane.p2p), ByStart::of(&lane.collectives))))
        .collect();
    let shared = shared(steps);
    let (mut table, mut bubbles) = (Steps::default(), Bubbles::default());
    for ((request, step), shared) in (first..).zip(steps).zip(shared) {
        let window = step.span();
        let lacks = |s: usize| hidden.is_any(timeline, (s, &stages[s]), window);
        table.push(Step {
            request,
            name: step.name.clone(),
            unit: step.unit,
            method: step.method,
            confidence: step.confidence,
            start_ns: window.0,
            end_ns: window.1,
            dur_ns: window.1 - window.0,
            process_id: step.parts.first().map_or(0, |part| stages[part.stage].row.process_id),
            processes: count(step.parts.len()),
            chunks: step.parts.iter().map(|part| count(part.passes.len())).max().filter(|n| *n > 0),
            incomplete: step.parts.iter().any(|part| lacks(part.stage)),
        });
        for part in &step.parts {
            let stage = &stages[part.stage];
            let (Some(lane), Some((p2p, collectives))) = (stage.lane, &waits[part.stage]) else { continue };
            let (p2p, collectives) = (p2p.within(window), collectives.within(window));
            let is_known = !lacks(part.stage);
            let window_ns = window.1 - window.0;
            let compute = lane.compute(timeline, window);
            let of_pass = |pass: &&Pass| i32::try_from(pass.layers.len()).ok().filter(|n| *n > 0);
            let mut layers: Vec<i32> = part.passes.iter().filter_map(of_pass).collect();
            layers.sort_unstable();
            bubbles.push(Bubble {
                request,
                stage_id: stage.row.stage_id,
                window_ns: is_known.then_some(window_ns),
                compute_ns: compute.len_ns(),
                idle_ns: is_known.then(|| window_ns - compute.len_ns()),
                p2p_wait_ns: is_known.then(|| p2p.outside(&compute)),
                collective_wait_ns: is_known.then(|| collectives.outside(&compute)),
                p2p_ns: p2p.len_ns(),
                chunks: count(part.passes.len()),
                layers: layers.get(layers.len() / 2).copied(),
                incomplete: !is_known,
                shared,
            });
        }
    }
    (table, bubbles)
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Of each step, which are by start, whether another one of the same processes runs in it too.
fn shared(steps: &[StepWork]) -> Vec<bool> {
    let mut latest: std::collections::HashMap<usize, (i64, usize)> = std::collections::HashMap::new();
    let mut shared = vec![false; steps.len()];
    for (at, step) in steps.iter().enumerate() {
        let span = step.span();
        for part in &step.parts {
            if let Some((end, other)) = latest.get(&part.stage).copied().filter(|(end, _)| span.0 < *end) {
                (shared[at], shared[other]) = (true, true);
                if end >= span.1 {
                    continue;
                }
            }
            latest.insert(part.stage, (span.1, at));
        }
    }
    shared
}
