//! Where probes would cost too much they are taken off, and the run says so.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::recorded::Recorded;
use crate::setup::{ready, signal, text};

#[test]
fn a_storm_of_polls_loses_its_polls_and_nothing_else() {
    let Some(live) = ready("a_storm_of_polls_loses_its_polls_and_nothing_else") else { return };
    // Another program's transfers, whose ends only their releases show once polls are off.
    let mut storm = Command::new(live.workload(&live.nixl, &[]).get_program());
    storm.args(["calls", "--rounds", "5", "--descriptors", "1", "--storm", "3", "--nixl"]).arg(&live.nixl);
    let agent = live.start_agent(&["--gpu", "off"]);
    let mut storm = storm.stdout(Stdio::null()).spawn().expect("the storm");
    std::thread::sleep(Duration::from_secs(1));
    let requests = live.workload(&live.nixl, &["--requests", "4"]).output().expect("the workload");
    assert!(requests.status.success(), "{}", text(&requests));
    assert!(storm.wait().expect("the storm").success());
    signal(agent.id(), "INT");
    let said = text(&agent.wait_with_output().expect("the agent"));
    assert!(said.contains("polls off at"), "{said}");

    let recorded = Recorded::read(&live.path("run"));
    recorded.assert_nothing_lost();
    let shed = recorded.fact(&["budget polls off"]).expect("the run says so");
    assert!(shed.contains("of a core, over 5 %"), "{shed}");
    let states = recorded.states_of("group", "polls");
    assert!(&*states[0].state == "shed" && states[0].until_ns.is_some(), "{states:?}");
    assert!(states[0].reason.as_deref().is_some_and(|why| why.contains("of a core, over 5 %")), "{states:?}");
    let polls: u64 = recorded.fact(&["hits.Status.entry"]).expect("hits").parse().expect("a number");
    assert!(polls > 10_000, "{polls}");
    // 5 of the storm and its own, then two stages of 4 requests.
    let rows = recorded.transfer_rows();
    assert_eq!(rows.len(), 6 + 8);
    for row in &rows {
        assert_eq!(&*row.status, "done", "{row:?}");
        assert!(row.released_ns.is_some(), "{row:?}");
    }
    let late = rows.iter().filter(|row| row.request.is_some());
    let unknown = late.filter(|row| row.pending_polls.is_none() && row.last_pending_poll_ns.is_none()).count();
    assert_eq!(unknown, 8, "{rows:?}");
}
