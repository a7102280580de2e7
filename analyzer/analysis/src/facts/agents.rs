//! Which process an agent's name belongs to, and when: an engine that is started anew takes its name again.
//!
//! A recording that began after an agent was made has no row of it. Then messages tell: what one process sent to a name arrived
//! at the process of that name, from the name of the first. A text may be sent more than once, so a message counts only where
//! all that are under way with its text agree, and a name only where all messages do. What neither tells may be [`Presumed`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use kvpath_schema::tables::nixl::NotifDirection;

use super::Facts;

/// A message that left or arrived: when, at which process, and the other end's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct MessageEnd<'a> {
    at: i64,
    has_arrived: bool,
    process: i64,
    peer: &'a str,
}

/// What is presumed of names that no record tells, by what ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presumed {
    /// Processes by the names of their agents.
    pub of_name: BTreeMap<String, i64>,
    /// Processes whose KV others pull.
    pub owners: BTreeSet<i64>,
}

/// Processes by the names of their agents.
#[derive(Debug)]
pub struct AgentNames<'a>(HashMap<&'a str, Vec<(i64, i64)>>);

impl<'a> AgentNames<'a> {
    /// Those that agents and messages tell, else those that are presumed.
    #[must_use]
    pub fn of(facts: &'a Facts) -> Self {
        let mut known: HashMap<&str, Vec<(i64, i64)>> = HashMap::new();
        for (row, name) in facts.agents.name.iter().enumerate() {
            known.entry(name).or_default().push((facts.agents.time_ns[row], facts.agents.process_id[row]));
        }
        for makers in known.values_mut() {
            makers.sort_unstable();
        }
        let mut votes: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for ends in by_text(facts).values_mut() {
            ends.sort_unstable();
            vote(ends, &mut votes);
        }
        for (name, mut processes) in votes {
            processes.sort_unstable();
            processes.dedup();
            if let [process] = processes[..] {
                known.entry(name).or_insert_with(|| vec![(i64::MIN, process)]);
            }
        }
        for (name, process) in &facts.presumed.of_name {
            known.entry(name).or_insert_with(|| vec![(i64::MIN, *process)]);
        }
        Self(known)
    }

    /// The process that had made an agent of that name last at a time; before any had, the one that did first, for its row
    /// may come late.
    #[must_use]
    pub fn at(&self, name: &str, time: i64) -> Option<i64> {
        let makers = self.0.get(name)?;
        let before = makers.partition_point(|(made, _)| *made <= time);
        makers.get(before.saturating_sub(1)).map(|(_, process)| *process)
    }
}

/// Messages of one text that have left and not arrived, in order, with how many each name and process has among them.
#[derive(Default)]
struct UnderWay<'a> {
    messages: VecDeque<MessageEnd<'a>>,
    peers: HashMap<&'a str, usize>,
    processes: HashMap<i64, usize>,
}

impl<'a> UnderWay<'a> {
    fn add(&mut self, sent: MessageEnd<'a>) {
        *self.peers.entry(sent.peer).or_default() += 1;
        *self.processes.entry(sent.process).or_default() += 1;
        self.messages.push_back(sent);
    }

    fn take(&mut self) {
        if let Some(sent) = self.messages.pop_front() {
            one_less(&mut self.peers, sent.peer);
            one_less(&mut self.processes, sent.process);
        }
    }
}

fn one_less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let std::collections::hash_map::Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

fn by_text(facts: &Facts) -> BTreeMap<&str, Vec<MessageEnd<'_>>> {
    let mut found: BTreeMap<&str, Vec<MessageEnd>> = BTreeMap::new();
    for row in 0..facts.notifs.time_ns.len() {
        let Some(peer) = facts.notifs.peer[row].as_deref() else { continue };
        // What has no text may be any message.
        if facts.notifs.message[row].is_empty() {
            continue;
        }
        found.entry(facts.notifs.message[row].as_str()).or_default().push(MessageEnd {
            at: facts.notifs.time_ns[row],
            has_arrived: *facts.notifs.direction[row] == NotifDirection::Arrived,
            process: facts.notifs.process_id[row],
            peer,
        });
    }
    found
}

