//! First contacts, where the calls that make them were recorded.

use std::fmt::Write as _;

use kvpath_analysis::structure::ranks;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::contacts::FirstContact;
use kvpath_schema::tables::derived::Stages;

use super::Report;
use super::table::Table;
use super::units::{or_dash, time};

/// The section.
pub(super) fn render(out: &mut String, report: &Report) {
    let contacts = &report.analysis.contacts;
    let is_shown = |row: &usize| contacts.request[*row].map_or(report.only.is_none(), |own| report.shows(own));
    let rows: Vec<FirstContact> = (0..contacts.len()).filter(is_shown).map(|row| contacts.row(row)).collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nFIRST CONTACTS (calls by which an agent makes a peer known, before their first transfer)");
    let headings = [
        "from",
        "to",
        "fetch",
        "load",
        "connect",
        "prepare",
        "first to last",
        "failed",
        "request",
        "waited",
        "first transfer",
        "later p50",
    ];
    let mut table = Table::new(2, &headings);
    for c in rows {
        table.row(vec![
            place(&report.analysis.stages, Some(c.process_id)).unwrap_or_else(|| format!("process {}", c.process_id)),
            place(&report.analysis.stages, c.peer_process_id).unwrap_or_else(|| c.peer.to_string()),
            or_dash(c.fetch_ns, time),
            or_dash(c.load_ns, time),
            or_dash(c.connect_ns, time),
            or_dash(c.prepare_ns, time),
            c.end_ns.map_or_else(|| "not seen to end".to_owned(), |end| time(end - c.start_ns)),
            if c.failed == 0 { "-".to_owned() } else { c.failed.to_string() },
            or_dash(c.request, |request| request.to_string()),
            or_dash(c.waited_ns, time),
            or_dash(c.first_transfer_ns, time),
            or_dash(c.later_transfer_ns, time),
        ]);
    }
    out.push_str(&table.render());
}

/// The stage that a process is.
fn place(stages: &Stages, process: Option<i64>) -> Option<String> {
    let row = stages.process_id.iter().position(|own| Some(*own) == process)?;
    Some(ranks::in_words(stages, stages.stage_id[row]))
}
