//! KV that was pulled after prefill's lease on it had run out.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::HandoffWay;
use kvpath_schema::tables::stuck::{StuckCause, StuckItem, StuckKind};

use super::{Context, item};
use crate::serving::leases::Lease;
use crate::units;

pub(super) fn of(run: &Context) -> Vec<StuckItem> {
    let titles = run.facts.processes.name.iter().map(String::as_str);
    let Some(lease) = Lease::of(titles) else { return Vec::new() };
    (0..run.inputs.handoffs.len()).filter_map(|row| over(run, lease, row)).collect()
}

fn over(run: &Context, lease: Lease, row: usize) -> Option<StuckItem> {
    let (handoffs, requests) = (run.inputs.handoffs, run.inputs.requests);
    let posted = handoffs.posted_ns[row].filter(|_| handoffs.way[row] == HandoffWay::Pull)?;
    let request = handoffs.request[row];
    let at = requests.request.iter().position(|other| *other == request)?;
    // Whose passes are not told apart may have ended later.
    let computed = requests.prefill_end_ns[at].filter(|_| !requests.incomplete[at])?;
    let beats = run.inputs.heartbeats;
    let own = (0..beats.len()).filter(|beat| beats.request[*beat] == Some(request));
    // Of several heartbeats before the pull the first and the last are known.
    let last = own.flat_map(|beat| [beats.first_ns[beat], beats.last_ns[beat]]).filter(|beat| *beat < posted).max();
    let ends =
        last.map_or(i64::MIN, |last| last.saturating_add(lease.extension_ns)).max(computed.saturating_add(lease.ns));
    if posted <= ends {
        return None;
    }
    let stages = run.inputs.stages;
    let stage = stages.stage_id.iter().position(|other| *other == handoffs.stage_id[row])?;
    let sender = stages.process_id[stage];
    let passes = run.inputs.passes.get(&sender).map_or(&[][..], Vec::as_slice);
    let between = passes.iter().filter(|pass| pass.0 >= ends && pass.0 < posted).count();
    let beat = if last.is_some() { "no later heartbeat of decode's" } else { "no heartbeat of decode's" };
    let text = format!(
        "The KV of {} was pulled {} after its prefill, when {} had given up its blocks: it keeps them for {}, and {beat} asked for more. {} \
         ran there since: what was pulled may be another request's.",
        run.request(request),
        units::time(posted - computed),
        run.process(Some(sender)),
        units::time(lease.ns),
        if between == 1 { "1 forward pass".to_owned() } else { format!("{between} forward passes") },
    );
    Some(StuckItem {
        request: Some(request),
        process_id: handoffs.peer_process_id[row],
        peer_process_id: Some(sender),
        bytes: Some(handoffs.bytes[row]),
        ..item(StuckKind::LeaseOver, StuckCause::NoHeartbeat, (ends, posted), text)
    })
}
