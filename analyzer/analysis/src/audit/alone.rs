//! When exactly one prefill stage computed: from what ran on the GPUs, and from nothing that a path is found by.

use std::collections::HashMap;

use kvpath_schema::tables::derived::{Role, Stages};
use kvpath_schema::tables::nixl::NixlTransfers;

use crate::intervals::Span;
use crate::structure::ranks;
use crate::timeline::{Class, LaneAt, Timeline};

/// A stage goes on computing over gaps up to this, ns: its kernels were launched, and follow each other.
const BRIDGED_NS: i64 = 20_000;
/// Operations among which one has a recorded launch.
const FEW: usize = 4;
/// A thread that makes calls works on between them for up to this, ns; longer it may wait.
const WORKING_NS: i64 = 500_000;
/// So many calls are looked back over at most.
const MOST_CALLS: usize = 10_000;
/// Shorter times are not judged, ns.
const LEAST_NS: i64 = 1_000_000;

/// A prefill stage: all its ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// `stages.stage_id` of its first rank.
    pub id: i32,
    /// Its processes.
    pub processes: Vec<i64>,
}

/// A time in which one of them computed, no other did, nothing was copied from one device to another, and no transfer was on its way:
/// a hand-off may hold a request up as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alone {
    /// The time, ns.
    pub span: Span,
    /// Which: position in the list of stages.
    pub stage: usize,
    /// Its GPU ran dry at its end or later, for what it was to run next was launched too late: the thread that launches was what counted.
    pub runs_dry: bool,
    /// An earlier stage whose GPU was idle, for its thread launched too late, and ran before this one went on: this one computed ahead
    /// of what it was to wait for, which was that thread.
    pub waits_for: Option<usize>,
    /// Other stages whose GPUs ran dry when they computed next, and since when their threads made calls all the time until then.
    pub launching: Vec<(usize, i64)>,
}

/// The prefill stages.
#[must_use]
pub fn stages(table: &Stages) -> Vec<Stage> {
    let is_prefill = |rows: &Vec<usize>| rows.iter().any(|row| table.role[*row] == Role::Prefill);
    let stages = ranks::by_stage(table).into_iter().filter(|(_, rows)| is_prefill(rows));
    stages.map(|(id, rows)| Stage { id, processes: rows.iter().map(|row| table.process_id[*row]).collect() }).collect()
}

/// Times in which one of the stages computed alone, in order.
#[must_use]
pub fn of(timeline: &Timeline, transfers: &NixlTransfers, stages: &[Stage]) -> Vec<Alone> {
    let of_process: HashMap<i64, usize> =
        stages.iter().enumerate().flat_map(|(at, stage)| stage.processes.iter().map(move |id| (*id, at))).collect();
    // What copies comes last.
    let mut busy: Vec<Vec<Span>> = vec![Vec::new(); stages.len() + 1];
    for (id, lanes) in &timeline.processes {
        let stage = of_process.get(id).copied();
        for lane in &lanes.streams {
            let mut computing = None;
            for at in 0..timeline.lane(*lane).len() {
                let span = (timeline.lane(*lane).start[at], timeline.lane(*lane).end[at]);
                match (timeline.class(*lane, at), stage) {
                    (Class::PeerCopy, _) => busy[stages.len()].push(span),
                    (class, Some(stage)) if class.is_compute() => join(&mut computing, span, &mut busy[stage]),
                    _ => {}
                }
            }
            busy[stage.unwrap_or(stages.len())].extend(computing);
        }
    }
    let posted =
        (0..transfers.transfer_id.len()).filter_map(|row| transfers.posted_ns[row].zip(transfers.done_poll_ns[row]));
    busy[stages.len()].extend(posted.filter(|(start, end)| start < end));
    let mut ends: Vec<(i64, i32, usize)> = Vec::new();
    for (who, spans) in busy.iter_mut().enumerate() {
        spans.sort_unstable();
        let (mut last, mut all) = (None, Vec::new());
        for span in spans.iter() {
            join(&mut last, *span, &mut all);
        }
        all.extend(last);
        ends.extend(all.iter().flat_map(|(start, end)| [(*start, 1, who), (*end, -1, who)]));
        *spans = all;
    }
    let mut since = HashMap::new();
    let found = sweep(ends, stages.len());
    found.into_iter().flat_map(|alone| with_threads(alone, timeline, stages, &busy, &mut since)).collect()
}

/// Since when the threads of a stage made calls all the time until its GPU ran dry within one of the times in which it computed: stage
/// and position of that time.
type Since = HashMap<(usize, usize), Option<i64>>;

