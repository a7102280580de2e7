//! Transfers whose own records were lost: the message that was posted with each names it, and so do its descriptors.

use std::collections::{HashMap, HashSet};

use super::Transfer;
use super::agents::Names;
use crate::analysis::Raw;

/// What is left of a transfer.
#[derive(Debug)]
pub(super) struct Lost<'a> {
    /// The process that posted it, and its thread.
    pub process: i64,
    /// See `process`.
    pub tid: i32,
    /// When it was posted, ns.
    pub posted: i64,
    /// The process at the other end.
    pub peer: Option<i64>,
    /// The text of its notification.
    pub text: &'a str,
    is_pulled: bool,
    bytes: i64,
    piece: i64,
}

/// Those of a run, by row of `nixl_notifs`. Of a process that both reads and writes it is not known what they were.
pub(super) fn of<'a>(raw: &'a Raw, names: &Names) -> Vec<Lost<'a>> {
    let (notifs, transfers) = (&raw.notifs, &raw.transfers);
    let known: HashSet<i64> = transfers.transfer_id.iter().copied().collect();
    let mut reads: HashMap<i64, Option<bool>> = HashMap::new();
    for row in 0..transfers.transfer_id.len() {
        let is_read = &*transfers.op[row] == "READ";
        let of = reads.entry(transfers.process_id[row]).or_insert(Some(is_read));
        *of = of.filter(|other| *other == is_read);
    }
    let is_lost = |row: &usize| {
        &*notifs.direction[*row] == "sent" && notifs.transfer_id[*row].is_some_and(|id| !known.contains(&id))
    };
    let rows: Vec<usize> = (0..notifs.time_ns.len()).filter(is_lost).collect();
    let lost = rows.into_iter().filter_map(|row| {
        let process = notifs.process_id[row];
        let pieces = raw.descriptors.of(notifs.transfer_id[row]?);
        let count = i64::try_from(pieces.len()).ok()?;
        let bytes = pieces.map(|piece| piece.bytes).fold(0, i64::saturating_add);
        Some(Lost {
            process,
            tid: notifs.tid[row],
            posted: notifs.time_ns[row],
            peer: notifs.peer[row].as_deref().and_then(|name| names.at(name, notifs.time_ns[row])),
            text: notifs.message[row].as_str(),
            is_pulled: (*reads.get(&process)?)?,
            bytes,
            piece: bytes / count.max(1),
        })
    });
    lost.collect()
}

/// How long notifications mostly travel after the bytes before them, ns, by who sends the bytes and who receives them.
pub(super) fn usual_notify_ns(rows: &[Transfer]) -> HashMap<Between, i64> {
    let mut taken: HashMap<Between, Vec<i64>> = HashMap::new();
    for row in rows {
        let took = row.arrival.map(|arrival| arrival.saturating_sub(row.wire.1));
        taken.entry((row.sender, row.receiver)).or_default().extend(took);
    }
    let median = |mut took: Vec<i64>| {
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    };
    taken.into_iter().filter_map(|(between, took)| Some((between, median(took)?))).collect()
}

/// Sender and receiver.
type Between = (Option<i64>, Option<i64>);

impl Lost<'_> {
    /// As a transfer whose bytes were on their way from its post on, until as long before its notification arrived as is usual:
    /// more is not known.
    pub(super) fn transfer(&self, arrival: Option<i64>, usual_notify_ns: &HashMap<Between, i64>) -> Transfer {
        let (process, peer) = (Some(self.process), self.peer);
        let (sender, receiver) = if self.is_pulled { (peer, process) } else { (process, peer) };
        let takes = usual_notify_ns.get(&(sender, receiver)).copied().unwrap_or(0);
        let end = arrival.map_or(i64::MAX, |arrival| arrival.saturating_sub(takes).max(self.posted));
        Transfer {
            poster: self.process,
            tid: self.tid,
            sender,
            receiver,
            is_pulled: self.is_pulled,
            made: self.posted,
            posted: self.posted,
            wire: (self.posted, end),
            arrival: arrival.map(|arrival| arrival.max(end)),
            bytes: self.bytes,
            piece: self.piece,
            is_told: true,
            ..Transfer::default()
        }
    }
}
