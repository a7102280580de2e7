//! Gates of operations made by hand.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{CallName, NixlNotifs, NixlTransfers};
use proptest::prelude::*;

use super::transfers::Carried;
use super::*;
use crate::facts::staging::Staging;
use crate::model::Recording;
use crate::path::category::Category;
use crate::path::walk::{StepKind, walk};
use crate::spill::Memory;
use crate::timeline::build::Builder;
use crate::timeline::recorded::{EventRecord, Sync, SyncKind};
use crate::timeline::threads::{Cause, ThreadId};
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
    let (transfers, pairs, stages) = (Transfers::default(), Pairs::default(), Stages::default());
    let graph = Graph { timeline, transfers: &transfers, pairs: &pairs, stages: &stages };
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
    let record = EventRecord { process: 1, context: 1, stream: 7, event: 5, recording: Some(1), correlation: 11 };
    let syncs = [wait(SyncKind::StreamWait, 9, 12), wait(SyncKind::Stream, 7, 14), wait(SyncKind::Event, 7, 15)];
    timeline.waits = Waits::by_hand(&syncs, &[record], |id| timeline.find(id));
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

#[test]
fn an_event_behind_a_wait_happens_after_what_that_wait_is_for() {
    let mut timeline = Timeline::default();
    timeline.add_kernel(stream(7), 0, "work", (10, 400, 10));
    timeline.add_kernel(stream(9), 0, "after", (405, 410, 20));
    timeline.add_kernel(stream(8), 0, "long_ago", (0, 5, 5));
    timeline.add_call(1, 1, "cudaLaunchKernel", (50, 60, 20));
    // Stream 8 waits for 7 and records an event, which stream 9 waits for; 8 itself runs nothing in between.
    let record = |stream, event, correlation| EventRecord {
        process: 1,
        context: 1,
        stream,
        event,
        recording: Some(i64::from(event)),
        correlation,
    };
    let wait = |stream, event: i32, correlation| Sync {
        process: 1,
        context: 1,
        stream: Some(stream),
        event: Some(event),
        recording: Some(i64::from(event)),
        correlation,
        kind: SyncKind::StreamWait,
    };
    let syncs = [wait(8, 1, 12), wait(9, 2, 14)];
    timeline.waits = Waits::by_hand(&syncs, &[record(7, 1, 11), record(8, 2, 13)], |id| timeline.find(id));
    let lane = timeline.find(stream(9)).unwrap();
    assert_eq!(binds(&timeline, Node::start(op(lane, 0))), Some((GateKind::EventWait, 400)));
    // An event that was recorded before that wait does not.
    timeline.waits = Waits::by_hand(&syncs, &[record(7, 1, 11), record(8, 2, 9)], |id| timeline.find(id));
    assert_eq!(binds(&timeline, Node::start(op(lane, 0))), Some((GateKind::Launch, 60)));
}

#[test]
fn a_kernel_that_begins_before_the_one_ahead_is_done_ends_after_it() {
    let mut timeline = Timeline::default();
    for span_and_key in [(0, 100, 1), (100, 900, 2), (890, 1_000, 3)] {
        timeline.add_kernel(stream(7), 0, "dependent", span_and_key);
    }
    let lane = timeline.find(stream(7)).unwrap();
    assert_eq!(binds(&timeline, Node::end(op(lane, 2))), Some((GateKind::StreamOrder, 900)));
    assert_eq!(binds(&timeline, Node::end(op(lane, 1))), None);
    timeline.lanes[lane as usize].1.node = vec![0, 5, 6].into();
    assert_eq!(binds(&timeline, Node::end(op(lane, 2))), None, "branches of a graph");
}

