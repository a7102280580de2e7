//! What rows of `stages` are called where a report prints them: by stage, then by rank.

use std::collections::BTreeMap;

use kvpath_analysis::structure::ranks;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Handoffs, Role, Stages};

use super::units::or_dash;

/// Whether hand-offs show that processes number GPUs each in their own way: two that are on the same one by their own count copy from GPU
/// to GPU, or two that are not copy within one.
pub(super) fn number_apart(stages: &Stages, handoffs: &Handoffs) -> bool {
    let device = |is_own: &dyn Fn(usize) -> bool| {
        (0..stages.len()).find(|row| is_own(*row)).and_then(|row| stages.device_id[row])
    };
    (0..handoffs.len()).any(|row| {
        let from = device(&|stage| stages.stage_id[stage] == handoffs.stage_id[row]);
        let to = device(&|stage| Some(stages.process_id[stage]) == handoffs.peer_process_id[row]);
        from.zip(to).zip(handoffs.same_gpu[row]).is_some_and(|((from, to), is_same)| is_same != (from == to))
    })
}

/// The names of all of them.
#[derive(Debug)]
pub(super) struct Names {
    /// Stage and rank, by `stage_id`.
    of: BTreeMap<i32, (i32, Option<String>)>,
    /// `stage_id` of processes that may receive.
    receivers: BTreeMap<i64, i32>,
}

impl Names {
    pub(super) fn of(stages: &Stages) -> Self {
        let of = |row: usize| (stages.stage_id[row], (stages.stage[row], ranks::name(stages, stages.stage_id[row])));
        let decode = (0..stages.len()).filter(|row| stages.role[*row] == Role::Decode);
        Self {
            of: (0..stages.len()).map(of).collect(),
            receivers: decode.map(|row| (stages.process_id[row], stages.stage_id[row])).collect(),
        }
    }

    /// The number of its stage.
    pub(super) fn stage(&self, stage_id: i32) -> String {
        self.of.get(&stage_id).map_or(stage_id, |(stage, _)| *stage).to_string()
    }

    /// Which rank of its stage it is; `-` where that has one process.
    pub(super) fn rank(&self, stage_id: i32) -> String {
        self.of.get(&stage_id).and_then(|(_, rank)| rank.clone()).unwrap_or_else(|| "-".to_owned())
    }

    /// Its `stage_id`, if that may be another number than its stage's.
    pub(super) fn id(&self, stage_id: i32) -> String {
        let are_ranks = self.of.values().any(|(_, rank)| rank.is_some());
        if are_ranks { stage_id.to_string() } else { "-".to_owned() }
    }

    /// A receiver, as stage and rank; `-` where there is but one.
    pub(super) fn receiver(&self, process: Option<i64>) -> String {
        if self.receivers.len() < 2 {
            return "-".to_owned();
        }
        let name = |id: &i32| match &self.of[id] {
            (stage, Some(rank)) => format!("{stage}, {rank}"),
            (stage, None) => stage.to_string(),
        };
        or_dash(process, |process| self.receivers.get(&process).map_or_else(|| format!("process {process}"), name))
    }
}
