//! The check as text.

use std::fmt::Write as _;

use kvpath_schema::table::Columns;

use super::Checked;
use crate::report::table::Table;
use crate::report::title::short;
use crate::report::units::{count, or_dash, time};

/// The whole check.
#[must_use]
pub fn render(checked: &Checked) -> String {
    let mut out = String::new();
    let segments = i64::try_from(checked.segments).unwrap_or(i64::MAX);
    let _ = writeln!(out, "{}: {} segments, {} rows", checked.run, count(segments), count(checked.rows));
    coverage(&mut out, checked);
    list(&mut out, "UNREADABLE", &checked.unreadable);
    list(&mut out, "CUT OFF IN WRITING (the recorder was killed; earlier segments are whole)", &checked.partial);
    let drops: Vec<String> = checked
        .drops
        .iter()
        .map(|drop| {
            let table = or_dash(drop.table_name.as_ref(), ToString::to_string);
            let process = or_dash(drop.process_id, |id| id.to_string());
            format!("{} records of {} ({table}, process {process}): {}", count(drop.count), drop.source, drop.reason)
        })
        .collect();
    list(&mut out, "DROPPED, COUNTED", &drops);
    list(&mut out, "LOST, NOT COUNTED", &checked.lost);
    list(&mut out, "NOT JUDGED", checked.not_judged.as_slice());
    let _ = writeln!(out, "\n{}", verdict(checked));
    out
}

fn verdict(checked: &Checked) -> &'static str {
    match checked.exit_code() {
        crate::error::OK => "whole: no damage, no drops, no sign of loss",
        crate::error::FOUND => "not whole: records are missing, see above",
        _ => "cannot judge: see above",
    }
}

fn list(out: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    for line in lines {
        let _ = writeln!(out, "  * {line}");
    }
}

fn coverage(out: &mut String, checked: &Checked) {
    let coverage = &checked.analysis.coverage;
    if coverage.is_empty() {
        return;
    }
    let zero = coverage.first_ns.iter().copied().min().unwrap_or(0);
    let _ = writeln!(out, "\nCOVERAGE (from the run's first record)");
    let headings = ["process", "title", "table", "rows", "first", "last", "silent at end"];
    let mut table = Table::new(3, &headings);
    for row in 0..coverage.len() {
        table.row(vec![
            coverage.process_id[row].to_string(),
            short(&coverage.process[row]),
            coverage.table_name[row].to_string(),
            count(coverage.rows[row]),
            format!("+{}", time(coverage.first_ns[row] - zero)),
            format!("+{}", time(coverage.last_ns[row] - zero)),
            time(coverage.ends_early_ns[row]),
        ]);
    }
    out.push_str(&table.render());
}
