//! Transfers that failed or were not seen to end.

use kvpath_schema::tables::nixl::{Library, XferOp, XferStatus};
use kvpath_schema::tables::stuck::{StuckCause, StuckItem, StuckKind};

use super::{Context, SOON_NS, item};
use crate::facts::arrivals;
use crate::units;

/// How often the usual pause between polls must have passed before nobody is said to poll any more.
const POLLS: i64 = 20;

/// How long after the end of a process the other end may notice: UCX keeps an endpoint alive by messages every 20 s
/// (`UCX_KEEPALIVE_INTERVAL`).
const NOTICED_NS: i64 = 30_000_000_000;

pub(super) fn of(run: &Context) -> Vec<StuckItem> {
    let arrived = arrivals::of_transfers(run.facts, &run.names);
    let longest = longest(run);
    let rows = 0..run.facts.transfers.transfer_id.len();
    let found = rows.filter_map(|row| match XferStatus::from_text(&run.facts.transfers.status[row]) {
        Some(XferStatus::Pending) if !arrived.contains_key(&row) => pending(run, row, longest),
        None => failed(run, row),
        _ => None,
    });
    found.collect()
}

/// `a READ of 1.573 GB by decode (17) from prefill (18) for request 3 (id)`, and its other end.
fn described(run: &Context, row: usize) -> (String, Option<i64>) {
    let table = &run.facts.transfers;
    let at = table.made_ns[row].or(table.posted_ns[row]).unwrap_or(0);
    let peer = table.peer[row].as_deref().and_then(|name| run.names.at(name, at));
    let size = table.bytes[row].map(|bytes| format!(" of {}", units::bytes(bytes))).unwrap_or_default();
    let request = run.inputs.of_transfer.get(&row).map(|request| format!(" for {}", run.request(*request)));
    let preposition = if *table.op[row] == XferOp::Read { "from" } else { "to" };
    let (own, other) = (run.process(Some(table.process_id[row])), run.process(peer));
    let text = format!("{}{size} by {own} {preposition} {other}{}", table.op[row], request.unwrap_or_default());
    (text, peer)
}

fn with_transfer(run: &Context, row: usize, peer: Option<i64>, found: StuckItem) -> StuckItem {
    let table = &run.facts.transfers;
    StuckItem {
        request: run.inputs.of_transfer.get(&row).copied(),
        transfer_id: Some(table.transfer_id[row]),
        process_id: Some(table.process_id[row]),
        peer_process_id: peer,
        bytes: table.bytes[row],
        ..found
    }
}

fn pending(run: &Context, row: usize, longest: i64) -> Option<StuckItem> {
    let table = &run.facts.transfers;
    let posted = table.posted_ns[row]?;
    let (what, peer) = described(run, row);
    let own = table.process_id[row];
    let released = table.released_ns[row];
    let until = released.unwrap_or_else(|| run.life_end(own));
    let last_poll = table.last_pending_poll_ns[row];
    // Of Mooncake the return of the post is not recorded.
    let in_post = table.post_end_ns[row].is_none() && *table.library[row] == Library::Nixl;
    let seen = last_poll.or(table.post_end_ns[row]).unwrap_or(posted);
    // Polls that were not all recorded do not show when they ended.
    let pause = table.pending_polls[row].filter(|polls| *polls > 0).map(|polls| (seen - posted) / polls);
    let is_polled = pause.is_none_or(|pause| until - seen < SOON_NS.max(pause.saturating_mul(POLLS)));
    let peer_end = run.ended_by(peer, until);
    let cause = if peer_end.is_some_and(|end| end <= seen) {
        StuckCause::PeerEnded
    } else if released.is_some() {
        StuckCause::Unknown
    } else if !is_polled && !in_post {
        StuckCause::NotPolled
    } else if run.ended.contains_key(&own) {
        StuckCause::OwnEnded
    } else if peer_end.is_some() {
        StuckCause::PeerEnded
    } else if until - posted < SOON_NS.max(longest) {
        StuckCause::RecordingEnded
    } else {
        StuckCause::Unknown
    };
    let state = match last_poll {
        _ if in_post => ", whose post did not return".to_owned(),
        Some(poll) => format!(", still under way {} after its post", units::time(poll - posted)),
        None => String::new(),
    };
    let after = units::time(until - posted);
    let why = match (cause, peer_end) {
        (StuckCause::PeerEnded, Some(end)) => {
            format!("; {} had ended {} after the post", run.process(peer), units::time(end - posted))
        }
        (StuckCause::NotPolled, _) => {
            format!("; nobody polled it in the {} after that, while the process lived", units::time(until - seen))
        }
        (StuckCause::OwnEnded, _) => {
            format!("; {} ended {after} after the post{}", run.process(Some(own)), followed(run, peer, until))
        }
        (StuckCause::RecordingEnded, _) => "; then the recording ended".to_owned(),
        _ if released.is_some() => format!("; it was released {after} after its post, before it was seen to end"),
        _ => format!("; no other took as long in this recording, which ended {after} after the post"),
    };
    let found = item(StuckKind::Pending, cause, (posted, until), format!("{what}{state}{why}."));
    Some(with_transfer(run, row, peer, found))
}

/// What became of the other end right after.
fn followed(run: &Context, peer: Option<i64>, time: i64) -> String {
    let end =
        peer.and_then(|peer| run.ended.get(&peer)).filter(|end| (time..time.saturating_add(SOON_NS)).contains(end));
    end.map_or_else(String::new, |end| format!(", and {} {} later", run.process(peer), units::time(*end - time)))
}

/// Three times the longest that a transfer of the run took.
fn longest(run: &Context) -> i64 {
    let table = &run.facts.transfers;
    let took = (0..table.transfer_id.len()).filter_map(|row| Some(table.done_poll_ns[row]? - table.posted_ns[row]?));
    took.max().unwrap_or(0).saturating_mul(3)
}

/// When a failed transfer was seen to have failed, ns, and whether by its post.
pub(super) fn failed_ns(run: &Context, row: usize) -> Option<(i64, bool)> {
    let table = &run.facts.transfers;
    // Without polls the post itself said so.
    let in_post =
        table.post_end_ns[row].filter(|_| table.done_poll_ns[row].is_none() && table.pending_polls[row] == Some(0));
    let at = table.done_poll_ns[row].or(in_post).or(table.released_ns[row]).or(table.posted_ns[row])?;
    Some((at, in_post.is_some()))
}

fn failed(run: &Context, row: usize) -> Option<StuckItem> {
    let table = &run.facts.transfers;
    let since = table.posted_ns[row].or(table.made_ns[row])?;
    let (what, peer) = described(run, row);
    let (until, in_post) = failed_ns(run, row)?;
    let peer_end = run.ended_by(peer, until).filter(|end| until - *end <= NOTICED_NS);
    let cause = if peer_end.is_some() { StuckCause::PeerEnded } else { StuckCause::Unknown };
    let call = if in_post { ", inside the post" } else { "" };
    let why = peer_end.map_or_else(String::new, |end| {
        format!("; {} had ended {} before that", run.process(peer), units::time(until - end))
    });
    let text = format!("{what} failed after {}{call}: {}{why}.", units::time(until - since), table.status[row]);
    Some(with_transfer(run, row, peer, item(StuckKind::Failed, cause, (since, until), text)))
}
