//! Whose agents names are that neither rows of agents nor messages tell, as where recording began after the agents were made and
//! no message came since: of a pull that ends in nobody's process, the KV is that of a process that computes and pulls nothing.
//!
//! As many such processes as names own the KV. If they are one, the name is its; if they are several, each pull speaks for the one that
//! computed last before it, where no other one did about then, as ranks that compute together do.

use std::collections::{BTreeMap, BTreeSet};

use kvpath_schema::tables::nixl::XferOp;

use super::Timeline;
use crate::facts::Facts;
use crate::facts::agents::{AgentNames, Presumed};

/// Processes whose last kernels ended this close to each other computed together, and kernels that follow each other so are of one
/// pass, ns.
const TOGETHER_NS: i64 = 1_000_000;

/// Of a run.
#[must_use]
pub fn of(facts: &Facts, timeline: &Timeline) -> Presumed {
    let (names, table) = (AgentNames::of(facts), &facts.transfers);
    let mut pulls: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    let mut pullers: BTreeSet<i64> = BTreeSet::new();
    let mut known: BTreeSet<i64> = BTreeSet::new();
    for row in (0..table.transfer_id.len()).filter(|row| *table.op[*row] == XferOp::Read) {
        pullers.insert(table.process_id[row]);
        let Some(made) = table.made_ns[row].or(table.posted_ns[row]) else { continue };
        let Some(name) = table.peer[row].as_deref() else { continue };
        match names.at(name, made) {
            Some(process) => known.extend([process]),
            None => pulls.entry(name).or_default().push(made),
        }
    }
    let computes = |process: &&i64| timeline.processes[*process].main.is_some();
    let is_free = |process: &&i64| !pullers.contains(*process) && !known.contains(*process);
    let owners: BTreeSet<i64> = timeline.processes.keys().filter(computes).filter(is_free).copied().collect();
    if owners.len() != pulls.len() {
        return Presumed::default();
    }
    if let (1, Some(name), Some(owner)) = (owners.len(), pulls.keys().next(), owners.first()) {
        return Presumed { of_name: BTreeMap::from([((*name).to_owned(), *owner)]), owners };
    }
    let voted: Vec<(&str, i64)> =
        pulls.iter().filter_map(|(name, times)| Some((*name, voted(timeline, &owners, times)?))).collect();
    let are_apart = voted.iter().map(|(_, process)| process).collect::<BTreeSet<_>>().len() == pulls.len();
    let of_name = voted.into_iter().filter(|_| are_apart).map(|(name, process)| (name.to_owned(), process));
    Presumed { of_name: of_name.collect(), owners }
}

/// The process for which all speak that speak for any.
fn voted(timeline: &Timeline, owners: &BTreeSet<i64>, pulls: &[i64]) -> Option<i64> {
    let vote = |at: &i64| {
        let ended = |process: &i64| {
            let own = timeline.lane(timeline.processes.get(process)?.main?);
            let goes_on = own.start.partition_point(|start| *start < *at);
            // In the midst of a pass it has nothing to hand over.
            let is_done = goes_on == own.len() || own.start[goes_on] - *at > TOGETHER_NS;
            own.ended_by(*at).filter(|_| is_done).map(|last| (own.end[last], *process))
        };
        let mut ends: Vec<(i64, i64)> = owners.iter().filter_map(ended).collect();
        ends.sort_unstable();
        let last = ends.pop()?;
        ends.pop().is_none_or(|before| last.0 - before.0 > TOGETHER_NS).then_some(last.1)
    };
    let votes: BTreeSet<i64> = pulls.iter().filter_map(vote).collect();
    votes.first().copied().filter(|_| votes.len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Recording;
    use crate::synthetic::MS;

    /// Process 9 pulls from `names` at those times; no agent and no message is recorded.
    fn pulls(recording: &mut Recording, names: &[(&str, i64)]) {
        for (name, at) in names {
            recording.write(9, "", name, *at, 1 << 20, "r");
            let row = recording.transfers.transfer_id.len() - 1;
            recording.transfers.op[row] = "READ".into();
        }
    }

    fn presumed(recording: &Recording) -> (Vec<(String, i64)>, Vec<i64>) {
        let found = of(&recording.facts, &recording.timeline);
        (found.of_name.into_iter().collect(), found.owners.into_iter().collect())
    }

    #[test]
    fn kv_that_is_pulled_is_of_the_only_other_process_that_computes() {
        let mut recording = Recording::default();
        recording.pass(1, 0, 4, MS);
        recording.pass(9, 90 * MS, 4, MS);
        pulls(&mut recording, &[("p", 50 * MS), ("p", 60 * MS)]);
        assert_eq!(presumed(&recording), (vec![("p".to_owned(), 1)], vec![1]));
        recording.pass(2, 0, 4, MS);
        assert_eq!(presumed(&recording), (vec![], vec![]), "of two it is not known which");
        recording.agent(1, "p");
        assert_eq!(presumed(&recording), (vec![], vec![]), "a row of the agent tells");
    }

    #[test]
    fn of_several_each_name_is_of_the_process_that_computed_before_its_pulls() {
        let mut recording = Recording::default();
        for (process, start) in [(1, 0), (2, 100), (1, 200), (2, 300)] {
            recording.pass(process, start * MS, 4, MS);
        }
        pulls(&mut recording, &[("p", 50 * MS), ("q", 150 * MS), ("p", 250 * MS), ("q", 350 * MS)]);
        assert_eq!(presumed(&recording), (vec![("p".to_owned(), 1), ("q".to_owned(), 2)], vec![1, 2]));
    }

    #[test]
    fn ranks_that_compute_together_own_the_kv_but_names_are_not_told_apart() {
        let mut recording = Recording::default();
        recording.pass(1, 0, 4, MS);
        recording.pass(2, MS / 4, 4, MS);
        pulls(&mut recording, &[("p", 50 * MS), ("q", 51 * MS)]);
        assert_eq!(presumed(&recording), (vec![], vec![1, 2]));
    }
}
