//! What each process's records cover, and signs that some were lost.
//!
//! A process that falls silent may just be idle, so silence alone is no loss. Signs of loss are: a last forward pass with
//! fewer layers than the stage's, followed by hand-offs; hand-offs without any forward pass of the stage before them;
//! hand-offs without their peer copies, in a process that makes peer copies.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns;
use kvpath_schema::tables::derived::{Completeness, Coverage, Coverages, Handoffs};

use crate::facts::Facts;
use crate::structure::requests::{self, RequestWork};
use crate::structure::stages::StageWork;
use crate::timeline::{Lane, Timeline};

/// The verdict of a table with no sign of loss.
pub const COMPLETE: &str = "complete";

/// Kernels and copies of a stream: rows, first start, last end.
fn of_lane(timeline: &Timeline, lane: &Lane) -> BTreeMap<&'static str, (i64, i64, i64)> {
    let mut extents = BTreeMap::new();
    for at in 0..lane.len() {
        let table = timeline.names.class(lane.name[at]).table();
        if matches!(table, "kernels" | "memcpys") {
            let extent = extents.entry(table).or_insert((0, i64::MAX, i64::MIN));
            *extent = (extent.0 + 1, extent.1.min(lane.start[at]), extent.2.max(lane.end[at]));
        }
    }
    extents
}

/// Fills the table.
#[must_use]
pub fn of(
    facts: &Facts,
    timeline: &Timeline,
    (stages, requests): (&[StageWork], &[RequestWork]),
    handoffs: &Handoffs,
) -> Coverages {
    let mut extents: BTreeMap<(i64, &'static str), (i64, i64, i64)> = BTreeMap::new();
    let mut see_all = |process: i64, table: &'static str, (rows, start, end): (i64, i64, i64)| {
        let extent = extents.entry((process, table)).or_insert((0, i64::MAX, i64::MIN));
        *extent = (extent.0 + rows, extent.1.min(start), extent.2.max(end));
    };
    for (id, lane) in &timeline.lanes {
        for (table, extent) in of_lane(timeline, lane) {
            see_all(id.process, table, extent);
        }
    }
    let mut see = |process: i64, table: &'static str, start: i64, end: i64| see_all(process, table, (1, start, end));
    for mark in (0..facts.nvtx.len()).map(|row| facts.nvtx.mark(row)) {
        see(mark.thread.0, "nvtx_ranges", mark.start, mark.start.saturating_add(mark.dur.unwrap_or(0)));
    }
    for transfers in [&facts.transfers, &facts.others] {
        for row in 0..transfers.len() {
            let times = [transfers.made_ns[row], transfers.posted_ns[row], transfers.released_ns[row]];
            for at in times.into_iter().flatten().take(1) {
                let end = times.into_iter().flatten().max().unwrap_or(at);
                see(transfers.process_id[row], "nixl_transfers", at, end);
            }
        }
    }
    for row in 0..facts.notifs.len() {
        see(facts.notifs.process_id[row], "nixl_notifs", facts.notifs.time_ns[row], facts.notifs.time_ns[row]);
    }
    let end = extents.values().map(|extent| extent.2).max().unwrap_or(0);
    let mut table = Coverages::default();
    for ((process, name), (rows, first_ns, last_ns)) in extents {
        let title = facts.processes.process_id.iter().position(|p| *p == process);
        let stage = stages.iter().position(|stage| stage.row.process_id == process);
        let verdict = stage.and_then(|s| match name {
            "kernels" => lost_kernels(stages, s, requests, last_ns),
            "memcpys" => lost_copies(&stages[s], handoffs),
            _ => None,
        });
        table.push(Coverage {
            process_id: process,
            process: title.map(|row| facts.processes.name[row].clone()).unwrap_or_default(),
            table_name: name.into(),
            rows,
            first_ns,
            last_ns,
            ends_early_ns: end - last_ns,
            verdict: verdict.unwrap_or_else(|| COMPLETE.to_owned()),
        });
    }
    table
}

fn lost_kernels(stages: &[StageWork], s: usize, work: &[RequestWork], last_ns: i64) -> Option<String> {
    let stage = &stages[s];
    if !stage.is_prefill() || stage.lane.is_none_or(|lane| lane.passes.is_empty()) {
        return None;
    }
    let last_post = stage.posts.last().map(|post| post.at)?;
    let own = |request: &&RequestWork| request.posts.iter().any(|(stage, _)| *stage == s);
    let handed_over = work.iter().filter(own).count();
    let lacking = |request: &&RequestWork| request.passes[s].is_empty() && !request.has_all_passes(s, stages, work);
    let without = work.iter().filter(own).filter(lacking).count();
    let last = stage.lane.and_then(|lane| lane.passes.last()).map_or(0, |pass| pass.layers.len());
    let usual = usize::try_from(stage.row.layers.unwrap_or(0)).unwrap_or(0);
    let mut signs = Vec::new();
    if requests::breaks_off(stage) {
        signs.push(format!("its last forward pass has {last} of {usual} layers"));
    }
    if without > 0 {
        signs.push(format!("{without} of {handed_over} requests that it handed over have no forward pass"));
    }
    if signs.is_empty() {
        return None;
    }
    let seconds = seconds((last_post - last_ns).max(0));
    Some(format!("lost records: kernels end {seconds} s before its last hand-off; {}", signs.join("; ")))
}

/// Of a process that copies KV, its own or what it pulls.
fn lost_copies(stage: &StageWork, handoffs: &Handoffs) -> Option<String> {
    let is_own = |row: &usize| handoffs.copy_process_id[*row] == Some(stage.row.process_id);
    let own: Vec<usize> = (0..handoffs.len()).filter(is_own).collect();
    let lacking = own.iter().filter(|row| handoffs.completeness[**row] == Completeness::Incomplete).count();
    (lacking > 0).then(|| format!("lost records: {lacking} of {} hand-offs lack peer copies", own.len()))
}

/// Seconds to two digits, for people.
fn seconds(ns: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "only printed, to two digits")]
    let seconds = ns as f64 / 1e9;
    format!("{seconds:.2}")
}
