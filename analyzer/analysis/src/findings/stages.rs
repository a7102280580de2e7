//! The stage whose chunks compute longest, over the requests that every stage recorded whole. Chunks of a stage never
//! overlap, so nothing counts twice where requests do. Ranks of one stage are not held against each other here but by
//! [`super::ranks`].

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Chunks, Role, Stages};
use kvpath_schema::tables::findings::{Code, Finding, Subject};

use super::size::OnPath;
use super::{Concerns, RuleFinding, Tables, finding, share};
use crate::number::float;
use crate::path::category::Category;
use crate::structure::ranks;
use crate::units;

/// A stage this much slower than the mean of the others is named.
pub(super) const SLOWER: f64 = 1.1;

pub(super) fn of(tables: &Tables) -> Vec<RuleFinding> {
    found(tables).into_iter().collect()
}

/// A stage, and how long it computed: as long as the slowest of its ranks, for which the others wait.
struct Computed {
    stage: i32,
    slowest: i32,
    ns: i64,
}

fn found(tables: &Tables) -> Option<RuleFinding> {
    let (stages, chunks) = (tables.stages, tables.chunks);
    let prefill = (0..stages.len()).filter(|s| stages.role[*s] == Role::Prefill).count();
    let whole = whole_requests(tables, prefill, |_| true);
    let of_row = compute(chunks, &whole);
    let slowest = |(stage, rows): (i32, Vec<usize>)| {
        let known = rows.iter().filter_map(|row| Some((*of_row.get(&stages.stage_id[*row])?, stages.stage_id[*row])));
        let (ns, slowest) = known.max_by_key(|(ns, id)| (*ns, -*id))?;
        Some(Computed { stage, slowest, ns })
    };
    let of_stage: Vec<Computed> = ranks::by_stage(stages).into_iter().filter_map(slowest).collect();
    if of_stage.len() < 2 {
        return None;
    }
    let Computed { stage: slow, slowest, ns } = of_stage.iter().max_by_key(|own| (own.ns, -own.stage))?;
    let others = of_stage.iter().map(|own| own.ns).sum::<i64>() - ns;
    let mean = float(others) / float(i64::try_from(of_stage.len() - 1).ok()?);
    let ratio = float(*ns) / mean;
    let requests = requests_in_words(&whole);
    let (code, text) = if ratio < SLOWER {
        let text = format!(
            "Stages are balanced: the slowest, stage {slow}, computes {:.0} % longer than the mean of the others (over \
             {requests} that every stage recorded whole).",
            (ratio - 1.0) * 100.0
        );
        (Code::BalancedStages, text)
    } else {
        let layers = |stage: i32| stages.stage_id.iter().position(|s| *s == stage).and_then(|s| stages.layers[s]);
        let counts: Vec<String> =
            of_stage.iter().map(|own| units::or_dash(layers(own.stage), |layers| layers.to_string())).collect();
        let text = format!(
            "Stage {slow} is the slow stage: it computes {ratio:.2} times as long as the mean of the others (over {requests} \
             that every stage recorded whole); layers by stage: {}.",
            counts.join(", ")
        );
        (Code::SlowStage, text)
    };
    let row = Finding {
        stage_id: Some(*slowest),
        tables: "chunks,bubbles,stages".to_owned(),
        row_keys: format!("stage_id = {slowest}"),
        query: format!(
            "SELECT stage_id, sum(compute_ns) AS compute_ns FROM chunks WHERE request IN (SELECT request FROM bubbles WHERE \
             window_ns IS NOT NULL GROUP BY request HAVING count(*) = {prefill}) GROUP BY stage_id ORDER BY compute_ns DESC"
        ),
        confidence: share(whole.len(), tables.requests.len()),
        ..finding(code, Subject::Stage, text)
    };
    let on_path = (code == Code::SlowStage).then(|| OnPath {
        requests: whole.clone(),
        stage_ids: ids_of(stages, *slow),
        categories: &[Category::Compute],
    });
    Some(RuleFinding { row, concerns: Concerns::Requests(whole), on_path })
}

/// Ids of the ranks of a stage.
fn ids_of(stages: &Stages, stage: i32) -> Vec<i32> {
    let rows = (0..stages.len()).filter(|row| stages.stage[*row] == stage);
    rows.map(|row| stages.stage_id[row]).collect()
}

/// The time that chunks of requests computed, by `stage_id`; the requests are in order.
pub(super) fn compute(chunks: &Chunks, requests: &[i32]) -> BTreeMap<i32, i64> {
    let mut sums: BTreeMap<i32, i64> = BTreeMap::new();
    for row in (0..chunks.len()).filter(|row| requests.binary_search(&chunks.request[*row]).is_ok()) {
        let sum = sums.entry(chunks.stage_id[row]).or_default();
        *sum = sum.saturating_add(chunks.compute_ns[row]);
    }
    sums
}

/// How many requests those are.
pub(super) fn requests_in_words(requests: &[i32]) -> String {
    if requests.len() == 1 { "1 request".to_owned() } else { format!("{} requests", requests.len()) }
}

/// The requests that as many of the stages that are asked for recorded whole as there are, in order.
pub(super) fn whole_requests(tables: &Tables, stages: usize, is_asked: impl Fn(i32) -> bool) -> Vec<i32> {
    let bubbles = tables.bubbles;
    let mut stages_of: BTreeMap<i32, usize> = BTreeMap::new();
    let rows = (0..bubbles.len()).filter(|row| bubbles.window_ns[*row].is_some());
    for row in rows.filter(|row| is_asked(bubbles.stage_id[*row])) {
        *stages_of.entry(bubbles.request[row]).or_default() += 1;
    }
    stages_of.into_iter().filter(|(_, own)| *own == stages).map(|(request, _)| request).collect()
}
