//! Against logs written from inside the recorded programs, which the analyzer never sees.
//! Columns: see `tests/fixtures/PROVENANCE.md`.

use std::collections::BTreeMap;

use kvpath_tests::fixture;
use serde_json::Value;

use crate::report::{of, row, rows};

/// One engine step or NIXL call of the witness: start and end in ns, and the rest of the line.
struct WitnessCall {
    process: i64,
    what: String,
    start: i64,
    end: i64,
    rest: Vec<String>,
}

fn witness(recording: &str) -> Vec<WitnessCall> {
    let text = std::fs::read_to_string(fixture(&format!("witness/{recording}.tsv"))).unwrap();
    text.lines()
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            WitnessCall {
                process: cells[0].parse().unwrap(),
                what: cells[1].to_owned(),
                start: cells[2].parse().unwrap(),
                end: cells[3].parse().unwrap(),
                rest: cells[4..].iter().map(|cell| (*cell).to_owned()).collect(),
            }
        })
        .collect()
}

/// `cmpl-req-2-32000-…` is request 2.
fn number(id: &str) -> i64 {
    let rest = &id[id.find("req-").expect("a request id") + 4..];
    rest[..rest.find('-').expect("a request id")].parse().unwrap()
}

fn process_of(report: &Value, stage: i64) -> i64 {
    row(report, "stages", &[("stage_id", stage)])["process_id"].as_i64().unwrap()
}

#[test]
fn chunks_are_the_steps_that_the_engines_ran() {
    for recording in ["even", "vllm-full"] {
        chunks_are_steps(recording);
    }
}

fn chunks_are_steps(recording: &str) {
    let report = of(&format!("v1/{recording}"), &[]);
    let seen = witness(recording);
    let mut steps: BTreeMap<(i64, i64), Vec<i64>> = BTreeMap::new();
    for step in seen.iter().filter(|s| s.what == "step") {
        steps.entry((number(&step.rest[1]), step.process)).or_default().push(step.start);
    }
    for request in 0..6 {
        for stage in 0..2 {
            let chunks = rows(&report, "chunks", &[("request", request), ("stage_id", stage)]);
            let steps = &steps[&(request, process_of(&report, stage))];
            assert_eq!(chunks.len(), steps.len(), "request {request}, stage {stage}");
            // A step launches its chunk: no chunk's kernels begin before its step does.
            for (chunk, step) in chunks.iter().zip(steps) {
                assert!(chunk["start_ns"].as_i64().unwrap() > *step, "request {request}, stage {stage}: {chunk}");
            }
        }
    }
}

#[test]
fn posts_are_the_posts_and_copies_end_before_completion_was_polled() {
    for (recording, requests) in [("even", 6), ("uneven", 7), ("vllm-full", 6)] {
        let report = of(&format!("v1/{recording}"), &[]);
        let seen = witness(recording);
        for stage in 0..2 {
            let process = process_of(&report, stage);
            let calls = |what: &'static str| seen.iter().filter(move |s| s.process == process && s.what == what);
            let posts: Vec<&WitnessCall> = calls("post").collect();
            let makes: Vec<&WitnessCall> = calls("make").collect();
            let done: Vec<&WitnessCall> = calls("state").filter(|s| s.rest[2] == "DONE").collect();
            assert_eq!((posts.len(), makes.len(), done.len()), (requests, requests, requests));
            for request in 0..requests {
                let key = [("request", i64::try_from(request).unwrap()), ("stage_id", stage)];
                let handoff = row(&report, "handoffs", &key);
                let at = |column: &str| handoff[column].as_i64();
                // The witness wraps the Python call, the recording marks the C++ one inside it.
                let inside = |time: i64, call: &WitnessCall| (call.start..=call.end).contains(&time);
                assert!(inside(at("posted_ns").unwrap(), posts[request]), "{recording} {key:?}");
                assert!(inside(at("made_ns").unwrap(), makes[request]), "{recording} {key:?}");
                if let (Some(start), Some(span)) = (at("copy_start_ns"), at("copy_span_ns")) {
                    assert!(start > posts[request].start && start + span < done[request].end, "{recording} {key:?}");
                }
                if let Some(by) = at("done_by_ns") {
                    assert!(by <= done[request].end && by >= posts[request].start, "{recording} {key:?}");
                }
            }
        }
    }
}
