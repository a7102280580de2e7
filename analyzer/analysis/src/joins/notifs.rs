//! Notifications: those that no transfer carries (`genNotif`), as sent and as arrived, and all of them as arrived and as taken.
//! Those of transfers are joined by the graph.

use std::collections::{BTreeMap, BTreeSet};

use super::tally::{Kind, Tally, how};
use crate::analysis::Raw;
use crate::graph::Method;
use crate::graph::transfers::agents::Names;
use crate::graph::transfers::arrivals::{Sent, paired};
use crate::graph::transfers::takings::Takings;

/// The kind, of both.
pub const NOTIF: Kind = ("notif_to_arrival", "nixl_notifs");

/// The kind of arrivals.
pub const TAKING: Kind = ("arrival_to_taking", "nixl_notifs");

/// A text may be sent more than once: between two processes [`paired`] says which arrival is whose.
pub fn count(raw: &Raw, tally: &mut Tally) {
    let names = Names::of(raw);
    let notifs = &raw.notifs;
    let carried: BTreeSet<(i64, &str)> = (0..raw.transfers.transfer_id.len())
        .filter_map(|row| Some((raw.transfers.process_id[row], raw.transfers.notif[row].as_deref()?)))
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
    takings(raw, &names, tally);
}

/// Where no taking was recorded at all, none could be.
fn takings(raw: &Raw, names: &Names, tally: &mut Tally) {
    if raw.takings.time_ns.is_empty() {
        return;
    }
    let (takings, notifs) = (Takings::of(raw, names), &raw.notifs);
    for row in (0..notifs.time_ns.len()).filter(|row| &*notifs.direction[*row] == "arrived") {
        let (own, time) = (notifs.process_id[row], notifs.time_ns[row]);
        let sender = notifs.peer[row].as_deref().and_then(|name| names.at(name, time));
        let taken = sender.and_then(|sender| takings.of_arrival(own, sender, &notifs.message[row], time));
        tally.add(own, TAKING, taken.map(|_| how(Method::Count)));
    }
}
