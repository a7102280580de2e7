//! The hand-off that took longest, where NIXL's calls were recorded: how much of it was inside the post call.

use std::cmp::Reverse;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::findings::{Code, Finding, Subject};

use super::size::OnPath;
use super::{Concerns, RuleFinding, Tables, finding, share};
use crate::number::float;
use crate::path::category::Category;
use crate::structure::ranks;
use crate::units;

pub(super) fn of(tables: &Tables) -> Vec<RuleFinding> {
    found(tables).into_iter().collect()
}

fn found(tables: &Tables) -> Option<RuleFinding> {
    let handoffs = tables.handoffs;
    let known: Vec<(i64, Reverse<usize>)> = (0..handoffs.len())
        .filter(|row| handoffs.post_ns[*row].is_some())
        .filter_map(|row| Some((handoffs.done_by_ns[row]? - handoffs.posted_ns[row]?, Reverse(row))))
        .collect();
    let (ns, Reverse(row)) = known.iter().max().copied()?;
    let h = handoffs.row(row);
    let post = h.post_ns?;
    let text = format!(
        "The slowest hand-off, request {} from {}, took {} from post to completion seen; {} of it ({}) inside the post \
         call, {} descriptors.",
        h.request,
        ranks::in_words(tables.stages, h.stage_id),
        units::time(ns),
        units::time(post.min(ns)),
        units::share(float(post.min(ns)), float(ns)),
        units::or_dash(h.descriptors, units::count),
    );
    let receiver = h.peer_process_id.map(|process| format!(" AND peer_process_id = {process}")).unwrap_or_default();
    let row = Finding {
        request: Some(h.request),
        stage_id: Some(h.stage_id),
        tables: "handoffs".to_owned(),
        row_keys: format!("stage_id = {} AND request = {}{receiver}", h.stage_id, h.request),
        query: "SELECT request, stage_id, done_by_ns - posted_ns AS post_to_done_ns, post_ns, descriptors FROM handoffs WHERE \
                post_ns IS NOT NULL AND done_by_ns IS NOT NULL ORDER BY post_to_done_ns DESC"
            .to_owned(),
        confidence: share(known.len(), handoffs.len()),
        ..finding(Code::SlowestPost, Subject::Transfer, text)
    };
    let on_path = OnPath { requests: vec![h.request], stage_ids: vec![h.stage_id], categories: &[Category::Post] };
    Some(RuleFinding { row, concerns: Concerns::Requests(vec![h.request]), on_path: Some(on_path) })
}
