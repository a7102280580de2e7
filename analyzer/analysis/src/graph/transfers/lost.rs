//! Transfers whose own records were lost, as a walk needs them.

use std::collections::HashMap;

use super::Transfer;
use crate::facts::lost::LostTransfer;

/// How long notifications mostly travel after the bytes before them, ns, by who sends the bytes and who receives them.
pub(super) fn usual_notify_ns(rows: &[Transfer]) -> HashMap<ProcessPair, i64> {
    let mut taken: HashMap<ProcessPair, Vec<i64>> = HashMap::new();
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
type ProcessPair = (Option<i64>, Option<i64>);

/// A lost transfer as one whose bytes were on their way from its post on, until as long before its notification arrived as is usual:
/// more is not known.
pub(super) fn transfer(
    lost: &LostTransfer,
    arrival: Option<i64>,
    usual_notify_ns: &HashMap<ProcessPair, i64>,
) -> Transfer {
    let (process, peer) = (Some(lost.process), lost.peer);
    let (sender, receiver) = if lost.is_pulled { (peer, process) } else { (process, peer) };
    let takes = usual_notify_ns.get(&(sender, receiver)).copied().unwrap_or(0);
    let end = arrival.map_or(i64::MAX, |arrival| arrival.saturating_sub(takes).max(lost.posted));
    Transfer {
        poster: lost.process,
        tid: lost.tid,
        sender,
        receiver,
        is_pulled: lost.is_pulled,
        made: lost.posted,
        posted: lost.posted,
        wire: (lost.posted, end),
        arrival: arrival.map(|arrival| arrival.max(end)),
        bytes: lost.bytes,
        piece: lost.piece,
        is_told: true,
        ..Transfer::default()
    }
}