#[test]
fn where_no_waits_are_recorded_an_operation_follows_what_another_stream_just_ended() {
    let mut timeline = Timeline::default();
    timeline.add_kernel(stream(9), 0, "before", (0, 100, 1));
    timeline.add_kernel(stream(8), 0, "received", (0, 5 * MS, 2));
    timeline.add_kernel(stream(9), 0, "next", (5 * MS + 2_000, 6 * MS, 3));
    let lane = timeline.find(stream(9)).unwrap();
    assert_eq!(binds(&timeline, Node::start(op(lane, 1))), Some((GateKind::StreamOrder, 100)), "dispatch is not known");
    timeline.lanes[lane as usize].1.dispatch_ns = 20_000;
    assert_eq!(binds(&timeline, Node::start(op(lane, 1))), Some((GateKind::EventWait, 5 * MS)));
}

#[test]
fn a_thread_that_makes_no_call_until_its_gpu_is_idle_waited_for_it() {
    let call = |timeline: &mut Timeline, span_and_key| timeline.add_call(1, 1, "cudaLaunchKernel", span_and_key);
    let mut timeline = Timeline::default();
    call(&mut timeline, (0, 5_000, 1));
    timeline.add_kernel(stream(7), 0, "work", (10_000, 40 * MS, 1));
    call(&mut timeline, (41 * MS, 41 * MS + 5_000, 2));
    let binding = |timeline: &Timeline| {
        let thread = timeline.find(LaneId { process: 1, kind: LaneKind::Thread(1) }).unwrap();
        binds(timeline, Node::start(op(thread, 1)))
    };
    assert_eq!(binding(&timeline), Some((GateKind::HostSync, 40 * MS)));
    // Code was loaded at its end, for which the GPU had to be idle.
    timeline.threads.load((1, 1), (40 * MS + 1_000, 40 * MS + 9_000));
    assert_eq!(binding(&timeline), Some((GateKind::Loading, 40 * MS)));
    timeline.threads = crate::timeline::Threads::default();
    // It came back long after, or while other work ran: nothing says what it did.
    timeline.add_kernel(stream(8), 0, "other", (39 * MS, 60 * MS, 3));
    assert_eq!(binding(&timeline), Some((GateKind::ProgramOrder, 5_000)));
}

/// Threads 1 of processes 1 and 2 with calls up to 5 us; thread 1 of process 1 launches at 41 ms, having been off the CPU as is said.
fn waited(off: &[((i64, i64), Cause, Option<ThreadId>)]) -> Timeline {
    let mut timeline = Timeline::default();
    for (process, start, key) in [(1, 0, 1), (1, 41 * MS, 2), (2, 20 * MS, 3), (2, 38 * MS, 4)] {
        timeline.add_call(process, 1, "cudaLaunchKernel", (start, start + 5_000, key));
    }
    for (span, cause, waker) in off {
        timeline.threads.off((1, 1), *span, 0, cause, *waker).unwrap();
    }
    timeline.threads = std::mem::take(&mut timeline.threads).sorted(&Memory::default()).unwrap();
    timeline
}

/// The kinds of gates and their times, back from the launch at 41 ms as far as they go.
fn back(timeline: &Timeline) -> Vec<(GateKind, i64)> {
    let (transfers, pairs, stages) = (Transfers::default(), Pairs::default(), Stages::default());
    let graph = Graph { timeline, transfers: &transfers, pairs: &pairs, stages: &stages };
    let thread = timeline.find(LaneId { process: 1, kind: LaneKind::Thread(1) }).unwrap();
    let (mut node, mut found, mut gates) = (Node::start(op(thread, 1)), Vec::new(), Vec::new());
    while found.len() < 10 {
        graph.gates(node, &Request::default(), &mut gates);
        let start = graph.time(Node::start(node.op));
        let next = last(&gates).copied().filter(|gate| !node.is_end || gate.at > start);
        match next {
            Some(gate) => {
                found.push((gate.kind, gate.at));
                node = gate.from;
            }
            None if node.is_end => node = Node::start(node.op),
            None => break,
        }
    }
    found
}

const SLEEP: Cause = Cause { state: "sleeping", call: Some("clock_nanosleep"), file: None, waker: None };
const WOKEN: Cause = Cause { state: "sleeping", call: Some("recvfrom"), file: None, waker: Some("pt_0") };

