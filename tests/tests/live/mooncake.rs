//! Hand-offs by Mooncake's transfer engine, over TCP in host memory.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{NixlDescriptor, NixlTransfer};

use crate::recorded::Recorded;
use crate::setup::{Live, ready, skipped, text};
use crate::truth::{Action, Truth};

/// The wheel that is run, unpacked.
fn wheel() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let beside = own.ancestors().nth(3)?.join("mooncake-0.3.13.post1");
    let folder = std::env::var_os("KVPATH_MOONCAKE").map_or(beside, PathBuf::from);
    folder.join("mooncake/engine.so").exists().then_some(folder)
}

/// What a test needs; `None` if something is missing, which was said then.
fn ready_for_mooncake(test: &str) -> Option<(Live, PathBuf)> {
    let live = ready(test)?;
    let Some(wheel) = wheel() else {
        skipped(test, "no wheel of Mooncake (set KVPATH_MOONCAKE)");
        return None;
    };
    let import = "import sys; sys.path.insert(0, sys.argv[1]); import mooncake.engine";
    let tried = Command::new("python3").args(["-c", import]).arg(&wheel).output();
    if !tried.as_ref().is_ok_and(|output| output.status.success()) {
        let why = tried.map_or_else(|error| error.to_string(), |output| text(&output));
        skipped(test, &format!("Mooncake does not load: {}", why.lines().last().unwrap_or_default()));
        return None;
    }
    Some((live, wheel))
}

