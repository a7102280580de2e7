//! Where two agents met: the first transfer or registration between two processes waits until one has loaded what the other says of
//! itself. The call tells of whom. Where only NIXL's mark of it is recorded (`nixl::loadRemoteMD`), it is of the peer with whom the
//! process has to do next, and may be of several.

use std::collections::{BTreeMap, HashMap, HashSet};

use kvpath_schema::tables::nixl::CallName;

use super::{Registration, Transfer};
use crate::facts::Facts;
use crate::facts::agents::AgentNames;

/// What NIXL calls it.
const LOAD: &str = "nixl::loadRemoteMD";

/// An agent began to load what others say of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// Its process.
    pub process: i64,
    /// The thread that did.
    pub tid: i32,
    /// When it did, ns.
    pub at_ns: i64,
}

/// All of a run.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    pub(super) all: Vec<Contact>,
    /// Of the first transfer between two processes.
    pub(super) of_transfer: HashMap<u32, u32>,
    /// Of the first registration.
    pub(super) of_registration: HashMap<u32, u32>,
    /// Registrations that are the first that a process had to do with another one, whether marks are recorded or not.
    pub(super) first: HashSet<u32>,
}

/// The first that a process had to do with another one.
enum First {
    Transfer(u32),
    Registration(u32),
}

impl Contacts {
    pub(super) fn of(facts: &Facts, transfers: &[Transfer], registrations: &[Registration]) -> Self {
        let mut loaded: BTreeMap<i64, Vec<(i64, i32)>> = BTreeMap::new();
        for (row, ()) in facts.nvtx.of_texts(|text| (text == LOAD).then_some(())) {
            let mark = facts.nvtx.mark(row);
            loaded.entry(mark.thread.0).or_default().push((mark.start, mark.thread.1));
        }
        let mut found = Self::default();
        let mut firsts: BTreeMap<i64, Vec<(i64, First)>> = BTreeMap::new();
        let called = called(facts);
        for (process, peer, at, first) in firsts_of(transfers, registrations) {
            if let First::Registration(row) = first {
                found.first.insert(row);
            }
            match called.get(&(process, peer)).filter(|contact| contact.at_ns <= at) {
                Some(contact) => {
                    let number = u32::try_from(found.all.len()).unwrap_or(u32::MAX);
                    found.all.push(*contact);
                    found.is_first(&first, number);
                }
                None => firsts.entry(process).or_default().push((at, first)),
            }
        }
        for (process, mut times) in loaded {
            times.sort_unstable();
            let mut own = firsts.remove(&process).unwrap_or_default();
            own.sort_by_key(|(at, _)| *at);
            let (mut used, mut last) = (0, None);
            for (at, first) in own {
                let until = times.partition_point(|(time, _)| *time <= at);
                if until > used {
                    last = u32::try_from(found.all.len()).ok();
                    let (at_ns, tid) = times[used];
                    found.all.push(Contact { process, tid, at_ns });
                    used = until;
                }
                // Who has to do with several that it met in one go met the first of them first.
                let Some(contact) = last else { continue };
                found.is_first(&first, contact);
            }
        }
        found
    }

    fn is_first(&mut self, first: &First, contact: u32) {
        match first {
            First::Transfer(row) => self.of_transfer.insert(*row, contact),
            First::Registration(row) => self.of_registration.insert(*row, contact),
        };
    }
}

/// The first call by which a process loaded what another one says of itself, by both.
fn called(facts: &Facts) -> HashMap<(i64, i64), Contact> {
    let mut found: HashMap<(i64, i64), Contact> = HashMap::new();
    let calls = &facts.calls;
    if calls.start_ns.is_empty() {
        return found;
    }
    let names = AgentNames::of(facts);
    let loads = (0..calls.start_ns.len()).filter(|row| &*calls.call[*row] == CallName::LoadRemoteMd.text());
    for row in loads {
        let (process, at_ns) = (calls.process_id[row], calls.start_ns[row]);
        let Some(peer) = calls.peer[row].as_deref().and_then(|name| names.at(name, at_ns)) else { continue };
        let contact = Contact { process, tid: calls.tid[row], at_ns };
        let own = found.entry((process, peer)).or_insert(contact);
        if at_ns < own.at_ns {
            *own = contact;
        }
    }
    found
}

/// The first transfer and the first registration of each process with each other one: the process that makes or sends it, the other,
/// and when.
fn firsts_of(transfers: &[Transfer], registrations: &[Registration]) -> Vec<(i64, i64, i64, First)> {
    let mut all: Vec<(i64, i64, i64, First)> = Vec::new();
    for (row, own) in (0u32..).zip(transfers) {
        let peer = if own.is_pulled { own.sender } else { own.receiver };
        all.extend(peer.map(|peer| (own.made, own.poster, peer, First::Transfer(row))));
    }
    for (row, own) in (0u32..).zip(registrations) {
        all.extend(own.from.map(|from| (own.sent_ns, from, own.with, First::Registration(row))));
    }
    all.sort_by_key(|(at, process, peer, _)| (*at, *process, *peer));
    let mut seen: HashSet<(i64, i64)> = HashSet::new();
    let firsts = all.into_iter().filter(|(_, process, peer, _)| seen.insert((*process, *peer)));
    firsts.map(|(at, process, peer, first)| (process, peer, at, first)).collect()
}
