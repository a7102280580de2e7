//! What holds of any run and of what is found in it, each defined once; [`crate::sizes`] and [`crate::same`] say of which runs it
//! is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use kvpath_analysis::load::Run;
use kvpath_analysis::model::{Analysis, Model as RunModel};
use kvpath_analysis::path::{RunPaths, Walker};
use kvpath_schema::segment::RunWriter;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{ApiCall, ApiCalls, Kernel, Kernels, Memcpys};
use kvpath_schema::tables::path::{Path, PathSegment};
use kvpath_schema::tables::process::{Process, Processes};
use kvpath_simulator::distort::Distortions;
use kvpath_simulator::model::{HandoffMode, Model};

use crate::walks::{Simulated, WalkedRun, undistorted};

/// A run, and what was found in it.
pub(crate) struct AnalysedRun<'a> {
    /// Its segments.
    pub run: &'a Run,
    /// What was loaded and joined.
    pub model: &'a RunModel,
    /// Its paths.
    pub found: &'a RunPaths,
}

impl<'a> AnalysedRun<'a> {
    /// Walks its paths.
    pub(crate) fn walker(&self) -> Walker<'a> {
        self.model.walker().expect("it was walked before")
    }

    /// What it consists of.
    pub(crate) fn analysis(&self) -> &'a Analysis {
        self.model.analysis().expect("it was walked before")
    }
}

/// What holds, or what does not.
pub(crate) type PropertyResult = Result<(), String>;

/// Of any run: what, and whether it holds.
type Property = (&'static str, fn(&AnalysedRun) -> PropertyResult);
/// See [`Property`].
pub(crate) const OF_A_RUN: &[Property] = &[
    ("segments follow each other and sum to the time to first token", sums),
    ("what is unexplained and guessed is what the segments say", shares),
    ("work lies within its record", within_records),
    ("no slack is below 0, and that of the path is 0", slack),
    ("of the gates of a node the bound one opened last", gates),
    ("a window is compute and bubble, each ns once", windows),
    ("layers follow each other within their chunk", layers),
];

/// How a run is changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Knobs {
    /// Segments that are open at a time.
    pub shuffle: u32,
    /// Rows of a table in memory.
    pub segment_rows: usize,
    /// Kernels of a stranger, and how long each is, ns.
    pub stranger: (usize, i64),
    /// What all clocks show more, ns.
    pub offset_ns: i64,
}

/// Changes of a model's run that change nothing of what is found: the model, its run as it is, and what was found there.
type Change = fn(&Model, &Simulated, &WalkedRun, &Knobs) -> PropertyResult;
/// See [`Change`].
pub(crate) const CHANGES: &[(&str, Change)] = &[
    ("rows in any order, in any number of segments", shuffled),
    ("processes that take no part", with_a_stranger),
    ("clocks that show another time", at_another_time),
];

/// Asks all of [`OF_A_RUN`].
pub(crate) fn assert_held(run: &str, seen: &AnalysedRun) {
    for (name, holds) in OF_A_RUN {
        assert_eq!(holds(seen), Ok(()), "{run}: {name}");
    }
}

/// Asks all of [`CHANGES`].
pub(crate) fn assert_unchanged(run: &str, model: &Model, simulated: &Simulated, walked: &WalkedRun, knobs: &Knobs) {
    for (name, holds) in CHANGES {
        assert_eq!(holds(model, simulated, walked, knobs), Ok(()), "{run}: {name}");
    }
}

fn held(holds: bool, otherwise: impl FnOnce() -> String) -> PropertyResult {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The paths, each with the rows of its segments.
fn paths(found: &RunPaths) -> impl Iterator<Item = (Path, Range<usize>)> + '_ {
    let mut end = 0;
    (0..found.paths.len()).map(move |row| {
        let path = found.paths.row(row);
        let begin = end;
        end += usize::try_from(path.segments).unwrap_or(0);
        (path, begin..end)
    })
}

fn sums(seen: &AnalysedRun) -> PropertyResult {
    let segments = &seen.found.segments;
    let mut all = 0;
    for (path, rows) in paths(seen.found) {
        all = rows.end;
        let mut at = path.source_ns;
        for (position, row) in (0i32..).zip(rows) {
            let segment = segments.row(row);
            let is_next = (segment.request, segment.position, segment.start_ns) == (path.request, position, at);
            held(is_next && segment.dur_ns > 0, || format!("at {at} ns: {segment:?}"))?;
            at += segment.dur_ns;
        }
        held((at, at - path.source_ns) == (path.end_ns, path.ttft_ns), || format!("ends at {at} ns: {path:?}"))?;
    }
    held(all == segments.len(), || format!("{} segments, of which {all} are a path's", segments.len()))
}