#[test]
fn a_thread_that_another_one_woke_waited_for_what_that_one_did() {
    use GateKind::{Blocked, ProgramOrder, Woken};
    let timeline = waited(&[((6 * MS, 30 * MS), WOKEN, Some((2, 1)))]);
    let crossed = [(Blocked, 30 * MS), (Woken, 30 * MS), (ProgramOrder, 20 * MS + 5_000)];
    assert_eq!(back(&timeline), crossed, "the waker's call before it woke it");
    // It had done nothing since the wait began: it held a lock, and what it had done before is another matter.
    let timeline = waited(&[((22 * MS, 30 * MS), WOKEN, Some((2, 1)))]);
    assert_eq!(back(&timeline), [(Blocked, 30 * MS), (ProgramOrder, 5_000)]);
    // The waker is not recorded: then it is only known that it waited.
    let timeline = waited(&[((6 * MS, 30 * MS), WOKEN, Some((3, 1)))]);
    assert_eq!(back(&timeline), [(Blocked, 30 * MS), (ProgramOrder, 5_000)]);
}

#[test]
fn a_thread_that_slept_once_waited_for_a_time_and_one_that_looks_again_and_again_for_something() {
    use GateKind::{Blocked, ProgramOrder};
    let timeline = waited(&[((10 * MS, 40 * MS), SLEEP, None)]);
    assert_eq!(back(&timeline), [(Blocked, 40 * MS), (ProgramOrder, 5_000)]);
    let timeline = waited(&[((10 * MS, 20 * MS), SLEEP, None), ((21 * MS, 40 * MS), SLEEP, None)]);
    assert_eq!(back(&timeline), [(ProgramOrder, 5_000)]);
}

#[test]
fn a_wait_of_which_no_record_says_what_for_is_guessed_within_its_time() {
    use GateKind::{Blocked, HostSync};
    let futex = Cause { state: "sleeping", call: Some("futex"), file: None, waker: None };
    let mut timeline = waited(&[((6 * MS, 40 * MS), futex, None)]);
    timeline.add_kernel(stream(7), 0, "work", (10_000, 39 * MS, 1));
    assert_eq!(back(&timeline)[..2], [(Blocked, 40 * MS), (HostSync, 39 * MS)]);
}

/// Transfers of one request from process 1 to 2, each posted 3 ms after the one before and done `ms` after its post, with the
/// kernels before and after them.
fn handed_over(count: i64, ms: i64) -> Recording {
    let mut recording = Recording::default();
    recording.agent(1, "p");
    recording.agent(2, "d");
    for at in 0..count {
        let posted = (10 + at * 3) * MS;
        recording.write(1, "p", "d", posted, 4096, "r");
        recording.transfers.done_poll_ns[usize::try_from(at).unwrap()] = Some(posted + ms * MS);
        recording.notif(2, "arrived", "p", posted + ms * MS + MS / 2, "r-0123abcd:1");
    }
    recording.timeline = Builder::within(&Memory::default()).finish(&recording.transfers).unwrap();
    recording.kernel(1, 7, "prefill", MS, MS);
    recording.kernel(2, 7, "decode", (10 + count * 3 + ms) * MS, MS);
    recording
}

/// Walks back from decode's kernel.
fn walked(recording: &Recording, count: u32) -> crate::path::walk::WalkedPath {
    let transfers = Transfers::of(&recording.facts, &recording.timeline, &[(1, Some(0))]);
    let request = Request {
        transfers: Carried::of((0..count).collect(), &transfers),
        passes: Passes::of(vec![PassOf { process: 1, stage: 0, chunk: 0, span: (MS, 2 * MS) }]),
        ..Request::default()
    };
    let pairs = Pairs::default();
    let graph =
        Graph { timeline: &recording.timeline, transfers: &transfers, pairs: &pairs, stages: &Stages::default() };
    let kind = LaneKind::Stream { context: 1, stream: 7 };
    let lane = recording.timeline.find(LaneId { process: 2, kind }).unwrap();
    walk(&graph, &request, Node::end(op(lane, 0)), 0)
}

