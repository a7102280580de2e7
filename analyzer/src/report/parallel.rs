//! How a run is parallel, and who moves its KV: one line.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kvpath_analysis::serving::titles;
use kvpath_analysis::structure::ranks;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{HandoffWay, Role, Stages};

use super::Report;
use super::units::plural;

/// The line; empty where no role is known.
pub(super) fn line(report: &Report) -> String {
    let (stages, handoffs) = (&report.analysis.stages, &report.analysis.handoffs);
    let of = |role: Role| Workers::of(stages, role);
    let (prefill, decode) = (of(Role::Prefill), of(Role::Decode));
    // Engines are titled by their data ranks, workers are not: whose they are is plain where one side alone has as many.
    let named = report.analysis.data_ranks;
    let is_dp =
        |own: &Workers, other: &Workers| own.data_ranks > 1 || named > 1 && own.count == named && other.count != named;
    let sides = [(Role::Prefill, &prefill, &decode), (Role::Decode, &decode, &prefill)];
    let known: Vec<String> = sides
        .into_iter()
        .filter(|(_, own, _)| own.count > 0)
        .map(|(role, own, other)| format!("{role} {}", own.in_words(is_dp(own, other))))
        .collect();
    let mut out = known.join(", ");
    let ways: BTreeSet<&str> =
        handoffs.way.iter().filter(|way| **way != HandoffWay::Unknown).map(|way| way.text()).collect();
    if !out.is_empty() {
        let way = match ways.into_iter().collect::<Vec<_>>()[..] {
            [way] => format!("; hand-off by {way}"),
            [] => String::new(),
            _ => "; hand-offs by push and by pull".to_owned(),
        };
        let _ = writeln!(out, "{way}");
    }
    out
}

/// The workers of a role: what serves requests by itself.
#[derive(Debug, Default)]
struct Workers {
    count: usize,
    /// Pipeline stages of each, if it has several.
    pipeline: usize,
    /// Ranks of each stage; none where stages differ in that.
    ranks: Option<usize>,
    /// Whether those are tensor-parallel.
    are_tensor: bool,
    /// Data ranks that their titles name.
    data_ranks: usize,
}

impl Workers {
    fn of(stages: &Stages, role: Role) -> Self {
        let rows: Vec<usize> = (0..stages.len()).filter(|row| stages.role[*row] == role).collect();
        let of_stage = ranks::by_stage(stages).into_values().filter(|own| own.iter().any(|row| rows.contains(row)));
        let sizes: Vec<usize> = of_stage.map(|own| own.len()).collect();
        let pipeline: BTreeSet<i32> = rows.iter().filter_map(|row| stages.pp_rank[*row]).collect();
        let is_pipeline = pipeline.len() > 1 && rows.iter().all(|row| stages.pp_rank[*row].is_some());
        let pipeline = if is_pipeline { pipeline.len() } else { 1 };
        let data: BTreeSet<i32> = rows.iter().filter_map(|row| titles::read(&stages.name[*row]).dp).collect();
        Self {
            count: sizes.len() / pipeline,
            pipeline,
            ranks: sizes.first().copied().filter(|first| sizes.iter().all(|size| size == first)),
            are_tensor: rows.iter().all(|row| stages.tp_rank[*row].is_some()),
            data_ranks: data.len(),
        }
    }

    fn in_words(&self, is_dp: bool) -> String {
        let mut parts: Vec<String> = Vec::new();
        if self.pipeline > 1 {
            parts.push(format!("PP {}", self.pipeline));
        }
        match self.ranks {
            Some(1) => {}
            Some(ranks) if self.are_tensor => parts.push(format!("TP {ranks}")),
            Some(ranks) => parts.push(format!("{ranks} ranks a stage")),
            None => parts.push("stages of different sizes".to_owned()),
        }
        if is_dp {
            parts.push(format!("DP {}", self.count));
        } else if self.count > 1 || parts.is_empty() {
            parts.insert(0, plural(i64::try_from(self.count).unwrap_or(i64::MAX), "worker"));
        }
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(rows: &[(&str, Option<i32>, Option<i32>, i32)], is_dp: bool) -> String {
        let stages = Stages {
            stage_id: (0..).zip(rows).map(|(id, _)| id).collect(),
            stage: rows.iter().map(|row| row.3).collect(),
            role: vec![Role::Prefill; rows.len()],
            pp_rank: rows.iter().map(|row| row.1).collect(),
            tp_rank: rows.iter().map(|row| row.2).collect(),
            name: rows.iter().map(|row| row.0.to_owned()).collect(),
            ..Stages::default()
        };
        Workers::of(&stages, Role::Prefill).in_words(is_dp)
    }

    #[test]
    fn what_serves_requests_by_itself_is_a_worker() {
        assert_eq!(words(&[("VLLM::EngineCore", None, None, 0)], false), "1 worker");
        assert_eq!(words(&[("a", None, None, 0), ("b", None, None, 1)], false), "2 workers");
        assert_eq!(words(&[("VLLM::Worker", None, None, 0), ("VLLM::Worker", None, None, 1)], true), "DP 2");
        assert_eq!(words(&[("a", None, Some(0), 0), ("b", None, Some(1), 0)], false), "TP 2");
        let pp = [
            ("a", Some(0), Some(0), 0),
            ("b", Some(0), Some(1), 0),
            ("c", Some(1), Some(0), 2),
            ("d", Some(1), Some(1), 2),
        ];
        assert_eq!(words(&pp, false), "PP 2 TP 2");
        let replicas =
            [("a", Some(0), None, 0), ("b", Some(0), None, 1), ("c", Some(1), None, 2), ("d", Some(1), None, 3)];
        assert_eq!(words(&replicas, false), "2 workers PP 2");
    }
}
