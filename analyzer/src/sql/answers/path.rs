//! The queries of paths.

use kvpath_analysis::path::RunPaths;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::path::{Path, PathSegment};

use super::ask;

/// A segment: stage, category, time, confidence, margin.
type Segment = (i32, &'static str, i64, f64, Option<i64>);

/// Three requests of 100, 200 and 1000 ns, one segment after the other.
pub(super) fn found() -> RunPaths {
    let mut found = RunPaths::default();
    let requests: [&[Segment]; 3] = [
        &[(0, "compute", 60, 1.0, None), (0, "wire", 40, 0.7, Some(5))],
        &[(0, "compute", 50, 1.0, Some(30)), (1, "compute", 100, 1.0, Some(7)), (1, "wire", 50, 0.7, Some(7))],
        &[(1, "compute", 250, 1.0, None), (1, "host", 750, 0.5, Some(0))],
    ];
    for (request, segments) in (0i32..).zip(requests) {
        let ttft_ns = segments.iter().map(|(_, _, ns, ..)| ns).sum();
        let source_ns = i64::from(request) * 10_000;
        found.paths.push(Path {
            request,
            request_id: Some(format!("r{request}")),
            source_ns,
            end_ns: source_ns + ttft_ns,
            ttft_ns,
            source: "client".into(),
            sink: "decode_pass".into(),
            coverage: 1.0,
            segments: 2,
            ..Path::default()
        });
        let mut start_ns = source_ns;
        for (position, (stage, category, dur_ns, confidence, margin_ns)) in (0i32..).zip(segments) {
            found.segments.push(PathSegment {
                request,
                position,
                start_ns,
                dur_ns: *dur_ns,
                category: (*category).into(),
                kind: "gap".into(),
                gate: Some("stream_order".into()),
                method: Some("time".into()),
                confidence: *confidence,
                margin_ns: *margin_ns,
                is_explained: *confidence >= 0.9,
                stage_id: Some(*stage),
                chunk: Some(0),
                of_request: Some(request),
                process_id: Some(1),
                name: Some("k".into()),
                ..PathSegment::default()
            });
            start_ns += dur_ns;
        }
    }
    found
}

#[test]
fn the_median_request_and_the_slowest_stand_beside_each_other() {
    let rows =
        ["0,compute,50,0.25,0,0.0", "1,compute,100,0.5,250,0.25", "1,wire,50,0.25,0,0.0", "1,host,0,0.0,750,0.75"];
    assert_eq!(ask("path.by_stage", &[]), rows);
}

#[test]
fn a_path_is_told_from_its_arrival_on() {
    assert_eq!(
        ask("path.of_request", &[("request", "1")]),
        [
            "0,0,50,0.25,0,compute,0,,stream_order,30,k",
            "1,50,100,0.5,1,compute,0,,stream_order,7,k",
            "2,150,50,0.25,1,wire,0,,stream_order,7,k"
        ]
    );
    assert_eq!(ask("path.of_request", &[("request", "1"), ("least_ns", "51")]).len(), 1);
}

#[test]
fn guesses_are_summed_by_what_they_rest_on() {
    let host = "stream_order,time,0.5,host,1,1,750,0.5769230769230769";
    let wire = "stream_order,time,0.7,wire,2,2,90,0.06923076923076923";
    assert_eq!(ask("path.guesses", &[]), [host, wire]);
    assert_eq!(ask("path.guesses", &[("sure", "0.6")]), [host]);
}

#[test]
fn near_ties_come_first_and_short_ones_not_at_all() {
    let rows = ask("path.runner_up", &[("least_ns", "50"), ("rows", "3")]);
    assert_eq!(
        rows,
        ["2,1,1,host,750,stream_order,0,k", "1,1,1,compute,100,stream_order,7,k", "1,2,1,wire,50,stream_order,7,k"]
    );
}
