//! Notifications that did not arrive, or that the program did not ask for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kvpath_schema::tables::nixl::{NotifDirection, XferStatus};
use kvpath_schema::tables::stuck::{StuckCause, StuckItem, StuckKind};

use super::{Context, SOON_NS, item};
use crate::units;

/// Characters of a text that are shown.
const SHOWN: usize = 60;

/// From and to which process, and the text.
type Key<'a> = (i64, i64, &'a str);

pub(super) fn of(run: &Context) -> Vec<StuckItem> {
    let mut found = not_arrived(run);
    found.extend(not_taken(run));
    found
}

/// Times of notifications in one direction, as `process` of the row and the other end make of it a key.
fn times<'a>(run: &'a Context, direction: NotifDirection) -> BTreeMap<Key<'a>, Vec<i64>> {
    let failed: BTreeSet<i64> = failed_transfers(run);
    let table = if direction == NotifDirection::Taken { &run.facts.received } else { &run.facts.notifs };
    let mut found: BTreeMap<Key, Vec<i64>> = BTreeMap::new();
    for row in 0..table.time_ns.len() {
        let (own, time) = (table.process_id[row], table.time_ns[row]);
        let is_own = *table.direction[row] == direction && !table.message[row].is_empty();
        let is_carried = table.transfer_id[row].is_none_or(|transfer| !failed.contains(&transfer));
        let peer = table.peer[row].as_deref().and_then(|name| run.names.at(name, time));
        if let Some(peer) = peer.filter(|_| is_own && is_carried) {
            let key = if direction == NotifDirection::Sent { (own, peer) } else { (peer, own) };
            found.entry((key.0, key.1, table.message[row].as_str())).or_default().push(time);
        }
    }
    found
}

/// Transfers that did not end well, of whatever purpose: what they were to tell was not sent.
fn failed_transfers(run: &Context) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    for table in [&run.facts.transfers, &run.facts.others] {
        let has_ended = |row: &usize| XferStatus::from_text(&table.status[*row]) == Some(XferStatus::Done);
        found.extend((0..table.transfer_id.len()).filter(|row| !has_ended(row)).map(|row| table.transfer_id[row]));
    }
    found
}

fn not_arrived(run: &Context) -> Vec<StuckItem> {
    let (sent, arrived) = (times(run, NotifDirection::Sent), times(run, NotifDirection::Arrived));
    // What a process receives is recorded by probes that may be off there.
    let receivers: BTreeSet<i64> = arrived.keys().map(|(_, to, _)| *to).collect();
    let done = ends(run);
    let mut found = Vec::new();
    for ((from, to, text), mut times) in sent {
        let (begin, end) = run.recorded(to);
        // What was sent before or after the receiver's host was recorded is not seen to arrive.
        times.retain(|time| *time >= begin && *time <= end);
        let got = arrived.get(&(from, to, text)).map_or(0, Vec::len);
        if got >= times.len() || !receivers.contains(&to) {
            continue;
        }
        times.sort_unstable();
        // Of several it is not known which; where all are missing, since the first.
        let missing = if got == 0 { times.first() } else { times.last() };
        let Some(missing) = missing.copied() else { continue };
        let since = done.get(&(from, missing)).copied().unwrap_or(missing);
        let until = run.life_end(to);
        let (cause, why) = if run.ended_by(Some(to), since).is_some() {
            (
                StuckCause::PeerEnded,
                format!("; {} had ended {} before", run.process(Some(to)), units::time(since - until)),
            )
        } else if until - since < SOON_NS {
            (StuckCause::RecordingEnded, String::new())
        } else {
            (StuckCause::Unknown, format!(" in the {} that were recorded after that", units::time(until - since)))
        };
        let several =
            if times.len() > 1 { format!(" ({} of {} times)", times.len() - got, times.len()) } else { String::new() };
        let text = format!(
            "The notification `{}` from {} did not arrive at {}{several}{why}.",
            shown(text),
            run.process(Some(from)),
            run.process(Some(to)),
        );
        let row = item(StuckKind::NotArrived, cause, (since, until), text);
        found.push(StuckItem { process_id: Some(to), peer_process_id: Some(from), ..row });
    }
    found
}

/// When a transfer was over whose notification was recorded as sent then, by process and that time.
fn ends(run: &Context) -> HashMap<(i64, i64), i64> {
    let table = &run.facts.notifs;
    let rows: HashMap<i64, usize> = run.facts.transfers.transfer_id.iter().copied().zip(0..).collect();
    let sent = (0..table.time_ns.len()).filter(|row| *table.direction[*row] == NotifDirection::Sent);
    let end = |row: usize| {
        let transfer = *rows.get(&table.transfer_id[row]?)?;
        let end = run.facts.transfers.done_poll_ns[transfer].or(run.facts.transfers.released_ns[transfer])?;
        Some(((table.process_id[row], table.time_ns[row]), end))
    };
    sent.filter_map(end).collect()
}

fn not_taken(run: &Context) -> Vec<StuckItem> {
    let taken = times(run, NotifDirection::Taken);
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    for ((_, to, _), times) in &taken {
        let latest = last.entry(*to).or_insert(i64::MIN);
        *latest = times.iter().copied().fold(*latest, i64::max);
    }
    let mut found = Vec::new();
    for ((from, to, text), times) in times(run, NotifDirection::Arrived) {
        let got = taken.get(&(from, to, text)).map_or(0, Vec::len);
        let Some(last) = last.get(&to).filter(|_| got < times.len()) else { continue };
        let since = times.iter().copied().max().unwrap_or(0);
        let until = run.life_end(to);
        // One that was passed over while later ones were given to the program is a record that is missing.
        if *last >= since || until - since < SOON_NS {
            continue;
        }
        let text = format!(
            "The notification `{}` from {} arrived at {}, which asked for none in the {} that were recorded after that.",
            shown(text),
            run.process(Some(from)),
            run.process(Some(to)),
            units::time(until - since),
        );
        let row = item(StuckKind::NotTaken, StuckCause::NotPolled, (since, until), text);
        found.push(StuckItem { process_id: Some(to), peer_process_id: Some(from), ..row });
    }
    found
}

fn shown(text: &str) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() || c == '\u{fffd}' { '.' } else { c }).collect();
    if printable.chars().count() <= SHOWN {
        return printable;
    }
    printable.chars().take(SHOWN - 1).chain(['…']).collect()
}
