//! Programs that are killed leave a run that can be read.

use std::time::Duration;

use kvpath_schema::table::Columns as _;

use crate::recorded::Recorded;
use crate::setup::{children, ready, signal, text, wait_for, walk};
use crate::truth::Truth;

/// What a killed agent may lose: one segment's time and the time to write it.
const LOST_NS: i64 = 3_000_000_000;

#[test]
fn a_killed_workload_leaves_a_whole_run() {
    let Some(live) = ready("a_killed_workload_leaves_a_whole_run") else { return };
    let agent = live.start_agent(&[]);
    let mut workload = live
        .workload(
            &live.nixl,
            &["--requests", "3000", "--blocks", "4", "--chunks", "1", "--block-kib", "4", "--host-pause", "0:2000"],
        )
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the workload starts");
    let pid = workload.id();
    wait_for("its processes run", || children(pid).len() == 4);
    std::thread::sleep(Duration::from_millis(2500));
    // The first prefill stage, in the middle of its work.
    signal(children(pid)[1], "KILL");
    assert!(!workload.wait().expect("wait").success());
    std::thread::sleep(Duration::from_millis(500));
    signal(agent.id(), "INT");
    let output = agent.wait_with_output().expect("wait");
    assert!(output.status.success(), "{}", text(&output));

    let recorded = Recorded::read(&live.path("run"));
    recorded.assert_nothing_lost();
    recorded.assert_keys();
    let truth = Truth::read(&live.path("truth.tsv"));
    let released = truth.all("release").count();
    assert!(released > 10, "only {released} transfers before the kill");
    assert!(recorded.transfers.len() >= released, "{} < {released}", recorded.transfers.len());
    for row in recorded.transfer_rows() {
        assert!(["done", "pending", "not_posted"].contains(&&*row.status), "{row:?}");
    }
    // With the one that started them.
    assert_eq!(recorded.processes.len(), 4);
    assert!(recorded.processes.end_ns.iter().all(Option::is_some), "{:?}", recorded.processes);
}

#[test]
fn a_killed_agent_leaves_whole_segments_and_a_working_workload() {
    let Some(live) = ready("a_killed_agent_leaves_whole_segments_and_a_working_workload") else { return };
    let mut agent = live.start_agent(&[]);
    let mut workload = live
        .workload(
            &live.nixl,
            &["--requests", "400", "--blocks", "4", "--chunks", "4", "--block-kib", "4", "--host-pause", "0:4000"],
        )
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the workload starts");
    wait_for("transfers are written", || {
        walk(&live.path("run")).iter().filter(|path| path.to_string_lossy().contains("nixl_transfers")).count() >= 2
    });
    signal(agent.id(), "KILL");
    let uptime = std::fs::read_to_string("/proc/uptime").expect("uptime");
    let seconds: f64 = uptime.split_whitespace().next().and_then(|s| s.parse().ok()).expect("seconds");
    #[expect(clippy::cast_possible_truncation, reason = "seconds since boot")]
    let killed_ns = (seconds * 1e9) as i64;
    agent.wait().expect("wait");
    assert!(workload.wait().expect("wait").success(), "the workload goes on without the agent");

    let recorded = Recorded::read(&live.path("run"));
    recorded.assert_keys();
    let truth = Truth::read(&live.path("truth.tsv"));
    let old: Vec<_> = truth.all("release").filter(|release| release.end_ns < killed_ns - LOST_NS).collect();
    for release in &old {
        let found = recorded.transfer_rows().iter().any(|row| {
            row.process_id == release.pid && row.notif.as_deref() == Some(&format!("{}:1", release.request))
        });
        assert!(found, "{release:?} was {} ns before the kill", killed_ns - release.end_ns);
    }
    assert!(recorded.transfers.len() > old.len() / 2 && !recorded.transfers.is_empty());
    // With the one that started them.
    assert_eq!(recorded.processes.len(), 4);
}
