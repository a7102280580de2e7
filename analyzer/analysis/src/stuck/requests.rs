//! Requests for which nothing was handed over, and those that went on without it.

use std::collections::HashSet;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Completeness, RequestState, Role};
use kvpath_schema::tables::nixl::XferStatus;
use kvpath_schema::tables::stuck::{StuckCause, StuckItem, StuckKind};

use super::transfers::failed_ns;
use super::{Context, SOON_NS, item};
use crate::serving::told;
use crate::units;

pub(super) fn of(run: &Context) -> Vec<StuckItem> {
    let requests = run.inputs.requests;
    let told = told::of(&run.facts.spans);
    let failed: HashSet<&str> = told.iter().filter(|told| told.has_failed).map(|told| told.id.as_str()).collect();
    let found = (0..requests.len()).filter_map(|row| went_on(run, row).or_else(|| no_transfer(run, row, &failed)));
    found.collect()
}

/// Its client had a token after a transfer of it had failed, and none took its place.
fn went_on(run: &Context, row: usize) -> Option<StuckItem> {
    let (requests, handoffs) = (run.inputs.requests, run.inputs.handoffs);
    let (request, token) = (requests.request[row], requests.first_token_ns[row]?);
    let own = run.handoffs_of(request);
    let is_failed = |at: &&usize| handoffs.completeness[**at] == Completeness::Failed;
    let at = *own.iter().find(is_failed)?;
    // Another worker may have handed it over instead.
    let is_instead = |other: &usize| {
        let is_whole = !matches!(handoffs.completeness[*other], Completeness::Failed | Completeness::Unfinished);
        is_whole && handoffs.posted_ns[*other] >= handoffs.posted_ns[at]
    };
    if own.iter().any(is_instead) {
        return None;
    }
    let transfers = run.inputs.of_transfer.iter().filter(|(_, of)| **of == request).map(|(transfer, _)| *transfer);
    let is_error = |transfer: &usize| XferStatus::from_text(&run.facts.transfers.status[*transfer]).is_none();
    let failed = transfers.filter(is_error).filter_map(|transfer| failed_ns(run, transfer)).map(|(at, _)| at).min()?;
    if token <= failed {
        return None;
    }
    let text = format!(
        "The hand-off of {} failed, and its client had a first token {} after that all the same: without that KV.",
        run.request(request),
        units::time(token - failed)
    );
    let row = item(StuckKind::WentOn, StuckCause::Unknown, (failed, token), text);
    Some(StuckItem { request: Some(request), process_id: handoffs.peer_process_id[at], ..row })
}

/// Its client tells of it and had no token, and nobody posted anything for it, though for others.
fn no_transfer(run: &Context, row: usize, failed: &HashSet<&str>) -> Option<StuckItem> {
    let (requests, handoffs) = (run.inputs.requests, run.inputs.handoffs);
    let is_without = matches!(requests.state[row], RequestState::Prefilled | RequestState::Asked);
    let is_unanswered = requests.first_token_ns[row].is_none();
    let since = requests.sent_ns[row].filter(|_| is_without && is_unanswered && !handoffs.is_empty())?;
    let (begin, end) = run.hosts.values().copied().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    if since < begin || since > end {
        return None;
    }
    let ended = decode_ended(run, since);
    let done = if requests.state[row] == RequestState::Prefilled { "Prefill ran for" } else { "No prefill ran for" };
    let why = ended.map(|(process, end)| {
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
    let has_failed = requests.request_id[row].as_deref().is_some_and(|id| failed.contains(id));
    let cause = match (ended, has_failed) {
        (Some(_), _) => StuckCause::PeerEnded,
        (None, false) if end - since < SOON_NS => StuckCause::RecordingEnded,
        (None, _) => StuckCause::Unknown,
    };
    let row = item(StuckKind::NoTransfer, cause, (since, end), text);
    Some(StuckItem { request: Some(request), peer_process_id: ended.map(|(process, _)| process), ..row })
}

/// The decode worker that ended last, and when, if all had until then and no process of such a title has started since.
fn decode_ended(run: &Context, time: i64) -> Option<(i64, i64)> {
    let (stages, processes) = (run.inputs.stages, &run.facts.processes);
    let decode = (0..stages.len()).filter(|stage| stages.role[*stage] == Role::Decode);
    let workers: Vec<i64> = decode.map(|stage| stages.process_id[stage]).collect();
    let ends = workers.iter().map(|process| Some((run.ended_by(Some(*process), time)?, *process)));
    let (end, process) = ends.collect::<Option<Vec<_>>>()?.into_iter().max()?;
    let name = |process: &i64| run.processes.get(process).map(|row| processes.name[*row].as_str());
    let is_again = |row: usize| {
        processes.start_ns[row].is_none_or(|start| start > end)
            && !workers.contains(&processes.process_id[row])
            && workers.iter().any(|worker| name(worker) == Some(processes.name[row].as_str()))
    };
    let is_replaced = (0..processes.len())
        .any(|row| is_again(row) && !stages.process_id.iter().any(|stage| *stage == processes.process_id[row]));
    (!is_replaced).then_some((process, end))
}
