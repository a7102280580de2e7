//! The capabilities that are enough: those that docs/record.md names, and no more.

use std::process::{Command, Stdio};

use kvpath_schema::table::Columns as _;

use crate::recorded::Recorded;
use crate::setup::{ready, signal, skipped, text, wait_for_segment};
use crate::truth::Truth;

/// A user that owns nothing.
const NOBODY: u32 = 65_534;
const ENOUGH: &str = "+bpf,+perfmon,+sys_ptrace,+dac_read_search";

#[test]
fn a_user_with_four_capabilities_records_processes_of_root() {
    let name = "a_user_with_four_capabilities_records_processes_of_root";
    let Some(live) = ready(name) else { return };
    let folder = live.path("nobodys");
    std::fs::create_dir(&folder).expect("folder");
    std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).expect("root may");
    // The way there is for its owner alone.
    let at = live.path("");
    std::fs::set_permissions(&at, std::os::unix::fs::PermissionsExt::from_mode(0o711)).expect("own folder");
    let mut agent = Command::new("setpriv");
    let user = NOBODY.to_string();
    agent.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    agent.args([&format!("--inh-caps=-all,{ENOUGH}"), &format!("--ambient-caps={ENOUGH}")]);
    agent.arg(format!("--bounding-set=-all,{ENOUGH}")).arg("--").arg(live.agent_path());
    agent.args(["record", "--gpu", "off", "--out"]).arg(folder.join("run"));
    let Ok(agent) = agent.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() else {
        skipped(name, "no setpriv");
        return;
    };
    wait_for_segment(&folder.join("run"));
    let output = live.workload(&live.nixl, &["--requests", "2", "--start-delay-ms", "500"]).output().expect("runs");
    assert!(output.status.success(), "{}", text(&output));
    signal(agent.id(), "INT");
    let output = agent.wait_with_output().expect("wait");
    assert!(output.status.success(), "{}", text(&output));
    let recorded = Recorded::read(&folder.join("run"));
    assert_eq!(recorded.transfers.len(), Truth::read(&live.path("truth.tsv")).all("post").count());
    assert_eq!(recorded.transfers.len(), 4);
    recorded.assert_nothing_lost();
}
