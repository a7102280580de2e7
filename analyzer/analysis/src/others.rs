//! Transfers that hand nothing over, summed up.

use std::collections::BTreeMap;

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::XferStatus;
use kvpath_schema::tables::purposes::{OtherTransfer, OtherTransfers, Purpose, PurposeMethod};

use crate::facts::Facts;
use crate::intervals::{Span, Union};

/// What they have in common.
type Key<'a> = (Purpose, PurposeMethod, i64, [Option<&'a Name>; 5]);

/// Fills the table.
#[must_use]
pub fn of(facts: &Facts) -> OtherTransfers {
    let table = &facts.others;
    let mut groups: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for (row, (purpose, how)) in facts.purposes.others.iter().enumerate() {
        if table.posted_ns[row].is_some() {
            let ends = [&table.agent[row], &table.peer[row], &table.local_memory[row], &table.remote_memory[row]];
            let [agent, peer, local, remote] = ends.map(Option::as_ref);
            let names = [agent, peer, Some(&table.op[row]), local, remote];
            groups.entry((*purpose, *how, table.process_id[row], names)).or_default().push(row);
        }
    }
    let mut found: Vec<OtherTransfer> = groups
        .into_iter()
        .filter_map(|((purpose, purpose_method, process_id, [agent, peer, op, local_memory, remote_memory]), rows)| {
            let span = |row: &usize| -> Option<Span> {
                let posted = table.posted_ns[*row]?;
                Some((posted, table.done_poll_ns[*row].unwrap_or(posted).max(posted)))
            };
            let spans: Vec<Span> = rows.iter().filter_map(span).collect();
            let is_failed = |row: &&usize| XferStatus::from_text(&table.status[**row]).is_none();
            let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            Some(OtherTransfer {
                purpose,
                purpose_method,
                process_id,
                agent: agent.cloned(),
                peer: peer.cloned(),
                op: op?.clone(),
                local_memory: local_memory.cloned(),
                remote_memory: remote_memory.cloned(),
                transfers: count(rows.len()),
                failed: count(rows.iter().filter(is_failed).count()),
                bytes: rows.iter().try_fold(0i64, |sum, row| Some(sum.saturating_add(table.bytes[*row]?))),
                first_ns: spans.iter().map(|span| span.0).min()?,
                last_ns: spans.iter().map(|span| span.1).max()?,
                busy_ns: Union::of(spans).len_ns(),
            })
        })
        .collect();
    found.sort_by_key(|row| (row.first_ns, row.process_id, row.purpose));
    let mut all = OtherTransfers::default();
    for row in found {
        all.push(row);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::purposes;
    use crate::synthetic::MS;

    #[test]
    fn transfers_are_summed_up_by_their_ends_and_purpose() {
        let mut facts = Facts::default();
        facts.agent(1, "p");
        facts.write(1, "p", "d", 0, 4096, "r");
        // Each is seen to end 10 ms after its post.
        for at in [100, 105, 200] {
            facts.write(1, "p", "p", at * MS, 100, "s");
        }
        facts.write(1, "p", "p", 300 * MS, 100, "s");
        *facts.transfers.remote_memory.last_mut().unwrap() = Some("FILE".into());
        *facts.transfers.status.last_mut().unwrap() = "NIXL_ERR_BACKEND".into();
        purposes::set_apart(&mut facts);
        let found = of(&facts);
        assert_eq!((found.transfers.as_slice(), found.failed.as_slice()), ([3, 1].as_slice(), [0, 1].as_slice()));
        assert_eq!((found.purpose_method[0].text(), found.purpose_method[1].text()), ("own_agent", "memory"));
        assert_eq!((found.bytes[0], found.busy_ns[0]), (Some(300), 25 * MS));
        assert_eq!((found.first_ns[0], found.last_ns[0]), (100 * MS, 210 * MS));
    }
}
