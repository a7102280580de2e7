//! What is recorded is what happened.

use std::collections::BTreeSet;
use std::path::Path;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{NixlNotif, NixlTransfer};

use crate::recorded::Recorded;
use crate::setup::{Live, ready, text};
use crate::truth::{Action, Truth};

/// Half of the times must be nearer to the truth than this. Not all: between the workload's look at its clock and the
/// call, the kernel may give the CPU to another task, on this machine for milliseconds.
const NEAR_NS: i64 = 50_000;

/// Records a workload on a wheel and compares everything. `merged` is the number of descriptors that NIXL leaves of a
/// request's.
pub fn check(live: &Live, nixl: &Path, args: &[&str], merged: i64) {
    let output = live.record(nixl, args);
    let truth = Truth::read(&live.path("truth.tsv"));
    let mut off = compare(&truth, &Recorded::read(&live.path("run")), &text(&output), merged);
    off.sort_unstable();
    assert!(off[off.len() / 2] <= NEAR_NS, "half of the times are {} ns or more off", off[off.len() / 2]);
}

/// Compares a run and what the agent said of it with the truth; gives how far its times are off.
pub fn compare(truth: &Truth, recorded: &Recorded, summary: &str, merged: i64) -> Vec<i64> {
    recorded.assert_nothing_lost();
    recorded.assert_keys();
    let posts = truth.all("post").count();
    assert!(posts > 0);
    assert_eq!(recorded.transfers.len(), posts, "{summary}");
    let mut off = Vec::new();
    for post in truth.all("post") {
        off.extend(transfer(truth, recorded, post, merged));
    }
    agents(truth, recorded);
    regions(truth, recorded, &mut off);
    notifs(truth, recorded);
    processes(truth, recorded);
    assert!(summary.contains(&format!("{posts} transfers ({posts} done")), "{summary}");
    assert!(summary.contains("nothing lost"), "{summary}");
    off
}

/// Compares one transfer; gives how far its times are off.
fn transfer(truth: &Truth, recorded: &Recorded, post: &Action, merged: i64) -> Vec<i64> {
    let rows = recorded.transfer_rows();
    let same = |row: &&NixlTransfer| {
        (row.process_id, row.notif.as_deref(), row.peer.as_deref())
            == (post.pid, Some(post.detail.as_str()), Some(post.peer.as_str()))
    };
    let row = rows.iter().find(same).unwrap_or_else(|| panic!("no transfer for {post:?}"));
    let of = |what: &str| truth.beside(what, post);
    let make = of("make").expect("make");
    let external = post.request.rsplit_once('-').expect("an id with a suffix").0;

    // The workload hands over one way alone; only decode pulls.
    assert_eq!(&*row.op, if post.agent.starts_with("decode") { "READ" } else { "WRITE" }, "{row:?}");
    assert_eq!((row.agent.as_deref(), row.tid), (Some(post.agent.as_str()), post.tid));
    assert_eq!((row.bytes, row.made_descriptors, row.descriptors), (post.bytes, post.descriptors, Some(merged)));
    assert_eq!(row.request.as_deref(), Some(external));
    assert_eq!((row.local_memory.as_deref(), row.remote_memory.as_deref()), (Some("DRAM"), Some("DRAM")));
    assert_eq!(&*row.status, "done");

    let make_start = row.made_ns.expect("made");
    let make_end = make_start + row.make_dur_ns.expect("make_dur");
    let (posted, post_end) = (row.posted_ns.expect("posted"), row.post_end_ns.expect("post_end"));
    let (done, released) = (row.done_poll_ns.expect("done"), row.released_ns.expect("released"));
    let release = of("release").expect("release");
    assert!(make.holds(make_start) && make.holds(make_end), "{make:?} {row:?}");
    assert!(post.holds(posted) && post.holds(post_end), "{post:?} {row:?}");
    assert!(release.holds(released), "{release:?} {row:?}");
    match (of("poll_done"), of("poll_pending_last")) {
        (None, _) => assert_eq!((done, row.last_pending_poll_ns, row.pending_polls), (post_end, None, Some(0))),
        (Some(poll), pending) => {
            assert!(poll.holds(done), "{poll:?} {row:?}");
            let count = pending.map_or(0, |pending| pending.detail.parse().expect("count"));
            assert_eq!(row.pending_polls, Some(count));
            assert_eq!(row.last_pending_poll_ns.is_some(), pending.is_some());
            if let (Some(last), Some(pending)) = (row.last_pending_poll_ns, pending) {
                assert!(pending.holds(last) && last < done, "{pending:?} {row:?}");
            }
        }
    }
    descriptors(recorded, row);
    vec![make_start - make.start_ns, posted - post.start_ns, post.end_ns - post_end, released - release.start_ns]
}

