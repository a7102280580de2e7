//! Orders of events that real runs and lossy ones give.

use super::super::decode::{Blocks, List};
use super::*;
use proptest::prelude::*;

const P: i64 = 41;
const H: u64 = 0x5555_0000;

fn txt(text: &str) -> TracedText {
    TracedText { text: Some(text.into()), raw: None, len: text.len() as u64 }
}

fn about(notif: Option<&str>) -> HandleInfo {
    HandleInfo {
        bytes: Some(4096),
        descriptors: Some(2),
        op: Some(1),
        local_memory: Some(0),
        remote_memory: Some(0),
        has_notif: Some(notif.is_some()),
        peer: txt("decode-0"),
        notif: txt(notif.unwrap_or_default()),
    }
}

fn made(entry_ns: i64) -> Event {
    Event::Made { entry_ns, agent_ptr: 7, handle: H, asked: 64, op: None, about: about(Some("cmpl-1-0a0b0c0d:1")) }
}

fn posted(entry_ns: i64, status: i32) -> Event {
    posted_after(entry_ns, status, Polls::default())
}

fn posted_after(entry_ns: i64, status: i32, earlier: Polls) -> Event {
    Event::Posted { entry_ns, agent_ptr: 7, handle: H, earlier, status, about: about(Some("cmpl-1-0a0b0c0d:1")) }
}

fn status(status: i32) -> Event {
    Event::Status { handle: H, polls: Polls { pending: 3, last_pending_ns: 45 }, status }
}

fn released() -> Event {
    Event::Released { handle: H, polls: Polls::default(), status: None }
}

/// Feeds events, each with the time of its record, and gives all transfers.
fn run(events: Vec<(i64, Event)>) -> (NixlTransfers, Losses) {
    let mut assembler = Assembler::default();
    for (time_ns, event) in events {
        assembler.push(P, 42, time_ns, event);
    }
    assembler.finish();
    (assembler.take_rows().transfers, assembler.take_losses())
}

#[test]
fn a_whole_life_is_one_row() {
    let (rows, losses) = run(vec![(12, made(10)), (30, posted(20, 1)), (50, status(0)), (60, released())]);
    assert_eq!(rows.len(), 1);
    let row = rows.row(0);
    assert_eq!((row.made_ns, row.make_dur_ns, row.made_descriptors), (Some(10), Some(2), Some(64)));
    assert_eq!((row.posted_ns, row.post_end_ns), (Some(20), Some(30)));
    assert_eq!((row.last_pending_poll_ns, row.done_poll_ns, row.pending_polls), (Some(45), Some(50), Some(3)));
    assert_eq!((row.released_ns, &*row.status, &*row.op, row.epoch), (Some(60), "done", "WRITE", 0));
    assert_eq!((row.bytes, row.descriptors, row.peer.as_deref()), (Some(4096), Some(2), Some("decode-0")));
    assert_eq!((row.notif.as_deref(), row.request), (Some("cmpl-1-0a0b0c0d:1"), None));
    assert_eq!(losses.total(), 0);
}

#[test]
fn a_post_that_is_done_at_once_ends_at_its_return() {
    let (rows, _) = run(vec![(12, made(10)), (30, posted(20, 0)), (60, released())]);
    assert_eq!((rows.done_poll_ns[0], &*rows.status[0], rows.last_pending_poll_ns[0]), (Some(30), "done", None));
}

#[test]
fn a_handle_made_before_the_recording_has_no_make() {
    let (rows, _) = run(vec![(30, posted(20, 1)), (50, status(0)), (60, released())]);
    assert_eq!((rows.made_ns[0], rows.made_descriptors[0], rows.posted_ns[0]), (None, None, Some(20)));
}

#[test]
fn an_address_used_again_is_another_epoch() {
    let (rows, _) = run(vec![
        (12, made(10)),
        (30, posted(20, 0)),
        (40, released()),
        (52, made(50)),
        (70, posted(60, 0)),
        (80, released()),
    ]);
    assert_eq!((rows.epoch.as_slice(), rows.transfer_id.as_slice()), ([0, 1].as_slice(), [0, 1].as_slice()));
}

