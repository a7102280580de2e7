//! The check as text.

use std::fmt::Write as _;

use kvpath_schema::table::Columns;

use super::Checked;
use crate::report::clocks;
use crate::report::table::Table;
use crate::report::text::list;
use crate::report::title::short;
use crate::report::units::{count, time};

/// The whole check.
#[must_use]
pub fn render(checked: &Checked) -> String {
    let mut out = String::new();
    let segments = i64::try_from(checked.segments).unwrap_or(i64::MAX);
    let _ = writeln!(out, "{}: {} segments, {} rows", checked.run, count(segments), count(checked.rows));
    list(&mut out, "CLOCKS", &clocks::lines(&checked.analysis.clocks));
    coverage(&mut out, checked);
    list(&mut out, "AUDIT OF PATHS", &checked.audit);
    list(&mut out, "UNREADABLE", &checked.unreadable);
    list(&mut out, "LOST, COUNTED OR SAID BY THE RECORDER", &checked.losses.lines());
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
