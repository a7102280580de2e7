//! Notifications: those that no transfer carries (`genNotif`), as sent and as arrived, and all of them as arrived and as received by their programs.
//! Those of transfers are joined by the graph.

use std::collections::{BTreeMap, BTreeSet};

use kvpath_schema::tables::nixl::NotifDirection;

use super::tally::{Kind, Tally, how};
use crate::facts::Facts;
use crate::facts::agents::AgentNames;
use crate::facts::arrivals::{Sent, paired};
use crate::facts::received::Received;
use crate::method::Method;

/// The kind, of both.
pub const NOTIF: Kind = ("notif_to_arrival", "nixl_notifs");

/// The kind of arrivals.
pub const RECEIPT: Kind = ("arrival_to_taking", "nixl_notifs");

/// A text may be sent more than once: between two processes [`paired`] says which arrival is whose.
pub fn count(facts: &Facts, tally: &mut Tally) {
    let names = AgentNames::of(facts);
    let notifs = &facts.notifs;
    let carried: BTreeSet<(i64, &str)> = (0..facts.transfers.transfer_id.len())
        .filter_map(|row| Some((facts.transfers.process_id[row], facts.transfers.notif[row].as_deref()?)))
        .collect();
    let mut sent: BTreeMap<(i64, Option<i64>, &str), Vec<i64>> = BTreeMap::new();
    let mut arrived: BTreeMap<(i64, Option<i64>, &str), Vec<i64>> = BTreeMap::new();
    for row in 0..notifs.time_ns.len() {
        let (own, message, time) = (notifs.process_id[row], notifs.message[row].as_str(), notifs.time_ns[row]);
        let peer = notifs.peer[row].as_deref().and_then(|name| names.at(name, time));
        match (&*notifs.direction[row], &*notifs.via[row], peer) {
            ("sent", "genNotif", peer) => sent.entry((own, peer, message)).or_default().push(time),
            ("arrived", _, Some(peer)) => arrived.entry((peer, Some(own), message)).or_default().push(time),
            _ => {}
        }
    }
    for (key, mut times) in sent {
        let (process, peer, message) = key;
        times.sort_unstable();
        // A transfer's arrival cannot be told from one with the same text that none carries.
        let is_told_apart = peer.is_some() && !carried.contains(&(process, message));
        let arrivals = arrived.remove(&key).filter(|_| is_told_apart).unwrap_or_default();
        let sent: Vec<Sent> = times.into_iter().map(|at| Sent { at, over: None }).collect();
        for arrival in paired(&sent, arrivals) {
            tally.add(process, NOTIF, arrival.map(|(_, method)| how(method)));
        }
    }
    received(facts, &names, tally);
}

/// Where no program was seen to receive any, none could be.
fn received(facts: &Facts, names: &AgentNames, tally: &mut Tally) {
    if facts.received.time_ns.is_empty() {
        return;
    }
    let (received, notifs) = (Received::of(facts, names), &facts.notifs);
    for row in (0..notifs.time_ns.len()).filter(|row| *notifs.direction[*row] == NotifDirection::Arrived) {
        let (own, time) = (notifs.process_id[row], notifs.time_ns[row]);
        let sender = notifs.peer[row].as_deref().and_then(|name| names.at(name, time));
        let taken = sender.and_then(|sender| received.of_arrival(own, sender, &notifs.message[row], time));
        tally.add(own, RECEIPT, taken.map(|_| how(Method::Count)));
    }
}