#[test]
fn a_repeated_post_is_a_row_of_its_own() {
    let (rows, _) = run(vec![
        (12, made(10)),
        (30, posted(20, 1)),
        (50, status(0)),
        (70, posted(60, 1)),
        (90, status(0)),
        (95, released()),
    ]);
    assert_eq!(rows.made_ns, [Some(10), None]);
    assert_eq!(rows.posted_ns, [Some(20), Some(60)]);
    assert_eq!(rows.released_ns, [None, Some(95)]);
    assert_eq!(rows.epoch, [0, 1]);
}

#[test]
fn a_post_over_one_that_was_not_seen_to_end_keeps_its_polls() {
    let earlier = Polls { pending: 9, last_pending_ns: 55 };
    let (rows, _) = run(vec![(12, made(10)), (30, posted(20, 1)), (70, posted_after(60, 1, earlier))]);
    assert_eq!((&*rows.status[0], rows.pending_polls[0], rows.last_pending_poll_ns[0]), ("pending", Some(9), Some(55)));
    assert_eq!((rows.posted_ns[1], rows.pending_polls[1]), (Some(60), Some(0)));
}

#[test]
fn a_refused_post_leaves_the_active_one_alone() {
    let (rows, _) = run(vec![(12, made(10)), (30, posted(20, 1)), (35, posted(33, -7)), (50, status(0))]);
    assert_eq!((rows.len(), rows.posted_ns[0], &*rows.status[0]), (1, Some(20), "done"));
}

#[test]
fn errors_keep_nixls_name() {
    let (rows, _) = run(vec![(12, made(10)), (30, posted(20, -3)), (40, released())]);
    assert_eq!((&*rows.status[0], rows.done_poll_ns[0]), ("NIXL_ERR_BACKEND", None));
    let (rows, _) = run(vec![(12, made(10)), (30, posted(20, 1)), (50, status(-10)), (60, released())]);
    assert_eq!(
        (&*rows.status[0], rows.done_poll_ns[0], rows.pending_polls[0]),
        ("NIXL_ERR_REMOTE_DISCONNECT", None, Some(3))
    );
}

#[test]
fn a_release_before_the_end_stays_pending() {
    let polls = Polls { pending: 4, last_pending_ns: 44 };
    let (rows, _) =
        run(vec![(12, made(10)), (30, posted(20, 1)), (60, Event::Released { handle: H, polls, status: Some(1) })]);
    assert_eq!((&*rows.status[0], rows.pending_polls[0], rows.released_ns[0]), ("pending", Some(4), Some(60)));
}

#[test]
fn a_release_tells_an_end_that_no_recorded_poll_saw() {
    let ended = |status| (60, Event::Released { handle: H, polls: Polls::default(), status: Some(status) });
    let (rows, losses) = run(vec![(12, made(10)), (30, posted(20, 1)), ended(0)]);
    assert_eq!((&*rows.status[0], rows.done_poll_ns[0], rows.pending_polls[0]), ("done", None, None));
    assert_eq!(losses.total(), 0);
    let (rows, _) = run(vec![(12, made(10)), (30, posted(20, 1)), ended(-3)]);
    assert_eq!((&*rows.status[0], rows.done_poll_ns[0]), ("NIXL_ERR_BACKEND", None));
}

