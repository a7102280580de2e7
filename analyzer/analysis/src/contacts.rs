//! What it took an agent to meet another one, and which hand-off was the first between them.

use std::collections::BTreeMap;

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::contacts::{FirstContact, FirstContacts};
use kvpath_schema::tables::derived::Requests;
use kvpath_schema::tables::nixl::{CallName, NixlCall, XferStatus};

use crate::facts::Facts;
use crate::facts::agents::AgentNames;

/// The calls that make a peer known.
const MEETING: [CallName; 4] =
    [CallName::FetchRemoteMd, CallName::LoadRemoteMd, CallName::MakeConnection, CallName::PrepXferDlist];

/// Fills the table; `of_transfer` gives the request of a row of `nixl_transfers`.
#[must_use]
pub fn of(facts: &Facts, requests: &Requests, of_transfer: &BTreeMap<usize, i32>) -> FirstContacts {
    if facts.calls.is_empty() {
        return FirstContacts::default();
    }
    let names = AgentNames::of(facts);
    let mut pairs: BTreeMap<(i64, u64, &str), Vec<usize>> = BTreeMap::new();
    for row in 0..facts.calls.len() {
        let (Some(peer), Some(call)) = (&facts.calls.peer[row], CallName::from_text(&facts.calls.call[row])) else {
            continue;
        };
        // Nobody meets itself.
        if MEETING.contains(&call) && facts.calls.agent[row].as_ref() != Some(peer) {
            pairs.entry((facts.calls.process_id[row], facts.calls.agent_ptr[row], peer)).or_default().push(row);
        }
    }
    let transfers = Transfers::of(facts, &names);
    let mut found: Vec<FirstContact> = pairs
        .into_iter()
        .filter_map(|((process, _, peer), mut rows)| {
            rows.sort_by_key(|row| facts.calls.start_ns[*row]);
            let first = facts.calls.row(*rows.first()?);
            let peer_process = names.at(peer, first.start_ns);
            let between = transfers.between((process, peer), peer_process, first.start_ns);
            let made = between.first().map_or(i64::MAX, |row| transfers.begun(*row));
            rows.retain(|row| facts.calls.start_ns[*row] <= made);
            let request = between.first().and_then(|row| of_transfer.get(row)).copied();
            let begun = request.and_then(|number| begun(requests, number));
            Some(contact(facts, first, &rows, (peer.into(), peer_process), (request, begun), &between))
        })
        .collect();
    found.sort_by_key(|contact| (contact.start_ns, contact.process_id));
    let mut table = FirstContacts::default();
    for row in found {
        table.push(row);
    }
    table
}

/// When a request began.
fn begun(requests: &Requests, number: i32) -> Option<i64> {
    let row = requests.request.iter().position(|request| *request == number)?;
    Some(requests.sent_ns[row].unwrap_or(requests.start_ns[row]))
}

fn contact(
    facts: &Facts,
    first: NixlCall,
    rows: &[usize],
    (peer, peer_process_id): (Name, Option<i64>),
    (request, begun): (Option<i32>, Option<i64>),
    between: &[usize],
) -> FirstContact {
    let calls = &facts.calls;
    let ends: Option<Vec<i64>> = rows.iter().map(|row| calls.end_ns[*row]).collect();
    let end_ns = ends.and_then(|ends| ends.into_iter().max());
    let time_in = |name: CallName| {
        let own = rows.iter().filter(|row| &*calls.call[**row] == name.text());
        let durations: Vec<i64> = own.filter_map(|row| Some(calls.end_ns[*row]? - calls.start_ns[*row])).collect();
        durations.into_iter().reduce(i64::saturating_add)
    };
    let is_failed = |row: &&usize| calls.status[**row].as_deref().is_some_and(|status| status.starts_with("NIXL_ERR"));
    let length = |row: usize| Some(facts.transfers.done_poll_ns[row]? - facts.transfers.posted_ns[row]?);
    let transfer = between.first().copied();
    let bytes = transfer.and_then(|row| facts.transfers.bytes[row]);
    let mut later: Vec<i64> = between
        .iter()
        .skip(1)
        .filter(|row| transfer.is_some_and(|first| facts.transfers.op[**row] == facts.transfers.op[first]))
        .filter(|row| facts.transfers.bytes[**row].zip(bytes).is_some_and(|(own, first)| own >= first))
        .filter_map(|row| length(*row))
        .collect();
    later.sort_unstable();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    FirstContact {
        process_id: first.process_id,
        agent: first.agent,
        peer,
        peer_process_id,
        start_ns: first.start_ns,
        end_ns,
        calls: count(rows.len()),
        failed: count(rows.iter().filter(is_failed).count()),
        fetch_ns: time_in(CallName::FetchRemoteMd),
        load_ns: time_in(CallName::LoadRemoteMd),
        connect_ns: time_in(CallName::MakeConnection),
        prepare_ns: time_in(CallName::PrepXferDlist),
        transfer_id: transfer.map(|row| facts.transfers.transfer_id[row]),
        request,
        waited_ns: begun.zip(end_ns).map(|(begun, end)| end.saturating_sub(begun.max(first.start_ns)).max(0)),
        first_transfer_ns: transfer.and_then(length),
        later_transfer_ns: later.get(later.len() / 2).copied(),
        later_transfers: count(later.len()),
    }
}

/// Transfers by the process that posted them.
struct Transfers<'a> {
    facts: &'a Facts,
    /// The peer's process, by its name.
    of_process: BTreeMap<i64, Vec<(usize, Option<i64>)>>,
}

