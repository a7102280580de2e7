//! Which requests decode's heartbeats name, and how often.

use std::collections::{BTreeMap, HashMap};

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::Requests;
use kvpath_schema::tables::heartbeats::{Heartbeat, Heartbeats};
use kvpath_schema::tables::nixl::NotifDirection;

use crate::facts::Facts;
use crate::facts::agents::AgentNames;
use crate::serving::notifications::kept_requests;

/// Heartbeats of one id from one process to another.
#[derive(Default)]
struct Beats {
    peer: Option<Name>,
    sent: Vec<i64>,
    arrived: Vec<i64>,
}

/// Fills the table.
#[must_use]
pub fn of(facts: &Facts, requests: &Requests) -> Heartbeats {
    let notifs = &facts.notifs;
    let ids_of = |row: usize| kept_requests(&notifs.message[row], notifs.message_bytes[row]);
    let rows: Vec<usize> = (0..notifs.len()).filter(|row| ids_of(*row).next().is_some()).collect();
    if rows.is_empty() {
        return Heartbeats::default();
    }
    let names = AgentNames::of(facts);
    let mut all: BTreeMap<(&str, Option<i64>, Option<i64>), Beats> = BTreeMap::new();
    for row in rows {
        let (own, at) = (Some(notifs.process_id[row]), notifs.time_ns[row]);
        let other = notifs.peer[row].as_deref().and_then(|name| names.at(name, at));
        let is_sent = *notifs.direction[row] == NotifDirection::Sent;
        let (from, to) = if is_sent { (own, other) } else { (other, own) };
        for id in ids_of(row) {
            let beats = all.entry((id, from, to)).or_default();
            if is_sent {
                beats.peer.clone_from(&notifs.peer[row]);
                beats.sent.push(at);
            } else {
                beats.arrived.push(at);
            }
        }
    }
    let known: HashMap<&str, i32> = requests
        .request_id
        .iter()
        .zip(&requests.request)
        .filter_map(|(id, number)| Some((id.as_deref()?, *number)))
        .collect();
    let mut found: Vec<Heartbeat> = all
        .into_iter()
        .filter_map(|((id, from, to), mut beats)| {
            let times = if beats.sent.is_empty() { &mut beats.arrived } else { &mut beats.sent };
            times.sort_unstable();
            let (first_ns, last_ns) = (*times.first()?, *times.last()?);
            let longest_gap_ns = times.windows(2).map(|pair| pair[1] - pair[0]).max();
            let count = |beats: &[i64]| i64::try_from(beats.len()).unwrap_or(i64::MAX);
            Some(Heartbeat {
                request_id: id.to_owned(),
                request: known.get(id).copied(),
                process_id: from,
                peer: beats.peer,
                peer_process_id: to,
                sent: count(&beats.sent),
                arrived: count(&beats.arrived),
                first_ns,
                last_ns,
                longest_gap_ns,
            })
        })
        .collect();
    found.sort_by(|a, b| (a.first_ns, &a.request_id, a.process_id).cmp(&(b.first_ns, &b.request_id, b.process_id)));
    let mut table = Heartbeats::default();
    for row in found {
        table.push(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_are_counted_by_request_and_by_both_ends() {
        let mut facts = Facts::default();
        facts.agent(9, "d");
        facts.agent(1, "p");
        for at in [10, 20, 50] {
            facts.notif(9, "sent", "p", at, "HB:cmpl-1-0a0b0c0d,cmpl-2-0a0b0c0e");
            facts.notif(1, "arrived", "d", at + 1, "HB:cmpl-1-0a0b0c0d,cmpl-2-0a0b0c0e");
        }
        facts.notif(9, "sent", "p", 60, "HB:cmpl-1-0a0b0c0d");
        facts.notif(9, "sent", "p", 61, "cmpl-1-0a0b0c0d:1");
        let requests =
            Requests { request: vec![4], request_id: vec![Some("cmpl-1".to_owned())], ..Requests::default() };
        let found = of(&facts, &requests);
        assert_eq!(found.request_id, ["cmpl-1", "cmpl-2"]);
        assert_eq!(found.request, [Some(4), None]);
        assert_eq!(
            (found.process_id[0], found.peer_process_id[0], found.peer[0].as_deref()),
            (Some(9), Some(1), Some("p"))
        );
        assert_eq!((found.sent.as_slice(), found.arrived.as_slice()), ([4, 3].as_slice(), [3, 3].as_slice()));
        assert_eq!((found.first_ns[0], found.last_ns[0], found.longest_gap_ns[0]), (10, 60, Some(30)));
    }

    #[test]
    fn of_a_text_that_was_cut_the_last_id_is_not_known() {
        let mut facts = Facts::default();
        facts.notif(9, "sent", "p", 10, "HB:cmpl-1-0a0b0c0d,cmpl-");
        facts.notifs.message_bytes[0] = 400;
        assert_eq!(of(&facts, &Requests::default()).request_id, ["cmpl-1"]);
    }
}