/// The descriptors of a transfer cover its bytes and lie in regions of both sides.
fn descriptors(recorded: &Recorded, row: &NixlTransfer) {
    let table = &recorded.descriptors;
    let mine: Vec<_> = (0..table.len()).map(|i| table.row(i)).filter(|d| d.transfer_id == row.transfer_id).collect();
    assert_eq!(mine.iter().map(|d| d.bytes).sum::<i64>(), row.bytes.expect("bytes"));
    let positions: Vec<i64> = mine.iter().map(|d| i64::from(d.position)).collect();
    assert_eq!(positions, (0..row.descriptors.expect("descriptors")).collect::<Vec<_>>());
    let inside = |own: bool, addr: u64, bytes: i64| {
        (0..recorded.regions.len()).map(|i| recorded.regions.row(i)).any(|region| {
            let end = region.addr + u64::try_from(region.bytes).expect("size");
            (region.process_id == row.process_id) == own
                && region.addr <= addr
                && addr + u64::try_from(bytes).expect("size") <= end
        })
    };
    for d in &mine {
        assert!(inside(true, d.local_addr, d.bytes), "{d:?}");
        assert!(inside(false, d.remote_addr.expect("remote"), d.bytes), "{d:?}");
    }
}

fn agents(truth: &Truth, recorded: &Recorded) {
    let made: Vec<_> = truth.all("agent").collect();
    assert_eq!(recorded.agents.len(), made.len());
    for agent in made {
        let found = (0..recorded.agents.len()).map(|i| recorded.agents.row(i)).find(|row| row.process_id == agent.pid);
        let found = found.unwrap_or_else(|| panic!("no agent for {agent:?}"));
        assert!(*found.name == *agent.agent && agent.holds(found.time_ns), "{agent:?} {found:?}");
    }
}

fn regions(truth: &Truth, recorded: &Recorded, off: &mut Vec<i64>) {
    assert_eq!(recorded.regions.len(), truth.all("register").count());
    for agent in truth.all("agent") {
        let mine = (0..recorded.regions.len()).map(|i| recorded.regions.row(i)).filter(|r| r.process_id == agent.pid);
        let registered = truth.all("register").filter(|action| action.pid == agent.pid);
        for (position, (row, action)) in (0..).zip(mine.zip(registered)) {
            let address = u64::from_str_radix(action.detail.trim_start_matches("0x"), 16).expect("address");
            assert_eq!((row.region, row.addr, Some(row.bytes)), (position, address, action.bytes));
            assert_eq!((row.agent.as_deref(), &*row.memory, row.device_id), (Some(agent.agent.as_str()), "DRAM", 0));
            assert!(action.holds(row.time_ns) && action.holds(row.time_ns + row.dur_ns.expect("dur")), "{row:?}");
            off.push(row.time_ns - action.start_ns);
        }
    }
}

fn notifs_counted(truth: &Truth, recorded: &Recorded) {
    let table = &recorded.notifs;
    let count = |direction: &str, via: &str| {
        table.direction.iter().zip(&table.via).filter(|(d, v)| &***d == direction && &***v == via).count()
    };
    assert_eq!(count("sent", "genNotif"), truth.all("notif_sent").count());
    assert_eq!(count("sent", "transfer"), truth.all("post").count());
    for at_the_receiver in ["arrived", "taken"] {
        assert_eq!(count(at_the_receiver, "unknown"), truth.all("notif_taken").count(), "{at_the_receiver}");
    }
}

fn notifs(truth: &Truth, recorded: &Recorded) {
    notifs_counted(truth, recorded);
    let rows: Vec<_> = (0..recorded.notifs.len()).map(|i| recorded.notifs.row(i)).collect();
    for sent in truth.all("notif_sent") {
        let found = rows.iter().any(|row| {
            row.process_id == sent.pid
                && &*row.direction == "sent"
                && row.peer.as_deref() == Some(&sent.peer)
                && row.message == sent.result
                && sent.holds(row.time_ns)
        });
        assert!(found, "{sent:?}");
    }
    for taken in truth.all("notif_taken") {
        let same = |pid: i64, direction: &str| {
            rows.iter().find(|row| row.message == taken.result && row.process_id == pid && &*row.direction == direction)
        };
        let at_receiver = |direction: &str| {
            let is_it = |row: &&NixlNotif| row.peer.as_deref() == Some(&taken.peer) && row.message == taken.result;
            let found =
                rows.iter().filter(|row| row.process_id == taken.pid && &*row.direction == direction).find(is_it);
            found.unwrap_or_else(|| panic!("not {direction}: {taken:?}"))
        };
        let (arrived, handed_over) = (at_receiver("arrived"), at_receiver("taken"));
        assert!(taken.holds(handed_over.time_ns) && handed_over.tid == taken.tid, "{handed_over:?} {taken:?}");
        assert!(arrived.time_ns < handed_over.time_ns, "{arrived:?} {handed_over:?}");
        let sender = truth.all("agent").find(|agent| agent.agent == taken.peer).expect("the sender").pid;
        let sent = same(sender, "sent").unwrap_or_else(|| panic!("not sent: {taken:?}"));
        assert!(sent.time_ns < arrived.time_ns && arrived.time_ns < taken.end_ns, "{sent:?} {arrived:?} {taken:?}");
        // What is not UTF-8 of a registration is single bytes, each of which the text has replaced.
        let bytes = taken.result.chars().map(|c| if c == char::REPLACEMENT_CHARACTER { 1 } else { c.len_utf8() }).sum();
        assert_eq!(usize::try_from(arrived.message_bytes), Ok::<usize, _>(bytes));
    }
}

