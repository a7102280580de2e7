//! When threads were off the CPU.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::sched::OffCpu;

use crate::recorded::Recorded;
use crate::setup::{children, ready_to_count, signal, skipped, text, wait_for};

/// The decode process of a workload, once it runs.
fn decode_of(workload: u32) -> u32 {
    let find = || {
        children(workload).into_iter().find(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|title| title.starts_with(b"kvpath-workload::decode"))
        })
    };
    wait_for("decode", || find().is_some());
    find().expect("decode")
}

#[test]
fn a_thread_that_is_stopped_is_off_for_that_long() {
    let Some(live) = ready_to_count("a_thread_that_is_stopped_is_off_for_that_long") else { return };
    let agent = live.start_agent(&["--gpu", "off", "--max-overhead", "1000"]);
    let mut workload = live.workload(&live.nixl, &["--requests", "60"]);
    let mut workload = workload.stderr(Stdio::null()).spawn().expect("the workload");
    let workload_pid = workload.id();
    let pid = decode_of(workload.id());
    sleep(Duration::from_millis(400));
    let began = Instant::now();
    signal(pid, "STOP");
    sleep(Duration::from_millis(300));
    signal(pid, "CONT");
    let most = began.elapsed() + Duration::from_millis(50);
    assert!(workload.wait().expect("the workload").success());
    signal(agent.id(), "INT");
    let said = text(&agent.wait_with_output().expect("the agent"));
    let recorded = Recorded::read(&live.path("run"));
    recorded.assert_nothing_lost();
    let rows: Vec<OffCpu> = (0..recorded.sched.len()).map(|i| recorded.sched.row(i)).collect();
    let stopped: Vec<&OffCpu> =
        rows.iter().filter(|row| row.process_id == i64::from(pid) && &*row.state == "stopped").collect();
    assert!(!stopped.is_empty(), "{said}");
    for row in stopped {
        let most = i64::try_from(most.as_nanos()).expect("short");
        assert!((290_000_000..=most).contains(&row.off_ns), "{row:?}, at most {most}");
    }
    // Threads of three processes and of the one that started them, and nobody waits longer than it is off.
    let mut processes: Vec<i64> = rows.iter().map(|row| row.process_id).collect();
    processes.sort_unstable();
    processes.dedup();
    assert_eq!(processes.len(), 4, "{said}");
    assert!(processes.contains(&i64::from(workload_pid)), "{processes:?}");
    for row in &rows {
        assert!(0 <= row.run_queue_ns && row.run_queue_ns <= row.off_ns && row.off_ns <= row.dur_ns, "{row:?}");
        assert_eq!(&*row.state == "short", row.off_ns != row.dur_ns || row.intervals != 1, "{row:?}");
        let waits = matches!(&*row.state, "sleeping" | "uninterruptible" | "stopped");
        assert!(waits || (row.call.is_none() && row.file.is_none() && row.waker_tid.is_none()), "{row:?}");
        assert_eq!(row.waker.is_some(), row.waker_tid.is_some(), "{row:?}");
    }
    // The one that started them looks at them again and again, and nobody wakes it.
    let own = |row: &&OffCpu| row.process_id == i64::from(workload_pid) && &*row.state == "sleeping";
    let slept: Vec<&OffCpu> = rows.iter().filter(own).collect();
    assert!(!slept.is_empty(), "{said}");
    for row in slept {
        assert_eq!((row.call.as_deref(), row.waker_tid), (Some("clock_nanosleep"), None), "{row:?}");
    }
    // A stage waits for the one before it on a socket, and that one's thread wakes it.
    let crossed = rows.iter().filter(|row| {
        let file = row.file.as_deref().unwrap_or_default();
        row.waker_process_id.is_some_and(|waker| waker != row.process_id) && file.starts_with("unix")
    });
    let crossed: Vec<&OffCpu> = crossed.collect();
    assert!(!crossed.is_empty(), "{said}");
    for row in &crossed {
        assert!(row.waker_process_id.is_some_and(|waker| processes.contains(&waker)), "{row:?}");
    }
    // A thread that only reads the socket, and wakes the one that makes the calls, is watched for that.
    let reads = |woken: &&OffCpu| {
        let is_reader = |row: &&&OffCpu| (row.process_id, Some(row.tid)) == (woken.process_id, woken.waker_tid);
        woken.call.as_deref() == Some("futex") && crossed.iter().any(|row| is_reader(&row))
    };
    assert!(rows.iter().filter(|row| row.waker_process_id == Some(row.process_id)).any(|row| reads(&row)), "{said}");
}

