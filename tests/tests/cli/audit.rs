//! Paths of recordings of real engines, held against what the GPUs alone say.

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

/// A row of `paths`.
struct Row {
    request: i64,
    agreement: f64,
    judged_ms: f64,
}

/// The requests of which more than 20 ms can be judged: of the first ones the recording begins in the middle, or they warm up.
fn judged(recording: &str) -> Vec<Row> {
    let query = "SELECT request, agreement, judged_ns FROM paths WHERE agreement IS NOT NULL ORDER BY request";
    let run = fixture(&format!("v1/{recording}"));
    let out = kvpath().arg("sql").arg(run).args([query, "--format", "json"]).output().expect("kvpath runs");
    let rows = String::from_utf8(out.stdout).unwrap();
    let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let row = |row: Value| Row {
        request: row["request"].as_i64().unwrap(),
        agreement: row["agreement"].as_f64().unwrap(),
        judged_ms: row["judged_ns"].as_f64().unwrap() / 1e6,
    };
    rows.map(row).filter(|row| row.judged_ms > 20.0).collect()
}

#[test]
fn paths_are_where_one_stage_alone_computed() {
    for (recording, requests) in [("vllm-full", 5), ("sglang", 3), ("workload-gpu", 4), ("taken", 4)] {
        let rows = judged(recording);
        assert_eq!(rows.len(), requests, "{recording}");
        for Row { request, agreement, judged_ms } in rows {
            assert!(agreement >= 0.99, "{recording}, request {request}: {agreement} of {judged_ms} ms");
        }
    }
}
