//! Critical paths, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kvpath_analysis::load::Run;
use kvpath_analysis::number::float;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::Stages;
use kvpath_schema::tables::path::Paths;
use serde_json::{Value, json};

use super::ends::{self, RowBoundaries};
use super::gathered::{Cells, PathTotals, printed};
use super::steps;
use super::table::Table;
use super::units::{share, time};
use crate::json::Output;

/// Below this coverage no cause should be named.
const ENOUGH: f64 = 0.8;

/// A table of more rows is longer than a screen: those below [`steps::SMALL`] are summed up.
const MANY: usize = 40;

/// What is printed.
#[derive(Debug)]
pub struct Body<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its stages.
    pub stages: &'a Stages,
    /// Paths.
    pub found: &'a PathTotals,
}

fn mean(of_request: &BTreeMap<i32, i64>, cohort: &[i32]) -> i64 {
    let sum: i64 = cohort.iter().filter_map(|request| of_request.get(request)).sum();
    sum / i64::try_from(cohort.len().max(1)).unwrap_or(1)
}

/// For a terminal.
#[must_use]
pub fn text(body: &Body) -> String {
    let mut out = String::new();
    let paths = &body.found.paths;
    let ends = RowBoundaries::of(paths);
    let unit = body.found.unit();
    let _ = writeln!(out, "{}: {} {unit}s\n\n{}", body.run.name, paths.len(), ends.title());
    let time_heading = if ends.is_ttft() { "TTFT" } else { "time" };
    let headings = [
        unit,
        if body.found.are_of_steps() { "name" } else { "id" },
        "from",
        "to",
        time_heading,
        "explained",
        "audit",
        "by guesses",
        "uncertain",
        "segments",
    ];
    let mut table = Table::new(4, &headings);
    let shown = shown(body.found);
    for row in shown.iter().copied() {
        let (from, to) = ends::of(paths, row);
        table.row(vec![
            paths.request[row].to_string(),
            paths.request_id[row].clone().unwrap_or_else(|| "-".to_owned()),
            from.to_owned(),
            to.to_owned(),
            time(paths.ttft_ns[row]),
            share(paths.coverage[row], 1.0),
            paths.agreement[row].map_or_else(|| "-".to_owned(), |agreement| share(agreement, 1.0)),
            time(paths.guessed_ns[row]),
            time(paths.uncertain_ns[row]),
            paths.segments[row].to_string(),
        ]);
    }
    out.push_str(&table.render());
    if shown.len() < paths.len() {
        let _ =
            writeln!(out, "  {} shorter ones are left out; the table `paths` has them all", paths.len() - shown.len());
    }
    on_path(&mut out, body.found, body.stages);
    if let Some(segments) = &body.found.segments {
        let _ = writeln!(out, "\n{}", ends.from_to());
        steps::table(&mut out, body, segments);
    }
    if body.found.are_of_steps() {
        steps_to_doubt(&mut out, paths);
        return out;
    }
    for row in (0..paths.len()).filter(|row| paths.coverage[*row] < ENOUGH) {
        let (request, explained) = (paths.request[row], share(paths.coverage[row], 1.0));
        let _ = writeln!(out, "\nRequest {request}: only {explained} is explained; draw no conclusion from its path.");
    }
    for line in (0..paths.len()).filter_map(|row| disputed(paths, row)) {
        let _ = writeln!(out, "\n{line}");
    }
    for (request, _) in paths.request.iter().zip(&paths.incomplete).filter(|(_, lacks)| **lacks == Some(true)) {
        let _ = writeln!(out, "\nRequest {request}: not wholly recorded; its path may miss what it waited for.");
    }
    out
}

/// The rows that are listed: steps may be thousands, so of many the longest.
fn shown(found: &PathTotals) -> Vec<usize> {
    let paths = &found.paths;
    let mut rows: Vec<usize> = (0..paths.len()).collect();
    if found.are_of_steps() && rows.len() > MANY {
        rows.sort_by_key(|row| (std::cmp::Reverse(paths.ttft_ns[*row]), paths.request[*row]));
        rows.truncate(MANY);
        rows.sort_unstable();
    }
    rows
}

/// Which steps say little.
fn steps_to_doubt(out: &mut String, paths: &Paths) {
    let of = |rows: usize| format!("{rows} of {} steps", paths.len());
    let rows = |doubt: &dyn Fn(usize) -> bool| (0..paths.len()).filter(|row| doubt(*row)).count();
    let unexplained = rows(&|row| paths.coverage[row] < ENOUGH);
    if unexplained > 0 {
        let enough = share(ENOUGH, 1.0);
        let _ = writeln!(
            out,
            "\n{}: less than {enough} is explained; draw no conclusion from their paths.",
            of(unexplained)
        );
    }
    let lacking = rows(&|row| paths.incomplete[row] == Some(true));
    if lacking > 0 {
        let _ = writeln!(
            out,
            "\n{}: GPU work of them is not on record; their paths may miss what they waited for.",
            of(lacking)
        );
    }
}