#[test]
fn polls_are_unknown_where_some_were_not_recorded() {
    let mut assembler = Assembler::default();
    let polls = Polls { pending: 4, last_pending_ns: 44 };
    let transfer = |at: i64| [(at + 2, made(at)), (at + 20, posted(at + 10, 1))];
    let ends = |at: i64| (at, Event::Status { handle: H, polls, status: 0 });
    let push = |assembler: &mut Assembler, events: &[(i64, Event)]| {
        for (at, event) in events {
            assembler.push(P, 42, *at, event.clone());
        }
    };
    push(&mut assembler, &transfer(10));
    assembler.record_polls(false);
    assembler.record_polls(true);
    push(&mut assembler, &[ends(50), (60, released())]);
    assembler.record_polls(false);
    push(&mut assembler, &transfer(100));
    push(&mut assembler, &[(160, released())]);
    assembler.record_polls(true);
    push(&mut assembler, &transfer(200));
    push(&mut assembler, &[ends(250), (260, released())]);
    assembler.finish();
    let rows = assembler.take_rows().transfers;
    assert_eq!(rows.pending_polls, [None, None, Some(4)]);
    // What was seen holds all the same.
    assert_eq!(rows.last_pending_poll_ns, [Some(44), None, Some(44)]);
}

#[test]
fn made_and_never_posted_says_so() {
    let (rows, _) = run(vec![(12, made(10)), (60, released())]);
    assert_eq!((&*rows.status[0], rows.posted_ns[0], &*rows.op[0]), ("not_posted", None, "WRITE"));
}

#[test]
fn a_post_that_never_returned_is_a_row() {
    let mut assembler = Assembler::default();
    assembler.push(P, 42, 12, made(10));
    assembler.post_in_flight(P, 43, 7, H, 20);
    assembler.process_ended(P);
    let rows = assembler.take_rows().transfers;
    assert_eq!(
        (rows.tid[0], rows.posted_ns[0], rows.post_end_ns[0], &*rows.status[0]),
        (43, Some(20), None, "pending")
    );
    assert_eq!((rows.made_ns[0], rows.bytes[0]), (Some(10), Some(4096)));
}

#[test]
fn ends_without_a_beginning_are_counted_not_invented() {
    let descriptors = Event::Descriptors {
        handle: H,
        first: 0,
        local: vec![Range { addr: 1, bytes: 2, device: 0 }; 5],
        remote: None,
    };
    let (rows, losses) = run(vec![(10, descriptors), (50, status(0)), (60, released())]);
    assert_eq!(rows.len(), 0);
    assert_eq!((losses.of("nixl_descriptors"), losses.of("nixl_transfers"), losses.total()), (5, 1, 6));
}

#[test]
fn a_lost_release_does_not_swallow_the_next_use() {
    let (rows, _) = run(vec![(12, made(10)), (30, posted(20, 0)), (52, made(50)), (70, posted(60, 0))]);
    assert_eq!((rows.len(), rows.released_ns[0], rows.made_ns[1]), (2, None, Some(50)));
}

#[test]
fn transfers_that_ended_do_not_wait_for_their_release_for_ever() {
    let mut assembler = Assembler::default();
    assembler.push(P, 42, 12, made(10));
    assembler.push(P, 42, 30, posted(20, 0));
    assembler.settle(30 + RELEASE_WAIT_NS);
    assert_eq!(assembler.take_rows().transfers.len(), 0);
    assembler.settle(31 + RELEASE_WAIT_NS);
    let rows = assembler.take_rows().transfers;
    assert_eq!((rows.len(), &*rows.status[0]), (1, "done"));
}

#[test]
fn the_notif_of_a_transfer_is_sent_once_a_post() {
    let mut assembler = Assembler::default();
    assembler.push(P, 42, 12, made(10));
    assembler.push(P, 42, 30, posted(20, 1));
    let message = TracedText { text: Some("m".repeat(256)), raw: None, len: 900 };
    assembler.push(P, 42, 31, Event::NotifSent { peer: txt("prefill-0"), message });
    assembler.push(P, 42, 32, Event::NotifArrived { peer: txt("prefill-0"), message: txt("ok") });
    assembler.push(P, 43, 33, Event::NotifTaken { peer: txt("prefill-0"), message: txt("ok") });
    let notifs = assembler.take_rows().notifs;
    let via: Vec<&str> = notifs.via.iter().map(|via| &**via).collect();
    assert_eq!(via, ["transfer", "genNotif", "unknown", "unknown"]);
    assert_eq!((&*notifs.direction[3], notifs.time_ns[3], notifs.tid[3]), ("taken", 33, 43));
    assert_eq!((notifs.time_ns[0], notifs.transfer_id[0], notifs.message_bytes[1]), (20, Some(0), 900));
    assert_eq!((assembler.totals().notifs_sent, assembler.totals().notifs_arrived), (2, 1));
}

