//! Which process an agent's name belongs to.
//!
//! A recording that began after an agent was made has no row of it. Then messages tell: what one process sent to a name arrived
//! at the process of that name, from the name of the first. A text may be sent more than once, so a message counts only where
//! all that are under way with its text agree, and a name only where all messages do.

use std::collections::{BTreeMap, HashMap};

use crate::analysis::Raw;

/// A message that left or arrived: when, at which process, and the other end's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End<'a> {
    at: i64,
    has_arrived: bool,
    process: i64,
    peer: &'a str,
}

/// Processes by the names of their agents.
#[must_use]
pub fn names(raw: &Raw) -> HashMap<&str, i64> {
    let agents = raw.agents.name.iter().map(|name| &**name).zip(raw.agents.process_id.iter().copied());
    let mut known: HashMap<&str, i64> = agents.collect();
    let mut votes: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for ends in by_text(raw).values_mut() {
        ends.sort_unstable();
        vote(ends, &mut votes);
    }
    for (name, mut processes) in votes {
        processes.sort_unstable();
        processes.dedup();
        if let [process] = processes[..] {
            known.entry(name).or_insert(process);
        }
    }
    known
}

fn by_text(raw: &Raw) -> BTreeMap<&str, Vec<End<'_>>> {
    let mut found: BTreeMap<&str, Vec<End>> = BTreeMap::new();
    for row in 0..raw.notifs.time_ns.len() {
        let Some(peer) = raw.notifs.peer[row].as_deref() else { continue };
        found.entry(raw.notifs.message[row].as_str()).or_default().push(End {
            at: raw.notifs.time_ns[row],
            has_arrived: &*raw.notifs.direction[row] == "arrived",
            process: raw.notifs.process_id[row],
            peer,
        });
    }
    found
}

/// Goes through the messages of one text in order of time.
fn vote<'a>(ends: &[End<'a>], votes: &mut BTreeMap<&'a str, Vec<i64>>) {
    let mut under_way: Vec<End> = Vec::new();
    // Once one of several may have been taken for another, who is left is not known.
    let (mut are_senders_known, mut are_receivers_known) = (true, true);
    for end in ends {
        if !end.has_arrived {
            under_way.push(*end);
            continue;
        }
        let Some(first) = under_way.first().copied() else { return };
        are_receivers_known &= under_way.iter().all(|sent| sent.peer == first.peer);
        if are_receivers_known {
            votes.entry(first.peer).or_default().push(end.process);
        }
        are_senders_known &= under_way.iter().all(|sent| sent.process == first.process);
        if are_senders_known {
            votes.entry(end.peer).or_default().push(first.process);
        }
        under_way.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// Decode (9) registers with stages 1 and 2, which each answer with the same text.
    fn raw() -> Raw {
        let mut raw = Raw::default();
        for (process, name, at) in [(1, "p-1", 10), (2, "p-2", 20)] {
            raw.notif(9, "sent", name, (at - 9) * MS, "PUSH_REG:r");
            raw.notif(process, "sent", "d", at * MS, "r:1");
            raw.notif(9, "arrived", name, (at + 2) * MS, "r:1");
        }
        raw.notif(1, "arrived", "d", 4 * MS, "PUSH_REG:r");
        raw.notif(2, "arrived", "d", 13 * MS, "PUSH_REG:r");
        raw
    }

    #[test]
    fn messages_tell_whose_a_name_is() {
        let mut names: Vec<(String, i64)> = names(&raw()).into_iter().map(|(name, id)| (name.to_owned(), id)).collect();
        names.sort();
        assert_eq!(names, [("d".to_owned(), 9), ("p-1".to_owned(), 1), ("p-2".to_owned(), 2)]);
    }

    #[test]
    fn what_messages_do_not_agree_on_is_not_known_and_a_row_of_the_agent_goes_before() {
        let mut raw = raw();
        raw.notif(3, "sent", "d", 30 * MS, "s:1");
        raw.notif(4, "arrived", "p-1", 31 * MS, "s:1");
        assert_eq!(names(&raw).get("d"), None);
        assert_eq!(names(&raw).get("p-1"), None);
        raw.agent(9, "d");
        assert_eq!(names(&raw).get("d"), Some(&9));
    }

    #[test]
    fn two_that_are_under_way_at_once_tell_only_where_they_go() {
        let mut raw = Raw::default();
        raw.notif(1, "sent", "d", 1, "m");
        raw.notif(2, "sent", "d", 2, "m");
        raw.notif(9, "arrived", "p-2", 3, "m");
        raw.notif(9, "arrived", "p-1", 4, "m");
        let names = names(&raw);
        assert_eq!((names.get("d"), names.get("p-1"), names.get("p-2")), (Some(&9), None, None));
    }

    #[test]
    fn of_messages_to_several_at_once_the_last_to_arrive_is_no_bodys() {
        let mut raw = Raw::default();
        for (at, name) in [(1, "p-1"), (2, "p-2"), (3, "p-3")] {
            raw.notif(9, "sent", name, at, "PUSH_REG:r");
        }
        for (at, process) in [(4, 1), (5, 3), (6, 2)] {
            raw.notif(process, "arrived", "d", at, "PUSH_REG:r");
        }
        let names = names(&raw);
        assert_eq!((names.len(), names.get("d")), (1, Some(&9)));
    }
}
