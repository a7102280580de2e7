//! The transfers that carry a request's KV, in the orders that a walk asks for: a hand-off layer by layer, or page by page, has
//! 10^4 of them, and every call on the path asks.

use super::{Transfer, Transfers};
use crate::graph::{GateKind, Method, Node, Op};

/// What a failed transfer and its repetition have in common: sender, receiver, chunk, bytes.
type TransferIdentity = (Option<i64>, Option<i64>, Option<i32>, i64);

/// The position of a transfer among the transfers of its request from the same sender, in order of posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferOrdinal {
    /// From 0.
    pub at: usize,
    /// How many they are.
    pub of: usize,
}

/// What tells a receiver that a transfer is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct HandoffSign {
    receiver: i64,
    at: i64,
    node: Node,
    kind: GateKind,
    /// The record of it was lost, and the time is that of another record.
    is_inferred: bool,
}

/// A time in which a process may have received the notification of a transfer, though no record shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct UnrecordedReceipt {
    receiver: i64,
    since: i64,
    until: i64,
}

/// The transfers of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// Rising.
    rows: Vec<u32>,
    /// Of each of `rows`.
    places: Vec<TransferOrdinal>,
    /// By receiver, then by time.
    signs: Vec<HandoffSign>,
    /// By receiver, then by time, apart from each other.
    untold: Vec<UnrecordedReceipt>,
    /// Those that failed, with when that was seen: by what they carry, then by time.
    failed: Vec<(TransferIdentity, i64, u32)>,
}

impl Carried {
    /// Those rows of `transfers`.
    #[must_use]
    pub fn of(mut rows: Vec<u32>, transfers: &Transfers) -> Self {
        rows.sort_unstable();
        rows.dedup();
        let mut signs: Vec<HandoffSign> = rows.iter().filter_map(|row| sign(*row, transfers)).collect();
        signs.sort_unstable();
        let failed = rows.iter().filter(|row| transfers.row(**row).has_failed);
        let mut failed: Vec<(TransferIdentity, i64, u32)> =
            failed.map(|row| (what(transfers.row(*row)), transfers.wire(*row, true), *row)).collect();
        failed.sort_unstable();
        let untold = apart(rows.iter().filter_map(|row| untold(*row, transfers)).collect());
        Self { places: places(&rows, transfers), rows, signs, untold, failed }
    }

    /// All of them, rising.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Whether that row is one of them.
    #[must_use]
    pub fn has(&self, row: u32) -> bool {
        self.rows.binary_search(&row).is_ok()
    }

    /// Where it stands among them.
    #[must_use]
    pub fn place(&self, row: u32) -> Option<TransferOrdinal> {
        self.rows.binary_search(&row).ok().map(|at| self.places[at])
    }

    /// What a process was handed over last by then.
    #[must_use]
    pub fn last_sign(&self, receiver: i64, until: i64) -> Option<(Node, GateKind, Method)> {
        let after = self.signs.partition_point(|sign| (sign.receiver, sign.at) <= (receiver, until));
        let last = self.signs[..after].last().filter(|sign| sign.receiver == receiver)?;
        self.signs(receiver, last.at.saturating_sub(1), until).last()
    }

    /// What a process was handed over after `since` and not after `until`. If records are missing by which it may have been told
    /// of more by then, what is left of them is but a part.
    pub fn signs(&self, receiver: i64, since: i64, until: i64) -> impl Iterator<Item = (Node, GateKind, Method)> {
        let is_partial = self.may_be_untold(receiver, until);
        let from = self.signs.partition_point(|sign| (sign.receiver, sign.at) <= (receiver, since));
        let signs = self.signs[from..].iter().take_while(move |sign| sign.receiver == receiver && sign.at <= until);
        signs.map(move |sign| {
            let method = match (is_partial, sign.is_inferred) {
                (true, _) => Method::Partial,
                (false, true) => Method::Time,
                (false, false) => Method::Id,
            };
            (sign.node, sign.kind, method)
        })
    }

    /// Whether a process may have been told of a transfer by then without a record that shows when.
    fn may_be_untold(&self, receiver: i64, by: i64) -> bool {
        let next = self.untold.partition_point(|untold| (untold.receiver, untold.since) <= (receiver, by));
        next.checked_sub(1).is_some_and(|at| self.untold[at].receiver == receiver && by < self.untold[at].until)
    }

    /// The last one that had failed by then of those that carry the same as `row`.
    #[must_use]
    pub fn failed_before(&self, row: u32, by: i64, transfers: &Transfers) -> Option<u32> {
        let what = what(transfers.row(row));
        let until = self.failed.partition_point(|(other, at, _)| (*other, *at) <= (what, by));
        let before = self.failed[..until].iter().rev().take_while(|(other, ..)| *other == what);
        before.map(|(.., other)| *other).find(|other| *other != row)
    }
}

fn what(transfer: &Transfer) -> TransferIdentity {
    (transfer.sender, transfer.receiver, transfer.chunk, transfer.bytes)
}

/// A pull is seen by who makes it, a push by its notification; where the arrival of that was lost, not before it was over.
fn sign(row: u32, transfers: &Transfers) -> Option<HandoffSign> {
    let receiver = transfers.receiver(row)?;
    let (over, arrived) = (Node::end(Op::Wire(row)), Node::end(Op::Notif(row)));
    let (node, at, kind) = match transfers.is_pulled(row) {
        true => (over, transfers.wire(row, true), GateKind::Transferred),
        false if transfers.has_arrived(row) => (arrived, transfers.arrival(row), GateKind::Notified),
        false if transfers.is_untold(row) => (over, transfers.wire(row, true), GateKind::Notified),
        false => return None,
    };
    let is_arrival_sure = transfers.arrived_by(row).is_some_and(|method| method != Method::Time);
    let is_inferred = transfers.is_lost(row) || !transfers.is_pulled(row) && !is_arrival_sure;
    (at < i64::MAX || !is_inferred).then_some(HandoffSign { receiver, at, node, kind, is_inferred })
}

/// From its post on, until it was over at the latest.
fn untold(row: u32, transfers: &Transfers) -> Option<UnrecordedReceipt> {
    // Who pulls sees the end itself; of a lost record it is not known when.
    let is_told_later = if transfers.is_pulled(row) {
        transfers.is_lost(row) && transfers.wire(row, true) == i64::MAX
    } else {
        transfers.is_untold(row)
    };
    let receiver = transfers.receiver(row).filter(|_| is_told_later)?;
    Some(UnrecordedReceipt { receiver, since: transfers.posted(row), until: transfers.wire(row, true) })
}

/// Those that overlap as one.
fn apart(mut all: Vec<UnrecordedReceipt>) -> Vec<UnrecordedReceipt> {
    all.sort_unstable();
    all.dedup_by(|next, own| {
        let is_same = own.receiver == next.receiver && next.since <= own.until;
        if is_same {
            own.until = own.until.max(next.until);
        }
        is_same
    });
    all
}

fn places(rows: &[u32], transfers: &Transfers) -> Vec<TransferOrdinal> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let of = |at: &usize| transfers.sender(rows[*at]);
    order.sort_unstable_by_key(|at| (of(at), transfers.posted(rows[*at]), rows[*at]));
    let mut places = vec![TransferOrdinal { at: 0, of: 0 }; rows.len()];
    for own in order.chunk_by(|a, b| of(a) == of(b)) {
        for (at, row) in own.iter().enumerate() {
            places[*row] = TransferOrdinal { at, of: own.len() };
        }
    }
    places
}
