//! The `uneven` recording: 24 + 12 layers; cut short, which every answer must say.

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

use crate::report::{of, row, rows};

const UNEVEN: &str = "v1/uneven";

#[test]
fn stage_0_is_named_slower_and_its_layers_are_24_against_12() {
    let report = of(UNEVEN, &[]);
    for (stage, layers) in [(0, 24), (1, 12)] {
        assert_eq!(row(&report, "stages", &[("stage_id", stage)])["layers"], layers);
    }
    let finding = report["findings"][0].as_str().unwrap();
    assert!(finding.starts_with("Stage 0 is the slow stage") && finding.ends_with("24, 12."), "{finding}");
}

#[test]
fn layers_are_confirmed_by_the_decode_worker_but_not_where_the_recording_breaks_off() {
    let report = of(UNEVEN, &[]);
    let resolution = |row: &Value| row["layer_resolution"].as_str().map(str::to_owned);
    for chunk in report["chunks"].as_array().unwrap() {
        let key = ["request", "stage_id", "chunk"].map(|column| (column, chunk[column].as_i64().unwrap()));
        let usual = if chunk["stage_id"] == 0 { 24 } else { 12 };
        let said = if chunk["layers"] == usual { "layer" } else { "none" };
        let layers = rows(&report, "layers", &key);
        assert!(!layers.is_empty() && layers.iter().all(|row| resolution(row).as_deref() == Some(said)), "{chunk}");
    }
}

#[test]
fn all_seven_requests_are_there_and_six_say_that_they_lack_records() {
    let report = of(UNEVEN, &[]);
    let incomplete: Vec<_> =
        report["requests"].as_array().unwrap().iter().map(|r| r["incomplete"].as_bool().unwrap()).collect();
    assert_eq!(incomplete, [false, true, true, true, true, true, true]);
}

#[test]
fn a_hand_off_whose_copies_were_lost_has_no_rate_and_no_cause() {
    let report = of(UNEVEN, &[]);
    let handoff = row(&report, "handoffs", &[("request", 2), ("stage_id", 0)]);
    assert_eq!(handoff["finding"], "incomplete");
    assert!(handoff["rate_bytes_per_s"].is_null() && handoff["span_ns"].is_null(), "{handoff}");
}

#[test]
fn a_stage_that_lost_its_records_leaves_the_bubbles_of_all_unknown() {
    let report = of(UNEVEN, &[]);
    for (request, known) in [(1, true), (2, true), (3, false), (4, false)] {
        let bubble = row(&report, "bubbles", &[("request", request), ("stage_id", 0)]);
        assert_eq!(bubble["idle_ns"].is_i64(), known, "request {request}: {bubble}");
        assert_eq!(bubble["incomplete"], false, "stage 0 itself is whole");
    }
}

#[test]
fn check_says_that_both_stages_lost_their_last_seconds() {
    let outcome = kvpath().args(["check", "--json"]).arg(fixture(UNEVEN)).output().unwrap();
    assert_eq!(outcome.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let lost: Vec<&str> = found["lost"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    for (process, seconds, layers) in
        [("VLLM::Worker_PP0", "2.33 s", "6 of 24"), ("VLLM::Worker_PP1", "4.78 s", "5 of 12")]
    {
        let kernels = lost.iter().find(|l| l.contains(process) && l.contains("kernels end")).unwrap();
        assert!(kernels.contains(seconds) && kernels.contains(layers), "{kernels}");
    }
    // Where the records end, by the recording's own description: 215.7 s and 213.3 s.
    let coverage = found["coverage"].as_array().unwrap();
    for (process, end) in [("VLLM::Worker_PP0", 215.740), ("VLLM::Worker_PP1", 213.289)] {
        let kernels = coverage.iter().find(|c| c["process"] == process && c["table_name"] == "kernels").unwrap();
        let seconds = kernels["last_ns"].as_f64().unwrap() / 1e9;
        assert!((seconds - end).abs() < 0.001, "{seconds}");
    }
}

#[test]
fn check_finds_nothing_missing_in_the_whole_recording() {
    let out = kvpath().arg("check").arg(fixture("v1/even")).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stdout));
}
