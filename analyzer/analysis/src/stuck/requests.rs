//! Requests for which nothing was handed over, and those that went on without it.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Completeness, RequestState, Role};
use kvpath_schema::tables::stuck::{StuckCause, StuckItem, StuckKind};

use super::{Context, item};
use crate::units;

pub(super) fn of(run: &Context) -> Vec<StuckItem> {
    let requests = run.inputs.requests;
    let found = (0..requests.len()).filter_map(|row| went_on(run, row).or_else(|| no_transfer(run, row)));
    found.collect()
}

/// Its client had a token after a transfer of it had failed for good.
fn went_on(run: &Context, row: usize) -> Option<StuckItem> {
    let (requests, handoffs) = (run.inputs.requests, run.inputs.handoffs);
    let (request, token) = (requests.request[row], requests.first_token_ns[row]?);
    let is_failed = |at: &usize| handoffs.request[*at] == request && handoffs.completeness[*at] == Completeness::Failed;
    let at = (0..handoffs.len()).find(is_failed)?;
    let posted = handoffs.posted_ns[at].filter(|posted| *posted < token)?;
    let text = format!(
        "The hand-off of {} failed, and its client had a first token {} after the post all the same: without that KV.",
        run.request(request),
        units::time(token - posted)
    );
    let row = item(StuckKind::WentOn, StuckCause::Unknown, (posted, token), text);
    Some(StuckItem { request: Some(request), process_id: handoffs.peer_process_id[at], ..row })
}

/// Its client tells of it and had no token, and nobody posted anything for it, though for others.
fn no_transfer(run: &Context, row: usize) -> Option<StuckItem> {
    let (requests, handoffs) = (run.inputs.requests, run.inputs.handoffs);
    let is_without = matches!(requests.state[row], RequestState::Prefilled | RequestState::Asked);
    let is_unanswered = requests.first_token_ns[row].is_none();
    let since = requests.sent_ns[row].filter(|_| is_without && is_unanswered && !handoffs.is_empty())?;
    let stages = run.inputs.stages;
    let decode = (0..stages.len()).filter(|stage| stages.role[*stage] == Role::Decode);
    let ends: Vec<(i64, Option<i64>)> =
        decode.map(|stage| (stages.process_id[stage], run.ended.get(&stages.process_id[stage]).copied())).collect();
    // Another worker may have been asked if one of them lived.
    let ended = ends.iter().all(|(_, end)| end.is_some_and(|end| end < since)).then(|| ends.last().copied()).flatten();
    let done = if requests.state[row] == RequestState::Prefilled { "Prefill ran for" } else { "No prefill ran for" };
    let why = ended.and_then(|(process, end)| Some((process, end?))).map(|(process, end)| {
        format!(
            "; {}, which decodes, had ended {} before it was sent",
            run.process(Some(process)),
            units::time(since - end)
        )
    });
    let request = requests.request[row];
    let text = format!(
        "{done} {}; nothing was handed over, and its client had no token{}.",
        run.request(request),
        why.unwrap_or_default()
    );
    let cause = if ended.is_some() { StuckCause::PeerEnded } else { StuckCause::Unknown };
    let row = item(StuckKind::NoTransfer, cause, (since, run.end), text);
    Some(StuckItem { request: Some(request), peer_process_id: ended.map(|(process, _)| process), ..row })
}
