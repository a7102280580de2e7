//! Heartbeats that name none of the requests that were handed over: they keep no KV, and its lease runs out.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::findings::{Code, Finding, Subject};

use super::{Concerns, RuleFinding, Tables, finding};
use crate::structure::ranks;
use crate::units;

/// So many ids, none of which is known, are no accident of one that was not handed over yet.
const IDS: usize = 2;

pub(super) fn of(tables: &Tables) -> Vec<RuleFinding> {
    let heartbeats = tables.heartbeats;
    let mut by_sender: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for row in 0..heartbeats.len() {
        if let Some(process) = heartbeats.process_id[row] {
            by_sender.entry(process).or_default().push(row);
        }
    }
    by_sender.into_iter().filter_map(|(process, rows)| of_sender(tables, process, &rows)).collect()
}

/// One that is known shows that ids agree; then the others may be of requests that were under way at an end of the recording.
fn of_sender(tables: &Tables, process: i64, rows: &[usize]) -> Option<RuleFinding> {
    let heartbeats = tables.heartbeats;
    let mut ids: Vec<&str> = rows.iter().map(|row| heartbeats.request_id[*row].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let is_named = |row: &usize| tables.requests.request_id[*row].is_some();
    let named = (0..tables.requests.len()).filter(is_named).count();
    if ids.len() < IDS || named < IDS || rows.iter().any(|row| heartbeats.request[*row].is_some()) {
        return None;
    }
    let stage = tables.stages.process_id.iter().position(|own| *own == process);
    let sender = stage.map_or_else(
        || format!("process {process}"),
        |row| ranks::in_words(tables.stages, tables.stages.stage_id[row]),
    );
    let text = format!(
        "Heartbeats of {sender} name {} ids, such as {}, and none is that of one of the {} requests that have ids here: whoever holds \
         KV by those of requests keeps none for them.",
        units::count(i64::try_from(ids.len()).unwrap_or(i64::MAX)),
        ids[0],
        units::count(i64::try_from(named).unwrap_or(i64::MAX)),
    );
    let row_keys = format!("process_id = {process}");
    let row = Finding {
        process_id: Some(process),
        tables: "heartbeats, requests".to_owned(),
        query: format!("SELECT request_id, request, sent, arrived, longest_gap_ns FROM heartbeats WHERE {row_keys}"),
        row_keys,
        ..finding(Code::UnknownHeartbeats, Subject::Process, text)
    };
    Some(RuleFinding { row, concerns: Concerns::Any, on_path: None })
}

#[cfg(test)]
mod tests {
    use kvpath_schema::tables::heartbeats::Heartbeats;

    use super::super::tests::Made;

    fn sentences(beats: &[(&str, Option<i32>)], requests: &[&str]) -> Vec<String> {
        let mut made = Made::default();
        for (id, request) in beats {
            made.heartbeats.request_id.push((*id).to_owned());
            made.heartbeats.request.push(*request);
            made.heartbeats.process_id.push(Some(9));
        }
        let count = beats.len();
        made.heartbeats = Heartbeats {
            peer: vec![None; count],
            peer_process_id: vec![None; count],
            sent: vec![1; count],
            arrived: vec![1; count],
            first_ns: vec![0; count],
            last_ns: vec![0; count],
            longest_gap_ns: vec![None; count],
            ..made.heartbeats
        };
        made.requests.request = (0..).zip(requests).map(|(number, _)| number).collect();
        made.requests.request_id = requests.iter().map(|id| Some((*id).to_owned())).collect();
        made.sentences()
    }

    #[test]
    fn heartbeats_that_name_none_of_the_requests_are_said_to() {
        let expected = "Heartbeats of process 9 name 2 ids, such as 5f, and none is that of one of the 3 requests that have ids here: \
                        whoever holds KV by those of requests keeps none for them.";
        assert_eq!(sentences(&[("5f", None), ("6f", None), ("6f", None)], &["cmpl-1", "cmpl-2", "cmpl-3"]), [expected]);
    }

    #[test]
    fn one_that_is_known_or_one_alone_says_nothing_of_the_others() {
        assert_eq!(sentences(&[("cmpl-1", Some(0)), ("6f", None), ("7f", None)], &["cmpl-1", "cmpl-2"]), [""; 0]);
        assert_eq!(sentences(&[("5f", None)], &["cmpl-1", "cmpl-2"]), [""; 0]);
        assert_eq!(sentences(&[("5f", None), ("6f", None)], &["cmpl-1"]), [""; 0]);
    }
}
