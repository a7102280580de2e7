use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{LayerMethod, LayersCheck, Role, Stage as Row, StageMethod};

use super::*;
use crate::timeline::{LaneId, LaneKind};

const MS: i64 = 1_000_000;

fn stage(stage_id: i32, process_id: i64, (pp_rank, tp_rank): (i32, Option<i32>)) -> Row {
    Row {
        stage_id,
        stage: stage_id,
        role: Role::Prefill,
        pp_rank: Some(pp_rank),
        tp_rank,
        process_id,
        device_id: None,
        name: String::new(),
        kernels: 0,
        method: StageMethod::Title,
        regions: None,
        layers: None,
        layers_method: LayerMethod::None,
        layers_confidence: 0.0,
        kv_regions: None,
        regions_per_layer: None,
        layers_check: LayersCheck::Unknown,
        layer_median_ns: None,
    }
}

fn stream(process: i64) -> LaneId {
    LaneId { process, kind: LaneKind::Stream { context: 1, stream: 7 } }
}

/// Two stages, of which the first computes until 10 ms and the second from 8 to 20 ms, beside a message.
fn audit() -> Audit {
    let mut timeline = Timeline::default();
    for (process, name, span) in [
        (1, "gemm", (0, 4 * MS)),
        (1, "gemm", (4 * MS + 5_000, 10 * MS)),
        (2, "ncclDevKernel_SendRecv", (0, 8 * MS)),
        (2, "gemm", (8 * MS, 20 * MS)),
    ] {
        timeline.add_kernel(stream(process), 0, name, (span.0, span.1, 1 + span.0));
    }
    let mut table = Stages::default();
    table.push(stage(0, 1, (0, None)));
    table.push(stage(1, 2, (1, None)));
    Audit::of(&timeline, &NixlTransfers::default(), &table)
}

fn segment(process: i64, category: &str, (start, end): Span) -> PathSegment {
    PathSegment {
        start_ns: start,
        dur_ns: end - start,
        category: category.into(),
        method: Some("order".into()),
        confidence: 1.0,
        is_explained: true,
        process_id: Some(process),
        ..PathSegment::default()
    }
}

fn path() -> Path {
    Path { source_ns: 0, end_ns: 20 * MS, ttft_ns: 20 * MS, ..Path::default() }
}

#[test]
fn a_path_on_the_stage_that_computes_alone_agrees() {
    let mut rows = vec![segment(1, "compute", (0, 9 * MS)), segment(2, "compute", (9 * MS, 20 * MS))];
    let before = rows.clone();
    let mut path = path();
    assert!(!audit().judge(&mut path, &mut rows, &[]));
    assert_eq!((path.agreement, path.judged_ns, path.disputed_from_ns), (Some(1.0), 18 * MS, None));
    assert_eq!(rows, before);
}

#[test]
fn a_path_elsewhere_says_nothing_there() {
    let mut rows = vec![
        segment(2, "host", (0, 3 * MS)),
        segment(1, "compute", (3 * MS, 9 * MS)),
        segment(2, "compute", (9 * MS, 20 * MS)),
    ];
    let mut path = path();
    assert!(audit().judge(&mut path, &mut rows, &[]));
    assert_eq!(path.agreement.map(|share| share < 0.84 && share > 0.83), Some(true));
    let disputed = (path.disputed_from_ns, path.disputed_to_ns, path.disputed_stage_id);
    assert_eq!(disputed, (Some(0), Some(3 * MS), Some(0)));
    let found: Vec<_> = rows.iter().map(|row| (&*row.category, row.method.as_deref(), row.is_explained)).collect();
    let stays = ("compute", Some("order"), true);
    assert_eq!(found, [("unexplained", Some("withdrawn"), false), stays, stays]);
    // While both compute, either may be what is waited for.
    let mut both = vec![segment(1, "compute", (0, 8 * MS)), segment(2, "compute", (8 * MS, 20 * MS))];
    assert!(!audit().judge(&mut self::path(), &mut both, &[]));
}

