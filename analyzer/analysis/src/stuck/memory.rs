//! Transfers of different requests over the same memory at the same time, one of which writes it.

use std::collections::BTreeMap;

use kvpath_schema::tables::nixl::XferOp;
use kvpath_schema::tables::stuck::{StuckCause, StuckItem, StuckKind};

use super::{Context, item};
use crate::intervals::Span;
use crate::units;

/// Descriptors that are looked at of one transfer.
const DESCRIPTORS: usize = 65_536;

/// One side of a transfer.
struct Side {
    row: usize,
    is_written: bool,
    /// While it was certainly under way, ns.
    open: Span,
}

pub(super) fn of(run: &Context) -> Vec<StuckItem> {
    let mut sides: BTreeMap<i64, Vec<Side>> = BTreeMap::new();
    for row in run.inputs.of_transfer.keys().copied() {
        let table = &run.facts.transfers;
        // It lasted at least until the last poll that found it under way.
        let Some(open) = table.posted_ns[row].zip(table.last_pending_poll_ns[row]) else { continue };
        let peer = table.peer[row].as_deref().and_then(|name| run.names.at(name, open.0));
        let is_read = *table.op[row] == XferOp::Read;
        sides.entry(table.process_id[row]).or_default().push(Side { row, is_written: is_read, open });
        if let Some(peer) = peer {
            sides.entry(peer).or_default().push(Side { row, is_written: !is_read, open });
        }
    }
    sides.into_iter().flat_map(|(owner, sides)| of_process(run, owner, sides)).collect()
}

fn of_process(run: &Context, owner: i64, mut sides: Vec<Side>) -> Vec<StuckItem> {
    sides.sort_by_key(|side| (side.open, side.row));
    let mut known: BTreeMap<usize, Vec<(u64, u64)>> = BTreeMap::new();
    let mut found = Vec::new();
    // Those that are under way when the next begins.
    let mut open: Vec<&Side> = Vec::new();
    for later in &sides {
        open.retain(|earlier| later.open.0 < earlier.open.1);
        for earlier in &open {
            let request = |side: &Side| run.inputs.of_transfer.get(&side.row);
            if request(earlier) == request(later) || !(earlier.is_written || later.is_written) {
                continue;
            }
            for side in [earlier, later] {
                known.entry(side.row).or_insert_with(|| ranges(run, owner, side.row));
            }
            let bytes = shared(&known[&earlier.row], &known[&later.row]);
            if bytes > 0 {
                found.push(overlap(run, owner, (earlier, later), bytes));
            }
        }
        open.push(later);
    }
    found
}

/// Addresses of a transfer in memory of `owner`, merged, rising.
fn ranges(run: &Context, owner: i64, row: usize) -> Vec<(u64, u64)> {
    let table = &run.facts.transfers;
    let is_own = table.process_id[row] == owner;
    let pieces = run.facts.descriptors.of(table.transfer_id[row]).take(DESCRIPTORS);
    let mut all: Vec<(u64, u64)> = pieces
        .filter_map(|piece| {
            let start = if is_own { Some(piece.local) } else { piece.remote }?;
            Some((start, start.checked_add(u64::try_from(piece.bytes).ok()?)?))
        })
        .collect();
    all.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in all {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

/// Bytes that are in both.
fn shared(a: &[(u64, u64)], b: &[(u64, u64)]) -> u64 {
    let (mut i, mut j, mut bytes) = (0, 0, 0u64);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        bytes = bytes.saturating_add(x.1.min(y.1).saturating_sub(x.0.max(y.0)));
        if x.1 < y.1 { i += 1 } else { j += 1 }
    }
    bytes
}

fn overlap(run: &Context, owner: i64, (earlier, later): (&Side, &Side), bytes: u64) -> StuckItem {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let request = |side: &Side| {
        run.inputs.of_transfer.get(&side.row).map_or_else(|| "no request".to_owned(), |request| run.request(*request))
    };
    let verb = |side: &Side| if side.is_written { "writes" } else { "reads" };
    let text = format!(
        "Of memory of {}, {} are in two transfers that were under way at once: that of {} {} them, that of {} {} them.",
        run.process(Some(owner)),
        units::bytes(bytes),
        request(earlier),
        verb(earlier),
        request(later),
        verb(later),
    );
    let until = earlier.open.1.min(later.open.1);
    StuckItem {
        request: run.inputs.of_transfer.get(&later.row).copied(),
        transfer_id: Some(run.facts.transfers.transfer_id[later.row]),
        process_id: Some(owner),
        bytes: Some(bytes),
        ..item(StuckKind::Overlapping, StuckCause::Unknown, (later.open.0, until), text)
    }
}

#[cfg(test)]
mod tests {
    use super::shared;

    #[test]
    fn shared_bytes_of_ranges() {
        assert_eq!(shared(&[(0, 10), (20, 30)], &[(5, 25)]), 10);
        assert_eq!(shared(&[(0, 10)], &[(10, 20)]), 0);
        assert_eq!(shared(&[], &[(10, 20)]), 0);
    }
}
