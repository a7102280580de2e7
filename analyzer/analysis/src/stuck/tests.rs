use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::stuck::{Stuck, StuckItem};

use crate::facts::Descriptor;
use crate::model::Recording;
use crate::settings::Settings;
use crate::synthetic::MS;

/// Prefill (1) and decode (2), which hand over `req-1` at 100 ms, and work until 9 s.
fn pair() -> Recording {
    let mut recording = Recording::default();
    for (process, name) in [(1, "a-1"), (2, "a-2")] {
        recording.process(process, "VLLM::EngineCore");
        recording.agent(process, name);
    }
    handed_over(&mut recording, "req-1", 100 * MS);
    recording
}

/// A whole hand-off: its notification arrives, and decode asks for it.
fn handed_over(recording: &mut Recording, request: &str, at: i64) {
    recording.write(1, "a-1", "a-2", at, 1 << 20, request);
    let transfer = *recording.transfers.transfer_id.last().unwrap();
    let text = format!("{request}-0123abcd:1");
    recording.notif(1, "sent", "a-2", at, &text);
    *recording.notifs.transfer_id.last_mut().unwrap() = Some(transfer);
    recording.notif(2, "arrived", "a-1", at + 10 * MS, &text);
    taken(recording, &text, at + 11 * MS);
}

fn taken(recording: &mut Recording, text: &str, at: i64) {
    recording.notif(2, "taken", "a-1", at, text);
}

fn end(recording: &mut Recording, process: i64, at: i64) {
    let row = recording.processes.process_id.iter().position(|other| *other == process).unwrap();
    recording.processes.end_ns[row] = Some(at);
}

/// A transfer posted then, polled every `pause` for `polled`, and not seen to end.
fn pending(recording: &mut Recording, at: i64, polled: i64, pause: i64) {
    recording.write(1, "a-1", "a-2", at, 1 << 20, "req-2");
    let t = &mut recording.transfers;
    let row = t.len() - 1;
    (t.done_poll_ns[row], t.released_ns[row], t.status[row]) = (None, None, "pending".into());
    (t.last_pending_poll_ns[row], t.pending_polls[row]) = (Some(at + polled), Some(polled / pause));
}

fn stuck(mut recording: Recording) -> Vec<StuckItem> {
    recording.facts.set_received_apart();
    let analysis = crate::model::Analysis::of(&recording, &Settings::default());
    let table: Stuck = super::of(&super::Inputs {
        facts: &recording.facts,
        stages: &analysis.stages,
        requests: &analysis.requests,
        handoffs: &analysis.handoffs,
        of_transfer: &analysis.of_transfer,
        passes: &analysis.passes,
        has_lost: false,
    });
    (0..table.len()).map(|row| table.row(row)).collect()
}

/// Kind, cause, duration in ms.
fn found(recording: Recording) -> Vec<(&'static str, &'static str, i64)> {
    stuck(recording)
        .iter()
        .map(|item| (item.kind.text(), item.cause.text(), (item.until_ns - item.since_ns) / MS))
        .collect()
}

fn until(mut recording: Recording, at: i64) -> Recording {
    handed_over(&mut recording, "req-9", at - 11 * MS);
    recording
}

#[test]
fn a_whole_hand_off_is_not_stuck() {
    assert_eq!(found(pair()), []);
    assert_eq!(found(until(pair(), 9_000 * MS)), []);
}

