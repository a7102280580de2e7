//! When CUPTI is touched at all, and levels that would hurt the program.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use kvpath_schema::wire::ring::{Level, State, header};

use crate::host::Host;

#[test]
fn cupti_is_untouched_until_there_is_a_context() {
    let host = Host::new().with_driver();
    let mut running = host.spawn(&[
        "cuda",
        "gpu:100",
        "sleep:200",
        "cupti",
        "wait",
        "context",
        "say:made",
        "wait",
        "now:1000",
        "cupti",
        "exit",
    ]);
    assert_eq!(running.line(), "untouched");
    running.until(&host, |ring| (ring.state(), ring.level()) == (State::Waiting, Level::Off));
    running.go();
    assert_eq!(running.line(), "made");
    running.until(&host, |ring| (ring.state(), ring.level()) == (State::Running, Level::Kernel));
    running.go();
    assert_eq!(running.line(), "after the context");
    assert!(running.child.wait().unwrap().success());
    assert!(host.read().kernels.len() > 600);
}

#[test]
fn off_leaves_cupti_alone_until_it_is_asked_for() {
    let host = Host::new().with_driver().with("KVPATH_LEVEL", "off");
    let mut running =
        host.spawn(&["cuda", "context", "sleep:200", "cupti", "wait", "now:1000", "cupti", "say:done", "wait", "exit"]);
    assert_eq!(running.line(), "untouched");
    running.until(&host, |ring| ring.state() == State::Waiting).ask_for(Level::Launch).unwrap();
    running.until(&host, |ring| (ring.state(), ring.level()) == (State::Running, Level::Launch));
    running.go();
    assert_eq!((running.line().as_str(), running.line().as_str()), ("after the context", "done"));
    running.go();
    assert!(running.child.wait().unwrap().success());
    let read = host.read();
    assert!(read.kernels.len() > 600 && read.calls.len() == 100);
}

#[test]
fn a_process_that_ends_while_cupti_starts_waits_for_that() {
    let host = Host::new().with_driver().with("MOCK_SLOW_MS", "400");
    let mut running = host.spawn(&["cuda", "context", "sleep:100", "say:end", "exit"]);
    assert_eq!(running.line(), "end");
    let began = Instant::now();
    assert!(running.child.wait().unwrap().success());
    assert!(began.elapsed() > Duration::from_millis(200), "{:?}", began.elapsed());
    assert_eq!(host.read().reader.state(), State::Running);
}

/// What the real CUPTI does to programs, which the mock does too: proof that the tests below can fail.
#[test]
fn the_mock_ends_a_program_whose_graphs_are_traced_too_late() {
    let steps = ["cuda", "context", "make-graph", "say:made", "wait", "graph", "exit"];
    let host = Host::new().with_driver().with("KVPATH_LEVEL", "graph").with("MOCK_CUPTI_VERSION", "130200");
    let mut running = host.spawn(&steps);
    assert_eq!(running.line(), "made");
    running.until(&host, |ring| ring.level() == Level::Graph);
    running.go();
    assert!(running.child.wait().unwrap().success());
    assert_eq!(host.read().graphs.len(), 1, "13.2 may attach late");

    let early = Host::new().with_driver().with("KVPATH_LEVEL", "graph").with("MOCK_CUPTI_VERSION", "130101");
    let mut running = early.spawn(&["cuda", "cupti", "context", "make-graph", "graph", "exit"]);
    assert_eq!(running.line(), "before the context", "13.1 must see every graph made");
    assert!(running.child.wait().unwrap().success());
    assert_eq!(early.read().graphs.len(), 1);

    let mut crashes = Host::new();
    crashes.variables.push(("MOCK_CUPTI_VERSION", "130101".to_owned()));
    crashes.variables.push(("KVPATH_LEVEL", "off".to_owned()));
    let status = crashes.spawn(&["cuda", "make-graph", "force:51", "graph", "exit"]).child.wait().unwrap();
    assert_eq!(status.signal(), Some(6));
}