fn shares(seen: &AnalysedRun) -> PropertyResult {
    let segments = &seen.found.segments;
    for (path, rows) in paths(seen.found) {
        let sum =
            |is: &dyn Fn(usize) -> bool| rows.clone().filter(|row| is(*row)).map(|row| segments.dur_ns[row]).sum();
        let unexplained: i64 = sum(&|row| !segments.is_explained[row]);
        let guessed: i64 = sum(&|row| segments.confidence[row] < 0.9);
        held((unexplained, guessed) == (path.unexplained_ns, path.guessed_ns), || {
            format!("{unexplained} and {guessed} ns: {path:?}")
        })?;
        #[expect(clippy::cast_precision_loss, reason = "a share of some seconds")]
        let coverage = if path.ttft_ns > 0 { 1.0 - unexplained as f64 / path.ttft_ns as f64 } else { path.coverage };
        held((coverage - path.coverage).abs() < 1e-12 && (0.0..=1.0).contains(&path.coverage), || format!("{path:?}"))?;
        let names_no_cause =
            |row: usize| matches!(&*segments.category[row], "queue" | "waiting" | "respond" | "unexplained");
        let is_sure = |row: usize| &*segments.kind[row] == "work" || segments.confidence[row] >= 0.9;
        let is_explained = |row: usize| !segments.is_explained[row] || (is_sure(row) && !names_no_cause(row));
        held(rows.clone().all(is_explained), || format!("explained without a record: {path:?}"))?;
        held(rows.clone().all(|row| segments.uncertain_ns[row] >= 0), || format!("uncertain below 0: {path:?}"))?;
    }
    Ok(())
}

/// Records by process, correlation id and graph node: start and end, ns.
type Records = Vec<((i64, i64, Option<i64>), (i64, i64))>;

fn records(rows: impl Iterator<Item = ((i64, i64, Option<i64>), (i64, i64))>) -> Records {
    let mut records: Records = rows.map(|(key, (start, dur))| (key, (start, start.saturating_add(dur)))).collect();
    records.sort_unstable();
    records
}

/// Of runs of one host; elsewhere times are moved.
fn within_records(seen: &AnalysedRun) -> PropertyResult {
    if seen.run.hosts().len() != 1 {
        return Ok(());
    }
    let table = |name: &str| -> Result<Records, String> {
        let why = |error| format!("{error}");
        Ok(match name {
            "kernels" => {
                let table: Kernels = seen.run.table().map_err(why)?;
                records((0..table.len()).map(|row| {
                    let key = (table.process_id[row], table.correlation_id[row], table.graph_node_id[row]);
                    (key, (table.start_ns[row], table.dur_ns[row]))
                }))
            }
            "memcpys" => {
                let table: Memcpys = seen.run.table().map_err(why)?;
                records((0..table.len()).map(|row| {
                    let key = (table.process_id[row], table.correlation_id[row], table.graph_node_id[row]);
                    (key, (table.start_ns[row], table.dur_ns[row]))
                }))
            }
            _ => {
                let table: ApiCalls = seen.run.table().map_err(why)?;
                records((0..table.len()).map(|row| {
                    let key = (table.process_id[row], table.correlation_id[row], None);
                    (key, (table.start_ns[row], table.dur_ns[row]))
                }))
            }
        })
    };
    let segments = &seen.found.segments;
    for name in ["kernels", "memcpys", "api_calls"] {
        let records = table(name)?;
        let is_of = |row: &usize| {
            segments.table_name[*row].as_deref() == Some(name) && !matches!(&*segments.kind[*row], "gap" | "untaken")
        };
        for row in (0..segments.len()).filter(is_of) {
            let segment = segments.row(row);
            let (start, end) = (segment.start_ns, segment.start_ns + segment.dur_ns);
            let (Some(process), Some(id)) = (segment.process_id, segment.correlation_id) else {
                return Err(format!("work of nobody: {segment:?}"));
            };
            let key = (process, id, segment.graph_node_id);
            let from = records.partition_point(|(other, _)| *other < key);
            let mut own = records[from..].iter().take_while(|(other, _)| *other == key);
            held(own.any(|(_, record)| record.0 <= start && end <= record.1), || format!("{segment:?}"))?;
        }
    }
    Ok(())
}