#[test]
fn pending_transfers_say_who_ended_or_polls_no_more() {
    let with = |polled: i64, pause: i64, change: &dyn Fn(&mut Recording)| {
        let mut recording = pair();
        pending(&mut recording, 1_000 * MS, polled, pause);
        change(&mut recording);
        found(recording)
    };
    assert_eq!(with(500 * MS, MS, &|_| ()), [("pending", "recording_ended", 500)]);
    let own = |recording: &mut Recording| end(recording, 1, 1_600 * MS);
    assert_eq!(with(599 * MS, MS, &own), [("pending", "own_ended", 600)]);
    let both = |recording: &mut Recording| {
        end(recording, 2, 1_300 * MS);
        end(recording, 1, 1_600 * MS);
    };
    assert_eq!(with(599 * MS, MS, &both), [("pending", "peer_ended", 600)]);
    let long = |recording: &mut Recording| handed_over(recording, "req-9", 8_989 * MS);
    assert_eq!(with(2_000 * MS, MS, &long), [("pending", "not_polled", 8_000)]);
    // A poll each 400 ms: the next would have come in time.
    let long = |recording: &mut Recording| handed_over(recording, "req-9", 5_989 * MS);
    assert_eq!(with(2_000 * MS, 400 * MS, &long), [("pending", "unknown", 5_000)]);
    assert_eq!(with(4_900 * MS, MS, &long), [("pending", "unknown", 5_000)]);
}

#[test]
fn a_failed_transfer_names_the_end_of_its_peer() {
    let with = |end_ns: Option<i64>| {
        let mut recording = pair();
        pending(&mut recording, 1_000 * MS, MS, MS);
        let t = &mut recording.transfers;
        (t.status[1], t.pending_polls[1], t.post_end_ns[1]) =
            ("NIXL_ERR_REMOTE_DISCONNECT".into(), Some(0), Some(1_784 * MS));
        recording.processes.end_ns[1] = end_ns;
        stuck(recording)
    };
    let item = with(Some(1_700 * MS)).remove(0);
    assert_eq!((item.kind.text(), item.cause.text(), item.until_ns), ("failed", "peer_ended", 1_784 * MS));
    assert!(item.text.contains("failed after 784 ms, inside the post: NIXL_ERR_REMOTE_DISCONNECT"), "{}", item.text);
    assert!(item.text.contains("had ended 84.0 ms before that"), "{}", item.text);
    assert_eq!(with(None)[0].cause.text(), "unknown");
    assert_eq!(with(Some(2_000 * MS))[0].cause.text(), "unknown", "it ended after that");
}

#[test]
fn messages_that_do_not_arrive_or_are_not_asked_for() {
    let mut recording = until(pair(), 9_000 * MS);
    recording.notif(2, "sent", "a-1", 3_000 * MS, "PUSH_REG:req-4-89abcdef");
    assert_eq!(found(recording), [], "whether messages arrive there is not recorded");
    let mut recording = until(pair(), 9_000 * MS);
    recording.notif(1, "sent", "a-2", 3_000 * MS, "HB:req-4");
    assert_eq!(found(recording), [("not_arrived", "unknown", 6_000)]);
    let mut recording = pair();
    recording.notif(1, "sent", "a-2", 3_000 * MS, "HB:req-4");
    assert_eq!(found(recording), [("not_arrived", "recording_ended", 0)]);
    let mut recording = pair();
    end(&mut recording, 2, 2_000 * MS);
    recording.notif(1, "sent", "a-2", 3_000 * MS, "HB:req-4");
    assert_eq!(found(recording), [("not_arrived", "peer_ended", 0)]);
    // Of the same text another arrived: one is missing.
    let mut recording = until(pair(), 9_000 * MS);
    for at in [3_000 * MS, 4_000 * MS] {
        recording.notif(1, "sent", "a-2", at, "HB:req-4");
    }
    recording.notif(2, "arrived", "a-1", 4_001 * MS, "HB:req-4");
    taken(&mut recording, "HB:req-4", 4_002 * MS);
    assert_eq!(found(recording), [("not_arrived", "unknown", 5_000)]);

    let untaken = |later: bool| {
        let mut recording = pair();
        recording.notif(1, "sent", "a-2", 3_000 * MS, "HB:req-4");
        recording.notif(2, "arrived", "a-1", 3_001 * MS, "HB:req-4");
        if later {
            handed_over(&mut recording, "req-9", 8_000 * MS);
        } else {
            recording.write(1, "a-1", "a-2", 8_000 * MS, 1 << 20, "req-9");
        }
        found(recording)
    };
    assert_eq!(untaken(false), [("not_taken", "not_polled", 5_010)]);
    assert_eq!(untaken(true), [], "a later one was given to the program: this one's record is missing");
}

