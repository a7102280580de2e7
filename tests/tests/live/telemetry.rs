//! NIXL's own telemetry, held against the probes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use kvpath_schema::table::Columns as _;

use crate::recorded::Recorded;
use crate::setup::{Live, ready, text};

fn record(live: &Live, folder: &Path, args: &[&str]) -> Recorded {
    std::fs::create_dir(folder).expect("a folder");
    let workload = live.workload(&live.nixl, args);
    let mut agent: Command = live.agent(&["record", "--gpu", "off", "--with", "telemetry", "--out"]);
    agent.arg(live.path("run")).arg("--").arg(workload.get_program()).args(workload.get_args());
    agent.env("NIXL_TELEMETRY_ENABLE", "y").env("NIXL_TELEMETRY_DIR", folder);
    let output = agent.output().expect("the agent");
    assert!(output.status.success(), "{}", text(&output));
    Recorded::read(&live.path("run"))
}

#[test]
fn telemetry_counts_the_transfers_and_bytes_that_the_probes_see() {
    let Some(live) = ready("telemetry_counts_the_transfers_and_bytes_that_the_probes_see") else { return };
    // NIXL writes its counts every 100 ms, and what is left at the end never.
    let recorded = record(&live, &live.path("telemetry"), &["--start-delay-ms", "200", "--end-delay-ms", "400"]);
    recorded.assert_nothing_lost();
    let mut told: BTreeMap<(String, String), i64> = BTreeMap::new();
    for row in (0..recorded.telemetry.len()).map(|at| recorded.telemetry.row(at)) {
        assert!(row.count > 0 && row.dur_ns > 0, "{row:?}");
        *told.entry((row.agent.to_string(), row.event.to_string())).or_default() += row.value;
    }
    let mut seen: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut add = |agent: &str, event: &str, value: i64| {
        *seen.entry((agent.to_owned(), event.to_owned())).or_default() += value;
    };
    for row in recorded.transfer_rows() {
        let agent = row.agent.as_deref().expect("its agent's making was seen");
        add(agent, "tx_requests", 1);
        add(agent, "tx_bytes", row.bytes.expect("bytes"));
    }
    for row in (0..recorded.regions.len()).map(|at| recorded.regions.row(at)) {
        add(row.agent.as_deref().expect("its agent's making was seen"), "mem_registered", row.bytes);
    }
    assert!(seen.len() >= 5, "{seen:?}");
    told.retain(|(_, event), _| ["tx_requests", "tx_bytes", "mem_registered"].contains(&event.as_str()));
    assert_eq!(told, seen);
}