/// Requests of which slack and gates are looked at: those of a run's begin and its end.
fn some(seen: &AnalysedRun) -> Vec<i32> {
    const AT_EACH_END: usize = 4;
    let numbers = &seen.found.paths.request;
    let last = numbers.len().saturating_sub(AT_EACH_END);
    let ends: BTreeSet<usize> = (0..numbers.len().min(AT_EACH_END)).chain(last..numbers.len()).collect();
    ends.into_iter().map(|row| numbers[row]).collect()
}

fn slack(seen: &AnalysedRun) -> PropertyResult {
    let is_path: BTreeMap<i32, Range<usize>> = paths(seen.found).map(|(path, rows)| (path.request, rows)).collect();
    for number in some(seen) {
        let slacks = seen.walker().slack(number).unwrap_or_default();
        let mut critical = BTreeSet::new();
        for row in (0..slacks.len()).map(|row| slacks.row(row)) {
            held(0 <= row.free_slack_ns && row.free_slack_ns <= row.slack_ns, || format!("{row:?}"))?;
            if row.slack_ns == 0 {
                let record = (row.table_name.clone(), row.process_id, row.correlation_id, row.graph_node_id);
                critical.insert((record, row.transfer_id));
            }
        }
        let is_work =
            |segment: &PathSegment| !matches!(&*segment.kind, "gap" | "untaken") && segment.table_name.is_some();
        let own = is_path[&number].clone().map(|row| seen.found.segments.row(row));
        for segment in own.filter(is_work) {
            let record =
                (segment.table_name.clone(), segment.process_id, segment.correlation_id, segment.graph_node_id);
            held(critical.contains(&(record, segment.transfer_id)), || format!("has slack: {segment:?}"))?;
        }
    }
    Ok(())
}

fn gates(seen: &AnalysedRun) -> PropertyResult {
    for number in some(seen) {
        let edges = seen.walker().edges(number).unwrap_or_default();
        for row in (0..edges.len()).map(|row| edges.row(row)) {
            let is_last = row.margin_ns.is_none_or(|margin| margin >= 0 && (margin == 0 || !row.is_bound));
            held(is_last && row.at_ns <= row.time_ns, || format!("{row:?}"))?;
        }
    }
    Ok(())
}

fn windows(seen: &AnalysedRun) -> PropertyResult {
    let bubbles = &seen.analysis().bubbles;
    for row in (0..bubbles.len()).map(|row| bubbles.row(row)) {
        let Some((window, idle)) = row.window_ns.zip(row.idle_ns) else { continue };
        let waits = (row.p2p_wait_ns.unwrap_or(0), row.collective_wait_ns.unwrap_or(0));
        let is_split = row.compute_ns + idle == window && waits.0 >= 0 && waits.1 >= 0;
        held(is_split && row.compute_ns >= 0 && waits.0.max(waits.1) <= idle, || format!("{row:?}"))?;
    }
    Ok(())
}

fn layers(seen: &AnalysedRun) -> PropertyResult {
    let (chunks, layers) = (&seen.analysis().chunks, &seen.analysis().layers);
    let key = |request: i32, stage: i32, chunk: i32| (request, stage, chunk);
    let spans: BTreeMap<_, (i64, i64)> = (0..chunks.len())
        .map(|row| chunks.row(row))
        .map(|row| (key(row.request, row.stage_id, row.chunk), (row.start_ns, row.start_ns + row.dur_ns)))
        .collect();
    let mut before: Option<((i32, i32, i32), i64)> = None;
    for row in (0..layers.len()).map(|row| layers.row(row)) {
        let (own, end) = (key(row.request, row.stage_id, row.chunk), row.start_ns + row.dur_ns);
        let span = spans.get(&own).ok_or_else(|| format!("of no chunk: {row:?}"))?;
        let is_within = span.0 <= row.start_ns && end <= span.1 && (0..=row.dur_ns).contains(&row.compute_ns);
        let is_next = before.is_none_or(|(chunk, end)| chunk != own || end == row.start_ns);
        held(is_within && is_next, || format!("{row:?} of {span:?}, behind {before:?}"))?;
        before = Some((own, end));
    }
    Ok(())
}