/// Goes through the messages of one text in order of time.
fn vote<'a>(ends: &[MessageEnd<'a>], votes: &mut BTreeMap<&'a str, Vec<i64>>) {
    let mut under_way = UnderWay::default();
    // Once one of several may have been taken for another, who is left is not known.
    let (mut are_senders_known, mut are_receivers_known) = (true, true);
    for end in ends {
        if !end.has_arrived {
            under_way.add(*end);
            continue;
        }
        let Some(first) = under_way.messages.front().copied() else { return };
        are_receivers_known &= under_way.peers.len() == 1;
        if are_receivers_known {
            votes.entry(first.peer).or_default().push(end.process);
        }
        are_senders_known &= under_way.processes.len() == 1;
        if are_senders_known {
            votes.entry(end.peer).or_default().push(first.process);
        }
        under_way.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// Decode (9) registers with stages 1 and 2, which each answer with the same text.
    fn some_facts() -> Facts {
        let mut facts = Facts::default();
        for (process, name, at) in [(1, "p-1", 10), (2, "p-2", 20)] {
            facts.notif(9, "sent", name, (at - 9) * MS, "PUSH_REG:r");
            facts.notif(process, "sent", "d", at * MS, "r:1");
            facts.notif(9, "arrived", name, (at + 2) * MS, "r:1");
        }
        facts.notif(1, "arrived", "d", 4 * MS, "PUSH_REG:r");
        facts.notif(2, "arrived", "d", 13 * MS, "PUSH_REG:r");
        facts
    }

    fn known(facts: &Facts) -> Vec<(String, i64)> {
        let names = AgentNames::of(facts);
        let mut known: Vec<(String, i64)> =
            names.0.keys().filter_map(|name| Some(((*name).to_owned(), names.at(name, 0)?))).collect();
        known.sort();
        known
    }

    #[test]
    fn messages_tell_whose_a_name_is() {
        assert_eq!(known(&some_facts()), [("d".to_owned(), 9), ("p-1".to_owned(), 1), ("p-2".to_owned(), 2)]);
    }

    #[test]
    fn what_messages_do_not_agree_on_is_not_known_and_a_row_of_the_agent_goes_before() {
        let mut facts = some_facts();
        facts.notif(3, "sent", "d", 30 * MS, "s:1");
        facts.notif(4, "arrived", "p-1", 31 * MS, "s:1");
        assert_eq!((AgentNames::of(&facts).at("d", 0), AgentNames::of(&facts).at("p-1", 0)), (None, None));
        facts.agent(9, "d");
        assert_eq!(AgentNames::of(&facts).at("d", 0), Some(9));
    }

    #[test]
    fn two_that_are_under_way_at_once_tell_only_where_they_go() {
        let mut facts = Facts::default();
        facts.notif(1, "sent", "d", 1, "m");
        facts.notif(2, "sent", "d", 2, "m");
        facts.notif(9, "arrived", "p-2", 3, "m");
        facts.notif(9, "arrived", "p-1", 4, "m");
        assert_eq!(known(&facts), [("d".to_owned(), 9)]);
    }

    #[test]
    fn of_messages_to_several_at_once_the_last_to_arrive_is_no_bodys() {
        let mut facts = Facts::default();
        for (at, name) in [(1, "p-1"), (2, "p-2"), (3, "p-3")] {
            facts.notif(9, "sent", name, at, "PUSH_REG:r");
        }
        for (at, process) in [(4, 1), (5, 3), (6, 2)] {
            facts.notif(process, "arrived", "d", at, "PUSH_REG:r");
        }
        assert_eq!(known(&facts), [("d".to_owned(), 9)]);
    }

    #[test]
    fn messages_without_a_text_tell_nothing() {
        let mut facts = Facts::default();
        facts.notif(9, "sent", "p-1", 1, "");
        facts.notif(9, "sent", "p-2", 2, "");
        facts.notif(9, "arrived", "p-1", 3, "");
        facts.notif(1, "arrived", "d", 4, "");
        assert_eq!(known(&facts), []);
    }

    #[test]
    fn a_name_that_was_taken_again_is_of_the_process_that_had_it_at_the_time() {
        let rows = [(10, 1), (30, 3), (20, 2), (30, 4)];
        for turn in 0..rows.len() {
            let mut facts = Facts::default();
            for at in 0..rows.len() {
                let (time_ns, process) = rows[(at + turn) % rows.len()];
                facts.agent(process, "d");
                facts.agents.time_ns[at] = time_ns;
            }
            let names = AgentNames::of(&facts);
            let at = |time| names.at("d", time);
            assert_eq!([at(i64::MIN), at(9), at(10), at(19), at(20), at(29), at(30)], [1, 1, 1, 1, 2, 2, 4].map(Some));
            assert_eq!(names.at("e", 10), None);
        }
    }
}