#[test]
fn notifs_keep_bytes_that_are_no_text() {
    let mut assembler = Assembler::default();
    let message = || TracedText { text: Some("\u{fffd}1".into()), raw: Some([0xd9, b'1'].as_slice().into()), len: 2 };
    assembler.push(P, 42, 31, Event::NotifSent { peer: txt("prefill-0"), message: message() });
    assembler.push(P, 42, 32, Event::NotifArrived { peer: txt("prefill-0"), message: txt("ok") });
    assembler.push(P, 42, 33, Event::NotifTaken { peer: txt("prefill-0"), message: message() });
    let raw = assembler.take_rows().notifs.message_raw;
    assert_eq!(raw.iter().map(Option::as_deref).collect::<Vec<_>>(), [Some(&b"\xd91"[..]), None, Some(b"\xd91")]);
}

#[test]
fn regions_are_numbered_in_order_and_a_failed_call_registers_none() {
    let range = Range { addr: 0x1000, bytes: 64, device: 0 };
    let list = |ranges: Vec<Range>| Event::Regions { agent_ptr: 7, total: 2, first: 0, memory: 1, ranges };
    let mut assembler = Assembler::default();
    assembler.push(P, 42, 5, Event::Agent { agent_ptr: 7, name: txt("prefill-0") });
    assembler.push(P, 42, 10, list(vec![range, range]));
    assembler.push(P, 43, 11, list(vec![range, range]));
    assembler.push(P, 43, 19, Event::RegionsEnd { entry_ns: 11, agent_ptr: 7, status: -3 });
    assembler.push(P, 42, 20, Event::RegionsEnd { entry_ns: 10, agent_ptr: 7, status: 0 });
    assembler.push(P, 42, 30, list(vec![range, range]));
    assembler.finish();
    let rows = assembler.take_rows().regions;
    assert_eq!(rows.region, [0, 1, 2, 3]);
    assert_eq!(rows.dur_ns, [Some(10), Some(10), None, None]);
    assert_eq!((rows.agent[0].as_deref(), &*rows.memory[0]), (Some("prefill-0"), "VRAM"));
}

/// A post of a handle of which neither peer nor size could be read.
fn unreadable(descriptors: u64, status: i32) -> (NixlTransfers, Vec<(String, u64)>) {
    let mut unread = about(None);
    (unread.peer.text, unread.bytes, unread.descriptors) = (None, None, Some(descriptors));
    let event =
        Event::Posted { entry_ns: 20, agent_ptr: 7, handle: H, earlier: Polls::default(), status, about: unread };
    let (rows, losses) = run(vec![(30, event)]);
    let mut counts: Vec<_> = losses.iter().map(|(cause, count)| (cause.reason.to_string(), count)).collect();
    counts.sort();
    (rows, counts)
}

#[test]
fn what_could_not_be_read_or_was_over_a_limit_is_counted_once() {
    let loss = |reason: &str, count: u64| (reason.to_owned(), count);
    let (rows, losses) = unreadable(2, 1);
    assert_eq!((rows.peer[0].clone(), rows.bytes[0], rows.descriptors[0]), (None, None, Some(2)));
    assert_eq!(losses, [loss("bytes could not be read", 1), loss("peer could not be read", 1)]);
    let (_, losses) = unreadable(DESCRIPTOR_LIMIT + 3, 1);
    let over = format!("over the limit of {DESCRIPTOR_LIMIT} a post");
    assert_eq!(losses, [loss(&over, 3), loss("peer could not be read", 1)], "the size is lost with the list");
    let (_, losses) = unreadable(2, -1);
    assert_eq!(losses, [loss("peer could not be read", 1)], "what failed at once has no size to be read");
}

