use super::*;

const ENGINE: u64 = 0xe000;
const BATCH: u64 = 0xba00;

fn text(text: &str) -> TracedText {
    TracedText { text: Some(text.to_owned()), raw: None, len: text.len() as u64 }
}

fn at(time_ns: i64) -> Caller {
    Caller { process_id: 7, tid: 8, time_ns }
}

fn host(_: u64) -> Place {
    Place { memory: "DRAM", device: 0 }
}

fn push(assembler: &mut Assembler, time_ns: i64, event: Event) {
    assembler.push(at(time_ns), event, host);
}

fn submitted(total: u64, is_first: bool, room: Option<u64>) -> Event {
    Event::Submitted { engine: ENGINE, batch: BATCH, total, limit: 4, is_first, room, own: text("10.0.0.1:5000") }
}

fn request(op: i32, target: u64, bytes: u64) -> Request {
    Request { op, source: 0x1000, target, remote: 0x9000, bytes }
}

fn freed(tasks: u64, looked: u64, failed: u64, ended: u64, is_done: bool) -> Event {
    Event::Freed { batch: BATCH, ending: Ending { tasks, looked, failed, ended, is_done } }
}

fn some() -> Assembler {
    let mut assembler = Assembler::default();
    let buffers = vec![Buffer { addr: 0x1000, bytes: 4096 }, Buffer { addr: 0x3000, bytes: 4096 }];
    let own = text("10.0.0.1:5000");
    push(
        &mut assembler,
        10,
        Event::Registered { engine: ENGINE, total: 2, first: 0, own, location: text("*"), buffers },
    );
    push(&mut assembler, 20, Event::Opened { engine: ENGINE, segment: 3, name: text("10.0.0.2:6000") });
    assembler
}

#[test]
fn a_batch_is_a_transfer_from_its_submit_to_its_freeing() {
    let mut assembler = some();
    push(&mut assembler, 30, submitted(2, true, None));
    let requests = vec![request(1, 3, 100), request(1, 3, 50)];
    push(&mut assembler, 30, Event::Requests { batch: BATCH, first: 0, requests });
    assert_eq!(assembler.take_rows().transfers.len(), 0);
    push(&mut assembler, 90, freed(2, 0, 0, 0, true));
    let rows = assembler.take_rows();
    let row = rows.transfers.row(0);
    assert_eq!((row.handle, row.epoch, row.agent_ptr, row.tid), (BATCH, 0, ENGINE, 8));
    assert_eq!((row.agent.as_deref(), row.peer.as_deref()), (Some("10.0.0.1:5000"), Some("10.0.0.2:6000")));
    assert_eq!((&*row.op, &*row.status, &*row.library), ("WRITE", "done", "mooncake"));
    assert_eq!((row.posted_ns, row.done_poll_ns, row.released_ns), (Some(30), Some(90), Some(90)));
    assert_eq!((row.post_end_ns, row.last_pending_poll_ns, row.pending_polls), (None, None, None));
    assert_eq!((row.bytes, row.descriptors, row.local_memory.as_deref()), (Some(150), Some(2), Some("DRAM")));
    assert!(row.transfer_id >= FIRST_TRANSFER);
    assert_eq!(assembler.totals(), Totals { transfers: 1, done: 1, bytes: 150, unopened: 0 });
    assert_eq!(assembler.take_losses().total(), 0);
}

#[test]
fn an_engine_is_a_row_once_a_name() {
    let mut assembler = some();
    push(&mut assembler, 30, submitted(0, true, None));
    let rows = assembler.take_rows();
    assert_eq!((rows.agents.len(), rows.agents.time_ns[0], &*rows.agents.name[0]), (1, 10, "10.0.0.1:5000"));
    assert_eq!((rows.regions.region.clone(), rows.regions.addr.clone()), (vec![0, 1], vec![0x1000, 0x3000]));
}