#[test]
fn a_thread_that_looks_again_and_again_spins() {
    let test = "a_thread_that_looks_again_and_again_spins";
    let Some(live) = ready_to_count(test) else { return };
    let agent = live.start_agent(&["--gpu", "off", "--max-overhead", "1000"]);
    let mut workload = live.workload(&live.nixl, &["--requests", "4", "--spin", "--poll-us", "20000"]);
    let mut workload = workload.stderr(Stdio::null()).spawn().expect("the workload");
    let decode = i64::from(decode_of(workload.id()));
    assert!(workload.wait().expect("the workload").success());
    signal(agent.id(), "INT");
    let said = text(&agent.wait_with_output().expect("the agent"));
    let recorded = Recorded::read(&live.path("run"));
    recorded.assert_nothing_lost();
    let kernel = recorded.fact(&["spins"]).expect("whether it is recorded");
    if kernel != "recorded" {
        // `./x vm` has them, in a kernel that gives them.
        return skipped(test, kernel);
    }
    let rows: Vec<OffCpu> = (0..recorded.sched.len()).map(|i| recorded.sched.row(i)).collect();
    let spun: Vec<&OffCpu> = rows.iter().filter(|row| &*row.state == "spinning").collect();
    assert!(!spun.is_empty(), "{said}");
    assert_eq!(check_spins(&recorded, &said), decode, "{said}");
}

/// Checks times in which threads spun, and gives the process of the thread that did so most: some ms of a few.
pub fn check_spins(recorded: &Recorded, said: &str) -> i64 {
    let rows: Vec<OffCpu> = (0..recorded.sched.len()).map(|i| recorded.sched.row(i)).collect();
    let mut by_thread: BTreeMap<(i64, i32), Vec<&OffCpu>> = BTreeMap::new();
    for row in rows.iter().filter(|row| &*row.state == "spinning") {
        assert_eq!((row.off_ns, row.call.as_deref()), (0, Some("sched_yield")), "{row:?}");
        // Less than 20 us apart, for at most a second.
        assert!((100_000..=1_001_000_000).contains(&row.dur_ns) && row.intervals * 20_000 >= row.dur_ns, "{row:?}");
        by_thread.entry((row.process_id, row.tid)).or_default().push(row);
    }
    for rows in by_thread.values() {
        for (one, other) in rows.iter().zip(&rows[1..]) {
            assert!(one.start_ns + one.dur_ns <= other.start_ns, "{one:?} {other:?}");
        }
    }
    let total = |rows: &Vec<&OffCpu>| rows.iter().map(|row| row.dur_ns).sum::<i64>();
    let most = by_thread.iter().max_by_key(|(_, rows)| total(rows));
    let (thread, rows) = most.unwrap_or_else(|| panic!("nothing spun: {said}"));
    assert!(total(rows) >= 10_000_000 && rows.iter().any(|row| row.dur_ns >= 300_000), "{rows:?} {said}");
    thread.0
}

#[test]
fn nothing_of_the_scheduler_is_recorded_without_it() {
    let Some(live) = ready_to_count("nothing_of_the_scheduler_is_recorded_without_it") else { return };
    let agent = live.start_agent(&["--gpu", "off", "--without", "sched", "--max-overhead", "1000"]);
    let mut workload = live.workload(&live.nixl, &["--requests", "2"]);
    assert!(workload.stderr(Stdio::null()).status().expect("the workload").success());
    signal(agent.id(), "INT");
    let said = text(&agent.wait_with_output().expect("the agent"));
    let recorded = Recorded::read(&live.path("run"));
    recorded.assert_nothing_lost();
    assert_eq!(recorded.sched.len(), 0, "{said}");
    assert_eq!(recorded.transfers.len(), 4, "{said}");
}
