//! Sentences that the tables justify; each says what it rests on, and none names a cause that the recording does not show.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns;
use kvpath_schema::tables::derived::Handoff;

use super::{title, units};
use crate::analysis::{Analysis, coverage};

/// A stage this much slower than the mean of the others is named.
const SLOWER: f64 = 1.1;
/// The same bytes taking this many times as long are worth a sentence.
const NOTABLE: f64 = 2.0;
/// Piece counts this close should take about the same time.
const ALIKE: f64 = 0.1;
/// Spans of like piece counts further apart than this are unexplained.
const UNLIKE: f64 = 1.5;

/// All findings, the most useful first.
#[must_use]
pub fn of(analysis: &Analysis) -> Vec<String> {
    let mut findings = Vec::new();
    findings.extend(slow_stage(analysis));
    findings.extend(scattered(analysis));
    findings.extend(unexplained(analysis));
    findings.extend(slowest_post(analysis));
    findings
}

/// What the recording lacks.
#[must_use]
pub fn missing(analysis: &Analysis) -> Vec<String> {
    let coverage = &analysis.coverage;
    (0..coverage.len())
        .filter(|row| coverage.verdict[*row] != coverage::COMPLETE)
        .map(|row| {
            let (process, name) = (coverage.process_id[row], title::short(&coverage.process[row]));
            format!("process {process} ({name}), {}: {}", coverage.table_name[row], coverage.verdict[row])
        })
        .collect()
}

fn float(n: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "only compared and printed with three digits")]
    let n = n as f64;
    n
}

/// The stage whose compute is longest, over the requests that every prefill stage recorded whole.
fn slow_stage(analysis: &Analysis) -> Option<String> {
    let bubbles = &analysis.bubbles;
    let prefill = (0..analysis.stages.len()).filter(|s| &*analysis.stages.role[*s] == "prefill").count();
    let mut by_request: BTreeMap<i32, Vec<(i32, i64)>> = BTreeMap::new();
    for row in (0..bubbles.len()).filter(|row| !bubbles.incomplete[*row]) {
        by_request.entry(bubbles.request[row]).or_default().push((bubbles.stage_id[row], bubbles.compute_ns[row]));
    }
    by_request.retain(|_, stages| stages.len() == prefill);
    let mut sums: BTreeMap<i32, i64> = BTreeMap::new();
    for (stage, ns) in by_request.values().flatten() {
        *sums.entry(*stage).or_default() += ns;
    }
    if sums.len() < 2 {
        return None;
    }
    let (slow, ns) = sums.iter().max_by_key(|(stage, ns)| (**ns, -**stage))?;
    let others = sums.values().sum::<i64>() - ns;
    let mean = float(others) / float(i64::try_from(sums.len() - 1).ok()?);
    let ratio = float(*ns) / mean;
    let over = by_request.len();
    let requests = if over == 1 { "1 request".to_owned() } else { format!("{over} requests") };
    if ratio < SLOWER {
        return Some(format!(
            "Stages are balanced: the slowest, stage {slow}, computes {:.0} % longer than the mean of the others (over \
             {requests} that every stage recorded whole).",
            (ratio - 1.0) * 100.0
        ));
    }
    let layers =
        |stage: i32| analysis.stages.stage_id.iter().position(|s| *s == stage).and_then(|s| analysis.stages.layers[s]);
    let counts: Vec<String> =
        sums.keys().map(|stage| units::or_dash(layers(*stage), |layers| layers.to_string())).collect();
    Some(format!(
        "Stage {slow} is the slow stage: it computes {ratio:.2} times as long as the mean of the others (over {requests} \
         that every stage recorded whole); layers by stage: {}.",
        counts.join(", ")
    ))
}