impl<'a> Transfers<'a> {
    fn of(facts: &'a Facts, names: &AgentNames) -> Self {
        let mut all = Self { facts, of_process: BTreeMap::new() };
        for row in 0..facts.transfers.len() {
            if facts.transfers.posted_ns[row].is_none() {
                continue;
            }
            let peer = facts.transfers.peer[row].as_deref().and_then(|name| names.at(name, all.begun(row)));
            all.of_process.entry(facts.transfers.process_id[row]).or_default().push((row, peer));
        }
        all
    }

    /// When it was made, else posted.
    fn begun(&self, row: usize) -> i64 {
        self.facts.transfers.made_ns[row].or(self.facts.transfers.posted_ns[row]).unwrap_or(i64::MAX)
    }

    /// Those that a process posted to a name, or the process of that name to it, from a time on, in order.
    fn between(&self, (process, peer): (i64, &str), peer_process: Option<i64>, from: i64) -> Vec<usize> {
        let own = self.of_process.get(&process).into_iter().flatten();
        let own = own.filter(|(row, _)| self.facts.transfers.peer[*row].as_deref() == Some(peer));
        let others = peer_process.filter(|other| *other != process).and_then(|other| self.of_process.get(&other));
        let others = others.into_iter().flatten().filter(|(_, to)| *to == Some(process));
        let mut found: Vec<usize> =
            own.chain(others).map(|(row, _)| *row).filter(|row| self.begun(*row) >= from).collect();
        found.retain(|row| *self.facts.transfers.status[*row] != XferStatus::NotPosted);
        found.sort_by_key(|row| (self.begun(*row), *row));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::MS;

    /// Prefill (1) meets decode (9) 100 ms after the request came, and pushes to it twice.
    fn pushed() -> Facts {
        let mut facts = Facts::default();
        facts.agent(1, "p");
        facts.agent(9, "d");
        facts.call(1, CallName::LoadRemoteMd, "d", 100 * MS, 20 * MS);
        facts.call(1, CallName::PrepXferDlist, "d", 150 * MS, 5 * MS);
        facts.write(1, "p", "d", 160 * MS, 4096, "r");
        for at in [300, 400, 500] {
            facts.write(1, "p", "d", at * MS, 4096, "s");
        }
        facts.transfers.done_poll_ns[0] = Some(260 * MS);
        // Is smaller, and tells nothing of how long the first would have taken.
        facts.write(1, "p", "d", 600 * MS, 10, "t");
        facts
    }

    fn requests(sent_ns: i64) -> Requests {
        Requests { request: vec![0], sent_ns: vec![Some(sent_ns)], start_ns: vec![0], ..Requests::default() }
    }

    fn contacts(facts: &Facts, sent_ns: i64) -> Vec<FirstContact> {
        let table = of(facts, &requests(sent_ns), &BTreeMap::from([(0, 0)]));
        (0..table.len()).map(|row| table.row(row)).collect()
    }

    #[test]
    fn the_first_transfer_to_a_peer_and_what_came_before_it_are_a_row() {
        let found = contacts(&pushed(), 90 * MS);
        let [row] = &found[..] else { panic!("{found:?}") };
        assert_eq!((row.process_id, row.peer.as_ref(), row.peer_process_id), (1, "d", Some(9)));
        assert_eq!((row.start_ns, row.end_ns, row.calls, row.failed), (100 * MS, Some(155 * MS), 2, 0));
        assert_eq!(
            (row.load_ns, row.prepare_ns, row.connect_ns, row.fetch_ns),
            (Some(20 * MS), Some(5 * MS), None, None)
        );
        assert_eq!((row.transfer_id, row.request, row.waited_ns), (Some(0), Some(0), Some(55 * MS)));
        assert_eq!(
            (row.first_transfer_ns, row.later_transfer_ns, row.later_transfers),
            (Some(100 * MS), Some(10 * MS), 3)
        );
    }

    #[test]
    fn what_was_done_before_a_request_came_is_not_waited_for() {
        assert_eq!(contacts(&pushed(), 120 * MS)[0].waited_ns, Some(35 * MS));
        assert_eq!(contacts(&pushed(), 156 * MS)[0].waited_ns, Some(0));
    }

    #[test]
    fn calls_after_the_first_transfer_are_no_part_of_it_and_one_that_did_not_return_has_no_end() {
        let mut facts = pushed();
        facts.call(1, CallName::LoadRemoteMd, "d", 280 * MS, 7 * MS);
        facts.call(1, CallName::LoadRemoteMd, "e", 290 * MS, 7 * MS);
        facts.calls.end_ns[3] = None;
        facts.calls.status[3] = None;
        let found = contacts(&facts, 0);
        assert_eq!((found.len(), found[0].calls, found[1].calls), (2, 2, 1));
        assert_eq!(
            (found[1].end_ns, found[1].load_ns, found[1].transfer_id, found[1].waited_ns),
            (None, None, None, None)
        );
    }

    #[test]
    fn of_a_push_decode_meets_prefill_before_the_same_transfer() {
        let mut facts = pushed();
        facts.call(9, CallName::LoadRemoteMd, "p", 50 * MS, MS);
        facts.calls.status[2] = Some("NIXL_ERR_MISMATCH".into());
        let found = contacts(&facts, 0);
        assert_eq!((found[0].process_id, found[0].transfer_id, found[0].failed), (9, Some(0), 1));
    }

    #[test]
    fn an_agent_does_not_meet_itself_and_own_lists_are_no_contact() {
        let mut facts = Facts::default();
        facts.call(1, CallName::PrepXferDlist, "p", MS, MS);
        facts.calls.agent[0] = Some("p".into());
        facts.call(1, CallName::PrepXferDlist, "p", MS, MS);
        facts.calls.peer[1] = None;
        facts.call(1, CallName::InvalidateRemoteMd, "d", MS, MS);
        assert_eq!(of(&facts, &Requests::default(), &BTreeMap::new()).len(), 0);
    }
}