#[test]
fn requests_that_nothing_was_handed_over_for() {
    let asked = |token: Option<i64>, decode_end: Option<i64>| {
        let mut recording = pair();
        let say = |name: &str, id: &str, start_ns: i64, dur_ns: Option<i64>| kvpath_schema::tables::spans::Span {
            start_ns,
            dur_ns,
            service: "client".into(),
            name: name.into(),
            request: Some(id.to_owned()),
        };
        // The recording goes on.
        recording.notif(1, "sent", "a-9", 9_000 * MS, "HB:req-9");
        recording.spans.push(say("request", "req-1", 90 * MS, Some(40 * MS)));
        recording.spans.push(say("request", "req-4", 3_000 * MS, token));
        if token.is_none() {
            recording.spans.push(say("failed", "req-4", 3_000 * MS, Some(5 * MS)));
        }
        if let Some(at) = decode_end {
            end(&mut recording, 2, at);
        }
        stuck(recording)
    };
    let item = asked(None, Some(2_000 * MS)).remove(0);
    assert_eq!((item.kind.text(), item.cause.text(), item.peer_process_id), ("no_transfer", "peer_ended", Some(2)));
    assert!(item.text.contains("had ended 1.00 s before it was sent"), "{}", item.text);
    assert_eq!(asked(None, None)[0].cause.text(), "unknown");
    assert!(asked(Some(50 * MS), None).is_empty(), "it was answered");
}

#[test]
fn two_requests_over_the_same_memory_at_once() {
    let with = |second_at: i64, addr: u64| {
        let mut recording = pair();
        recording.write(1, "a-1", "a-2", second_at, 1 << 20, "req-2");
        for (transfer, local, remote) in [(0, 0x1000, 0x9000), (1, 0x5000, addr)] {
            recording.descriptors.push(transfer, Descriptor { local, remote: Some(remote), bytes: 0x1000 });
        }
        stuck(recording)
    };
    let item = with(105 * MS, 0x9800).remove(0);
    assert_eq!((item.kind.text(), item.process_id, item.bytes), ("overlapping", Some(2), Some(0x800)));
    assert!(with(105 * MS, 0xa000).is_empty(), "neighbours");
    assert!(with(109 * MS, 0x9800).is_empty(), "the first may have ended by then: its last poll was at 109 ms");
}

