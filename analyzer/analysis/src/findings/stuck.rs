//! What failed or was waited for in vain: a finding for each kind of it.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::findings::{Code, Finding, Subject};
use kvpath_schema::tables::stuck::{StuckCause, StuckKind};

use super::{Concerns, RuleFinding, Tables, finding};
use crate::units;

/// Kinds, the most telling first: its code, and what several of it are.
const KINDS: [(StuckKind, Code, &str); 8] = [
    (StuckKind::WentOn, Code::WentOn, "requests that went on without their KV"),
    (StuckKind::Overlapping, Code::OverlappingMemory, "pair of transfers over the same memory"),
    (StuckKind::LeaseOver, Code::LeaseOver, "pulls after prefill's lease had run out"),
    (StuckKind::Failed, Code::FailedTransfer, "failed transfers"),
    (StuckKind::Pending, Code::PendingTransfer, "transfers that did not end"),
    (StuckKind::NotArrived, Code::NotArrived, "notifications that did not arrive"),
    (StuckKind::NotTaken, Code::NotTaken, "notifications that were not asked for"),
    (StuckKind::NoTransfer, Code::NoTransfer, "requests without a hand-off"),
];

pub(super) fn of(tables: &Tables) -> Vec<RuleFinding> {
    KINDS.iter().filter_map(|kind| found(tables, kind)).collect()
}

fn found(tables: &Tables, (kind, code, what): &(StuckKind, Code, &str)) -> Option<RuleFinding> {
    let stuck = tables.stuck;
    // What may have come right after the end of the recording is no fault.
    let is_own = |row: &usize| stuck.kind[*row] == *kind && stuck.cause[*row] != StuckCause::RecordingEnded;
    let rows: Vec<usize> = (0..stuck.len()).filter(is_own).collect();
    let first = stuck.row(*rows.first()?);
    let text = match rows.len() {
        1 => first.text,
        n => {
            let longest = rows.iter().max_by_key(|row| stuck.until_ns[**row] - stuck.since_ns[**row])?;
            let count = units::count(i64::try_from(n).unwrap_or(i64::MAX));
            format!("{count} {what}; the longest: {}", stuck.text[*longest])
        }
    };
    let mut requests: Vec<i32> = rows.iter().filter_map(|row| stuck.request[*row]).collect();
    requests.sort_unstable();
    requests.dedup();
    let condition = format!("kind = '{}' AND cause <> '{}'", kind.text(), StuckCause::RecordingEnded.text());
    let row = Finding {
        request: first.request.filter(|_| rows.len() == 1),
        process_id: first.process_id.filter(|_| rows.len() == 1),
        tables: "stuck".to_owned(),
        query: format!("SELECT * FROM stuck WHERE {condition}"),
        row_keys: condition,
        ..finding(*code, Subject::Transfer, text)
    };
    let concerns = if requests.is_empty() { Concerns::Any } else { Concerns::Requests(requests) };
    Some(RuleFinding { row, concerns, on_path: None })
}
