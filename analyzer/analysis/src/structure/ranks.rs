//! Which processes are ranks of one stage. Ranks of tensor, context and expert parallelism compute the same layers of the same passes
//! together, each a part of every layer, and wait for each other in collectives; a stage is all of them. Pipeline ranks are stages
//! of their own, and so are data-parallel ranks, which serve different requests.
//!
//! Titles name the ranks. Where several engines of a run name the same ones, the ids of the requests whose KV they hand over or
//! receive tell which belong together; where these do not either, each process is taken for a stage of its own.

use std::collections::{BTreeMap, BTreeSet};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Role, Stages};

use crate::serving::titles::Title;

/// A process that may be a rank.
#[derive(Debug)]
pub struct Process<'a> {
    /// Its id.
    pub id: i64,
    /// What it does.
    pub role: Role,
    /// What its title says.
    pub title: Title,
    /// Pipeline rank, from the title or otherwise.
    pub pp: Option<i32>,
    /// Ids of the requests whose KV it hands over or receives.
    pub requests: BTreeSet<&'a str>,
}

/// What stages are told apart by: ranks of one have it in common.
type Key = (Role, Option<i32>, Option<i32>);

/// Of each process the first one of its stage.
#[must_use]
pub fn first_of_stage(processes: &[Process]) -> BTreeMap<i64, i64> {
    let mut by_key: BTreeMap<Key, Vec<&Process>> = BTreeMap::new();
    let mut found: BTreeMap<i64, i64> = processes.iter().map(|process| (process.id, process.id)).collect();
    for process in processes.iter().filter(|process| place(&process.title).is_some()) {
        by_key.entry((process.role, process.title.dp, process.pp)).or_default().push(process);
    }
    for mut ranks in by_key.into_values() {
        ranks.sort_by_key(|rank| (place(&rank.title), rank.id));
        for stage in together(&ranks) {
            let Some(first) = stage.iter().map(|rank| (place(&rank.title), rank.id)).min() else { continue };
            found.extend(stage.iter().map(|rank| (rank.id, first.1)));
        }
    }
    found
}

/// Where in its stage a process is: ranks of tensor, context and expert parallelism.
fn place(title: &Title) -> Option<[Option<i32>; 3]> {
    let place = [title.tp, title.cp, title.ep];
    place.iter().any(Option::is_some).then_some(place)
}

/// Divides processes with the same key, which are in order of their places, into stages.
fn together<'p, 'a>(ranks: &[&'p Process<'a>]) -> Vec<Vec<&'p Process<'a>>> {
    let places: BTreeSet<_> = ranks.iter().map(|rank| place(&rank.title)).collect();
    if places.len() == ranks.len() {
        return vec![ranks.to_vec()];
    }
    let mut stages: Vec<Vec<&Process>> = Vec::new();
    for rank in ranks {
        let shares = |stage: &&mut Vec<&Process>| {
            stage.iter().all(|other| place(&other.title) != place(&rank.title))
                && stage.iter().any(|other| !other.requests.is_disjoint(&rank.requests))
        };
        match stages.iter_mut().find(shares) {
            Some(stage) => stage.push(rank),
            None => stages.push(vec![rank]),
        }
    }
    stages
}

/// The stages of the table: of each the rows of its ranks, in order.
#[must_use]
pub fn by_stage(table: &Stages) -> BTreeMap<i32, Vec<usize>> {
    let mut found: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for row in 0..table.len() {
        found.entry(table.stage[row]).or_default().push(row);
    }
    found
}

/// What a rank is called within its stage, as `TP 1`; none of a stage that is one process.
#[must_use]
pub fn name(table: &Stages, stage_id: i32) -> Option<String> {
    let row = table.stage_id.iter().position(|id| *id == stage_id)?;
    let ranks = table.stage.iter().filter(|stage| **stage == table.stage[row]).count();
    let of =
        |rank: Option<i32>| rank.map_or_else(|| format!("process {}", table.process_id[row]), |tp| format!("TP {tp}"));
    (ranks > 1).then(|| of(table.tp_rank[row]))
}

/// What a row of the table is called in a sentence: `stage 2`, or `stage 0, rank TP 1`.
#[must_use]
pub fn in_words(table: &Stages, stage_id: i32) -> String {
    let stage = table.stage_id.iter().position(|id| *id == stage_id).map_or(stage_id, |row| table.stage[row]);
    match name(table, stage_id) {
        Some(rank) => format!("stage {stage}, rank {rank}"),
        None => format!("stage {stage}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::titles;

    fn stages(processes: &[(i64, Role, &str, &[&'static str])]) -> Vec<(i64, i64)> {
        let process = |(id, role, title, requests): &(i64, Role, &str, &[&'static str])| {
            let title = titles::read(title);
            Process { id: *id, role: *role, title, pp: title.pp, requests: requests.iter().copied().collect() }
        };
        first_of_stage(&processes.iter().map(process).collect::<Vec<_>>()).into_iter().collect()
    }

    #[test]
    fn tensor_ranks_are_one_stage_and_pipeline_and_data_ranks_are_not() {
        use Role::{Decode, Prefill};
        let found = stages(&[
            (10, Prefill, "VLLM::Worker_PP0_TP1", &[]),
            (11, Prefill, "VLLM::Worker_PP0_TP0", &[]),
            (12, Prefill, "VLLM::Worker_PP1_TP0", &[]),
            (13, Prefill, "VLLM::Worker_PP1_TP1", &[]),
            (20, Decode, "VLLM::Worker_DP0_TP0_EP0", &[]),
            (21, Decode, "VLLM::Worker_DP0_TP1_EP1", &[]),
            (22, Decode, "VLLM::Worker_DP1_TP0_EP2", &[]),
            (30, Decode, "VLLM::EngineCore", &[]),
            (31, Decode, "VLLM::EngineCore", &[]),
        ]);
        let expected = [(10, 11), (11, 11), (12, 12), (13, 12), (20, 20), (21, 20), (22, 22), (30, 30), (31, 31)];
        assert_eq!(found, expected);
    }

    #[test]
    fn of_two_engines_with_the_same_ranks_requests_tell_which_belong_together() {
        let rank = |id: i64, title, requests: &'static [&'static str]| (id, Role::Prefill, title, requests);
        let found = stages(&[
            rank(1, "VLLM::Worker_TP0", &["a", "b"]),
            rank(2, "VLLM::Worker_TP0", &["c"]),
            rank(3, "VLLM::Worker_TP1", &["c"]),
            rank(4, "VLLM::Worker_TP1", &["b"]),
        ]);
        assert_eq!(found, [(1, 1), (2, 2), (3, 2), (4, 1)]);
        let found = stages(&[
            rank(1, "VLLM::Worker_TP0", &[]),
            rank(2, "VLLM::Worker_TP0", &[]),
            rank(3, "VLLM::Worker_TP1", &[]),
        ]);
        assert_eq!(found, [(1, 1), (2, 2), (3, 3)], "which of the two it belongs to is not known");
    }
}