#[test]
fn kv_is_pulled_after_its_lease() {
    // Pulled so long after its prefill; another request is computed 4 s after it.
    let with = |posted: i64, beat: Option<i64>, is_cut: bool| {
        let mut recording = Recording::default();
        for (process, name) in [(1, "a-1"), (2, "a-2")] {
            recording.process(process, "VLLM::EngineCore");
            recording.agent(process, name);
        }
        recording.process(3, "vllm serve m --kv-transfer-config {\"kv_lease_duration\": 3}");
        let computed = recording.pass(1, 100 * MS, 4, 10 * MS);
        let other = recording.pass(1, computed + 4_000 * MS, 4, 10 * MS);
        recording.write(2, "a-2", "a-1", computed + posted, 1 << 20, "req-1");
        recording.write(2, "a-2", "a-1", other + 10 * MS, 1 << 20, "req-2");
        recording.transfers.op = vec!["READ".into(), "READ".into()];
        for (id, start_ns, end_ns) in
            [("req-1", 90 * MS, computed + posted + 50 * MS), ("req-2", computed + 3_990 * MS, other + 50 * MS)]
        {
            recording.spans.push(kvpath_schema::tables::spans::Span {
                start_ns,
                dur_ns: Some(end_ns - start_ns),
                service: "client".into(),
                name: "request".into(),
                request: Some(id.to_owned()),
            });
        }
        if let Some(beat) = beat {
            for (process, direction, peer) in [(2, "sent", "a-1"), (1, "arrived", "a-2")] {
                recording.notif(process, direction, peer, computed + beat, "HB:req-1-89abcdef,req-1");
                if is_cut {
                    *recording.notifs.message_bytes.last_mut().unwrap() += 100;
                }
            }
            // While it is on its way decode still asks.
            recording.notif(2, "sent", "a-1", computed + posted + MS, "HB:req-1-89abcdef");
            recording.notif(1, "arrived", "a-2", computed + posted + MS, "HB:req-1-89abcdef");
        }
        let stuck = stuck(recording);
        stuck.into_iter().filter(|item| item.kind.text() == "lease_over").collect::<Vec<_>>()
    };
    let item = with(6_000 * MS, None, false).remove(0);
    assert_eq!((item.cause.text(), item.request, item.peer_process_id), ("no_heartbeat", Some(0), Some(1)));
    assert_eq!(item.until_ns - item.since_ns, 3_000 * MS);
    assert!(item.text.contains("pulled 6.00 s after its prefill"), "{}", item.text);
    assert!(with(2_900 * MS, None, false).is_empty());
    assert!(with(3_900 * MS, None, false).is_empty(), "no step has been since in which it could be given up");
    assert!(with(4_500 * MS, Some(2_700 * MS), false).is_empty(), "2 s from the heartbeat on");
    assert_eq!(with(6_000 * MS, Some(1_900 * MS), false).len(), 1);
    assert!(with(6_000 * MS, Some(1_900 * MS), true).is_empty(), "what a heartbeat named beyond the cut is not known");
}

#[test]
fn a_request_that_went_on_without_its_kv() {
    let with = |token: i64, again: Option<i64>| {
        let mut recording = pair();
        pending(&mut recording, 1_000 * MS, MS, MS);
        let t = &mut recording.transfers;
        (t.status[1], t.pending_polls[1], t.post_end_ns[1]) = ("NIXL_ERR_BACKEND".into(), Some(0), Some(1_100 * MS));
        if let Some(at) = again {
            handed_over(&mut recording, "req-2", at);
        }
        recording.spans.push(kvpath_schema::tables::spans::Span {
            start_ns: 900 * MS,
            dur_ns: Some(token),
            service: "client".into(),
            name: "request".into(),
            request: Some("req-2".to_owned()),
        });
        found(recording).into_iter().map(|(kind, ..)| kind).collect::<Vec<_>>()
    };
    assert_eq!(with(400 * MS, None), ["failed", "went_on"]);
    assert_eq!(with(150 * MS, None), ["failed"], "it had its token before that");
    assert_eq!(with(400 * MS, Some(1_150 * MS)), ["failed"], "it was made again");
}

#[test]
fn a_transfer_that_was_released_or_whose_post_did_not_return() {
    let with = |change: &dyn Fn(&mut Recording)| {
        let mut recording = until(pair(), 9_000 * MS);
        pending(&mut recording, 1_000 * MS, 2 * MS, MS);
        change(&mut recording);
        let item = stuck(recording).remove(0);
        (item.cause.text(), (item.until_ns - item.since_ns) / MS, item.text)
    };
    let row = 2;
    let (cause, ms, text) = with(&|recording| recording.transfers.released_ns[row] = Some(1_004 * MS));
    assert!((cause, ms) == ("unknown", 4) && text.contains("released 4.00 ms after its post"), "{text}");
    let (cause, _, text) = with(&|recording| {
        (recording.transfers.post_end_ns[row], recording.transfers.last_pending_poll_ns[row]) = (None, None);
    });
    assert!(cause == "unknown" && text.contains("whose post did not return"), "{text}");
}