#[test]
fn segments_are_cut_where_the_path_goes_wrong() {
    let mut rows = vec![segment(1, "compute", (0, 15 * MS)), segment(2, "compute", (15 * MS, 20 * MS))];
    let mut path = path();
    assert!(audit().judge(&mut path, &mut rows, &[]));
    let found: Vec<_> = rows.iter().map(|row| (row.start_ns / MS, row.dur_ns / MS, &*row.category)).collect();
    assert_eq!(found, [(0, 10, "compute"), (10, 5, "unexplained"), (15, 5, "compute")]);
    assert_eq!(path.disputed_stage_id, Some(1));
}

#[test]
fn a_recorded_message_may_be_late_while_a_stage_computes_ahead() {
    let mut rows = vec![segment(2, "p2p", (0, 9 * MS)), segment(2, "compute", (9 * MS, 20 * MS))];
    let before = rows.len();
    let mut path = path();
    audit().judge(&mut path, &mut rows, &[]);
    assert_eq!(path.agreement.map(|share| share < ENOUGH), Some(true), "it is said all the same");
    assert!(rows.len() >= before && rows.iter().all(|row| row.is_explained), "{rows:?}");
}

#[test]
fn nothing_is_judged_while_another_request_is_in_flight() {
    let mut rows = vec![segment(2, "host", (0, 20 * MS))];
    let mut path = path();
    assert!(!audit().judge(&mut path, &mut rows, &[(-MS, 30 * MS)]));
    assert_eq!((path.agreement, path.judged_ns), (None, 0));
    assert!(audit().judge(&mut path, &mut rows, &[(5 * MS, 30 * MS)]));
    assert_eq!((path.agreement, path.judged_ns), (Some(0.0), 5 * MS));
}

#[test]
fn ranks_of_one_stage_count_as_one() {
    let mut table = Stages::default();
    for (id, ranks) in [(0, (0, 0)), (1, (0, 1)), (2, (1, 0)), (3, (1, 1))] {
        table.push(Row { stage: id - ranks.1, ..stage(id, i64::from(id) + 1, (ranks.0, Some(ranks.1))) });
    }
    let ids: Vec<_> = alone::stages(&table).into_iter().map(|stage| (stage.id, stage.processes)).collect();
    assert_eq!(ids, [(0, vec![1, 2]), (2, vec![3, 4])]);
}

/// A GPU that has nothing to run from 6 to 7 ms, because the next kernel was launched at 6.9 ms, or was launched in time.
fn dry(launched: i64) -> Audit {
    let mut timeline = Timeline::default();
    for (key, span) in [(1, (0, 6 * MS)), (2, (7 * MS, 9 * MS))] {
        timeline.add_kernel(stream(1), 0, "gemm", (span.0, span.1, key));
    }
    timeline.add_call(1, 1, "cudaLaunchKernel", (launched, launched + MS / 20, 2));
    let mut table = Stages::default();
    table.push(stage(0, 1, (0, None)));
    Audit::of(&timeline, &NixlTransfers::default(), &table)
}

#[test]
fn a_stage_whose_launches_come_late_is_waited_for_on_its_thread() {
    let rows = || vec![segment(1, "host", (0, 7 * MS)), segment(1, "compute", (7 * MS, 9 * MS))];
    let judged = |launched: i64| {
        let (mut path, mut rows) = (Path { end_ns: 9 * MS, ..path() }, rows());
        dry(launched).judge(&mut path, &mut rows, &[]);
        (path.agreement, path.judged_ns)
    };
    assert_eq!(judged(7 * MS - MS / 10), (Some(1.0), 8 * MS));
    assert_eq!(judged(5 * MS), (Some(0.25), 8 * MS), "it was launched in time, and waited for something else");
}

/// Stage 1 computes from 6 to 10 ms while stage 0, which ran until 6 ms, is idle: its next kernel, at 9 ms, was launched then, or in time.
/// Stage 1 goes on when that is done.
fn starved(launched: i64, goes_on: i64) -> Audit {
    let mut timeline = Timeline::default();
    for (process, key, span) in
        [(1, 1, (0, 6 * MS)), (2, 2, (6 * MS, 10 * MS)), (1, 3, (9 * MS, 14 * MS)), (2, 4, (goes_on, 20 * MS))]
    {
        timeline.add_kernel(stream(process), 0, "gemm", (span.0, span.1, key));
    }
    timeline.add_call(1, 1, "cudaLaunchKernel", (launched, launched + MS / 20, 3));
    let mut table = Stages::default();
    table.push(stage(0, 1, (0, None)));
    table.push(stage(1, 2, (1, None)));
    Audit::of(&timeline, &NixlTransfers::default(), &table)
}

