//! However a process ends, nothing blocks and at most 100 ms are lost.

use std::time::{Duration, Instant};

use crate::host::{Host, RingContents, now_ns};

/// What the mock's clock and the tests' clock may differ by: `/proc/uptime` has steps of 10 ms.
const CLOCK_NS: u64 = 20_000_000;
/// What may be lost.
const LOSS_NS: u64 = 100_000_000;
/// How often it is tried: a busy machine may hold up our thread, or the clock's.
const TRIES: usize = 5;

fn last_ns(read: &RingContents) -> u64 {
    read.kernels.iter().map(|kernel| kernel.end_ns).max().unwrap_or(0)
}

/// Kills a process while it does `what`; how much of its end is missing, ns.
fn lost_when_killed_by(signal: u32, what: &[&str]) -> u64 {
    let host = Host::new();
    let mut running = host.spawn(&[&["cuda", "sleep:200", "say:go", "open"], what].concat());
    assert_eq!(running.line(), "go");
    std::thread::sleep(Duration::from_millis(500));
    let pid = running.child.id().to_string();
    assert!(std::process::Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    running.child.wait().unwrap();
    let died = now_ns();
    let read = host.read();
    assert!(!kvpath_ring::file::is_alive(&read.reader).unwrap());
    assert_eq!(read.damages, 0);
    assert_eq!((read.pushes.len(), read.pops.len()), (1, 0), "a range that never ended is there");
    died.saturating_sub(last_ns(&read))
}

#[test]
fn a_killed_process_loses_little_and_its_ring_stays() {
    // A busy GPU, and one that has kernels of 5 ms for 5 s before it.
    let ahead: &[&str] = &["ahead:1000", "sleep:10000"];
    for (signal, what) in [(9, ahead), (9, &["busy:10000"]), (15, &["busy:10000"])] {
        let lost: Vec<u64> = (0..TRIES).map(|_| lost_when_killed_by(signal, what)).collect();
        assert!(
            lost.iter().any(|lost| *lost < LOSS_NS + CLOCK_NS),
            "signal {signal}, {what:?}: {lost:?} ns are missing"
        );
        assert!(lost.iter().all(|lost| *lost < 10 * LOSS_NS), "signal {signal}, {what:?}: {lost:?} ns are missing");
    }
}

#[test]
fn every_way_to_end_is_quick_and_exit_loses_nothing() {
    for (way, loses) in [("exit", false), ("_exit", true), ("abort", true)] {
        let host = Host::new();
        let mut running = host.spawn(&["cuda", "sleep:150", "gpu:1000", "say:end", way]);
        assert_eq!(running.line(), "end");
        let began = Instant::now();
        running.child.wait().unwrap();
        assert!(began.elapsed() < Duration::from_millis(1500), "{way} took {:?}", began.elapsed());
        let read = host.read();
        assert!(loses || read.kernels.len() > 600, "{way}: {} kernels", read.kernels.len());
    }
}
