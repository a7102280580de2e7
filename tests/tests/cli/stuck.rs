//! What failed or was waited for in vain, on recordings of vLLM pairs on H200s in which that was made to happen.

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

use crate::report::{self, near};

/// Rows of `kvpath stuck`, and its exit code.
fn stuck(recording: &str) -> (Vec<Value>, Option<i32>) {
    let out = kvpath().args(["stuck", "--json"]).arg(fixture(recording)).output().expect("kvpath runs");
    let object: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    assert_eq!((&object["format"], &object["lost"]), (&"kvpath.stuck".into(), &Value::Array(Vec::new())));
    (object["stuck"].as_array().expect("a list").clone(), out.status.code())
}

fn kinds(rows: &[Value]) -> Vec<(&str, &str, i64)> {
    rows.iter()
        .map(|row| (row["kind"].as_str().unwrap(), row["cause"].as_str().unwrap(), row["request"].as_i64().unwrap()))
        .collect()
}

/// Decode was killed while it read (its client's log: at 986,492,590,918 ns), and one more request was sent.
#[test]
fn a_reader_that_was_killed() {
    let (rows, code) = stuck("v1/killed/pull");
    assert_eq!(code, Some(1));
    assert_eq!(kinds(&rows), [("pending", "own_ended", 3), ("no_transfer", "peer_ended", 4)]);
    assert_eq!((rows[0]["process_id"].as_i64(), rows[0]["peer_process_id"].as_i64()), (Some(17_809), Some(17_850)));
    let late = rows[0]["until_ns"].as_i64().unwrap() - 986_492_590_918;
    assert!((0..5_000_000).contains(&late), "{late} ns after the client killed it");
    // What it took with it: prefill, for UCX says that the other end of its connection is gone.
    assert!(
        rows[0]["text"].as_str().unwrap().contains("VLLM::EngineCore (17850) 3.12 ms later"),
        "{}",
        rows[0]["text"]
    );
    let handoff = report::of("v1/killed/pull", &[]);
    let handoff = report::row(&handoff, "handoffs", &[("request", 3)]);
    assert_eq!((&handoff["bytes"], &handoff["finding"]), (&0.into(), &"unfinished".into()));
}

/// Decode was killed while prefill wrote to it (at 1,124,783,895,103 ns).
#[test]
fn a_receiver_that_was_killed() {
    let (rows, code) = stuck("v1/killed/push");
    assert_eq!(code, Some(1));
    assert_eq!(kinds(&rows), [("failed", "peer_ended", 3), ("no_transfer", "peer_ended", 4)]);
    let text = rows[0]["text"].as_str().unwrap();
    assert!(text.contains("failed after 784 ms, inside the post: NIXL_ERR_REMOTE_DISCONNECT"), "{text}");
    let report = report::of("v1/killed/push", &[]);
    let handoff = report::row(&report, "handoffs", &[("request", 3)]);
    assert_eq!((&handoff["bytes"], &handoff["finding"]), (&0.into(), &"failed".into()));
    assert!(handoff["ready_ns"].is_i64(), "decode had registered it");
    near(&handoff["post_ns"], 784e6, 0.01);
    let findings = report["findings"].as_array().unwrap();
    assert!(findings[0].as_str().unwrap().starts_with("WRITE of 1.573 GB"), "{findings:?}");
}

/// Decode's process was stopped for 4.002 s by its client's clock, while it read over TCP.
#[test]
fn a_reader_that_was_stopped() {
    let (rows, code) = stuck("v1/frozen");
    assert_eq!((rows.len(), code), (0, Some(0)), "it came at last");
    let report = report::of("v1/frozen", &[]);
    let handoff = report::row(&report, "handoffs", &[("request", 1)]);
    near(&handoff["poll_off_ns"], 4.002e9, 0.01);
    assert!(handoff["poll_off"].as_str().unwrap().contains("stopped"), "{}", handoff["poll_off"]);
    let findings = report["findings"].as_array().unwrap();
    let named = findings.iter().filter(|text| text.as_str().unwrap().contains("did not run for 4.00 s")).count();
    assert_eq!(named, 1, "{findings:?}");
    for request in [0, 2] {
        assert!(report::row(&report, "handoffs", &[("request", request)])["poll_off_ns"].is_null());
    }
}

/// Its client asked decode 6 s after prefill; vLLM's log: "Releasing expired KV blocks for request cmpl-req-lease-1-8000-late-0-943a73cf".
#[test]
fn kv_that_was_pulled_after_its_lease() {
    let (rows, code) = stuck("v1/lease");
    assert_eq!(code, Some(1));
    let found = kinds(&rows);
    assert_eq!(
        found.iter().map(|(kind, cause, _)| (*kind, *cause)).collect::<Vec<_>>(),
        [("lease_over", "no_heartbeat"), ("no_transfer", "unknown")]
    );
    assert!(rows[0]["text"].as_str().unwrap().contains("(cmpl-req-lease-1-8000-late-0)"), "{}", rows[0]["text"]);
    assert!(rows[1]["text"].as_str().unwrap().contains("req-lease-4-4000-never"), "{}", rows[1]["text"]);
    // The pulls were in another order than the passes: its client's log tells.
    let report = report::of("v1/lease", &[]);
    let chunks: Vec<i64> =
        report["requests"].as_array().unwrap().iter().filter_map(|request| request["chunks"].as_i64()).collect();
    assert_eq!(chunks, [1, 1, 2, 1, 1, 1]);
}

/// Nothing of the kind is said of recordings in which nothing of the kind happened.
#[test]
fn whole_recordings_hold_nothing_stuck() {
    for recording in [
        "v1/vllm-full",
        "v1/sglang",
        "v1/sglang-moe",
        "v1/sglang-mooncake",
        "v1/pull",
        "v1/workload-gpu",
        "v1/small-chunks",
    ] {
        let out = kvpath().args(["stuck"]).arg(fixture(recording)).output().expect("kvpath runs");
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.starts_with("STUCK OR FAILED: 0"), "{recording}: {text}");
    }
}
