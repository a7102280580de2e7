//! The `requests` table, and what `stages` takes from the requests.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns;
use kvpath_schema::tables::derived::{Handoffs, Layers, Request, Requests, Stages};

use super::Raw;
use super::requests::RequestWork;
use super::stages::StageWork;

/// Fills `requests`.
#[must_use]
pub fn requests(raw: &Raw, stages: &[StageWork], work: &[RequestWork], handoffs: &Handoffs) -> Requests {
    let mut table = Requests::default();
    for (r, request) in work.iter().enumerate() {
        let r = i32::try_from(r).unwrap_or(i32::MAX);
        let rows: Vec<usize> = (0..handoffs.len()).filter(|row| handoffs.request[*row] == r).collect();
        let prefill: Vec<usize> = (0..stages.len()).filter(|s| stages[*s].is_prefill()).collect();
        // A prefill stage that computed for no request at all was not recorded; one that lacks only some lost them.
        let lacks_compute = prefill.iter().any(|s| request.lacks_passes(*s, work));
        let ends = rows.iter().map(|row| end_of(handoffs, *row));
        let handoff_end_ns = ends.collect::<Option<Vec<i64>>>().and_then(|ends| ends.into_iter().max());
        let whole = !lacks_compute && !prefill.iter().any(|s| request.is_cut(*s, &stages[*s]));
        let incomplete = !whole || rows.iter().any(|row| &*handoffs.finding[*row] == "incomplete");
        let prefill_end_ns = request.compute_end().filter(|_| whole);
        let start_ns = request.compute_start().unwrap_or_else(|| first_sign(handoffs, &rows));
        let chunks = prefill.first().map(|s| request.passes[*s].len()).filter(|n| *n > 0);
        table.push(Request {
            request: r,
            request_id: request.id.clone(),
            method: if request.id.is_some() { "notif".into() } else { "activity".into() },
            start_ns,
            prefill_end_ns,
            handoff_end_ns,
            decode_start_ns: handoff_end_ns.and_then(|end| decode_start(raw, stages, end)),
            prefill_ns: prefill_end_ns.map(|end| end - start_ns),
            handoff_exposed_ns: prefill_end_ns.zip(handoff_end_ns).map(|(from, to)| (to - from).max(0)),
            handoff_ns: handoff_end_ns.zip(begin(handoffs, &rows)).map(|(end, begin)| end - begin),
            chunks: chunks.and_then(|n| i32::try_from(n).ok()),
            handoff_bytes: (!rows.is_empty()).then(|| rows.iter().map(|row| handoffs.bytes[*row]).sum()),
            handoffs: i32::try_from(rows.len()).unwrap_or(i32::MAX),
            incomplete,
        });
    }
    table
}

/// The end of the data's way: last copy, else completion seen, else the notif's arrival.
fn end_of(handoffs: &Handoffs, row: usize) -> Option<i64> {
    if &*handoffs.finding[row] == "incomplete" {
        return handoffs.done_by_ns[row];
    }
    let copied = handoffs.copy_start_ns[row].zip(handoffs.copy_span_ns[row]).map(|(start, span)| start + span);
    copied.or(handoffs.done_by_ns[row]).or(handoffs.notif_arrived_ns[row])
}

/// When the first of a request's hand-offs began.
fn begin(handoffs: &Handoffs, rows: &[usize]) -> Option<i64> {
    let signs = |row: usize| [handoffs.made_ns[row], handoffs.posted_ns[row], handoffs.copy_start_ns[row]];
    rows.iter().flat_map(|row| signs(*row)).flatten().min()
}

/// The first sign of a request without forward passes.
fn first_sign(handoffs: &Handoffs, rows: &[usize]) -> i64 {
    let ready = rows.iter().filter_map(|row| handoffs.ready_ns[*row]).min();
    ready.into_iter().chain(begin(handoffs, rows)).min().unwrap_or(0)
}

/// The first kernel of a decode worker that starts after `end`.
fn decode_start(raw: &Raw, stages: &[StageWork], end: i64) -> Option<i64> {
    let decode: Vec<i64> = stages.iter().filter(|s| &*s.row.role == "decode").map(|s| s.row.process_id).collect();
    (0..raw.kernels.len())
        .filter(|row| raw.kernels.start_ns[*row] >= end && decode.contains(&raw.kernels.process_id[*row]))
        .map(|row| raw.kernels.start_ns[row])
        .min()
}

/// Fills in each stage's median layer time over the requests' chunks.
pub fn layer_medians(stages: &mut Stages, layers: &Layers) {
    let mut by_stage: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for row in 0..layers.len() {
        by_stage.entry(layers.stage_id[row]).or_default().push(layers.dur_ns[row]);
    }
    for row in 0..stages.len() {
        stages.layer_median_ns[row] = by_stage.get_mut(&stages.stage_id[row]).map(|times| {
            times.sort_unstable();
            times[times.len() / 2]
        });
    }
}
