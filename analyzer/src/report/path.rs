//! Critical paths, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kvpath_analysis::load::Run;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::Stages;
use kvpath_schema::tables::path::CriticalPath;
use serde_json::{Value, json};

use super::gathered::{Cells, Gathered, stage};
use super::table::Table;
use super::units::{or_dash, share, time};
use crate::json::Output;

/// Below this coverage no cause should be named.
const ENOUGH: f64 = 0.8;

/// Copies and calls below this are no stretch of their own, ns.
const SHORT_NS: i64 = 20_000;

/// What is printed.
#[derive(Debug)]
pub struct Body<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its stages.
    pub stages: &'a Stages,
    /// Paths.
    pub found: &'a Gathered,
}

fn mean(of_request: &BTreeMap<i32, i64>, cohort: &[i32]) -> i64 {
    let sum: i64 = cohort.iter().filter_map(|request| of_request.get(request)).sum();
    sum / i64::try_from(cohort.len().max(1)).unwrap_or(1)
}

fn float(ns: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "printed with three digits")]
    let ns = ns as f64;
    ns
}

/// For a terminal.
#[must_use]
pub fn text(body: &Body) -> String {
    let mut out = String::new();
    let paths = &body.found.paths;
    let _ = writeln!(out, "{}: {} requests\n\nTIME TO FIRST TOKEN", body.run.name, paths.len());
    let headings = ["request", "id", "from", "to", "TTFT", "explained", "by guesses", "uncertain", "segments"];
    let mut table = Table::new(4, &headings);
    for row in 0..paths.len() {
        table.row(vec![
            paths.request[row].to_string(),
            paths.request_id[row].clone().unwrap_or_else(|| "-".to_owned()),
            if &*paths.source[row] == "client" { "arrival" } else { "first record" }.to_owned(),
            match &*paths.sink[row] {
                _ if &*paths.source[row] == "client" => "first token",
                "decode_pass" => "decode's first pass",
                "handoff" => "end of hand-off",
                "prefill_pass" => "end of prefill",
                _ => "last work before it",
            }
            .to_owned(),
            time(paths.ttft_ns[row]),
            share(paths.coverage[row], 1.0),
            time(paths.guessed_ns[row]),
            time(paths.uncertain_ns[row]),
            paths.segments[row].to_string(),
        ]);
    }
    out.push_str(&table.render());
    on_path(&mut out, body);
    if let Some(segments) = &body.found.segments {
        stretches(&mut out, body, segments);
    }
    for row in (0..paths.len()).filter(|row| paths.coverage[*row] < ENOUGH) {
        let (request, explained) = (paths.request[row], share(paths.coverage[row], 1.0));
        let _ = writeln!(out, "\nRequest {request}: only {explained} is explained; draw no conclusion from its path.");
    }
    for (request, _) in paths.request.iter().zip(&paths.incomplete).filter(|(_, lacks)| **lacks == Some(true)) {
        let _ = writeln!(out, "\nRequest {request}: not wholly recorded; its path may miss what it waited for.");
    }
    out
}

fn on_path(out: &mut String, body: &Body) {
    let (middle, slow) = body.found.cohorts();
    let (sums, paths) = (body.found.sums(body.stages), &body.found.paths);
    let ttft: BTreeMap<i32, i64> = paths.request.iter().copied().zip(paths.ttft_ns.iter().copied()).collect();
    let (p50, p99) = (mean(&ttft, &middle), mean(&ttft, &slow));
    let keys = body.found.keys.iter().map(|key| key.heading());
    let is_many = paths.len() > 1;
    let last = if is_many { ["p50", "share", "p99", "share"] } else { ["time", "share", "-", "-"] };
    let mut table = Table::new(body.found.keys.len(), &keys.chain(last).collect::<Vec<_>>());
    let mut rows: Vec<(&Cells, i64, i64)> =
        sums.iter().map(|(cells, of)| (cells, mean(of, &middle), mean(of, &slow))).collect();
    rows.retain(|(_, p50, p99)| *p50 > 0 || *p99 > 0);
    for (cells, ns, slow_ns) in rows {
        let mut row: Vec<String> = cells.iter().map(|(_, text)| text.clone()).collect();
        row.extend([time(ns), share(float(ns), float(p50))]);
        row.extend(if is_many { [time(slow_ns), share(float(slow_ns), float(p99))] } else { ["-".into(), "-".into()] });
        table.row(row);
    }
    let title = if is_many { "ON THE PATH, in requests about the median and in the slowest" } else { "ON THE PATH" };
    let _ = writeln!(out, "\n{title}");
    out.push_str(&table.render());
}

/// The path of one request in order, neighbours of one stage, chunk, layer and category together.
fn stretches(out: &mut String, body: &Body, segments: &CriticalPath) {
    let source = body.found.paths.source_ns.first().copied().unwrap_or(0);
    let key = |row: usize| (segments.stage_id[row], segments.chunk[row], segments.category[row].clone());
    let minor = |row: usize| match &*segments.category[row] {
        "kernel_gap" | "launch" => true,
        "copy" | "sync" | "host" | "p2p" | "unexplained" => segments.dur_ns[row] < SHORT_NS,
        _ => false,
    };
    let _ = writeln!(out, "\nFROM ARRIVAL TO FIRST TOKEN");
    let mut table = Table::new(3, &["stage", "chunk", "on", "at", "for", "layers"]);
    let mut at = 0;
    while at < segments.len() {
        let (begin, mut end, mut main) = (at, at + 1, at);
        // Dispatch between kernels and short copies belong to what goes on around them.
        while end < segments.len() {
            let same_place =
                (segments.stage_id[end], segments.chunk[end]) == (segments.stage_id[main], segments.chunk[main]);
            if !(key(end) == key(main) || same_place && (minor(end) || minor(main))) {
                break;
            }
            if segments.dur_ns[end] > segments.dur_ns[main] {
                main = end;
            }
            end += 1;
        }
        let dur: i64 = segments.dur_ns[begin..end].iter().sum();
        let layers: Vec<i32> = segments.layer[begin..end].iter().flatten().copied().collect();
        let layers = layers.iter().min().zip(layers.iter().max());
        table.row(vec![
            stage(body.stages, segments.stage_id[main]).1,
            or_dash(segments.chunk[main], |chunk| chunk.to_string()),
            segments.category[main].to_string(),
            format!("+{}", time(segments.start_ns[begin] - source)),
            time(dur),
            or_dash(layers, |(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") }),
        ]);
        at = end;
    }
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
                "coverage": paths.coverage[row], "guessed_ns": paths.guessed_ns[row],
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