/// What the steps of that path are.
fn categories(recording: &Recording, count: u32) -> Vec<Category> {
    let transfers = Transfers::of(&recording.facts, &recording.timeline, &[(1, Some(0))]);
    let (pairs, stages) = (Pairs::default(), Stages::default());
    let graph = Graph { timeline: &recording.timeline, transfers: &transfers, pairs: &pairs, stages: &stages };
    walked(recording, count).steps.iter().map(|step| Category::of(&graph, step)).collect()
}

/// Removes the record of the last transfer, but not the message that was posted with it.
fn without_last(recording: &mut Recording) {
    let last = recording.transfers.len() - 1;
    let row = recording.transfers.row(last);
    let message = row.notif.unwrap();
    recording.notif(row.process_id, "sent", &row.peer.unwrap(), row.posted_ns.unwrap(), &message);
    *recording.notifs.via.last_mut().unwrap() = "transfer".into();
    *recording.notifs.transfer_id.last_mut().unwrap() = Some(row.transfer_id);
    let mut rest = NixlTransfers::default();
    for row in 0..last {
        rest.push(recording.transfers.row(row));
    }
    recording.transfers = rest;
}

/// A table of notifs without one of its rows.
fn without_notif(recording: &mut Recording, lost: usize) {
    let mut rest = NixlNotifs::default();
    for row in (0..recording.notifs.len()).filter(|row| *row != lost) {
        rest.push(recording.notifs.row(row));
    }
    recording.notifs = rest;
}

/// The operations between processes on a path, with their times.
fn between(walked: &crate::path::walk::WalkedPath) -> Vec<(Op, i64, i64)> {
    let steps = walked.steps.iter().filter(|step| !matches!(step.op, Op::Lane(..)));
    steps.map(|step| (step.op, step.start / MS, step.end / MS)).collect()
}

#[test]
fn a_transfer_whose_record_was_lost_is_on_the_path_by_its_message() {
    let mut recording = handed_over(3, 1);
    without_last(&mut recording);
    recording.timeline = Builder::within(&Memory::default()).finish(&recording.transfers).unwrap();
    recording.kernel(1, 7, "prefill", MS, MS);
    recording.kernel(2, 7, "decode", 20 * MS, MS);
    let transfers = Transfers::of(&recording, &recording.timeline, &[]);
    assert_eq!(transfers.lost().collect::<Vec<_>>(), [(2, "r-0123abcd:1")]);
    let walked = walked(&recording, 3);
    // Posted at 16 ms, told at 17.5, half a ms after the bytes were there, as of the others.
    assert_eq!(between(&walked)[..3], [(Op::Wire(2), 14, 16), (Op::Wire(2), 16, 17), (Op::Notif(2), 17, 17)]);
    assert!(walked.steps.iter().all(|step| step.op != Op::Wire(0)), "what came before it is not taken for it");
}

/// Two transfers with one text, and the arrival of the second was lost: it is not that of the first.
#[test]
fn a_lost_arrival_leaves_the_end_of_the_bytes_or_nothing_that_is_named() {
    let mut recording = handed_over(2, 1);
    without_notif(&mut recording, 1);
    let end = |recording: &Recording| {
        let walked = walked(recording, 2);
        let step = walked.steps.iter().rev().find(|step| step.kind == StepKind::Gap).copied().unwrap();
        (step.start, step.gate)
    };
    assert_eq!(end(&recording), (14 * MS, Some((GateKind::Notified, Method::Time))));
    // Its end was seen only after decode had begun.
    recording.transfers.done_poll_ns[1] = Some(40 * MS);
    assert_eq!(end(&recording), (11 * MS + MS / 2, Some((GateKind::Notified, Method::Partial))));
    let categories = categories(&recording, 2);
    assert_eq!(categories[categories.len() - 2..], [Category::Unexplained, Category::Compute], "its own work is known");
}

