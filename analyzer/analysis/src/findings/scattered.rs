//! For each stage and receiver, the widest difference between hand-offs of the same bytes: another receiver may be reached another way. Scattering explains what the fastest
//! scattered one took; where the slowest took longer still with as many pieces, that rest is said to be unexplained.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Cause, Handoff};
use kvpath_schema::tables::findings::{Code, Finding, Subject};

use super::size::OnPath;
use super::{Concerns, RuleFinding, Tables, finding, share};
use crate::number::float;
use crate::path::category::Category;
use crate::structure::ranks;
use crate::units;

/// The same bytes taking this many times as long are worth a sentence.
const NOTABLE: f64 = 2.0;
/// A scattered hand-off this much slower than the fastest scattered one is not explained by scattering alone.
const UNLIKE: f64 = 1.5;

pub(super) fn of(tables: &Tables) -> Vec<RuleFinding> {
    let mut groups: BTreeMap<(i32, Option<i64>, i64), Vec<Handoff>> = BTreeMap::new();
    let handoffs = tables.handoffs;
    let mut of_stage: BTreeMap<i32, (usize, usize)> = BTreeMap::new();
    for row in 0..handoffs.len() {
        let (all, timed) = of_stage.entry(handoffs.stage_id[row]).or_default();
        *all += 1;
        if handoffs.span_ns[row].is_some() {
            *timed += 1;
            let ends = (handoffs.stage_id[row], handoffs.peer_process_id[row]);
            groups.entry((ends.0, ends.1, handoffs.bytes[row])).or_default().push(handoffs.row(row));
        }
    }
    let found = groups.into_iter().filter_map(|((stage, _, bytes), rows)| {
        let mut found = of_group(tables, stage, bytes, &rows)?;
        let (all, timed) = of_stage[&stage];
        found.row.confidence = share(timed, all);
        Some(found)
    });
    found.collect()
}

fn of_group(tables: &Tables, stage: i32, bytes: i64, rows: &[Handoff]) -> Option<RuleFinding> {
    let of = |cause| rows.iter().filter(move |handoff| handoff.cause == cause);
    let fast = of(Cause::Contiguous).min_by_key(|h| h.span_ns)?;
    let slow = of(Cause::Scattered).max_by_key(|h| h.span_ns)?;
    let least = of(Cause::Scattered).min_by_key(|h| h.span_ns)?;
    let (fast_ns, slow_ns, least_ns) = (fast.span_ns?, slow.span_ns?, least.span_ns?);
    let times = |ns: i64| float(ns) / float(fast_ns.max(1));
    if times(slow_ns) < NOTABLE {
        return None;
    }
    let mut text = format!(
        "The same {} of {} took {} in {} {} (request {}) and {} in {} (request {}), {:.0} times as long, \
         because the KV blocks were scattered: they went in pieces of {}, and NIXL merges only neighbours.",
        units::bytes(bytes),
        ranks::in_words(tables.stages, stage),
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
    let is_unexplained = float(slow_ns) >= UNLIKE * float(least_ns);
    if is_unexplained {
        let _ = write!(
            text,
            " Scattering alone accounts for {:.0} times: request {} took {} in {} pieces. What made request {} slower than \
             that, this recording does not show.",
            times(least_ns),
            least.request,
            units::time(least_ns),
            units::or_dash(pieces(least), units::count),
            slow.request,
        );
    }
    let mut named = vec![fast.request, slow.request];
    named.extend(is_unexplained.then_some(least.request));
    named.sort_unstable();
    named.dedup();
    let list: Vec<String> = named.iter().map(i32::to_string).collect();
    let receiver = fast.peer_process_id.map(|process| format!(" AND peer_process_id = {process}")).unwrap_or_default();
    let row = Finding {
        request: Some(slow.request),
        stage_id: Some(stage),
        tables: "handoffs".to_owned(),
        row_keys: format!("stage_id = {stage}{receiver} AND request IN ({})", list.join(", ")),
        query: format!(
            "SELECT request, span_ns, coalesce(copies, descriptors) AS pieces, piece_median_bytes, cause FROM handoffs WHERE \
             stage_id = {stage}{receiver} AND bytes = {bytes} AND span_ns IS NOT NULL ORDER BY span_ns DESC"
        ),
        ..finding(Code::ScatteredHandoff, Subject::Transfer, text)
    };
    let on_path = OnPath {
        requests: vec![slow.request],
        stage_ids: vec![stage],
        categories: &[Category::Make, Category::Post, Category::Wire],
    };
    Some(RuleFinding { row, concerns: Concerns::Requests(named), on_path: Some(on_path) })
}

fn pieces(handoff: &Handoff) -> Option<i64> {
    handoff.copies.or(handoff.descriptors)
}