/// For each stage, the widest difference between hand-offs of the same bytes.
fn scattered(analysis: &Analysis) -> Vec<String> {
    let mut groups: BTreeMap<(i32, i64), Vec<Handoff>> = BTreeMap::new();
    let handoffs = &analysis.handoffs;
    for row in (0..handoffs.len()).filter(|row| handoffs.span_ns[*row].is_some()) {
        groups.entry((handoffs.stage_id[row], handoffs.bytes[row])).or_default().push(handoffs.row(row));
    }
    let mut out = Vec::new();
    for ((stage, bytes), rows) in groups {
        let slow = rows.iter().filter(|h| &*h.finding == "scattered").max_by_key(|h| h.span_ns);
        let fast = rows.iter().filter(|h| &*h.finding == "contiguous").min_by_key(|h| h.span_ns);
        let (Some(slow), Some(fast)) = (slow, fast) else {
            continue;
        };
        let (Some(slow_ns), Some(fast_ns)) = (slow.span_ns, fast.span_ns) else {
            continue;
        };
        let times = float(slow_ns) / float(fast_ns.max(1));
        if times < NOTABLE {
            continue;
        }
        out.push(format!(
            "The same {} of stage {stage} took {} in {} {} (request {}) and {} in {} (request {}): {times:.0} times as \
             long, because the KV blocks were scattered and went in pieces of {}; NIXL merges only neighbours.",
            units::bytes(bytes),
            units::time(fast_ns),
            units::or_dash(pieces(fast), units::count),
            if fast.copies.is_some() { "copies" } else { "descriptors" },
            fast.request,
            units::time(slow_ns),
            units::or_dash(pieces(slow), units::count),
            slow.request,
            units::or_dash(slow.piece_median_bytes, units::bytes),
        ));
    }
    out
}

fn pieces(handoff: &Handoff) -> Option<i64> {
    handoff.copies.or(handoff.descriptors)
}

/// Scattered hand-offs of like size and pieces that took unlike times: the pieces do not explain the difference.
fn unexplained(analysis: &Analysis) -> Vec<String> {
    let handoffs = &analysis.handoffs;
    let mut by_stage: BTreeMap<(i32, i64), Vec<Handoff>> = BTreeMap::new();
    for row in (0..handoffs.len()).filter(|row| &*handoffs.finding[*row] == "scattered") {
        by_stage.entry((handoffs.stage_id[row], handoffs.bytes[row])).or_default().push(handoffs.row(row));
    }
    let mut out = Vec::new();
    for ((stage, _), mut rows) in by_stage {
        rows.sort_by_key(|h| h.span_ns);
        let (Some(fast), Some(slow)) = (rows.first(), rows.last()) else {
            continue;
        };
        let (Some(a), Some(b)) = (pieces(fast), pieces(slow)) else {
            continue;
        };
        let (Some(fast_ns), Some(slow_ns)) = (fast.span_ns, slow.span_ns) else {
            continue;
        };
        if float((a - b).abs()) > ALIKE * float(a.max(b)) || float(slow_ns) < UNLIKE * float(fast_ns) {
            continue;
        }
        out.push(format!(
            "On stage {stage}, requests {} and {} moved the same bytes in about as many pieces ({} and {}) but took {} and \
             {}: scattering does not explain that difference, and this recording does not show what does.",
            fast.request,
            slow.request,
            units::count(a),
            units::count(b),
            units::time(fast_ns),
            units::time(slow_ns),
        ));
    }
    out
}

/// The hand-off that took longest, where NIXL's calls were recorded: how much of it was inside the post call.
fn slowest_post(analysis: &Analysis) -> Option<String> {
    let handoffs = &analysis.handoffs;
    let known = (0..handoffs.len()).filter(|row| handoffs.post_ns[*row].is_some());
    let slowest = known
        .filter_map(|row| Some((handoffs.done_by_ns[row]? - handoffs.posted_ns[row]?, std::cmp::Reverse(row))))
        .max()?;
    let (ns, std::cmp::Reverse(row)) = slowest;
    let h = handoffs.row(row);
    let post = h.post_ns?;
    Some(format!(
        "The slowest hand-off, request {} from stage {}, took {} from post to completion seen; {} of it ({}) inside the post \
         call, {} descriptors.",
        h.request,
        h.stage_id,
        units::time(ns),
        units::time(post.min(ns)),
        units::share(float(post.min(ns)), float(ns)),
        units::or_dash(h.descriptors, units::count),
    ))
}
