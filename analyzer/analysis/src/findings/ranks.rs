//! Of each prefill stage that has several ranks the one that computes longest: the others wait for it in collectives.

use std::fmt::Write as _;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::Role;
use kvpath_schema::tables::findings::{Code, Finding, Subject};

use super::size::OnPath;
use super::stages::{SLOWER, compute, requests_in_words, whole_requests};
use super::{Concerns, RuleFinding, Tables, finding, share};
use crate::number::float;
use crate::path::category::Category;
use crate::structure::ranks;
use crate::units;

pub(super) fn of(tables: &Tables) -> Vec<RuleFinding> {
    let stages = ranks::by_stage(tables.stages).into_iter();
    let found = stages.filter(|(_, rows)| rows.len() > 1 && tables.stages.role[rows[0]] == Role::Prefill);
    found.filter_map(|(stage, rows)| of_stage(tables, stage, &rows)).collect()
}

/// How much longer a rank computes than the others do on average.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Slow {
    id: i32,
    ratio: f64,
    longer_ns: i64,
}

/// The slowest of some ranks over some requests.
fn slowest(tables: &Tables, ids: &[i32], requests: &[i32]) -> Option<Slow> {
    let of_row = compute(tables.chunks, requests);
    let own: Vec<(i64, i32)> = ids.iter().filter_map(|id| Some((*of_row.get(id)?, *id))).collect();
    let (ns, id) = own.iter().copied().max_by_key(|(ns, id)| (*ns, -*id))?;
    let others = i64::try_from(own.len().checked_sub(1)?).ok().filter(|others| *others > 0)?;
    let mean = (own.iter().map(|(ns, _)| ns).sum::<i64>() - ns) / others;
    Some(Slow { id, ratio: float(ns) / float(mean.max(1)), longer_ns: ns - mean })
}

fn of_stage(tables: &Tables, stage: i32, rows: &[usize]) -> Option<RuleFinding> {
    let ids: Vec<i32> = rows.iter().map(|row| tables.stages.stage_id[*row]).collect();
    let whole = whole_requests(tables, ids.len(), |id| ids.contains(&id));
    let slow = slowest(tables, &ids, &whole)?;
    let name = ranks::name(tables.stages, slow.id)?;
    let over = format!("over {} that every rank recorded whole", requests_in_words(&whole));
    let (code, mut text) = if slow.ratio < SLOWER {
        let text = format!(
            "Ranks of stage {stage} compute alike: the slowest, {name}, {:.0} % longer than the others ({over}).",
            (slow.ratio - 1.0) * 100.0
        );
        (Code::BalancedRanks, text)
    } else {
        let text = format!(
            "Rank {name} of stage {stage} is the slow rank: it computes {:.2} times as long as the others, {} longer ({over}); \
             their collectives wait for it.",
            slow.ratio,
            units::time(slow.longer_ns),
        );
        (Code::SlowRank, text)
    };
    // Ranks that take turns are even in all, and still wait for each other in each request.
    let in_one = whole.iter().filter_map(|request| Some((*request, slowest(tables, &ids, &[*request])?)));
    let most = in_one.max_by_key(|(request, slow)| (slow.longer_ns, -*request));
    if let Some((request, most)) = most.filter(|(_, most)| whole.len() > 1 && most.ratio >= SLOWER) {
        let rank = ranks::name(tables.stages, most.id)?;
        let _ = write!(
            text,
            " Most in request {request}: {rank} {} longer, {:.2} times.",
            units::time(most.longer_ns),
            most.ratio
        );
    }
    let list = |numbers: &[i32]| numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
    let row = Finding {
        stage_id: Some(slow.id),
        tables: "chunks,bubbles,stages".to_owned(),
        row_keys: format!("stage_id = {}", slow.id),
        query: format!(
            "SELECT stage_id, sum(compute_ns) AS compute_ns FROM chunks WHERE stage_id IN ({}) AND request IN ({}) GROUP BY \
             stage_id ORDER BY compute_ns DESC",
            list(&ids),
            list(&whole),
        ),
        confidence: share(whole.len(), tables.requests.len()),
        ..finding(code, Subject::Stage, text)
    };
    let on_path = (code == Code::SlowRank).then(|| OnPath {
        requests: whole.clone(),
        stage_ids: ids.clone(),
        categories: &[Category::Compute, Category::Collective],
    });
    Some(RuleFinding { row, concerns: Concerns::Requests(whole), on_path })
}

#[cfg(test)]
mod tests {
    use kvpath_schema::tables::derived::{Bubbles, Chunks, Requests, Stages};

    use super::*;
    use crate::findings::tests::Made;

    const MS: i64 = 1_000_000;

    /// Two ranks of one stage, and the time that each computes for a request.
    fn sentences(times: &[[i64; 2]]) -> Vec<String> {
        let stages = Stages {
            stage_id: vec![0, 1],
            stage: vec![0, 0],
            role: vec![Role::Prefill; 2],
            tp_rank: vec![Some(0), Some(1)],
            process_id: vec![5, 6],
            layers: vec![Some(12); 2],
            ..Stages::default()
        };
        let request: Vec<i32> = (0..).zip(times).flat_map(|(request, _)| [request; 2]).collect();
        let stage_id = [0, 1].repeat(times.len());
        let window_ns = vec![Some(100 * MS); request.len()];
        let bubbles = Bubbles { request: request.clone(), stage_id: stage_id.clone(), window_ns, ..Bubbles::default() };
        let compute_ns = times.concat().iter().map(|ms| ms * MS).collect();
        let chunks = Chunks { request, stage_id, compute_ns, ..Chunks::default() };
        let requests =
            Requests { request: (0..).zip(times).map(|(request, _)| request).collect(), ..Requests::default() };
        Made { stages, requests, chunks, bubbles, ..Made::default() }.sentences()
    }

    #[test]
    fn the_slow_rank_is_named_and_stages_are_not_said_to_be_balanced() {
        let found = sentences(&[[20, 30], [20, 22]]);
        let expected = "Rank TP 1 of stage 0 is the slow rank: it computes 1.30 times as long as the others, 12.0 ms longer (over 2 \
                        requests that every rank recorded whole); their collectives wait for it. Most in request 0: TP 1 10.0 ms \
                        longer, 1.50 times.";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn ranks_that_compute_alike_are_said_to() {
        let alike = "Ranks of stage 0 compute alike: the slowest, TP 0, 0 % longer than the others (over 2 requests that every rank \
                     recorded whole).";
        assert_eq!(sentences(&[[20, 20], [20, 20]]), [alike]);
        let found = sentences(&[[20, 30], [30, 20]]);
        assert_eq!(found, [format!("{alike} Most in request 0: TP 1 10.0 ms longer, 1.50 times.")]);
    }
}
