//! A live recording of vLLM on H200s by eBPF alone: request ids, the parts of each hand-off, and its cause.

use crate::report::{near, of, row};

const LIVE: &str = "v1/vllm-live";

#[test]
fn requests_carry_the_ids_that_the_client_gave() {
    let report = of(LIVE, &[]);
    let ids: Vec<_> =
        report["requests"].as_array().unwrap().iter().map(|r| r["request_id"].as_str().unwrap()).collect();
    let expected = [
        "cmpl-req-0-1000-0",
        "cmpl-req-1-32000-0",
        "cmpl-req-2-32000-0",
        "cmpl-req-3-65000-0",
        "cmpl-req-4-32000-0",
        "cmpl-req-5-32000-0",
    ];
    assert_eq!(ids, expected);
    let regions: Vec<_> = report["stages"].as_array().unwrap().iter().map(|s| s["regions"].as_i64()).collect();
    assert_eq!(regions, [Some(18), Some(18), Some(36)]);
}

#[test]
fn the_same_bytes_in_scattered_blocks_take_40_times_as_long() {
    let report = of(LIVE, &[]);
    let handoff = |request| row(&report, "handoffs", &[("request", request), ("stage_id", 0)]);
    for (request, descriptors, finding, span_ms) in
        [(2, 34_884, "scattered", 471.0), (4, 36_000, "scattered", 141.0), (5, 18, "contiguous", 11.7)]
    {
        let h = handoff(request);
        assert_eq!((h["made_descriptors"].as_i64(), h["descriptors"].as_i64()), (Some(36_000), Some(descriptors)));
        assert_eq!((h["bytes"].as_i64(), h["finding"].as_str()), (Some(2_359_296_000), Some(finding)));
        near(&h["span_ns"], span_ms * 1e6, 0.01);
    }
    // Only the first 4,096 descriptors of the long lists were recorded: which layers the rest touch is not known.
    assert!(handoff(2)["regions"].is_null());
    assert_eq!(handoff(5)["regions"], 18);
    let missing = report["missing"].as_array().unwrap();
    assert!(missing[0].as_str().unwrap().contains("over the limit of 4096 a post"), "{missing:?}");
}

#[test]
fn each_part_of_a_hand_off_is_there_and_in_order() {
    let report = of(LIVE, &[]);
    for request in 0..6 {
        for stage in 0..2 {
            let h = row(&report, "handoffs", &[("request", request), ("stage_id", stage)]);
            let at = |column: &str| h[column].as_i64().unwrap_or_else(|| panic!("{column}: {h}"));
            assert!(at("ready_ns") < at("made_ns") && at("made_ns") + at("make_ns") <= at("posted_ns"), "{h}");
            assert!(at("posted_ns") <= at("done_after_ns") && at("done_after_ns") <= at("done_by_ns"), "{h}");
            // Decode is told when the data is there; the sender sees it at its next poll.
            assert!((at("notif_arrived_ns") - at("done_by_ns")).abs() < 100_000, "{h}");
        }
    }
}