/// The parts of a time, with the threads that may be what was waited for in them. `busy`: when each stage computed; `since`: what was
/// looked up before, for several times may lie before one.
fn with_threads(
    mut alone: Alone,
    timeline: &Timeline,
    stages: &[Stage],
    busy: &[Vec<Span>],
    since: &mut Since,
) -> Vec<Alone> {
    let own = &busy[alone.stage];
    let next = own.partition_point(|span| span.0 <= alone.span.0);
    let until = next.checked_sub(1).map_or(alone.span.1, |at| own[at].1);
    let is_late = |stage: usize, idle_from: i64| {
        stages[stage].processes.iter().any(|process| is_launched_late(timeline, *process, idle_from))
    };
    if let Some((goes_on, _)) = own.get(next) {
        alone.waits_for = (0..alone.stage).rev().find(|stage| {
            let theirs = &busy[*stage];
            let at = theirs.partition_point(|span| span.0 < alone.span.0);
            theirs.get(at).is_some_and(|span| span.0 < *goes_on) && at > 0 && is_late(*stage, theirs[at - 1].1)
        });
    }
    let (from, to) = alone.span;
    alone.launching = (0..stages.len())
        .filter(|stage| *stage != alone.stage)
        .filter_map(|stage| {
            let at = busy[stage].partition_point(|span| span.0 < from);
            let stretch = *busy[stage].get(at)?;
            let look = || {
                let processes = stages[stage].processes.iter();
                processes.filter_map(|process| launching_since(timeline, *process, stretch)).min()
            };
            let since = (*since.entry((stage, at)).or_insert_with(look))?;
            (since < to).then_some((stage, since))
        })
        .collect();
    if is_late(alone.stage, until) {
        return vec![Alone { runs_dry: true, ..alone }];
    }
    let processes = stages[alone.stage].processes.iter();
    let dry = processes.filter_map(|process| last_dry(timeline, *process, (from, until))).max().map(|dry| dry.min(to));
    let before = dry.map(|dry| Alone { span: (from, dry), runs_dry: true, ..alone.clone() });
    let after = Alone { span: (dry.unwrap_or(from), to), ..alone };
    before.into_iter().chain([after]).filter(|part| part.span.0 < part.span.1).collect()
}

/// The last time within a span at which the GPU of a process had nothing to run until its thread launched the next kernel.
fn last_dry(timeline: &Timeline, process: i64, span: Span) -> Option<i64> {
    let own = timeline.lane(timeline.processes.get(&process)?.main?);
    late_launches(timeline, process, span).next_back().map(|(at, _)| own.start[at])
}

/// Since when the thread of a process made calls all the time until its GPU ran dry within a span, for its launches came late.
fn launching_since(timeline: &Timeline, process: i64, span: Span) -> Option<i64> {
    let (_, (thread, last)) = late_launches(timeline, process, (span.0 - 1, span.1)).next_back()?;
    let calls = timeline.lane(thread);
    let follows = |at: &usize| calls.start[*at] - calls.end[*at - 1] <= WORKING_NS;
    let first = (1..=last).rev().take(MOST_CALLS).take_while(follows).last().map_or(last, |at| at - 1);
    Some(calls.start[first])
}

/// Kernels that began within a span and before whose launch the GPU had nothing left to run; and that call.
fn late_launches(
    timeline: &Timeline,
    process: i64,
    (from, until): Span,
) -> impl DoubleEndedIterator<Item = (usize, (LaneAt, usize))> {
    let main = timeline.processes.get(&process).and_then(|lanes| lanes.main);
    let kernels = main.map(|main| {
        let own = timeline.lane(main);
        let first = own.start.partition_point(|start| *start <= from).max(1);
        (own, first..own.start.partition_point(|start| *start <= until))
    });
    kernels.into_iter().flat_map(move |(own, range)| {
        range.filter_map(move |at| {
            let idle_from = own.end[at - 1];
            if own.start[at] <= idle_from {
                return None;
            }
            let (thread, call) = timeline.call(process, own.key[at])?;
            (timeline.lane(thread).end[call] > idle_from).then_some((at, (thread, call)))
        })
    })
}

/// Whether the first kernel of a process that began after a time, at which its GPU had nothing left to run, was launched only then.
fn is_launched_late(timeline: &Timeline, process: i64, idle_from: i64) -> bool {
    let Some(main) = timeline.processes.get(&process).and_then(|lanes| lanes.main) else { return false };
    let own = timeline.lane(main);
    let next = own.start.partition_point(|start| *start < idle_from);
    // Calls that set memory are not recorded.
    let mut calls = (next..own.len()).take(FEW).filter_map(|at| timeline.call(process, own.key[at]));
    calls.next().is_some_and(|(thread, call)| timeline.lane(thread).end[call] > idle_from)
}

/// Adds a span to the one that it follows closely, else puts that away.
fn join(last: &mut Option<Span>, span: Span, done: &mut Vec<Span>) {
    match last {
        Some(last) if span.0 <= last.1.saturating_add(BRIDGED_NS) => last.1 = last.1.max(span.1),
        _ => done.extend(last.replace(span)),
    }
}

fn sweep(mut ends: Vec<(i64, i32, usize)>, stages: usize) -> Vec<Alone> {
    ends.sort_unstable();
    let mut running = vec![0i32; stages + 1];
    let mut found: Vec<Alone> = Vec::new();
    let mut since = i64::MIN;
    for (time, change, who) in ends {
        let mut on = (0..=stages).filter(|at| running[*at] > 0);
        if let (Some(stage), None) = (on.next(), on.next())
            && stage < stages
            && time > since
        {
            match found.last_mut() {
                Some(last) if last.stage == stage && since - last.span.1 <= BRIDGED_NS => last.span.1 = time,
                _ => found.push(Alone {
                    span: (since, time),
                    stage,
                    runs_dry: false,
                    waits_for: None,
                    launching: Vec::new(),
                }),
            }
        }
        running[who] += change;
        since = time;
    }
    found.retain(|alone| alone.span.1 - alone.span.0 >= LEAST_NS);
    found
}
