//! Gates of operations made by hand.

use proptest::prelude::*;

use super::transfers::Carried;
use super::*;
use crate::analysis::Raw;
use crate::path::walk::{StepKind, walk};
use crate::timeline::build::Builder;
use crate::timeline::waits::{Record, Sync, SyncKind};
use crate::timeline::{LaneId, LaneKind, Waits};

const MS: i64 = 1_000_000;

fn stream(stream: i32) -> LaneId {
    LaneId { process: 1, kind: LaneKind::Stream { context: 1, stream } }
}

/// Stream 7 launches a graph (10), whose second branch runs on stream 8 until 300.
fn forked() -> Timeline {
    let mut timeline = Timeline::default();
    timeline.add_call(1, 1, "cudaGraphLaunch", (0, 5, 10));
    for (on, span_and_key) in [(7, (10, 100, 10)), (8, (20, 200, 10)), (8, (200, 300, 10))] {
        timeline.add_kernel(stream(on), 0, "branch", span_and_key);
    }
    timeline
}

fn wait(kind: SyncKind, stream: i32, correlation: i64) -> Sync {
    Sync { process: 1, context: 1, stream: Some(stream), event: Some(5), recording: Some(1), correlation, kind }
}

/// The gate that binds a node, and when it opened.
fn binds(timeline: &Timeline, node: Node) -> Option<(GateKind, i64)> {
    let (transfers, pairs) = (Transfers::default(), Pairs::default());
    let graph = Graph { timeline, transfers: &transfers, pairs: &pairs, stages: &stages::Stages::default() };
    let mut gates = Vec::new();
    graph.gates(node, &Request::default(), &mut gates);
    last(&gates).map(|gate| (gate.kind, gate.at))
}

#[test]
fn who_waits_for_a_graph_waits_for_all_of_its_streams() {
    let mut timeline = forked();
    timeline.add_kernel(stream(9), 0, "after_event", (310, 320, 13));
    timeline.add_call(1, 1, "cudaStreamSynchronize", (150, 305, 14));
    timeline.add_call(1, 1, "cudaEventSynchronize", (306, 330, 15));
    let record = Record { process: 1, context: 1, stream: 7, event: 5, recording: Some(1), correlation: 11 };
    let syncs = [wait(SyncKind::StreamWait, 9, 12), wait(SyncKind::Stream, 7, 14), wait(SyncKind::Event, 7, 15)];
    timeline.waits = Waits::of(&syncs, &[record], |id| timeline.find(id));
    let lane = |id| timeline.find(id).unwrap();
    let thread = lane(LaneId { process: 1, kind: LaneKind::Thread(1) });
    assert_eq!(binds(&timeline, Node::start(op(lane(stream(9)), 0))), Some((GateKind::EventWait, 300)));
    assert_eq!(binds(&timeline, Node::end(op(thread, 1))), Some((GateKind::HostSync, 300)));
    assert_eq!(binds(&timeline, Node::end(op(thread, 2))), Some((GateKind::HostSync, 300)), "before it began");
}

#[test]
fn what_a_stream_runs_after_a_graph_follows_all_of_it() {
    let mut timeline = forked();
    timeline.add_kernel(stream(7), 0, "next", (302, 310, 12));
    let lane = timeline.find(stream(7)).unwrap();
    assert_eq!(binds(&timeline, Node::start(op(lane, 1))), Some((GateKind::StreamOrder, 100)), "no graph is known");
    timeline.lanes[lane as usize].1.node = vec![77, 0].into();
    assert_eq!(binds(&timeline, Node::start(op(lane, 1))), Some((GateKind::GraphOrder, 300)));
}

/// Transfers of one request from process 1 to 2, each posted 3 ms after the one before and done `ms` after its post, with the
/// kernels before and after them.
fn handed_over(count: i64, ms: i64) -> Raw {
    let mut raw = Raw::default();
    raw.agent(1, "p");
    raw.agent(2, "d");
    for at in 0..count {
        let posted = (10 + at * 3) * MS;
        raw.write(1, "p", "d", posted, 4096, "r");
        raw.transfers.done_poll_ns[usize::try_from(at).unwrap()] = Some(posted + ms * MS);
        raw.notif(2, "arrived", "p", posted + ms * MS + MS / 2, "r-0123abcd:1");
    }
    raw.timeline = Builder::default().finish(&raw.transfers).unwrap();
    raw.kernel(1, 7, "prefill", MS, MS);
    raw.kernel(2, 7, "decode", (10 + count * 3 + ms) * MS, MS);
    raw
}

