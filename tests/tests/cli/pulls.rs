//! A pull, and a push to a decode worker on a GPU that prefill uses too, against what a witness inside the programs logged of them:
//! the analyzer never sees it. Columns: see `tests/fixtures/PROVENANCE.md`.

use std::collections::BTreeMap;

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

/// Both recordings.
const RECORDINGS: [&str; 2] = ["pull", "shared-gpu"];

/// Rows of a query.
fn sql(recording: &str, query: &str) -> Vec<Value> {
    let run = fixture(&format!("v1/{recording}"));
    let out = kvpath().arg("sql").arg(run).args([query, "--format", "json"]).output().expect("kvpath runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

fn witness(recording: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(fixture(&format!("witness/{recording}.tsv"))).expect("the witness");
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// `b'cmpl-req-mla-0-2000-0-bfb7d0f5:1'` and `cmpl-req-mla-0-2000-0-bfb7d0f5:2000` are of `cmpl-req-mla-0-2000-0`.
fn request(text: &str) -> String {
    let text = text.trim_start_matches("b'");
    let id = &text[..text.rfind(':').expect("a count")];
    id[..id.rfind('-').expect("a suffix")].to_owned()
}

fn number(cell: &str) -> i64 {
    cell.parse().expect("a number")
}

/// Of each request: bytes and descriptors of what was made for it.
fn made(recording: &str) -> BTreeMap<String, (i64, i64)> {
    let mut found: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for line in witness(recording).iter().filter(|line| line[1] == "made") {
        let own = found.entry(request(&line[13])).or_default();
        (own.0, own.1) = (own.0 + number(&line[8]), own.1 + number(&line[10]));
    }
    found
}

#[test]
fn each_request_is_one_row_with_the_bytes_and_copies_that_were_made_for_it() {
    for recording in RECORDINGS {
        let rows = sql(
            recording,
            "SELECT r.request_id, r.state, r.handoff_bytes, sum(h.bytes) AS bytes, sum(h.copies) AS copies FROM requests r \
             JOIN handoffs h ON h.request = r.request GROUP BY 1, 2, 3",
        );
        let seen: BTreeMap<String, (i64, i64)> = rows
            .iter()
            .map(|row| {
                assert_eq!((&row["state"], &row["handoff_bytes"]), (&"done".into(), &row["bytes"]), "{recording}");
                let at = |column: &str| row[column].as_i64().expect("a number");
                (row["request_id"].as_str().expect("an id").to_owned(), (at("bytes"), at("copies")))
            })
            .collect();
        // NIXL merged neighbours, and UCX copied each of what was left at once.
        assert_eq!(seen, made(recording), "{recording}");
        let requests = sql(recording, "SELECT request FROM requests");
        assert_eq!(requests.len(), seen.len(), "{recording}: no other requests");
    }
}

#[test]
fn nothing_of_them_is_called_lost() {
    for recording in RECORDINGS {
        let out = kvpath().arg("check").arg(fixture(&format!("v1/{recording}"))).output().expect("kvpath runs");
        assert!(out.status.success(), "{recording}: {}", String::from_utf8_lossy(&out.stdout));
    }
}

#[test]
fn requests_begin_after_they_were_sent_and_in_the_step_that_computed_them() {
    for recording in RECORDINGS {
        let mut steps: BTreeMap<String, i64> = BTreeMap::new();
        for line in witness(recording).iter().filter(|line| line[1] == "step") {
            let start = steps.entry(request(&line[5])).or_insert(i64::MAX);
            *start = number(&line[2]).min(*start);
        }
        let rows = sql(recording, "SELECT request_id, sent_ns, start_ns FROM requests");
        assert_eq!(rows.len(), steps.len());
        for row in rows {
            let at = |column: &str| row[column].as_i64().expect("a time");
            let step = steps[row["request_id"].as_str().expect("an id")];
            assert!(at("sent_ns") < step && step < at("start_ns"), "{recording} {row}");
        }
    }
}

#[test]
fn prefill_is_on_the_path_and_who_meets_for_the_first_time_shakes_hands() {
    for recording in RECORDINGS {
        let paths = sql(
            recording,
            "SELECT p.request, r.prefill_end_ns, c.category, c.gate, c.start_ns, c.dur_ns, s.role FROM paths p \
             JOIN requests r ON r.request = p.request JOIN critical_path c ON c.request = p.request \
             LEFT JOIN stages s ON s.stage_id = c.stage_id ORDER BY p.request, c.position",
        );
        for number in 0..2 {
            let own = || paths.iter().filter(|row| row["request"] == number);
            let prefill_end = own().next().expect("a path")["prefill_end_ns"].as_i64().expect("a time");
            // Up to its end the path is prefill's.
            let other = own().filter(|row| row["role"] != "prefill" && row["start_ns"].as_i64() < Some(prefill_end));
            assert_eq!(other.count(), 0, "{recording} {number}");
            let done = own().filter(|row| row["gate"] == "prefill_done" && row["start_ns"] == prefill_end);
            assert_eq!(done.count(), 1, "{recording} {number}");
            let handshake = own().filter(|row| row["category"] == "handshake").count();
            assert_eq!(handshake > 0, number == 0, "{recording} {number}");
        }
    }
}

#[test]
fn sizes_of_copies_are_those_of_the_process_that_copied() {
    for recording in RECORDINGS {
        let run = fixture(&format!("v1/{recording}"));
        let out = kvpath()
            .arg("sql")
            .arg(run)
            .args(["handoffs.copy_sizes", "--format", "json"])
            .output()
            .expect("kvpath runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).expect("JSON is UTF-8");
        let mut seen: BTreeMap<i64, i64> = BTreeMap::new();
        for row in text.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object a line")) {
            *seen.entry(row["request"].as_i64().expect("a number")).or_default() +=
                row["bytes"].as_i64().expect("a number");
        }
        let peers =
            "SELECT request, sum(bytes) AS bytes FROM handoffs WHERE NOT same_gpu GROUP BY request ORDER BY request";
        for row in sql(recording, peers) {
            let request = row["request"].as_i64().expect("a number");
            assert_eq!(seen.get(&request), row["bytes"].as_i64().as_ref(), "{recording}, request {request}");
        }
    }
}
