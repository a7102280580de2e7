//! Transfers whose own records were lost: the message that was posted with each names it, and so do its descriptors.

use std::collections::{HashMap, HashSet};

use kvpath_schema::tables::nixl::{NotifDirection, XferOp};

use super::Facts;
use super::agents::AgentNames;

/// What other records say of a transfer whose own record was lost.
#[derive(Debug)]
pub struct LostTransfer<'a> {
    /// The process that posted it.
    pub process: i64,
    /// Thread that posted it.
    pub tid: i32,
    /// When it was posted, ns.
    pub posted: i64,
    /// The process at the other end.
    pub peer: Option<i64>,
    /// The text of its notification.
    pub text: &'a str,
    /// Whether the receiver posted it.
    pub is_pulled: bool,
    /// Its bytes, as far as its descriptors were recorded.
    pub bytes: i64,
    /// Mean size of these descriptors, bytes.
    pub piece: i64,
}

/// The lost transfers of a run, by row of `nixl_notifs`. Where a process both reads and writes, the direction of its lost
/// transfers is unknown, and they is left out.
#[must_use]
pub fn of<'a>(facts: &'a Facts, names: &AgentNames) -> Vec<LostTransfer<'a>> {
    let (notifs, transfers) = (&facts.notifs, &facts.transfers);
    let known: HashSet<i64> = transfers.transfer_id.iter().chain(&facts.others.transfer_id).copied().collect();
    let mut reads: HashMap<i64, Option<bool>> = HashMap::new();
    for row in 0..transfers.transfer_id.len() {
        let is_read = *transfers.op[row] == XferOp::Read;
        let of = reads.entry(transfers.process_id[row]).or_insert(Some(is_read));
        *of = of.filter(|other| *other == is_read);
    }
    let is_lost = |row: &usize| {
        *notifs.direction[*row] == NotifDirection::Sent
            && notifs.transfer_id[*row].is_some_and(|id| !known.contains(&id))
    };
    let rows: Vec<usize> = (0..notifs.time_ns.len()).filter(is_lost).collect();
    let lost = rows.into_iter().filter_map(|row| {
        let process = notifs.process_id[row];
        let pieces = facts.descriptors.of(notifs.transfer_id[row]?);
        let count = i64::try_from(pieces.len()).ok()?;
        let bytes = pieces.map(|piece| piece.bytes).fold(0, i64::saturating_add);
        Some(LostTransfer {
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