/// Where a path cannot be right, and what was taken back.
#[must_use]
pub fn disputed(paths: &Paths, row: usize) -> Option<String> {
    let agreement = paths.agreement[row]?;
    let (from, to) = (paths.disputed_from_ns[row]?, paths.disputed_to_ns[row]?);
    let stage = paths.disputed_stage_id[row]?;
    let at = |ns: i64| format!("+{}", time(ns - paths.source_ns[row]));
    Some(format!(
        "Request {}: audit {} of {}; from {} to {} only stage {stage} computed, and the path was elsewhere: it says nothing of such times.",
        paths.request[row],
        share(agreement, 1.0),
        time(paths.judged_ns[row]),
        at(from),
        at(to),
    ))
}

pub(super) fn on_path(out: &mut String, found: &PathTotals, stages: &Stages) {
    let (middle, slow) = found.cohorts();
    let (sums, paths) = (found.sums(stages), &found.paths);
    let ttft: BTreeMap<i32, i64> = paths.request.iter().copied().zip(paths.ttft_ns.iter().copied()).collect();
    let (p50, p99) = (mean(&ttft, &middle), mean(&ttft, &slow));
    let keys = found.keys.iter().map(|key| key.heading());
    let is_many = paths.len() > 1;
    let last = if is_many { ["p50", "share", "p99", "share"] } else { ["time", "share", "-", "-"] };
    let mut table = Table::new(found.keys.len(), &keys.chain(last).collect::<Vec<_>>());
    let mut rows: Vec<(&Cells, i64, i64)> =
        sums.iter().map(|(cells, of)| (cells, mean(of, &middle), mean(of, &slow))).collect();
    rows.retain(|(_, p50, p99)| *p50 > 0 || *p99 > 0);
    let is_long = rows.len() > MANY;
    let is_small = |ns: i64, of: i64| ns < of / steps::SMALL;
    let (small, large): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(_, ns, slow_ns)| is_long && is_small(*ns, p50) && is_small(*slow_ns, p99));
    let mut row = |mut row: Vec<String>, ns: i64, slow_ns: i64| {
        row.extend([time(ns), share(float(ns), float(p50))]);
        row.extend(if is_many { [time(slow_ns), share(float(slow_ns), float(p99))] } else { ["-".into(), "-".into()] });
        table.row(row);
    };
    for (cells, ns, slow_ns) in large {
        row(printed(cells).collect(), ns, slow_ns);
    }
    if !small.is_empty() {
        let rest = format!("{} others", small.len());
        let blank = found.keys.iter().skip(1).map(|_| String::new());
        let sum = |of: fn(&(&Cells, i64, i64)) -> i64| small.iter().map(of).sum();
        row(std::iter::once(rest).chain(blank).collect(), sum(|small| small.1), sum(|small| small.2));
    }
    let among = format!(", in {}s about the median and in the slowest", found.unit());
    let title = format!("ON THE PATH{}", if is_many { among.as_str() } else { "" });
    let _ = writeln!(out, "\n{title}");
    out.push_str(&table.render());
}

/// One object.
///
/// # Errors
/// None that is known: all is numbers and text.
pub fn json(body: &Body) -> serde_json::Result<String> {
    let paths = &body.found.paths;
    let (middle, slow) = body.found.cohorts();
    let groups: Vec<Value> = body
        .found
        .sums(body.stages)
        .iter()
        .map(|(cells, of)| {
            let mut group = serde_json::Map::new();
            for (key, (_, text)) in body.found.keys.iter().zip(cells) {
                group.insert(key.name().to_owned(), Value::from(text.as_str()));
            }
            group.insert("p50_ns".to_owned(), mean(of, &middle).into());
            group.insert("p99_ns".to_owned(), mean(of, &slow).into());
            Value::Object(group)
        })
        .collect();
    let requests: Vec<Value> = (0..paths.len())
        .map(|row| {
            json!({
                "request": paths.request[row], "request_id": paths.request_id[row], "source_ns": paths.source_ns[row],
                "end_ns": paths.end_ns[row], "ttft_ns": paths.ttft_ns[row], "source": &*paths.source[row],
                "sink": &*paths.sink[row], "unexplained_ns": paths.unexplained_ns[row],
                "coverage": paths.coverage[row], "agreement": paths.agreement[row], "judged_ns": paths.judged_ns[row],
                "disputed_from_ns": paths.disputed_from_ns[row], "disputed_to_ns": paths.disputed_to_ns[row],
                "disputed_stage_id": paths.disputed_stage_id[row], "guessed_ns": paths.guessed_ns[row],
                "uncertain_ns": paths.uncertain_ns[row], "segments": paths.segments[row],
            })
        })
        .collect();
    let mut object = json!({"run": body.run.name, "requests": requests, "on_path": groups});
    if !body.run.damaged.is_empty() {
        object["unreadable"] = body.run.damaged.iter().map(|damaged| damaged.error.as_str()).collect();
    }
    serde_json::to_string(&Output::Path.stamped(object))
}
