//! Hand-offs whose thread did not run for a large part of them, and so did not poll.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::findings::{Code, Finding, Subject};

use super::size::OnPath;
use super::{Concerns, RuleFinding, Tables, finding, share};
use crate::number::float;
use crate::path::category::Category;
use crate::structure::ranks;
use crate::units;

/// Of the time from post to completion; below it other things are larger.
const LARGE: f64 = 0.25;

pub(super) fn of(tables: &Tables) -> Vec<RuleFinding> {
    found(tables).into_iter().collect()
}

fn found(tables: &Tables) -> Option<RuleFinding> {
    let handoffs = tables.handoffs;
    let took = |row: usize| Some(handoffs.done_by_ns[row]? - handoffs.posted_ns[row]?);
    let known = (0..handoffs.len()).filter(|row| took(*row).is_some()).count();
    let mut rows: Vec<(i64, usize)> = (0..handoffs.len())
        .filter_map(|row| Some((handoffs.poll_off_ns[row]?, row)))
        .filter(|(off, row)| took(*row).is_some_and(|took| float(*off) >= LARGE * float(took)))
        .collect();
    rows.sort_by_key(|(off, row)| (std::cmp::Reverse(*off), *row));
    let (off, worst) = rows.first().copied()?;
    let (request, stage_id) = (handoffs.request[worst], handoffs.stage_id[worst]);
    let others = match rows.len() {
        1 => String::new(),
        2 => " Nor did that of another hand-off for a quarter or more of it.".to_owned(),
        n => format!(" Nor did those of {} others for a quarter or more of them.", n - 1),
    };
    let text = format!(
        "The thread that posted the hand-off of request {} from {} did not run for {} of the {} from there to completion seen ({}): it did not \
         look after it then.{others}",
        request,
        ranks::in_words(tables.stages, stage_id),
        units::time(off),
        units::time(took(worst)?),
        handoffs.poll_off[worst].as_deref().unwrap_or("off the CPU"),
    );
    let mut requests: Vec<i32> = rows.iter().map(|(_, row)| handoffs.request[*row]).collect();
    requests.sort_unstable();
    requests.dedup();
    let mut stage_ids: Vec<i32> = rows.iter().map(|(_, row)| handoffs.stage_id[*row]).collect();
    stage_ids.sort_unstable();
    stage_ids.dedup();
    let row = Finding {
        request: Some(request),
        stage_id: Some(stage_id),
        tables: "handoffs, sched".to_owned(),
        row_keys: format!("stage_id = {stage_id} AND request = {request}"),
        query: "SELECT request, stage_id, done_by_ns - posted_ns AS post_to_done_ns, poll_off_ns, poll_off FROM handoffs WHERE poll_off_ns \
                IS NOT NULL ORDER BY poll_off_ns DESC"
            .to_owned(),
        confidence: share(known, handoffs.len()),
        ..finding(Code::PollerOffCpu, Subject::Transfer, text)
    };
    let categories = &[Category::Wire, Category::Notify];
    let on_path = OnPath { requests: requests.clone(), stage_ids, categories };
    Some(RuleFinding { row, concerns: Concerns::Requests(requests), on_path: Some(on_path) })
}

#[cfg(test)]
mod tests {
    use kvpath_schema::tables::derived::Handoffs;

    use crate::findings::tests::Made;
    use crate::synthetic::MS;

    /// What is said of hand-offs of 100 ms whose threads were off for that many ms.
    fn said(off: &[Option<i64>]) -> Vec<String> {
        let requests: Vec<i32> = (0..).zip(off).map(|(request, _)| request).collect();
        let handoffs = Handoffs {
            stage_id: vec![0; off.len()],
            posted_ns: vec![Some(0); off.len()],
            done_by_ns: vec![Some(100 * MS); off.len()],
            poll_off_ns: off.iter().map(|ms| ms.map(|ms| ms * MS)).collect(),
            poll_off: off.iter().map(|ms| ms.map(|_| "stopped".into())).collect(),
            request: requests,
            ..Handoffs::default()
        };
        let made = Made { handoffs, ..Made::default() };
        super::of(&made.tables()).into_iter().map(|found| found.row.text).collect()
    }

    #[test]
    fn a_thread_that_did_not_run_for_a_large_part_is_named() {
        assert!(said(&[None, Some(24)]).is_empty(), "near miss");
        let one = said(&[None, Some(50)]);
        assert!(
            one[0].contains("request 1") && one[0].contains("50.0 ms of the 100 ms") && one[0].contains("stopped"),
            "{one:?}"
        );
        assert!(
            said(&[Some(30), Some(50)])[0].ends_with("Nor did that of another hand-off for a quarter or more of it.")
        );
    }
}
