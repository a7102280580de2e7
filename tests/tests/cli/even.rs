//! The `even` recording: 18 + 18 layers, six requests one after another. Figures by its independent witness logs.

use crate::report::{near, of, row, rows};

const EVEN: &str = "v1/even";

#[test]
fn both_stages_run_18_layers_and_the_decode_worker_36() {
    let report = of(EVEN, &[]);
    let stages = report["stages"].as_array().unwrap();
    let facts: Vec<_> = stages
        .iter()
        .map(|s| (s["role"].as_str().unwrap(), s["pp_rank"].as_i64(), s["device_id"].as_i64(), s["layers"].as_i64()))
        .collect();
    let expected = [
        ("prefill", Some(0), Some(0), Some(18)),
        ("prefill", Some(1), Some(1), Some(18)),
        ("decode", None, Some(0), Some(36)),
    ];
    assert_eq!(facts, expected);
    for stage in stages {
        assert_eq!(stage["layers_method"], "kernel_sequence");
        assert!(stage["layers_confidence"].as_f64().unwrap() > 0.9, "{stage}");
    }
}

#[test]
fn six_requests_are_told_apart_by_activity_alone() {
    let report = of(EVEN, &[]);
    let requests = report["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 6);
    for request in requests {
        assert_eq!((request["method"].as_str(), request["request_id"].is_null()), (Some("activity"), true));
        assert_eq!((request["handoffs"].as_i64(), request["incomplete"].as_bool()), (Some(2), Some(false)));
    }
    let chunks: Vec<_> = requests.iter().map(|r| r["chunks"].as_i64().unwrap()).collect();
    assert_eq!(chunks, [1, 4, 4, 8, 4, 4]);
}

#[test]
fn request_1_computes_600_and_579_ms_and_waits_in_nccl_for_2_and_192() {
    let report = of(EVEN, &[]);
    for (stage, compute_ms, nccl_ms) in [(0, 600.0, 2.2), (1, 579.0, 192.0)] {
        let bubble = row(&report, "bubbles", &[("request", 1), ("stage_id", stage)]);
        near(&bubble["compute_ns"], compute_ms * 1e6, 0.02);
        near(&bubble["p2p_ns"], nccl_ms * 1e6, 0.05);
        assert_eq!((bubble["chunks"].as_i64(), bubble["layers"].as_i64()), (Some(4), Some(18)));
        let parts = bubble["compute_ns"].as_i64().unwrap() + bubble["idle_ns"].as_i64().unwrap();
        assert_eq!(bubble["window_ns"], parts, "compute and bubble fill the window to the ns");
    }
}

#[test]
fn every_chunk_has_18_layers_that_follow_each_other() {
    let report = of(EVEN, &[]);
    let chunks = rows(&report, "chunks", &[]);
    assert_eq!(chunks.len(), 2 * (1 + 4 + 4 + 8 + 4 + 4));
    for chunk in chunks {
        let key = ["request", "stage_id", "chunk"].map(|column| (column, chunk[column].as_i64().unwrap()));
        let layers = rows(&report, "layers", &key);
        assert_eq!((layers.len(), chunk["layers"].as_i64()), (18, Some(18)), "{key:?}");
        for pair in layers.windows(2) {
            let end = pair[0]["start_ns"].as_i64().unwrap() + pair[0]["dur_ns"].as_i64().unwrap();
            assert_eq!(pair[1]["start_ns"], end, "{key:?}");
        }
    }
}

#[test]
fn stage_0_hands_over_in_these_copies_bytes_and_spans() {
    let report = of(EVEN, &[]);
    let expected = [
        (18, 0.074, 2.4),
        (1_170, 2.359, 16.4),
        (34_884, 2.359, 399.0),
        (1_170, 4.793, 23.8),
        (36_000, 2.359, 151.0),
        (18, 2.359, 11.5),
    ];
    for (request, (copies, gb, span_ms)) in (0..).zip(expected) {
        let handoff = row(&report, "handoffs", &[("request", request), ("stage_id", 0)]);
        assert_eq!(handoff["copies"], copies);
        near(&handoff["bytes"], gb * 1e9, 0.01);
        near(&handoff["copy_span_ns"], span_ms * 1e6, 0.02);
    }
    let all: i64 = rows(&report, "handoffs", &[]).iter().map(|h| h["bytes"].as_i64().unwrap()).sum();
    assert_eq!(all, 2 * 14_304_411_648, "every peer copy belongs to a hand-off");
}

#[test]
fn the_report_says_that_scattered_blocks_cost_35_times() {
    let report = of(EVEN, &[]);
    let finding = report["findings"][1].as_str().unwrap();
    for words in ["2.359 GB", "11.5 ms in 18 copies", "399 ms in 34,884", "35 times", "scattered"] {
        assert!(finding.contains(words), "{finding}");
    }
    // And does not claim that scattering explains all of it: as many pieces took 151 ms in another request.
    assert!(finding.contains("accounts for 13 times"), "{finding}");
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().any(|f| f.as_str().unwrap().contains("this recording does not show")), "{findings:?}");
    assert_eq!(report["missing"].as_array().unwrap().len(), 0);
}

#[test]
fn against_nvlink_contiguous_blocks_reach_43_percent_and_scattered_ones_1() {
    let report = of(EVEN, &["--ceiling", "478"]);
    for (request, share) in [(5, 0.43), (2, 0.012)] {
        let handoff = row(&report, "handoffs", &[("request", request), ("stage_id", 0)]);
        assert_eq!(handoff["ceiling_method"], "given");
        let reached = handoff["rate_bytes_per_s"].as_f64().unwrap() / handoff["ceiling_bytes_per_s"].as_f64().unwrap();
        assert!((reached - share).abs() < 0.1 * share, "{reached}");
    }
}