fn processes(truth: &Truth, recorded: &Recorded) {
    for agent in truth.all("agent") {
        let at = recorded.processes.process_id.iter().position(|id| *id == agent.pid).expect("the process");
        let name = &recorded.processes.name[at];
        let rank = agent.agent.strip_prefix("prefill-");
        let title = rank
            .map_or("kvpath-workload::decode_TP0".to_owned(), |rank| format!("kvpath-workload::prefill_PP{rank}_TP0"));
        assert!(name.starts_with(&title), "{name}");
        assert!(recorded.processes.start_ns[at].is_some_and(|start| start < agent.start_ns));
        assert!(recorded.processes.end_ns[at].is_some_and(|end| end > agent.end_ns), "{:?}", recorded.processes);
        let named = (0..recorded.threads.len())
            .map(|i| recorded.threads.row(i))
            .any(|thread| thread.process_id == agent.pid && thread.tid == agent.tid && thread.name.is_some());
        assert!(named, "{:?}", recorded.threads);
    }
}

#[test]
fn neighbouring_blocks_are_merged_to_one_descriptor_a_layer() {
    let Some(live) = ready("neighbouring_blocks_are_merged_to_one_descriptor_a_layer") else { return };
    check(&live, &live.nixl, &[], 4);
}

#[test]
fn scattered_blocks_stay_single() {
    let Some(live) = ready("scattered_blocks_stay_single") else { return };
    check(&live, &live.nixl, &["--scatter", "--requests", "5"], 256);
}

#[test]
fn handles_from_plain_lists_are_recorded_too() {
    let Some(live) = ready("handles_from_plain_lists_are_recorded_too") else { return };
    check(&live, &live.nixl, &["--make", "create", "--stages", "3", "--scatter", "--blocks", "16"], 64);
}

#[test]
fn descriptors_over_the_limit_are_counted() {
    let Some(live) = ready("descriptors_over_the_limit_are_counted") else { return };
    live.record(
        &live.nixl,
        &["--scatter", "--requests", "1", "--blocks", "20000", "--block-tokens", "1", "--block-kib", "1"],
    );
    let recorded = Recorded::read(&live.path("run"));
    let transfers = i64::try_from(recorded.transfers.len()).expect("few");
    assert_eq!(transfers, 2);
    let asked: i64 = recorded.transfers.descriptors.iter().map(|count| count.expect("read")).sum();
    let (kept, dropped) = (recorded.descriptors.len(), recorded.drops.count.iter().sum::<i64>());
    assert_eq!((kept, asked - dropped), (2 * 65_536, 2 * 65_536));
    assert!(recorded.drops.table_name.iter().all(|table| table.as_deref() == Some("nixl_descriptors")));
}

#[test]
fn pulled_blocks_are_recorded_as_reads() {
    let Some(live) = ready("pulled_blocks_are_recorded_as_reads") else { return };
    check(&live, &live.nixl, &["--op", "read", "--scatter", "--blocks", "16"], 64);
}

#[test]
fn shared_memory_is_recorded_too() {
    let Some(live) = ready("shared_memory_is_recorded_too") else { return };
    check(&live, &live.nixl, &["--tls", "sm,tcp"], 4);
}

#[test]
fn of_ten_thousand_transfers_none_is_lost() {
    let Some(live) = ready("of_ten_thousand_transfers_none_is_lost") else { return };
    let small = "--requests 5000 --chunks 1 --layers 1 --blocks 1 --block-kib 1";
    live.record(&live.nixl, &small.split(' ').collect::<Vec<_>>());
    let (truth, recorded) = (Truth::read(&live.path("truth.tsv")), Recorded::read(&live.path("run")));
    recorded.assert_nothing_lost();
    recorded.assert_keys();
    let posted: BTreeSet<_> = truth.all("post").map(|post| (post.pid, post.detail.clone())).collect();
    assert_eq!(posted.len(), 10_000);
    let rows = recorded.transfer_rows();
    assert!(rows.iter().all(|row| &*row.status == "done" && row.bytes == Some(1024)), "{rows:?}");
    let seen: BTreeSet<_> = rows.iter().map(|row| (row.process_id, row.notif.clone().expect("a notif"))).collect();
    assert_eq!((rows.len(), seen), (10_000, posted));
    for arrival in ["notif_taken", "notif_sent"] {
        assert_eq!(truth.all(arrival).count(), if arrival == "notif_sent" { 10_000 } else { 20_000 });
    }
    notifs_counted(&truth, &recorded);
}
