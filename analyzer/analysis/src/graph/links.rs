//! Everything that gates are looked up in, made once for a run.

use std::collections::BTreeMap;

use kvpath_schema::tables::derived::{Chunks, Role, Stages as Table};

use super::collectives::Collectives;
use super::pairs::Pairs;
use super::stages::Stages;
use super::{Graph, Transfers};
use crate::facts::Facts;
use crate::intervals::Span;
use crate::serving::cores;
use crate::timeline::Timeline;

/// Hand-offs, messages between stages, and which pass made what another one computes on.
#[derive(Debug, Default)]
pub struct Links {
    /// Hand-offs.
    pub transfers: Transfers,
    pairs: Pairs,
    stages: Stages,
}

impl Links {
    /// Joins what ran with what was handed over; `passes` are the forward passes of each process by time.
    #[must_use]
    pub fn of(
        facts: &Facts,
        timeline: &Timeline,
        (stages, chunks): (&Table, &Chunks),
        passes: &BTreeMap<i64, Vec<Span>>,
    ) -> Self {
        let prefill = (0..stages.stage_id.len()).filter(|row| stages.role[*row] == Role::Prefill);
        let devices: Vec<(i64, Option<i32>)> =
            prefill.map(|row| (stages.process_id[row], stages.device_id[row])).collect();
        Self {
            transfers: Transfers::of(facts, timeline, &devices),
            pairs: Pairs::of(timeline, &pipelines(stages)).with_collectives(Collectives::of(timeline, stages)),
            stages: Stages::of(stages, chunks, passes).with_cores(cores::of(&facts.processes)),
        }
    }

    /// Where gates are looked up.
    #[must_use]
    pub fn graph<'a>(&'a self, timeline: &'a Timeline) -> Graph<'a> {
        Graph { timeline, transfers: &self.transfers, pairs: &self.pairs, stages: &self.stages }
    }
}

/// The processes of each pipeline, stage by stage: one a TP rank. A run without hand-offs shows no roles.
fn pipelines(stages: &Table) -> Vec<Vec<i64>> {
    let rows =
        (0..stages.stage_id.len()).filter(|row| stages.role[*row] != Role::Decode && stages.pp_rank[*row].is_some());
    let mut by_rank: BTreeMap<Option<i32>, Vec<(Option<i32>, i64)>> = BTreeMap::new();
    for row in rows {
        by_rank.entry(stages.tp_rank[row]).or_default().push((stages.pp_rank[row], stages.process_id[row]));
    }
    let sorted = by_rank.into_values().map(|mut ranks| {
        ranks.sort_unstable();
        ranks.into_iter().map(|(_, process)| process).collect()
    });
    sorted.collect()
}