/// A post whose handle does not tell its size.
fn unsized_post(entry_ns: i64, descriptors: u64) -> Event {
    let about = HandleInfo { bytes: None, descriptors: Some(descriptors), ..about(None) };
    Event::Posted { entry_ns, agent_ptr: 7, handle: H, earlier: Polls::default(), status: 0, about }
}

fn descriptors(first: u32, sizes: &[u64]) -> Event {
    let local = sizes.iter().map(|bytes| Range { addr: 1, bytes: *bytes, device: 0 }).collect();
    Event::Descriptors { handle: H, first, local, remote: Some(Vec::new()) }
}

#[test]
fn a_size_that_the_handle_does_not_tell_is_the_sum_of_all_descriptors() {
    let events = vec![
        (20, unsized_post(10, 3)),
        (21, descriptors(0, &[100, 20])),
        (22, descriptors(2, &[3])),
        (40, unsized_post(30, 1)),
        (41, descriptors(0, &[7])),
    ];
    let (rows, losses) = run(events);
    assert_eq!(rows.bytes, [Some(123), Some(7)]);
    assert_eq!(losses.total(), 0);
}

#[test]
fn a_sum_that_lacks_a_descriptor_is_no_size() {
    for lossy in [vec![descriptors(2, &[3])], vec![descriptors(0, &[100, 20])], vec![]] {
        let mut events = vec![(20, unsized_post(10, 3))];
        events.extend(lossy.into_iter().map(|event| (21, event)));
        let (rows, losses) = run(events);
        assert_eq!(rows.bytes, [None]);
        let mut all = losses.iter();
        assert!(all.any(|(cause, count)| cause.reason == "bytes could not be read" && count == 1), "{losses:?}");
    }
}

#[test]
fn processes_do_not_mix() {
    let mut assembler = Assembler::default();
    assembler.push(P, 42, 12, made(10));
    assembler.push(P + 1, 50, 13, made(11));
    assembler.process_ended(P);
    let rows = assembler.take_rows().transfers;
    assert_eq!((rows.len(), rows.process_id[0]), (1, P));
    assembler.finish();
    assert_eq!(assembler.take_rows().transfers.process_id, [P + 1]);
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(made(10)),
        (-12i32..3).prop_map(|status| posted(20, status)),
        (-12i32..2).prop_map(status),
        Just(released()),
        Just(Event::Descriptors {
            handle: H,
            first: 0,
            local: vec![Range { addr: 1, bytes: 2, device: 0 }],
            remote: None
        }),
        Just(Event::RegionsEnd { entry_ns: 1, agent_ptr: 7, status: 0 }),
    ]
}

proptest! {
    #[test]
    fn any_order_gives_one_row_a_make_or_post_and_unique_keys(events in proptest::collection::vec(any_event(), 0..40)) {
        let uses = events.iter().filter(|e| matches!(e, Event::Made { .. } | Event::Posted { .. })).count();
        let (rows, _) = run(events.into_iter().enumerate().map(|(i, e)| (i64::try_from(i).unwrap(), e)).collect());
        prop_assert!(rows.len() <= uses);
        let mut ids = rows.transfer_id.clone();
        ids.dedup();
        prop_assert_eq!(ids.len(), rows.len());
        prop_assert_eq!(rows.epoch.clone(), (0..i64::try_from(rows.len()).unwrap()).collect::<Vec<_>>());
        for i in 0..rows.len() {
            prop_assert_eq!(&*rows.status[i] == "done", rows.done_poll_ns[i].is_some());
        }
    }
}

#[test]
fn a_cut_notif_keeps_its_length() {
    let text = format!("{}:1", "a".repeat(254));
    let mut about = about(Some(&text));
    about.notif.len = 300;
    let event = Event::Posted { entry_ns: 20, agent_ptr: 7, handle: H, earlier: Polls::default(), status: 1, about };
    let (rows, _) = run(vec![(30, event)]);
    let row = rows.row(0);
    assert_eq!((row.notif.as_deref(), row.notif_bytes), (Some(&*text), Some(300)));
    let (rows, _) = run(vec![(30, posted(20, 1))]);
    assert_eq!(rows.row(0).notif_bytes, Some(17));
}

