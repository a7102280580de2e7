//! What it took to bring the KV of hand-offs from a GPU into the host memory that it is handed over from, and from there to a GPU.

use std::collections::BTreeSet;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Handoffs, StagingMethod};

use crate::facts::staging::{StagedSeries, Staging};
use crate::intervals::{Span, Union};
use crate::structure::requests::RequestWork;
use crate::structure::stages::StageWork;

/// Copies that belong to a hand-off.
struct Staged {
    start: i64,
    /// Time from the first copy of each series to its last, ns.
    ns: i64,
    bytes: i64,
}

impl Staged {
    fn of(series: &[&StagedSeries]) -> Option<Self> {
        let start = series.iter().map(|own| own.span.0).min()?;
        let bytes = series.iter().fold(0i64, |sum, own| sum.saturating_add(own.bytes));
        Some(Self { start, ns: Union::of(series.iter().map(|own| own.span)).len_ns(), bytes })
    }
}

/// Fills them in.
pub fn fill(staging: &Staging, stages: &[StageWork], requests: &[RequestWork], table: &mut Handoffs) {
    if staging.is_empty() {
        return;
    }
    let mut taken: BTreeSet<(i64, Span)> = BTreeSet::new();
    let mut rows: Vec<usize> = (0..table.len()).collect();
    rows.sort_by_key(|row| (table.done_by_ns[*row].or(table.notif_arrived_ns[*row]), *row));
    for row in rows {
        let (out, method) = out(staging, stages, requests, (table, row));
        let own = inward(staging, &taken, (table, row));
        taken.extend(own.map(|series| (series.process, series.span)));
        let own = own.and_then(|series| Staged::of(&[series]));
        table.staging_method[row] = match (&out, &own) {
            (None, None) => None,
            (Some(_), _) => method,
            (None, Some(_)) => Some(StagingMethod::Bytes),
        };
        (table.staging_out_start_ns[row], table.staging_out_ns[row], table.staging_out_bytes[row]) = columns(out);
        (table.staging_in_start_ns[row], table.staging_in_ns[row], table.staging_in_bytes[row]) = columns(own);
    }
}

fn columns(staged: Option<Staged>) -> (Option<i64>, Option<i64>, Option<i64>) {
    staged.map_or((None, None, None), |own| (Some(own.start), Some(own.ns), Some(own.bytes)))
}

/// What the sender copied: after the passes of the request on that stage, each until the next pass of any; else the last series of
/// all its bytes that was over when the transfer was made.
fn out(
    staging: &Staging,
    stages: &[StageWork],
    requests: &[RequestWork],
    (table, row): (&Handoffs, usize),
) -> (Option<Staged>, Option<StagingMethod>) {
    let stage = stages.iter().enumerate().find(|(_, stage)| stage.row.stage_id == table.stage_id[row]);
    let request = usize::try_from(table.request[row]).ok().and_then(|r| requests.get(r));
    let Some(((s, stage), request)) = stage.zip(request) else { return (None, None) };
    let until = table.made_ns[row].or(table.posted_ns[row]).unwrap_or(i64::MAX);
    let own = || staging.of_process(stage.row.process_id, true).filter(|series| series.span.1 <= until);
    let all = stage.lane.map_or(&[][..], |lane| &lane.passes);
    let after: BTreeSet<i64> = request.passes[s].iter().map(|pass| pass.span.0).collect();
    let is_after = |series: &&StagedSeries| {
        let before = all.partition_point(|pass| pass.span.0 <= series.span.0).checked_sub(1);
        before.is_some_and(|before| after.contains(&all[before].span.0))
    };
    let by_passes = Staged::of(&own().filter(is_after).collect::<Vec<&StagedSeries>>());
    if let Some(staged) = by_passes.filter(|staged| staged.bytes <= table.bytes[row]) {
        let is_all = staged.bytes == table.bytes[row];
        return (Some(staged), Some(if is_all { StagingMethod::Bytes } else { StagingMethod::Time }));
    }
    let last = own().filter(|series| series.bytes == table.bytes[row]).last();
    let last = last.and_then(|series| Staged::of(&[series]));
    let method = last.as_ref().map(|_| StagingMethod::Bytes);
    (last, method)
}

/// What the receiver copied: the first series of all the bytes after the end of the hand-off.
fn inward<'a>(
    staging: &'a Staging,
    taken: &BTreeSet<(i64, Span)>,
    (table, row): (&Handoffs, usize),
) -> Option<&'a StagedSeries> {
    let (peer, end) = (table.peer_process_id[row]?, table.done_by_ns[row].or(table.notif_arrived_ns[row])?);
    let is_own = |series: &&StagedSeries| {
        series.span.0 >= end && series.bytes == table.bytes[row] && !taken.contains(&(series.process, series.span))
    };
    staging.of_process(peer, false).find(is_own)
}
