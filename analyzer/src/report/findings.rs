//! Sentences that the tables justify; each says what it rests on, and none names a cause that the recording does not show.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kvpath_schema::table::Columns;
use kvpath_schema::tables::derived::Handoff;

use super::{title, units};
use kvpath_analysis::coverage;
use kvpath_analysis::model::Analysis;
use kvpath_analysis::number::float;

/// A stage this much slower than the mean of the others is named.
const SLOWER: f64 = 1.1;
/// The same bytes taking this many times as long are worth a sentence.
const NOTABLE: f64 = 2.0;
/// A scattered hand-off this much slower than the fastest scattered one is not explained by scattering alone.
const UNLIKE: f64 = 1.5;

/// All findings, the most useful first.
#[must_use]
pub fn of(analysis: &Analysis) -> Vec<String> {
    let mut findings = Vec::new();
    findings.extend(slow_stage(analysis));
    findings.extend(scattered(analysis));
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

/// The stage whose chunks compute longest, over the requests that every stage recorded whole. Chunks of a stage never
/// overlap, so nothing counts twice where requests do.
fn slow_stage(analysis: &Analysis) -> Option<String> {
    let (bubbles, chunks) = (&analysis.bubbles, &analysis.chunks);
    let prefill = (0..analysis.stages.len()).filter(|s| &*analysis.stages.role[*s] == "prefill").count();
    let mut stages_of: BTreeMap<i32, usize> = BTreeMap::new();
    for row in (0..bubbles.len()).filter(|row| bubbles.window_ns[*row].is_some()) {
        *stages_of.entry(bubbles.request[row]).or_default() += 1;
    }
    stages_of.retain(|_, stages| *stages == prefill);
    let mut sums: BTreeMap<i32, i64> = BTreeMap::new();
    for row in (0..chunks.len()).filter(|row| stages_of.contains_key(&chunks.request[*row])) {
        let sum = sums.entry(chunks.stage_id[row]).or_default();
        *sum = sum.saturating_add(chunks.compute_ns[row]);
    }
    let over = stages_of.len();
    if sums.len() < 2 {
        return None;
    }
    let (slow, ns) = sums.iter().max_by_key(|(stage, ns)| (**ns, -**stage))?;
    let others = sums.values().sum::<i64>() - ns;
    let mean = float(others) / float(i64::try_from(sums.len() - 1).ok()?);
    let ratio = float(*ns) / mean;
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

/// For each stage, the widest difference between hand-offs of the same bytes. Scattering explains what the fastest
/// scattered one took; where the slowest took longer still with as many pieces, that rest is said to be unexplained.
fn scattered(analysis: &Analysis) -> Vec<String> {
    let mut groups: BTreeMap<(i32, i64), Vec<Handoff>> = BTreeMap::new();
    let handoffs = &analysis.handoffs;
    for row in (0..handoffs.len()).filter(|row| handoffs.span_ns[*row].is_some()) {
        groups.entry((handoffs.stage_id[row], handoffs.bytes[row])).or_default().push(handoffs.row(row));
    }
    groups.into_iter().filter_map(|((stage, bytes), rows)| of_group(stage, bytes, &rows)).collect()
}

fn of_group(stage: i32, bytes: i64, rows: &[Handoff]) -> Option<String> {
    let of = |finding: &'static str| rows.iter().filter(move |handoff| &*handoff.finding == finding);
    let fast = of("contiguous").min_by_key(|h| h.span_ns)?;
    let slow = of("scattered").max_by_key(|h| h.span_ns)?;
    let least = of("scattered").min_by_key(|h| h.span_ns)?;
    let (fast_ns, slow_ns, least_ns) = (fast.span_ns?, slow.span_ns?, least.span_ns?);
    let times = |ns: i64| float(ns) / float(fast_ns.max(1));
    if times(slow_ns) < NOTABLE {
        return None;
    }
    let mut said = format!(
        "The same {} of stage {stage} took {} in {} {} (request {}) and {} in {} (request {}), {:.0} times as long, \
         because the KV blocks were scattered: they went in pieces of {}, and NIXL merges only neighbours.",
        units::bytes(bytes),
        units::time(fast_ns),
        units::or_dash(pieces(fast), units::count),
        if fast.copies.is_some() { "copies" } else { "descriptors" },
        fast.request,
        units::time(slow_ns),
        units::or_dash(pieces(slow), units::count),
        slow.request,
        times(slow_ns),
        units::or_dash(slow.piece_median_bytes, units::bytes),
    );
    if float(slow_ns) >= UNLIKE * float(least_ns) {
        let _ = write!(
            said,
            " Scattering alone accounts for {:.0} times: request {} took {} in {} pieces. What made request {} slower than \
             that, this recording does not show.",
            times(least_ns),
            least.request,
            units::time(least_ns),
            units::or_dash(pieces(least), units::count),
            slow.request,
        );
    }
    Some(said)
}

fn pieces(handoff: &Handoff) -> Option<i64> {
    handoff.copies.or(handoff.descriptors)
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
