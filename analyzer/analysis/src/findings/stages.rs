//! The stage whose chunks compute longest, over the requests that every stage recorded whole. Chunks of a stage never
//! overlap, so nothing counts twice where requests do.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::Role;
use kvpath_schema::tables::findings::{Code, Finding, Subject};

use super::size::OnPath;
use super::{Concerns, RuleFinding, Tables, finding, share};
use crate::number::float;
use crate::path::category::Category;
use crate::units;

/// A stage this much slower than the mean of the others is named.
const SLOWER: f64 = 1.1;

pub(super) fn of(tables: &Tables) -> Vec<RuleFinding> {
    found(tables).into_iter().collect()
}

fn found(tables: &Tables) -> Option<RuleFinding> {
    let (stages, chunks) = (tables.stages, tables.chunks);
    let prefill = (0..stages.len()).filter(|s| stages.role[*s] == Role::Prefill).count();
    let whole = whole_requests(tables, prefill);
    let mut sums: BTreeMap<i32, i64> = BTreeMap::new();
    for row in (0..chunks.len()).filter(|row| whole.binary_search(&chunks.request[*row]).is_ok()) {
        let sum = sums.entry(chunks.stage_id[row]).or_default();
        *sum = sum.saturating_add(chunks.compute_ns[row]);
    }
    if sums.len() < 2 {
        return None;
    }
    let (slow, ns) = sums.iter().max_by_key(|(stage, ns)| (**ns, -**stage))?;
    let others = sums.values().sum::<i64>() - ns;
    let mean = float(others) / float(i64::try_from(sums.len() - 1).ok()?);
    let ratio = float(*ns) / mean;
    let requests = if whole.len() == 1 { "1 request".to_owned() } else { format!("{} requests", whole.len()) };
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
            sums.keys().map(|stage| units::or_dash(layers(*stage), |layers| layers.to_string())).collect();
        let text = format!(
            "Stage {slow} is the slow stage: it computes {ratio:.2} times as long as the mean of the others (over {requests} \
             that every stage recorded whole); layers by stage: {}.",
            counts.join(", ")
        );
        (Code::SlowStage, text)
    };
    let row = Finding {
        stage_id: Some(*slow),
        tables: "chunks,bubbles,stages".to_owned(),
        row_keys: format!("stage_id = {slow}"),
        query: format!(
            "SELECT stage_id, sum(compute_ns) AS compute_ns FROM chunks WHERE request IN (SELECT request FROM bubbles WHERE \
             window_ns IS NOT NULL GROUP BY request HAVING count(*) = {prefill}) GROUP BY stage_id ORDER BY compute_ns DESC"
        ),
        confidence: share(whole.len(), tables.requests.len()),
        ..finding(code, Subject::Stage, text)
    };
    let on_path = (code == Code::SlowStage).then(|| OnPath {
        requests: whole.clone(),
        stage_id: *slow,
        categories: &[Category::Compute],
    });
    Some(RuleFinding { row, concerns: Concerns::Requests(whole), on_path })
}

/// The requests that all prefill stages recorded whole, in order.
fn whole_requests(tables: &Tables, prefill: usize) -> Vec<i32> {
    let bubbles = tables.bubbles;
    let mut stages_of: BTreeMap<i32, usize> = BTreeMap::new();
    for row in (0..bubbles.len()).filter(|row| bubbles.window_ns[*row].is_some()) {
        *stages_of.entry(bubbles.request[row]).or_default() += 1;
    }
    stages_of.into_iter().filter(|(_, stages)| *stages == prefill).map(|(request, _)| request).collect()
}