#[test]
fn a_stage_that_runs_out_of_chunks_waits_for_the_thread_that_launches_them() {
    let judged = |audit: Audit, category: &str| {
        let mut rows = vec![
            segment(1, "compute", (0, 6 * MS)),
            segment(1, category, (6 * MS, 9 * MS)),
            segment(1, "compute", (9 * MS, 14 * MS)),
            segment(2, "compute", (14 * MS, 20 * MS)),
        ];
        let mut path = path();
        audit.judge(&mut path, &mut rows, &[]);
        path.agreement.map(|share| (share * 100.0).round())
    };
    assert_eq!(judged(starved(9 * MS - MS / 10, 14 * MS), "host"), Some(100.0));
    assert_eq!(judged(starved(9 * MS - MS / 10, 14 * MS), "compute"), Some(84.0), "its GPU was idle");
    assert_eq!(judged(starved(5 * MS, 14 * MS), "host"), Some(84.0), "it was launched in time");
    assert_eq!(judged(starved(9 * MS - MS / 10, 10 * MS), "host"), Some(80.0), "the next stage had work meanwhile");
}

#[test]
fn a_thread_counts_until_its_gpu_ran_dry_for_the_last_time() {
    let mut timeline = Timeline::default();
    // Launched while the GPU was idle, at 4 ms, and well ahead.
    for (key, span, launched) in
        [(1, (0, 4 * MS), 0), (2, (4 * MS + 9_000, 8 * MS), 4 * MS), (3, (8 * MS + 9_000, 12 * MS), 5 * MS)]
    {
        timeline.add_kernel(stream(1), 0, "gemm", (span.0, span.1, key));
        timeline.add_call(1, 1, "cudaLaunchKernel", (launched, launched + 5_000, key));
    }
    let mut table = Stages::default();
    table.push(stage(0, 1, (0, None)));
    let mut rows = vec![segment(1, "host", (0, 12 * MS))];
    let mut path = Path { end_ns: 12 * MS, ..path() };
    Audit::of(&timeline, &NixlTransfers::default(), &table).judge(&mut path, &mut rows, &[]);
    assert_eq!((path.disputed_from_ns, path.disputed_to_ns), (Some(4 * MS + 9_000), Some(12 * MS)));
}

/// Stage 0 computes until 10 ms; stage 1, whose thread calls every 200 us from 5 ms on, from 10 ms with gaps, in which it waits for launches.
#[test]
fn a_thread_that_launches_all_the_time_for_a_dry_gpu_may_be_what_is_waited_for() {
    let mut timeline = Timeline::default();
    timeline.add_kernel(stream(1), 0, "gemm", (0, 10 * MS, 1));
    for step in 0..40 {
        let at = 5 * MS + step * MS / 5;
        timeline.add_call(2, 2, "cudaLaunchKernel", (at, at + 5_000, 100 + step));
        if at >= 10 * MS {
            timeline.add_kernel(stream(2), 0, "gemm", (at + 10_000, at + 195_000, 100 + step));
        }
    }
    let mut table = Stages::default();
    table.push(stage(0, 1, (0, None)));
    table.push(stage(1, 2, (1, None)));
    let audit = Audit::of(&timeline, &NixlTransfers::default(), &table);
    let judged = |from: i64| {
        let mut rows = vec![
            segment(1, "compute", (0, from)),
            segment(2, "host", (from, 10 * MS)),
            segment(2, "compute", (10 * MS, 13 * MS)),
        ];
        let mut path = Path { end_ns: 13 * MS, ..path() };
        audit.judge(&mut path, &mut rows, &[]);
        path.disputed_from_ns
    };
    assert_eq!((judged(5 * MS), judged(4 * MS)), (None, Some(4 * MS)), "before 5 ms it may have waited for stage 0");
}
