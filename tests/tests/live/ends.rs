//! How recordings end.

use std::process::Command;

use kvpath_schema::table::Columns as _;

use crate::recorded::Recorded;
use crate::setup::{ready, signal, skipped, text};

#[test]
fn signals_end_a_recording_cleanly() {
    let Some(live) = ready("signals_end_a_recording_cleanly") else { return };
    for name in ["INT", "TERM"] {
        let agent = live.start_agent(&[]);
        signal(agent.id(), name);
        let output = agent.wait_with_output().expect("wait");
        assert_eq!(output.status.code(), Some(0), "SIG{name}: {}", text(&output));
        assert!(text(&output).contains("recorded 0 processes, 0 transfers"), "{}", text(&output));
        let recorded = Recorded::read(&live.path("run"));
        assert!(recorded.fact(&["ended_ns"]).is_some() && recorded.transfers.is_empty());
        std::fs::remove_dir_all(live.path("run")).expect("remove");
    }
}

#[test]
fn logs_can_be_json() {
    let Some(live) = ready("logs_can_be_json") else { return };
    let mut agent = live.agent(&["--log-format", "json", "record", "--for", "300ms", "--out"]);
    let output = agent.arg(live.path("run")).output().expect("runs");
    assert!(output.status.success(), "{}", text(&output));
    let lines = String::from_utf8(output.stderr).expect("UTF-8");
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = lines.last().expect("a summary");
    assert!(last["message"].as_str().is_some_and(|said| said.starts_with("recorded 0 processes")), "{last}");
    assert!(last["level"] == "INFO" && last["timestamp"].is_string(), "{last}");
    let quiet = ["record", "--log-level", "warn", "--for", "300ms", "--out"];
    let output = live.agent(&quiet).arg(live.path("quiet")).output().expect("runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
}

#[test]
fn a_full_disk_is_said_once_and_as_that() {
    let name = "a_full_disk_is_said_once_and_as_that";
    let Some(live) = ready(name) else { return };
    let disk = live.path("disk");
    std::fs::create_dir(&disk).expect("folder");
    // Room for some folders, and for no segments.
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "nr_inodes=5", "tmpfs"]).arg(&disk).status();
    if !mount.is_ok_and(|status| status.success()) {
        return skipped(name, "a tmpfs cannot be mounted here");
    }
    let output = live.agent(&["record", "--for", "10s", "--out"]).arg(disk.join("run")).output();
    // A mount that stays is seen when the test's folder cannot be removed.
    let _ = Command::new("umount").arg("-l").arg(&disk).status();
    let output = output.expect("runs");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(text(&output).matches("the disk is full").count(), 1, "{}", text(&output));
    assert_eq!(text(&output).lines().count(), 1, "{}", text(&output));
}

#[test]
fn a_time_limit_ends_a_recording() {
    let Some(live) = ready("a_time_limit_ends_a_recording") else { return };
    let since = std::time::Instant::now();
    let output = live.agent(&["record", "--for", "700ms", "--out"]).arg(live.path("run")).output().expect("runs");
    assert!(output.status.success(), "{}", text(&output));
    assert!(since.elapsed() >= std::time::Duration::from_millis(700));
}

#[test]
fn a_commands_output_is_untouched_and_its_exit_code_is_told() {
    let Some(live) = ready("a_commands_output_is_untouched_and_its_exit_code_is_told") else { return };
    let output = live
        .agent(&["record", "--out"])
        .arg(live.path("run"))
        .args(["--", "sh", "-c", "echo out; echo err >&2; exit 7"])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("err\n") && stderr.contains("ended: exit code 7"), "{stderr}");
    assert_eq!(Recorded::read(&live.path("run")).fact(&["command_outcome"]), Some("exit code 7"));
}

#[test]
fn a_killed_command_is_a_failure_and_its_recording_is_kept() {
    let Some(live) = ready("a_killed_command_is_a_failure_and_its_recording_is_kept") else { return };
    let output = live
        .agent(&["record", "--out"])
        .arg(live.path("run"))
        .args(["--", "sh", "-c", "kill -9 $$"])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("ended: killed by signal 9"), "{}", text(&output));
    assert_eq!(Recorded::read(&live.path("run")).fact(&["command_outcome"]), Some("killed by signal 9"));
}

#[test]
fn a_command_that_cannot_be_started_leaves_nothing_behind() {
    let Some(live) = ready("a_command_that_cannot_be_started_leaves_nothing_behind") else { return };
    std::fs::write(live.path("text"), "not a program").expect("file");
    for program in [live.path("missing"), live.path("text")] {
        let mut agent = live.agent(&["record", "--out"]);
        let output = agent.arg(live.path("a/run")).arg("--").arg(&program).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("cannot run "), "{}", text(&output));
        assert!(!live.path("a").exists());
    }
}