#[test]
fn a_level_that_would_end_the_program_is_refused_and_said() {
    let host = Host::new().with("MOCK_CUPTI_VERSION", "130001");
    let mut running = host.spawn(&["cuda", "context", "make-graph", "say:made", "wait", "graph", "now:1000", "exit"]);
    assert_eq!(running.line(), "made");
    running.until(&host, |ring| ring.level() == Level::Kernel).ask_for(Level::Graph).unwrap();
    let ring = running.until(&host, |ring| ring.refused() == Some(Level::Graph));
    assert_eq!(ring.level(), Level::Kernel);
    running.go();
    assert!(running.child.wait().unwrap().success());
    assert!(host.read().kernels.len() > 600, "what was recorded goes on");
}

#[test]
fn graph_launches_once_turned_off_stay_off() {
    let host = Host::new().with("KVPATH_LEVEL", "graph").with("MOCK_CUPTI_VERSION", "28");
    let mut running = host.spawn(&["cuda", "context", "say:a", "wait", "make-graph", "say:b", "wait", "graph", "exit"]);
    assert_eq!(running.line(), "a");
    running.until(&host, |ring| ring.level() == Level::Graph).ask_for(Level::Kernel).unwrap();
    running.until(&host, |ring| ring.level() == Level::Kernel);
    running.go();
    assert_eq!(running.line(), "b");
    running.until(&host, |_| true).ask_for(Level::Graph).unwrap();
    running.until(&host, |ring| ring.refused() == Some(Level::Graph));
    running.go();
    assert!(running.child.wait().unwrap().success());
}

#[test]
fn a_client_that_was_there_first_does_not_make_a_late_graph_trace_possible() {
    let host = Host::new().with_driver().with("KVPATH_LEVEL", "graph").with("MOCK_CUPTI_VERSION", "130101");
    let host = host.with("MOCK_OTHER", "1");
    let steps = ["cuda", "context", "make-graph", "other-leaves", "say:left", "wait", "graph", "off:51", "exit"];
    let mut running = host.spawn(&steps);
    assert_eq!(running.line(), "left");
    running.until(&host, |ring| ring.state() == State::Aside);
    running.until(&host, |ring| ring.refused() == Some(Level::Graph));
    running.go();
    assert_eq!(running.line(), "off");
    assert!(running.child.wait().unwrap().success());
}

#[test]
fn a_kind_that_cupti_refuses_is_said_and_the_others_are_recorded() {
    let host = Host::new().with("MOCK_REFUSE", "10");
    host.run(&["cuda", "gpu:1000", "exit"]);
    let read = host.read();
    assert_eq!((read.reader.state(), read.reader.word(header::CUPTI_ERROR)), (State::Running, 21));
    assert!(read.kernels.is_empty() && read.memcpys.len() == 150);
}

#[test]
fn what_was_on_before_standing_aside_goes_off_with_a_lower_level() {
    let host = Host::new().with("KVPATH_LEVEL", "launch");
    let steps =
        ["cuda", "now:1000", "other", "say:a", "wait", "other-forgets", "say:b", "wait", "off:38", "off:10", "exit"];
    let mut running = host.spawn(&steps);
    assert_eq!(running.line(), "a");
    running.until(&host, |ring| ring.state() == State::Aside).ask_for(Level::Kernel).unwrap();
    host.read();
    running.go();
    assert_eq!(running.line(), "b");
    running.until(&host, |ring| (ring.state(), ring.level()) == (State::Running, Level::Kernel));
    running.go();
    assert_eq!((running.line().as_str(), running.line().as_str()), ("off", "on"));
    assert!(running.child.wait().unwrap().success());
}

#[test]
fn recording_goes_on_when_the_other_client_has_gone() {
    let host = Host::new();
    let mut running = host.spawn(&[
        "cuda",
        "now:1000",
        "other",
        "say:a",
        "wait",
        "other-leaves",
        "say:b",
        "wait",
        "now:1000",
        "exit",
    ]);
    assert_eq!(running.line(), "a");
    running.until(&host, |ring| ring.state() == State::Aside);
    // Somebody reads, so the level holds.
    let before = host.read().kernels.len();
    running.go();
    assert_eq!(running.line(), "b");
    running.until(&host, |ring| (ring.state(), ring.level()) == (State::Running, Level::Kernel));
    running.go();
    assert!(running.child.wait().unwrap().success());
    assert!(before > 600 && host.read().kernels.len() > 600, "before and after");
}