fn shuffled(model: &Model, plain: &Simulated, walked: &WalkedRun, knobs: &Knobs) -> PropertyResult {
    let Knobs { shuffle, segment_rows, .. } = *knobs;
    let other = Simulated::of_model(model, Distortions { shuffle, segment_rows, ..undistorted(model) });
    held(plain.truth == other.truth, || "the simulator made another run".to_owned())?;
    let other = other.walk();
    let (one, two) = (walked.seen().analysis(), other.seen().analysis());
    let tables = [
        ("paths", walked.found.paths == other.found.paths),
        ("critical_path", walked.found.segments == other.found.segments),
        ("stages", one.stages == two.stages),
        ("requests", one.requests == two.requests),
        ("chunks", one.chunks == two.chunks),
        ("layers", one.layers == two.layers),
        ("bubbles", one.bubbles == two.bubbles),
        ("handoffs", one.handoffs == two.handoffs),
        ("coverage", one.coverage == two.coverage),
        ("clocks", one.clocks == two.clocks),
    ];
    let changed: Vec<&str> = tables.iter().filter(|(_, is_same)| !is_same).map(|(name, _)| *name).collect();
    held(changed.is_empty(), || format!("{changed:?} changed"))
}

/// Not of runs without a hand-off: there nothing but the times tells which processes serve.
fn with_a_stranger(model: &Model, plain: &Simulated, walked: &WalkedRun, knobs: &Knobs) -> PropertyResult {
    if model.handoff.mode == HandoffMode::None {
        return Ok(());
    }
    let simulated = Simulated::of_model(model, undistorted(model));
    held(plain.truth == simulated.truth, || "the simulator made another run".to_owned())?;
    add_stranger(&simulated, knobs.stranger, true);
    same_paths(walked, &simulated.walk())
}

fn at_another_time(model: &Model, _: &Simulated, walked: &WalkedRun, knobs: &Knobs) -> PropertyResult {
    let mut distort = undistorted(model);
    for clock in &mut distort.clocks {
        clock.offset_ns = knobs.offset_ns;
    }
    let mut other = Simulated::of_model(model, distort).walk();
    let RunPaths { paths, segments } = &mut other.found;
    let disputed = paths.disputed_from_ns.iter_mut().chain(&mut paths.disputed_to_ns).flatten();
    for time in paths.source_ns.iter_mut().chain(&mut paths.end_ns).chain(&mut segments.start_ns).chain(disputed) {
        *time -= knobs.offset_ns;
    }
    same_paths(walked, &other)
}

/// Whether two walks found the same paths.
pub(crate) fn same_paths(one: &WalkedRun, other: &WalkedRun) -> PropertyResult {
    held(one.found.paths == other.found.paths, || "paths changed".to_owned())?;
    held(one.found.segments == other.found.segments, || "their segments changed".to_owned())
}

/// Adds a process of some other program, on the same GPU and NVLink for all that is recorded; with calls alone where nothing
/// but kernels tells who serves.
pub(crate) fn add_stranger(simulated: &Simulated, (many, busy_ns): (usize, i64), has_kernels: bool) {
    let (process_id, tid, begin) = (77_777, 77_777, simulated.truth[0].arrival_ns);
    let (mut kernels, mut calls, mut processes) = (Kernels::default(), ApiCalls::default(), Processes::default());
    processes.push(Process {
        process_id,
        pid: 77_777,
        name: "python train.py".into(),
        start_ns: None,
        end_ns: None,
        parent_process_id: None,
    });
    for at in (0i64..).take(many) {
        let start_ns = begin + at * busy_ns;
        calls.push(ApiCall {
            start_ns: start_ns - 2_000,
            dur_ns: 1_000,
            process_id,
            tid,
            correlation_id: at + 1,
            name: "cudaLaunchKernel".into(),
        });
        if !has_kernels {
            continue;
        }
        kernels.push(Kernel {
            start_ns,
            dur_ns: busy_ns,
            process_id,
            device_id: 0,
            context_id: 1,
            stream_id: 7,
            correlation_id: at + 1,
            name: "backward".into(),
            graph_node_id: None,
            grid_x: None,
            grid_y: None,
            grid_z: None,
            block_x: None,
            block_y: None,
            block_z: None,
        });
    }
    let mut writer = RunWriter::new(simulated.folder(), "sim", "a test", None);
    writer.write("other", &kernels, 0).expect("a segment");
    writer.write("other", &calls, 0).expect("a segment");
    writer.write("other", &processes, 0).expect("a segment");
}