/// One call takes both: the second to arrive was waited for, and then for the call.
#[test]
fn what_has_arrived_waits_for_its_program_to_take_it() {
    let mut recording = handed_over(2, 1);
    let arrived = recording.notifs.time_ns.clone();
    for _ in 0..2 {
        recording.notif(2, "taken", "p", 16 * MS, "r-0123abcd:1");
    }
    let last = |recording: &Recording| {
        let walked = walked(recording, 2);
        let told = walked.steps.iter().position(|step| step.op == Op::Notif(1)).unwrap();
        let after = walked.steps[told + 1..].iter().map(|step| (step.kind, step.start, step.end));
        after.take(2).collect::<Vec<_>>()
    };
    let decode = 17 * MS;
    let before = last(&recording);
    assert_eq!(before[0], (StepKind::Gap, arrived[1], decode), "the receipt is not set apart yet");
    recording.set_received_apart();
    assert_eq!(last(&recording), [(StepKind::NotificationWait, arrived[1], 16 * MS), (StepKind::Gap, 16 * MS, decode)]);
}

#[test]
fn decode_without_its_launch_began_when_it_was_told_and_not_when_another_launch_was() {
    let mut recording = handed_over(1, 1);
    recording.timeline.add_call(2, 1, "cudaLaunchKernel", (MS, 2 * MS, 5));
    let stream = LaneId { process: 2, kind: LaneKind::Stream { context: 1, stream: 8 } };
    recording.timeline.add_kernel(stream, 0, "decode", (30 * MS, 31 * MS, 7));
    let transfers = Transfers::of(&recording, &recording.timeline, &[]);
    let request = Request { transfers: Carried::of(vec![0], &transfers), ..Request::default() };
    let (pairs, stages) = (Pairs::default(), Stages::default());
    let graph = Graph { timeline: &recording.timeline, transfers: &transfers, pairs: &pairs, stages: &stages };
    let lane = recording.timeline.find(stream).unwrap();
    let mut gates = Vec::new();
    graph.gates(Node::start(op(lane, 0)), &request, &mut gates);
    let kinds: Vec<GateKind> = gates.iter().map(|gate| gate.kind).collect();
    assert_eq!(kinds, [GateKind::Launch, GateKind::Notified]);
    assert_eq!(last(&gates).map(|gate| gate.at), Some(11 * MS + MS / 2));
}

#[test]
fn a_registration_is_of_the_last_that_had_left_where_records_are_missing() {
    let mut recording = Recording::default();
    recording.agent(1, "p");
    recording.agent(9, "d");
    recording.notif(9, "sent", "p", 10, "PUSH_REG:r");
    recording.notif(9, "sent", "p", 20, "PUSH_REG:r");
    recording.notif(1, "arrived", "d", 22, "PUSH_REG:r");
    let of = |recording: &Recording| {
        let transfers = Transfers::of(&recording.facts, &recording.timeline, &[]);
        transfers.registrations.iter().map(|own| (own.sent_ns, own.arrived_ns)).collect::<Vec<_>>()
    };
    assert_eq!(of(&recording), [(20, 22)]);
    recording.notif(1, "arrived", "d", 25, "PUSH_REG:r");
    assert_eq!(of(&recording), [(10, 22), (20, 25)]);
}

