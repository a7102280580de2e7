//! Prefill and decode with two tensor-parallel ranks each time, against what a witness inside the programs logged of them: the analyzer
//! never sees it. Columns: see `tests/fixtures/PROVENANCE.md`.

use std::collections::BTreeMap;

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

/// Both recordings.
const RECORDINGS: [&str; 2] = ["decode-tp", "prefill-tp"];

fn said(recording: &str, arguments: &[&str]) -> String {
    let run = fixture(&format!("v1/{recording}"));
    let out = kvpath().arg(arguments[0]).arg(run).args(&arguments[1..]).output().expect("kvpath runs");
    assert!(out.status.success(), "{recording}: {}{}", text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn sql(recording: &str, query: &str) -> Vec<Value> {
    let rows = said(recording, &["sql", query, "--format", "json"]);
    rows.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// What the witness says of one kind, by process and handle.
fn witness(recording: &str, kind: &str) -> BTreeMap<(i64, i64), Vec<String>> {
    let text = std::fs::read_to_string(fixture(&format!("witness/{recording}.tsv"))).expect("the witness");
    let lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let own = lines.filter(|line| line[1] == kind);
    own.map(|line| ((line[0].parse().expect("a process"), line[5].parse().expect("a handle")), line)).collect()
}

#[test]
fn each_rank_that_hands_over_or_receives_has_the_bytes_and_copies_that_were_made_for_it() {
    for recording in RECORDINGS {
        let made = witness(recording, "made");
        let rows = sql(
            recording,
            "SELECT h.*, t.handle, r.handoffs FROM handoffs h JOIN transfer_joins j ON j.stage_id = h.stage_id AND j.process_id = \
             h.peer_process_id JOIN nixl_transfers t ON t.transfer_id = j.transfer_id JOIN requests r ON r.request = h.request",
        );
        assert_eq!(rows.len(), made.len(), "{recording}");
        for row in &rows {
            let number = |column: &str| row[column].as_i64().expect("a number");
            let line = &made[&(number("peer_process_id"), number("handle"))];
            assert_eq!(row["bytes"].to_string(), line[8], "{recording}");
            // UCX copied each descriptor at once.
            assert_eq!(
                (row["descriptors"].to_string(), row["copies"].to_string()),
                (line[7].clone(), line[10].clone())
            );
            assert_eq!((&row["way"], &row["completeness"]), (&"pull".into(), &"complete".into()), "{recording}");
            // Each rank's GPU is another one, and the other side's is one of them.
            assert!(row["same_gpu"].is_boolean());
            assert_eq!(row["handoffs"], 1, "{recording}: it is one stage");
        }
        let ways: Vec<bool> = rows.iter().filter_map(|row| row["same_gpu"].as_bool()).collect();
        assert!(ways.contains(&true) && ways.contains(&false), "{recording}: {ways:?}");
    }
}

#[test]
fn ranks_of_a_stage_are_one_stage() {
    for (recording, stages) in [("decode-tp", [0, 1, 1]), ("prefill-tp", [0, 0, 2])] {
        let rows = sql(recording, "SELECT stage, stage_id, role, tp_rank FROM stages ORDER BY stage_id");
        assert_eq!(rows.iter().map(|row| row["stage"].clone()).collect::<Vec<_>>(), stages, "{recording}");
        assert!(sql(recording, "SELECT * FROM findings WHERE code LIKE '%_stage%'").is_empty(), "{recording}");
    }
    let ranks = sql("prefill-tp", "SELECT text FROM findings WHERE code = 'balanced_ranks'");
    assert_eq!(ranks.len(), 1);
}

#[test]
fn decode_begins_when_its_last_rank_has_its_kv() {
    let done = witness("decode-tp", "state").into_values().map(|line| line[3].parse::<i64>().expect("a time")).max();
    let request = &sql("decode-tp", "SELECT handoff_end_ns, decode_start_ns FROM requests")[0];
    let began = request["decode_start_ns"].as_i64().expect("decode began");
    assert!(done.expect("it was done") < began && request["handoff_end_ns"].as_i64() < Some(began));
}

#[test]
fn collectives_end_when_all_ranks_have_begun_them() {
    let waits = sql(
        "prefill-tp",
        "SELECT count(*) AS n FROM critical_path WHERE gate = 'peer_started' AND category = 'collective' AND method = 'count'",
    );
    let all = sql(
        "decode-tp",
        "SELECT count(*) AS n FROM critical_path WHERE gate = 'peer_started' AND category = 'collective'",
    );
    assert!(waits[0]["n"].as_i64().is_some() && all[0]["n"].as_i64() > Some(0), "{waits:?} {all:?}");
}

#[test]
fn the_report_says_how_it_is_parallel() {
    let line = |recording: &str| said(recording, &["report"]).lines().nth(2).expect("a third line").to_owned();
    assert_eq!(line("decode-tp"), "prefill 1 worker, decode TP 2; hand-off by pull");
    assert_eq!(line("prefill-tp"), "prefill TP 2, decode 1 worker; hand-off by pull");
}
