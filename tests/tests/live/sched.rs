//! When threads were off the CPU.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::sched::OffCpu;

use crate::recorded::Recorded;
use crate::setup::{children, ready_to_count, signal, text, wait_for};

#[test]
fn a_thread_that_is_stopped_is_off_for_that_long() {
    let Some(live) = ready_to_count("a_thread_that_is_stopped_is_off_for_that_long") else { return };
    let agent = live.start_agent(&["--gpu", "off", "--with", "sched"]);
    let mut workload = live.workload(&live.nixl, &["--requests", "60"]);
    let mut workload = workload.stderr(Stdio::null()).spawn().expect("the workload");
    let decode = || {
        children(workload.id()).into_iter().find(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|title| title.starts_with(b"kvpath-workload::decode"))
        })
    };
    wait_for("decode", || decode().is_some());
    let pid = decode().expect("decode");
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
    // Threads of three processes, and nobody waits longer than it is off.
    let mut processes: Vec<i64> = rows.iter().map(|row| row.process_id).collect();
    processes.sort_unstable();
    processes.dedup();
    assert_eq!(processes.len(), 3, "{said}");
    for row in &rows {
        assert!(0 <= row.run_queue_ns && row.run_queue_ns <= row.off_ns && row.off_ns <= row.dur_ns, "{row:?}");
        assert_eq!(&*row.state == "short", row.off_ns != row.dur_ns || row.intervals != 1, "{row:?}");
    }
}