fn prepared_row(position: u64, count: u64) -> Event {
    let range = Range { addr: 0x1000 * position, bytes: 64, device: 0 };
    Event::PreparedRow(Blocks { position, range, stride: 64, count })
}

fn prepared_list(is_strided: bool, peer: &str, (asked, covered, rows): (u64, u64, u64)) -> Event {
    Event::Prepared(List { agent_ptr: 7, peer: txt(peer), memory: 1, is_strided, asked, covered, rows })
}

#[test]
fn a_prepared_list_is_its_rows_in_order_and_says_what_it_lacks() {
    let mut assembler = Assembler::default();
    let mut push = |time_ns, event| assembler.push(P, 42, time_ns, event);
    push(5, prepared_row(0, 8));
    push(5, prepared_row(1, 8));
    push(5, prepared_list(true, "", (2, 2, 2)));
    push(6, prepared_row(0, 8));
    // A search that gave up after 8 of 100 blocks; a list longer than what is recorded of one.
    push(6, prepared_list(false, "decode-0", (100, 8, 1)));
    push(7, prepared_row(0, 1));
    push(7, prepared_list(true, "decode-0", (3, 1, 3)));
    // Of a list whose end was lost.
    push(8, prepared_row(0, 1));
    assembler.finish();
    let rows = assembler.take_rows().prepared;
    let said = |row: usize| {
        let row = rows.row(row);
        (row.list, row.row, row.rows, row.peer.map(|peer| peer.to_string()), row.form.to_string(), row.count)
    };
    assert_eq!(rows.len(), 4);
    assert_eq!(said(0), (0, 0, Some(2), None, "strided".to_owned(), 8));
    assert_eq!(said(1), (0, 1, Some(2), None, "strided".to_owned(), 8));
    assert_eq!(said(2), (1, 0, None, Some("decode-0".to_owned()), "blocks".to_owned(), 8));
    assert_eq!(said(3), (2, 0, Some(3), Some("decode-0".to_owned()), "strided".to_owned(), 1));
    assert_eq!(&*rows.memory[0], "VRAM");
    let losses = assembler.take_losses();
    let mut lost: Vec<(String, u64)> = losses.iter().map(|(cause, count)| (cause.reason.to_string(), count)).collect();
    lost.sort_unstable();
    let reason = |what: &str| format!("{what} of a list beyond 1024 rows, or too scattered");
    assert_eq!(lost, [(reason("blocks"), 92), (reason("rows"), 2)]);
}

fn call(of: Kind, entry_ns: i64, peer: &str) -> Event {
    Event::Call { of, entry_ns, agent_ptr: 7, peer: txt(peer) }
}

fn call_end(of: Kind, entry_ns: i64, status: i32) -> Event {
    Event::CallEnd { of, entry_ns, agent_ptr: 7, handle: H, status }
}

/// A row: function, entry and return, peer, status.
type Said = (String, (i64, Option<i64>), Option<String>, Option<String>);

fn calls(assembler: &mut Assembler) -> Vec<Said> {
    let rows = assembler.take_rows().calls;
    let text = |name: Option<Name>| name.map(|name| name.to_string());
    (0..rows.len())
        .map(|at| rows.row(at))
        .map(|row| (row.call.to_string(), (row.start_ns, row.end_ns), text(row.peer), text(row.status)))
        .collect()
}

fn said(call: &str, times: (i64, Option<i64>), peer: Option<&str>, status: Option<&str>) -> Said {
    (call.to_owned(), times, peer.map(str::to_owned), status.map(str::to_owned))
}

