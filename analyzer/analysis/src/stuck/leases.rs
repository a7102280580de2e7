//! KV that was pulled after prefill's lease on it had run out.

use std::collections::HashMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::HandoffWay;
use kvpath_schema::tables::stuck::{StuckCause, StuckItem, StuckKind};

use super::{Context, item};
use crate::serving::leases::Lease;
use crate::serving::notifications::{is_heartbeat, kept_requests};
use crate::units;

pub(super) fn of(run: &Context) -> Vec<StuckItem> {
    let beats = Beats::of(run);
    let titles = run.facts.processes.name.iter().map(String::as_str);
    let Some(lease) = Lease::of(&titles, beats.is_any) else { return Vec::new() };
    (0..run.inputs.handoffs.len()).filter_map(|row| over(run, lease, &beats, row)).collect()
}

/// Heartbeats, of both ends.
#[derive(Default)]
struct Beats<'a> {
    is_any: bool,
    /// When some named a request, rising, ns.
    of: HashMap<&'a str, Vec<i64>>,
    /// When one was cut, and what it named last is not known, rising.
    cut: Vec<i64>,
}

impl<'a> Beats<'a> {
    fn of(run: &Context<'a>) -> Self {
        let notifs = &run.facts.notifs;
        let mut found = Self::default();
        for row in (0..notifs.len()).filter(|row| is_heartbeat(&notifs.message[*row])) {
            let (text, bytes, time) = (&notifs.message[row], notifs.message_bytes[row], notifs.time_ns[row]);
            found.is_any = true;
            if usize::try_from(bytes).is_ok_and(|bytes| bytes > text.len()) {
                found.cut.push(time);
            }
            for id in kept_requests(text, bytes) {
                found.of.entry(id).or_default().push(time);
            }
        }
        found.of.values_mut().for_each(|times| times.sort_unstable());
        found.cut.sort_unstable();
        found
    }

    /// The last that named a request before a time.
    fn last(&self, id: &str, before: i64) -> Option<i64> {
        let times = self.of.get(id)?;
        times[..times.partition_point(|time| *time < before)].last().copied()
    }

    fn is_cut_within(&self, (from, to): (i64, i64)) -> bool {
        let next = self.cut.partition_point(|time| *time < from);
        self.cut.get(next).is_some_and(|time| *time < to)
    }
}

fn over(run: &Context, lease: Lease, beats: &Beats, row: usize) -> Option<StuckItem> {
    let (handoffs, requests) = (run.inputs.handoffs, run.inputs.requests);
    let posted = handoffs.posted_ns[row].filter(|_| handoffs.way[row] == HandoffWay::Pull)?;
    let request = handoffs.request[row];
    let at = *run.requests.get(&request)?;
    // Whose passes are not told apart may have ended later.
    let computed = requests.prefill_end_ns[at].filter(|_| !requests.incomplete[at])?;
    if beats.is_cut_within((computed, posted)) {
        return None;
    }
    let last = requests.request_id[at].as_deref().and_then(|id| beats.last(id, posted));
    let ends = last.map_or(i64::MIN, |last| last.saturating_add(lease.extension_ns)).max(computed + lease.ns);
    let stages = run.inputs.stages;
    let stage = stages.stage_id.iter().position(|other| *other == handoffs.stage_id[row])?;
    let sender = stages.process_id[stage];
    let passes = run.inputs.passes.get(&sender).map_or(&[][..], Vec::as_slice);
    let between = passes.iter().filter(|pass| pass.0 >= ends && pass.0 < posted).count();
    // Engines give leases up in a step: without one the KV is still there.
    if posted <= ends || between == 0 {
        return None;
    }
    let beat = if last.is_some() { "no later heartbeat of decode's" } else { "no heartbeat of decode's" };
    let passes = if between == 1 { "1 forward pass".to_owned() } else { format!("{between} forward passes") };
    let text = format!(
        "The KV of {} was pulled {} after its prefill: {} keeps it for {}, {beat} asked for more, and {passes} ran there since. What was \
         pulled may be another request's.",
        run.request(request),
        units::time(posted - computed),
        run.process(Some(sender)),
        units::time(lease.ns),
    );
    Some(StuckItem {
        request: Some(request),
        process_id: handoffs.peer_process_id[row],
        peer_process_id: Some(sender),
        bytes: Some(handoffs.bytes[row]),
        ..item(StuckKind::LeaseOver, StuckCause::NoHeartbeat, (ends, posted), text)
    })
}