#[test]
fn peers_and_ways_of_one_batch_are_transfers_of_their_own() {
    let mut assembler = some();
    push(&mut assembler, 30, submitted(3, true, None));
    let requests = vec![request(1, 3, 1), request(0, 3, 2), request(1, 4, 4)];
    push(&mut assembler, 30, Event::Requests { batch: BATCH, first: 0, requests });
    push(&mut assembler, 40, freed(3, 3, 0, 3, false));
    let rows = assembler.take_rows().transfers;
    assert_eq!(rows.epoch, [0, 1, 2]);
    assert_eq!(rows.bytes, [Some(1), Some(2), Some(4)]);
    assert_eq!(rows.descriptors, [Some(1); 3]);
    assert_eq!(rows.peer.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
    assert!(rows.status.iter().all(|status| &**status == "done"));
}

#[test]
fn the_end_is_what_the_tasks_say() {
    for (ending, status) in [
        (freed(2, 2, 1, 2, false), "failed"),
        (freed(2, 2, 1, 1, false), "failed"),
        (freed(0, 0, 0, 0, false), "failed"),
        (freed(2, 2, 0, 1, false), "pending"),
        (freed(9000, 4096, 0, 4096, false), "pending"),
        (freed(2, 2, 0, 2, false), "done"),
    ] {
        let mut assembler = some();
        push(&mut assembler, 30, submitted(2, true, None));
        push(&mut assembler, 90, ending.clone());
        let row = assembler.take_rows().transfers.row(0);
        assert_eq!((&*row.status, row.done_poll_ns), (status, (status == "done").then_some(90)), "{ending:?}");
        // Its requests were lost.
        assert_eq!((row.bytes, row.descriptors, &*row.op), (None, Some(2), "unknown"));
    }
}

#[test]
fn what_is_never_freed_is_pending() {
    let mut assembler = some();
    push(&mut assembler, 30, submitted(1, true, None));
    push(&mut assembler, 30, Event::Requests { batch: BATCH, first: 0, requests: vec![request(1, 3, 1)] });
    // A second part of the batch, and then another batch at its address.
    push(&mut assembler, 31, submitted(1, false, None));
    push(&mut assembler, 31, Event::Requests { batch: BATCH, first: 0, requests: vec![request(1, 3, 2)] });
    push(&mut assembler, 50, submitted(1, true, None));
    assert_eq!(assembler.take_rows().transfers.bytes, [Some(1), Some(2)]);
    assembler.process_ended(7);
    let rows = assembler.take_rows().transfers;
    assert_eq!((rows.epoch[0], &*rows.status[0], rows.released_ns[0]), (2, "pending", None));
    push(&mut assembler, 60, freed(1, 0, 0, 0, true));
    assert_eq!(assembler.take_losses().of("nixl_transfers"), 1);
}

#[test]
fn another_program_of_a_process_begins_anew_but_for_what_is_counted() {
    let mut assembler = some();
    push(&mut assembler, 30, submitted(1, true, None));
    push(&mut assembler, 30, Event::Requests { batch: BATCH, first: 0, requests: vec![request(1, 3, 1)] });
    assembler.image_replaced(7);
    push(&mut assembler, 40, submitted(1, true, None));
    push(&mut assembler, 40, Event::Requests { batch: BATCH, first: 0, requests: vec![request(1, 3, 1)] });
    assembler.finish();
    let rows = assembler.take_rows();
    assert_eq!((rows.transfers.epoch.clone(), rows.agents.len()), (vec![0, 1], 2));
    assert_eq!(rows.transfers.peer.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn what_is_over_the_limit_is_counted_and_its_size_unknown() {
    let mut assembler = some();
    push(&mut assembler, 30, submitted(6, true, None));
    let requests = vec![request(1, 3, 1); 4];
    push(&mut assembler, 30, Event::Requests { batch: BATCH, first: 0, requests });
    push(&mut assembler, 90, freed(6, 0, 0, 0, true));
    let row = assembler.take_rows().transfers.row(0);
    assert_eq!((row.bytes, row.descriptors), (None, Some(6)));
    assert_eq!(assembler.take_losses().of("nixl_descriptors"), 2);
}

#[test]
fn a_room_is_the_request_of_the_transfer_that_ends_with_its_row() {
    let asked = |room: Option<u64>, memory: &'static str| {
        let mut assembler = Assembler::default();
        let buffers = vec![Buffer { addr: 0x1000, bytes: 64 }];
        let own = text("a:1");
        let event = Event::Registered { engine: ENGINE, total: 1, first: 0, own, location: text(memory), buffers };
        push(&mut assembler, 10, event);
        push(&mut assembler, 30, submitted(2, true, room));
        let requests = vec![request(1, 3, 64), request(1, 3, 64)];
        push(&mut assembler, 30, Event::Requests { batch: BATCH, first: 0, requests });
        push(&mut assembler, 40, freed(2, 0, 0, 0, true));
        assembler.take_rows().transfers.row(0).request
    };
    assert_eq!(asked(Some(8_273_645), "cpu:0").as_deref(), Some("8273645"));
    assert_eq!((asked(Some(0), "cpu:0"), asked(None, "cpu:0"), asked(Some(5), "cuda:0")), (None, None, None));
}

#[test]
fn a_peer_that_cannot_be_opened_is_counted() {
    let mut assembler = some();
    push(&mut assembler, 30, Event::Opened { engine: ENGINE, segment: u64::MAX, name: text("10.0.0.9:1") });
    assert_eq!(assembler.totals().unopened, 1);
}