#[test]
fn a_launch_without_its_kernel_leaves_in_doubt_what_came_last() {
    let in_doubt = |is_lost: bool, end: i64| {
        let mut timeline = Timeline::default();
        timeline.add_kernel(stream(7), 0, "own", (0, 100, 1));
        timeline.add_call(1, 1, "cudaLaunchKernel", (1, 2, 2));
        if !is_lost {
            timeline.add_kernel(stream(7), 0, "own", (100, 190, 2));
        }
        timeline.add_kernel(stream(8), 0, "other", (0, end, 3));
        timeline.add_kernel(stream(7), 0, "own", (end + 10, end + 20, 4));
        let (transfers, pairs, stages) = (Transfers::default(), Pairs::default(), Stages::default());
        let graph = Graph { timeline: &timeline, transfers: &transfers, pairs: &pairs, stages: &stages };
        let (own, other) = (timeline.find(stream(7)).unwrap(), timeline.find(stream(8)).unwrap());
        let at = timeline.lane(own).len() - 1;
        let waited = graph.gate(Node::end(op(other, 0)), GateKind::EventWait, Method::Id);
        let before = graph.gate(Node::end(op(own, at - 1)), GateKind::StreamOrder, Method::Order);
        assert_eq!(timeline.may_lack_before(own, at), is_lost);
        assert!(!graph.may_be_last_by_loss(Node::start(op(own, at)), &before), "it is its own lane's");
        graph.may_be_last_by_loss(Node::start(op(own, at)), &waited)
    };
    assert!(in_doubt(true, 200));
    assert!(!in_doubt(false, 200) && !in_doubt(true, 300), "no kernel near it takes so long");
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
    let mut recording = handed_over(20_000, 60_000);
    let copies = (0..20_000).map(|at| (((9 + at * 3) * MS + MS / 2, MS / 10), 8192));
    recording.device_copies.extend(1, (0, 2), copies);
    let walked = walked(&recording, 20_000);
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
        let mut recording = Recording::default();
        recording.agent(9, "d");
        for (at, (sender, posted, bytes, has_failed, has_arrived)) in rows.iter().enumerate() {
            recording.write(*sender, "p", "d", *posted, *bytes, "r");
            recording.transfers.done_poll_ns[at] = Some(posted + 3);
            recording.transfers.notif[at] = Some(format!("{sender}:{at}"));
            if *has_failed {
                recording.transfers.status[at] = "failed".into();
            } else if *has_arrived {
                recording.agent(*sender, &format!("p{sender}"));
                recording.notif(9, "arrived", &format!("p{sender}"), posted + 5, &format!("{sender}:{at}"));
            }
        }
        let transfers = Transfers::of(&recording, &recording.timeline, &[]);
        let own: Vec<u32> = (0..).take(rows.len()).filter(|row| row % 4 != 3).collect();
        let carried = Carried::of(own.iter().rev().copied().collect(), &transfers);
        prop_assert_eq!(carried.rows(), &own[..]);
        // Where others' arrivals are recorded, one that is not was lost: it came when the bytes were there, or later.
        let is_told = rows.iter().any(|(.., has_failed, has_arrived)| !has_failed && *has_arrived);
        let sign = |row: &u32| match transfers.has_arrived(*row) {
            true => Some((transfers.arrival(*row), Node::end(Op::Notif(*row)))),
            false if is_told && !rows[*row as usize].3 => {
                Some((transfers.wire(*row, true), Node::end(Op::Wire(*row))))
            }
            false => None,
        };
        let mut arrived: Vec<(i64, Node)> = own.iter().filter_map(sign).collect();
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

/// Process 2 pulls what 1 had computed by 2 ms: made at 18 ms, posted at 20, done at 30. Its thread launches for others all the time.
fn pulled_by_a_busy_worker() -> Recording {
    let mut recording = Recording::default();
    recording.agent(1, "p");
    recording.agent(2, "d");
    recording.write(2, "d", "p", 20 * MS, 4096, "r");
    recording.transfers.op[0] = "READ".into();
    recording.timeline = Builder::within(&Memory::default()).finish(&recording.transfers).unwrap();
    recording.kernel(1, 7, "prefill", MS, MS);
    for at in (0..17).chain(31..40) {
        recording.timeline.add_call(2, 1, "cudaLaunchKernel", (at * MS, at * MS + MS / 2, at + 1));
    }
    let decode = LaneId { process: 2, kind: LaneKind::Stream { context: 1, stream: 7 } };
    recording.timeline.add_kernel(decode, 0, "decode", (41 * MS, 42 * MS, 40));
    recording
}

/// The path of its one request.
fn path_of_pull(recording: &Recording) -> Vec<(Category, i64, i64)> {
    let transfers = Transfers::of(&recording.facts, &recording.timeline, &[(1, Some(0))]);
    let request = Request {
        transfers: Carried::of(vec![0], &transfers),
        passes: Passes::of(vec![PassOf { process: 1, stage: 0, chunk: 0, span: (MS, 2 * MS) }]),
        pullers: vec![2],
        decode_is_shared: true,
        contacts: transfers.contact_before_make(0).into_iter().collect(),
        ..Request::default()
    };
    let (pairs, stages) = (Pairs::default(), Stages::default());
    let graph = Graph { timeline: &recording.timeline, transfers: &transfers, pairs: &pairs, stages: &stages };
    let lane = LaneId { process: 2, kind: LaneKind::Stream { context: 1, stream: 7 } };
    let lane = recording.timeline.find(lane).unwrap();
    let walked = walk(&graph, &request, Node::end(op(lane, 0)), 0);
    let step = |step: &crate::path::walk::Step| (Category::of(&graph, step), step.start / MS, step.end / MS);
    walked.steps.iter().map(step).collect()
}

#[test]
fn a_pull_of_a_busy_worker_waits_for_prefill_and_not_for_its_threads_last_call() {
    let path = path_of_pull(&pulled_by_a_busy_worker());
    assert_eq!(path[..2], [(Category::Queue, 0, 1), (Category::Compute, 1, 2)]);
    assert_eq!(path[2], (Category::ReadyWait, 2, 18));
    assert!(path.contains(&(Category::Schedule, 30, 31)), "{path:?}");
}

#[test]
fn prefill_is_done_when_its_kv_is_in_the_host_memory_that_it_is_pulled_from() {
    let mut recording = pulled_by_a_busy_worker();
    let stream = LaneId { process: 1, kind: LaneKind::Stream { context: 1, stream: 7 } };
    for (region, key) in [(0u8, 50), (1, 51)] {
        recording.region(1, region.into(), 0x1_0000 * u64::from(region), 0x1_0000);
        let at = (3 + 3 * i64::from(region)) * MS;
        recording.timeline.add_call(1, 3, "cudaMemcpyAsync", (at - MS / 2, at + MS, key));
        recording.timeline.add_copy(stream, "DtoH", (at, at + MS, key));
        recording.host_copies.extend((1, true), &[4096], (at, key));
    }
    let found = recording.timeline.mark_staging(Staging::of(&recording.facts));
    assert_eq!(found.iter().count(), 1);
    let path = path_of_pull(&recording);
    // A copy, what the thread does in host memory, and the next copy.
    for step in [(3, 4), (4, 5), (6, 7)] {
        assert!(path.contains(&(Category::StagingOut, step.0, step.1)), "{step:?} of {path:?}");
    }
    assert!(path.contains(&(Category::ReadyWait, 7, 18)), "{path:?}");
}

#[test]
fn agents_that_meet_for_the_first_time_shake_hands() {
    let mut recording = pulled_by_a_busy_worker();
    recording.nvtx.push(5 * MS, None, (2, 3), "nixl::loadRemoteMD");
    let path = path_of_pull(&recording);
    assert_eq!(path[2..4], [(Category::ReadyWait, 2, 5), (Category::Handshake, 5, 18)]);
}

#[test]
fn the_call_tells_whom_an_agent_met() {
    let mut recording = pulled_by_a_busy_worker();
    recording.agent(3, "other");
    recording.call(2, CallName::LoadRemoteMd, "other", 4 * MS, MS);
    assert_eq!(path_of_pull(&recording)[2], (Category::ReadyWait, 2, 18), "that was somebody else");
    recording.call(2, CallName::LoadRemoteMd, "p", 6 * MS, MS);
    let path = path_of_pull(&recording);
    assert_eq!(path[2..4], [(Category::ReadyWait, 2, 6), (Category::Handshake, 6, 18)]);
}
