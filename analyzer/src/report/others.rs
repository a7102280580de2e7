//! Transfers that hand nothing over.

use std::fmt::Write as _;

use kvpath_schema::table::Columns as _;

use super::Report;
use super::table::Table;
use super::units::{bytes, count, or_dash, time};

/// The section. They are of no request, so a report of one has none of them.
pub(super) fn render(out: &mut String, report: &Report) {
    let others = &report.analysis.others;
    if others.is_empty() || report.only.is_some() {
        return;
    }
    let _ = writeln!(out, "\nOTHER TRANSFERS (in no stage, request or hand-off)");
    let headings =
        ["purpose", "process", "op", "from", "to", "peer", "transfers", "failed", "bytes", "under way", "found by"];
    let mut table = Table::new(6, &headings);
    for row in (0..others.len()).map(|row| others.row(row)) {
        let memory = |memory: &Option<_>| or_dash(memory.as_deref(), str::to_owned);
        let (local, remote) = (memory(&row.local_memory), memory(&row.remote_memory));
        let (from, to) = if &*row.op == "READ" { (remote, local) } else { (local, remote) };
        let peer = if row.agent.is_some() && row.agent == row.peer { Some("itself".into()) } else { row.peer.clone() };
        table.row(vec![
            row.purpose.to_string(),
            row.process_id.to_string(),
            row.op.to_string(),
            from,
            to,
            or_dash(peer, |peer| peer.to_string()),
            count(row.transfers),
            if row.failed == 0 { "-".to_owned() } else { count(row.failed) },
            or_dash(row.bytes, bytes),
            time(row.busy_ns),
            row.purpose_method.to_string(),
        ]);
    }
    out.push_str(&table.render());
}