#[test]
fn calls_that_set_up_are_rows_with_what_they_returned() {
    let mut assembler = Assembler::default();
    let mut push = |time_ns, event| assembler.push(P, 42, time_ns, event);
    push(1, call(Kind::LoadMd, 1, ""));
    push(5, call(Kind::LoadMd, 1, "decode-0"));
    push(5, call_end(Kind::LoadMd, 1, 0));
    push(6, call(Kind::Connect, 6, "decode-0"));
    push(9, call_end(Kind::Connect, 6, -10));
    let range = Range { addr: 0x1000, bytes: 64, device: 0 };
    push(10, Event::Regions { agent_ptr: 7, total: 1, first: 0, memory: 1, ranges: vec![range] });
    push(12, Event::RegionsEnd { entry_ns: 10, agent_ptr: 7, status: -3 });
    push(13, prepared_list(true, "decode-0", (0, 0, 0)));
    push(15, call_end(Kind::PrepareStrided, 13, -4));
    push(18, call(Kind::Create, 16, "decode-1"));
    push(18, call_end(Kind::Create, 16, -4));
    // Never returned; another thread did, whose entry was lost.
    push(20, call(Kind::Connect, 20, "decode-2"));
    assembler.push(P, 43, 22, call_end(Kind::SendMd, 20, 0));
    assembler.finish();
    let found = calls(&mut assembler);
    assert_eq!(
        found,
        [
            said("loadRemoteMD", (1, Some(5)), Some("decode-0"), Some("NIXL_SUCCESS")),
            said("makeConnection", (6, Some(9)), Some("decode-0"), Some("NIXL_ERR_REMOTE_DISCONNECT")),
            said("registerMem", (10, Some(12)), None, Some("NIXL_ERR_BACKEND")),
            said("prepXferDlist", (13, Some(15)), Some("decode-0"), Some("NIXL_ERR_NOT_FOUND")),
            said("createXferReq", (16, Some(18)), Some("decode-1"), Some("NIXL_ERR_NOT_FOUND")),
            said("sendLocalMD", (20, Some(22)), None, Some("NIXL_SUCCESS")),
            said("makeConnection", (20, None), Some("decode-2"), None),
        ]
    );
}

#[test]
fn the_first_release_that_is_not_refused_ends_a_transfer() {
    let mut assembler = Assembler::default();
    let mut push = |time_ns, event| assembler.push(P, 42, time_ns, event);
    push(12, made(10));
    push(30, posted(20, 1));
    push(40, released());
    push(41, call_end(Kind::Release, 40, -7));
    push(50, status(0));
    push(60, released());
    push(61, call_end(Kind::Release, 60, 0));
    let rows = assembler.take_rows();
    let row = rows.transfers.row(0);
    assert_eq!(
        (rows.transfers.len(), &*row.status, row.done_poll_ns, row.released_ns),
        (1, "done", Some(50), Some(60))
    );
    assert_eq!(row.pending_polls, None, "the kernel half forgets them at the first release");
    assert_eq!((rows.calls.len(), rows.calls.transfer_id[0], rows.calls.start_ns[0]), (1, Some(0), 40));
    assert_eq!(
        (&*rows.calls.call[0], rows.calls.status[0].as_deref()),
        ("releaseXferReq", Some("NIXL_ERR_REPOST_ACTIVE"))
    );
}

/// The address is free before the call that freed it returns.
#[test]
fn a_release_that_returns_late_does_not_end_the_next_use() {
    let mut assembler = Assembler::default();
    assembler.push(P, 42, 12, made(10));
    assembler.push(P, 42, 30, posted(20, 0));
    assembler.push(P, 42, 40, released());
    assembler.push(P, 43, 43, made(41));
    assembler.push(P, 42, 44, call_end(Kind::Release, 40, 0));
    assembler.push(P, 43, 50, posted(45, 0));
    assembler.finish();
    let rows = assembler.take_rows().transfers;
    assert_eq!(
        (rows.made_ns.as_slice(), rows.released_ns.as_slice()),
        ([Some(10), Some(41)].as_slice(), [Some(40), None].as_slice())
    );
}