/// Records the two processes into the folder `run`.
fn record(live: &Live, wheel: &Path, options: &[&str], args: &[&str]) -> Output {
    let mut agent = live.agent(&["record", "--gpu", "off", "--max-overhead", "1000", "--out"]);
    agent.arg(live.path("run")).args(options).arg("--library").arg(wheel.join("mooncake/engine.so"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("mooncake/handoff.py");
    agent.arg("--").arg("python3").arg(script).arg("--wheel").arg(wheel);
    let output = agent.arg("--truth").arg(live.path("truth.tsv")).args(args).output().expect("the agent starts");
    assert!(output.status.success(), "{}", text(&output));
    output
}

/// Transfers in the order in which they were posted.
fn in_order(recorded: &Recorded) -> Vec<NixlTransfer> {
    let mut rows = recorded.transfer_rows();
    rows.sort_by_key(|row| row.posted_ns);
    rows
}

/// Compares everything that was recorded with what was done. Gives the transfers, beside what each did.
fn compare(truth: &Truth, recorded: &Recorded) -> Vec<(NixlTransfer, Action)> {
    recorded.assert_nothing_lost();
    recorded.assert_keys();
    let submits: Vec<&Action> = truth.all("submit").collect();
    let rows = in_order(recorded);
    assert!(!submits.is_empty());
    assert_eq!(rows.len(), submits.len());
    for (row, submit) in rows.iter().zip(&submits) {
        transfer(recorded, row, submit);
    }
    agents(truth, recorded);
    regions(truth, recorded);
    rows.into_iter().zip(submits.into_iter().cloned()).collect()
}

fn transfer(recorded: &Recorded, row: &NixlTransfer, submit: &Action) {
    let (op, pieces) = submit.detail.split_once(' ').expect("a way and pieces");
    assert_eq!((&*row.op, &*row.library), (op, "mooncake"), "{row:?} {submit:?}");
    assert_eq!((row.process_id, row.tid), (submit.pid, submit.tid));
    assert_eq!((row.agent.as_deref(), row.peer.as_deref()), (Some(&*submit.agent), Some(&*submit.peer)));
    assert_eq!((row.bytes, row.descriptors), (submit.bytes, submit.descriptors));
    assert_eq!((row.local_memory.as_deref(), row.remote_memory.as_deref()), (Some("DRAM"), None));
    assert_eq!((row.made_ns, row.post_end_ns, row.last_pending_poll_ns, row.pending_polls), (None, None, None, None));
    assert!(submit.holds(row.posted_ns.expect("posted")), "{row:?} {submit:?}");
    assert!(submit.holds(row.released_ns.expect("released")), "{row:?} {submit:?}");
    if submit.result == "0" {
        assert_eq!((&*row.status, row.done_poll_ns), ("done", row.released_ns), "{row:?}");
    } else {
        assert_eq!((&*row.status, row.done_poll_ns), ("failed", None), "{row:?}");
    }
    let table = &recorded.descriptors;
    let mine = (0..table.len()).map(|at| table.row(at)).filter(|piece| piece.transfer_id == row.transfer_id);
    let mine: Vec<String> = mine.enumerate().map(|(at, piece)| shown(at, &piece)).collect();
    assert_eq!(mine, pieces.split(',').collect::<Vec<_>>());
}

fn shown(at: usize, piece: &NixlDescriptor) -> String {
    assert_eq!(usize::try_from(piece.position), Ok(at));
    format!("{:x}:{:x}:{}", piece.local_addr, piece.remote_addr.expect("remote"), piece.bytes)
}

fn agents(truth: &Truth, recorded: &Recorded) {
    let named = |pid: i64, name: &str| {
        let table = &recorded.agents;
        (0..table.len()).any(|at| table.process_id[at] == pid && &*table.name[at] == name)
    };
    assert_eq!(recorded.agents.len(), truth.all("agent").count());
    assert!(truth.all("agent").all(|agent| named(agent.pid, &agent.agent)), "{:?}", recorded.agents);
    assert!(recorded.agents.library.iter().all(|library| &**library == "mooncake"));
}

fn regions(truth: &Truth, recorded: &Recorded) {
    assert_eq!(recorded.regions.len(), truth.all("register").count());
    for agent in truth.all("agent") {
        let mine =
            (0..recorded.regions.len()).map(|at| recorded.regions.row(at)).filter(|row| row.process_id == agent.pid);
        let registered = truth.all("register").filter(|action| action.pid == agent.pid);
        for (position, (row, action)) in (0..).zip(mine.zip(registered)) {
            let address = u64::from_str_radix(action.detail.trim_start_matches("0x"), 16).expect("address");
            assert_eq!((row.region, row.addr, Some(row.bytes)), (position, address, action.bytes));
            assert_eq!((row.agent.as_deref(), &*row.memory, &*row.library), (Some(&*agent.agent), "DRAM", "mooncake"));
            assert!(action.holds(row.time_ns) && row.dur_ns.is_none(), "{row:?} {action:?}");
        }
    }
}

#[test]
fn batches_of_mooncake_are_transfers() {
    let Some((live, wheel)) = ready_for_mooncake("batches_of_mooncake_are_transfers") else { return };
    let output = record(&live, &wheel, &[], &[]);
    let done = compare(&Truth::read(&live.path("truth.tsv")), &Recorded::read(&live.path("run")));
    assert_eq!(done.len(), 4 * 3);
    for (row, submit) in &done {
        // Three rows of 64 bytes, the last of which holds the number of the request.
        let carries = submit.bytes == Some(3 * 64);
        assert_eq!(row.request.as_deref(), carries.then_some(&*submit.request), "{row:?} {submit:?}");
    }
    let summary = text(&output);
    assert!(summary.contains("12 transfers over Mooncake (12 done") && summary.contains("nothing lost"), "{summary}");
}

#[test]
fn hand_offs_by_mooncake_are_reported() {
    let Some((live, wheel)) = ready_for_mooncake("hand_offs_by_mooncake_are_reported") else { return };
    record(&live, &wheel, &[], &["--chunks", "1", "--requests", "3"]);
    let truth = Truth::read(&live.path("truth.tsv"));
    let report = kvpath_tests::kvpath().arg("report").arg(live.path("run")).args(["--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("JSON");
    let handed: Vec<(String, i64)> = report["requests"]
        .as_array()
        .expect("requests")
        .iter()
        .map(|row| (row["request_id"].as_str().unwrap_or("-").to_owned(), row["handoff_bytes"].as_i64().unwrap_or(0)))
        .collect();
    let bytes =
        |id: &str| truth.all("submit").filter(|submit| submit.request == id).filter_map(|s| s.bytes).sum::<i64>();
    let expected: Vec<(String, i64)> =
        (1_000_000..1_000_003).map(|id: i64| (id.to_string(), bytes(&id.to_string()))).collect();
    assert_eq!(handed, expected);
    let roles: Vec<(i64, &str)> = report["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .map(|row| (row["process_id"].as_i64().expect("a process"), row["role"].as_str().expect("a role")))
        .collect();
    let poster = truth.all("submit").next().expect("a submit").pid;
    assert_eq!(
        roles.iter().map(|(pid, role)| (*pid == poster, *role)).collect::<Vec<_>>(),
        [(true, "prefill"), (false, "decode")]
    );
}

#[test]
fn pulls_by_mooncake_are_reads() {
    let Some((live, wheel)) = ready_for_mooncake("pulls_by_mooncake_are_reads") else { return };
    record(&live, &wheel, &[], &["--op", "read", "--layers", "2"]);
    let done = compare(&Truth::read(&live.path("truth.tsv")), &Recorded::read(&live.path("run")));
    assert!(done.iter().all(|(row, _)| &*row.op == "READ" && row.request.is_none()));
}

#[test]
fn peers_of_mooncake_that_are_gone_are_failures() {
    let Some((live, wheel)) = ready_for_mooncake("peers_of_mooncake_that_are_gone_are_failures") else { return };
    let output = record(&live, &wheel, &[], &["--fail", "--requests", "1"]);
    let truth = Truth::read(&live.path("truth.tsv"));
    let done = compare(&truth, &Recorded::read(&live.path("run")));
    let failed: Vec<&str> =
        done.iter().filter(|(row, _)| &*row.status == "failed").map(|(_, submit)| &*submit.request).collect();
    assert_eq!(failed, ["after"]);
    assert_eq!(truth.all("unopened").count(), 1);
    assert!(text(&output).contains("1 peers of it could not be opened"), "{}", text(&output));
}

#[test]
fn rooms_are_not_read_where_they_are_left_out() {
    let Some((live, wheel)) = ready_for_mooncake("rooms_are_not_read_where_they_are_left_out") else { return };
    record(&live, &wheel, &["--without", "room"], &["--requests", "2"]);
    let done = compare(&Truth::read(&live.path("truth.tsv")), &Recorded::read(&live.path("run")));
    assert!(done.iter().all(|(row, _)| row.request.is_none()));
}

#[test]
fn of_thousands_of_small_batches_none_is_lost() {
    let Some((live, wheel)) = ready_for_mooncake("of_thousands_of_small_batches_none_is_lost") else { return };
    record(&live, &wheel, &[], &["--requests", "1500", "--layers", "1", "--blocks", "1", "--chunks", "1"]);
    let done = compare(&Truth::read(&live.path("truth.tsv")), &Recorded::read(&live.path("run")));
    assert_eq!(done.len(), 3000);
}

#[test]
fn requests_of_a_batch_over_the_limit_are_counted() {
    let Some((live, wheel)) = ready_for_mooncake("requests_of_a_batch_over_the_limit_are_counted") else { return };
    let args = "--op read --requests 1 --layers 4 --blocks 9000 --chunks 1 --block 64 --may-fail";
    record(&live, &wheel, &[], &args.split(' ').collect::<Vec<_>>());
    let recorded = Recorded::read(&live.path("run"));
    let row = recorded.transfers.row(0);
    // Whether TCP bears as many is not the question.
    assert_eq!((row.descriptors, row.bytes), (Some(72_000), None));
    let dropped = recorded.drops.count.iter().sum::<i64>();
    assert_eq!((recorded.descriptors.len(), dropped), (65_536, 72_000 - 65_536));
}

#[test]
fn a_build_of_mooncake_that_is_not_known_is_left_alone() {
    let Some((live, wheel)) = ready_for_mooncake("a_build_of_mooncake_that_is_not_known_is_left_alone") else { return };
    let mut library = std::fs::read(wheel.join("mooncake/engine.so")).expect("the library");
    // The note of the Build ID: name "GNU", then the ID.
    let note = library.windows(8).position(|bytes| bytes == b"\x03\0\0\0GNU\0").expect("a note");
    library[note + 8] ^= 0xff;
    let copy = live.path("engine.so");
    std::fs::write(&copy, library).expect("a copy");
    let mut agent = live.agent(&["record", "--for", "200ms", "--out"]);
    let output = agent.arg(live.path("run")).arg("--library").arg(&copy).output().expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let states = Recorded::read(&live.path("run")).states_of("library", "engine.so");
    assert_eq!(states.len(), 1);
    assert_eq!(&*states[0].source, "mooncake");
    let reason = states[0].reason.as_deref().unwrap_or_default();
    assert!(reason.contains("is unknown; known releases of Mooncake: 0.3.13"), "{reason}");
}