/// Walks back from decode's kernel.
fn walked(raw: &Raw, count: u32) -> crate::path::walk::Walked {
    let transfers = Transfers::of(raw, &raw.timeline, &[(1, Some(0))]);
    let request = Request {
        transfers: Carried::of((0..count).collect(), &transfers),
        passes: Passes::of(vec![PassOf { process: 1, stage: 0, chunk: 0, span: (MS, 2 * MS) }]),
        ..Request::default()
    };
    let pairs = Pairs::default();
    let graph =
        Graph { timeline: &raw.timeline, transfers: &transfers, pairs: &pairs, stages: &stages::Stages::default() };
    let kind = LaneKind::Stream { context: 1, stream: 7 };
    let lane = raw.timeline.find(LaneId { process: 2, kind }).unwrap();
    walk(&graph, &request, Node::end(op(lane, 0)), 0)
}

/// Layer by layer or page by page a request has so many: each of them is on this path.
#[test]
fn twenty_thousand_transfers_of_one_request_are_one_path() {
    let walked = walked(&handed_over(20_000, 1), 20_000);
    let posts = |kind| walked.steps.iter().filter(|step| step.kind == kind && matches!(step.op, Op::Lane(..))).count();
    assert_eq!(posts(StepKind::Work), 40_002, "each make and post, prefill and decode");
    assert!(walked.steps.windows(2).all(|pair| pair[0].end == pair[1].start));
}

/// All on their way together, with one text: each one's time holds all others.
#[test]
fn twenty_thousand_transfers_at_once_are_joined() {
    let mut raw = handed_over(20_000, 60_000);
    for at in 0..20_000 {
        raw.copy(1, (9 + at * 3) * MS + MS / 2, MS / 10, 8192);
    }
    let walked = walked(&raw, 20_000);
    let wires = walked.steps.iter().filter(|step| matches!(step.op, Op::Wire(_))).count();
    assert_eq!(wires, 1, "the last one, which found the link free: all were as quick");
}

proptest! {
    /// What the index of a request's transfers says is what a scan of them says.
    #[test]
    fn an_index_says_what_a_scan_says(
        rows in prop::collection::vec((1i64..3, 0i64..6, 0i64..3, any::<bool>(), any::<bool>()), 1..12),
        since in 0i64..12,
        length in 0i64..6,
    ) {
        let mut raw = Raw::default();
        raw.agent(9, "d");
        for (at, (sender, posted, bytes, has_failed, has_arrived)) in rows.iter().enumerate() {
            raw.write(*sender, "p", "d", *posted, *bytes, "r");
            raw.transfers.done_poll_ns[at] = Some(posted + 3);
            raw.transfers.notif[at] = Some(format!("{sender}:{at}"));
            if *has_failed {
                raw.transfers.status[at] = "failed".into();
            } else if *has_arrived {
                raw.agent(*sender, &format!("p{sender}"));
                raw.notif(9, "arrived", &format!("p{sender}"), posted + 5, &format!("{sender}:{at}"));
            }
        }
        let transfers = Transfers::of(&raw, &raw.timeline, &[]);
        let own: Vec<u32> = (0..).take(rows.len()).filter(|row| row % 4 != 3).collect();
        let carried = Carried::of(own.iter().rev().copied().collect(), &transfers);
        prop_assert_eq!(carried.rows(), &own[..]);
        let arrived = own.iter().filter(|row| transfers.has_arrived(**row));
        let mut arrived: Vec<(i64, Node)> =
            arrived.map(|row| (transfers.arrival(*row), Node::end(Op::Notif(*row)))).collect();
        arrived.retain(|(at, _)| since < *at && *at <= since + length);
        arrived.sort_unstable();
        let signs: Vec<Node> = carried.signs(9, since, since + length).map(|(node, ..)| node).collect();
        prop_assert_eq!(signs, arrived.iter().map(|(_, node)| *node).collect::<Vec<_>>());
        prop_assert_eq!(carried.signs(8, i64::MIN, i64::MAX).count(), 0);
        for row in 0..u32::try_from(rows.len()).unwrap() {
            let is_own = own.contains(&row);
            prop_assert_eq!(carried.has(row), is_own);
            let (sender, posted, bytes, ..) = rows[row as usize];
            let mut alike: Vec<(i64, u32)> =
                own.iter().map(|other| (rows[*other as usize].1, *other)).filter(|(_, other)| rows[*other as usize].0 == sender).collect();
            alike.sort_unstable();
            let place = carried.place(row).map(|place| (place.at, place.of));
            prop_assert_eq!(place, alike.iter().position(|other| *other == (posted, row)).filter(|_| is_own).map(|at| (at, alike.len())));
            let failed = own.iter().map(|other| (*other, rows[*other as usize]));
            let failed = failed.filter(|(other, (from, at, size, has_failed, _))| {
                *has_failed && *other != row && (*from, *size) == (sender, bytes) && at + 3 <= since
            });
            let failed = failed.map(|(other, (_, at, ..))| (at, other)).max();
            prop_assert_eq!(carried.failed_before(row, since, &transfers), failed.map(|(_, other)| other));
        }
    }
}
