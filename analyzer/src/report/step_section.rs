//! Steps, in the report of a run without hand-offs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;

use kvpath_analysis::graph::Request;
use kvpath_analysis::model::Analysis;
use kvpath_analysis::number::float;
use kvpath_analysis::path::Walker;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{StepMethod, StepUnit};

use super::Report;
use super::gathered::{PathTotals, SummedBy};
use super::path::on_path;
use super::table::Table;
use super::units::{or_dash, share, time};

/// Steps about the median whose paths are walked: more would say the same.
const WALKED: usize = 32;

/// The paths that the section sums up: of steps about the median of their lengths, and of the slowest.
#[must_use]
pub fn walked(analysis: &Analysis, walker: &Walker, only: Option<i32>) -> PathTotals {
    let mut steps: Vec<&Request> =
        walker.steps().iter().filter(|step| only.is_none_or(|only| only == step.number)).collect();
    let length: BTreeMap<i32, i64> =
        analysis.steps.request.iter().copied().zip(analysis.steps.dur_ns.iter().copied()).collect();
    steps.sort_by_key(|step| (length.get(&step.number), step.number));
    let (slowest, middle) = (steps.last().copied(), steps.len() / 2);
    let from = middle.saturating_sub(WALKED / 2);
    let mut picked: Vec<&Request> = steps.into_iter().skip(from).take(WALKED).collect();
    if let Some(slowest) = slowest.filter(|slowest| picked.iter().all(|step| step.number != slowest.number)) {
        picked.push(slowest);
    }
    let mut found = PathTotals::by(&[SummedBy::Category]);
    walker.each_of(&picked, |path, rows| {
        found.add(path, rows);
        ControlFlow::Continue(())
    });
    found
}

/// The section.
pub(super) fn render(out: &mut String, report: &Report) {
    let shown = (0..report.analysis.steps.len()).filter(|row| report.shows(report.analysis.steps.request[*row]));
    let rows: Vec<usize> = shown.collect();
    let _ = writeln!(out, "\nSTEPS: {}", rows.len());
    list(out, report, &rows);
    if let Some(found) = report.step_paths.as_ref().filter(|found| !found.paths.is_empty()) {
        on_path(out, found, &report.analysis.stages);
    }
    by_stage(out, report);
}

/// Each unit, with what it is known by.
fn list(out: &mut String, report: &Report, rows: &[usize]) {
    let steps = &report.analysis.steps;
    let mut series: BTreeMap<(&str, i64), Vec<usize>> = BTreeMap::new();
    for row in rows {
        series.entry((unit(steps.unit[*row]), steps.process_id[*row])).or_default().push(*row);
    }
    let headings = [
        "a step is",
        "of process",
        "processes",
        "together by",
        "confidence",
        "steps",
        "chunks",
        "median",
        "slowest",
        "which",
        "not whole",
    ];
    let mut table = Table::new(1, &headings);
    for ((unit, process), mut rows) in series {
        rows.sort_by_key(|row| (steps.dur_ns[*row], std::cmp::Reverse(steps.request[*row])));
        let (middle, slowest) = (rows[rows.len() / 2], rows[rows.len() - 1]);
        let lacking = rows.iter().filter(|row| steps.incomplete[**row]).count();
        let name = steps.name[slowest].as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
        table.row(vec![
            unit.to_owned(),
            process.to_string(),
            steps.processes[middle].to_string(),
            if steps.method[middle] == StepMethod::Alone { "-".to_owned() } else { steps.method[middle].to_string() },
            share(steps.confidence[middle], 1.0),
            rows.len().to_string(),
            or_dash(steps.chunks[middle], |chunks| chunks.to_string()),
            time(steps.dur_ns[middle]),
            time(steps.dur_ns[slowest]),
            format!("{}{name}", steps.request[slowest]),
            if lacking == 0 { "-".to_owned() } else { lacking.to_string() },
        ]);
    }
    out.push_str(&table.render());
}

fn unit(unit: StepUnit) -> &'static str {
    match unit {
        StepUnit::ProfilerStep => "ProfilerStep",
        StepUnit::Range => "range that repeats",
        StepUnit::Pass => "pass, by its kernels",
    }
}

/// What the figures of a stage in steps are the medians of.
#[derive(Default)]
struct OfStage {
    chunks: Vec<i64>,
    compute: Vec<i64>,
    /// Length, bubble, and the parts of that in messages and collectives, where they are known.
    idle: Vec<(i64, i64, i64, i64)>,
    steps: usize,
}

fn by_stage(out: &mut String, report: &Report) {
    let bubbles = &report.analysis.bubbles;
    let mut stages: BTreeMap<i32, OfStage> = BTreeMap::new();
    for row in (0..bubbles.len()).filter(|row| report.shows(bubbles.request[*row])) {
        let stage = stages.entry(bubbles.stage_id[row]).or_default();
        stage.steps += 1;
        stage.chunks.push(i64::from(bubbles.chunks[row]));
        stage.compute.push(bubbles.compute_ns[row]);
        let waits = (bubbles.p2p_wait_ns[row].unwrap_or(0), bubbles.collective_wait_ns[row].unwrap_or(0));
        stage.idle.extend(
            bubbles.window_ns[row].zip(bubbles.idle_ns[row]).map(|(window, idle)| (window, idle, waits.0, waits.1)),
        );
    }
    let _ = writeln!(out, "\nSTEPS BY STAGE (medians; bubble: not computing, within the step)");
    let headings = [
        "stage",
        "steps",
        "chunks",
        "compute",
        "bubble",
        "share",
        "of it in P2P",
        "of it in collectives",
        "bubble unknown",
    ];
    let mut table = Table::new(0, &headings);
    for (stage, of) in stages {
        let unknown = of.steps - of.idle.len();
        let idle = |pick: fn(&(i64, i64, i64, i64)) -> i64| median(of.idle.iter().map(pick).collect());
        let whole = idle(|idle| idle.1).zip(idle(|idle| idle.0));
        table.row(vec![
            stage.to_string(),
            of.steps.to_string(),
            or_dash(median(of.chunks).filter(|chunks| *chunks > 0), |chunks| chunks.to_string()),
            or_dash(median(of.compute), time),
            or_dash(idle(|idle| idle.1), time),
            or_dash(whole, |(idle, window)| share(float(idle), float(window))),
            or_dash(idle(|idle| idle.2).filter(|ns| *ns > 0), time),
            or_dash(idle(|idle| idle.3).filter(|ns| *ns > 0), time),
            if unknown == 0 { "-".to_owned() } else { format!("{unknown} steps") },
        ]);
    }
    out.push_str(&table.render());
}

fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}
