//! What the agent refuses, with exit code 2 and a line that says what to do.

use std::process::Command;

use crate::setup::{ready, skipped, text};

#[test]
fn a_folder_that_is_not_empty_is_refused() {
    let Some(live) = ready("a_folder_that_is_not_empty_is_refused") else { return };
    std::fs::create_dir(live.path("run")).expect("folder");
    std::fs::write(live.path("run/x"), "").expect("file");
    let output = live.agent(&["record", "--for", "1s", "--out"]).arg(live.path("run")).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("is not empty") && text(&output).contains("--out"), "{}", text(&output));
    assert_eq!(std::fs::read_dir(live.path("run")).expect("folder").count(), 1, "nothing was written");
}

#[test]
fn without_capabilities_recording_says_what_is_missing() {
    let name = "without_capabilities_recording_says_what_is_missing";
    let Some(live) = ready(name) else { return };
    let without = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]).arg(live.agent_path()).args(args).output()
    };
    let Ok(output) = without(&["record", "--for", "1s"]) else {
        skipped(name, "no setpriv");
        return;
    };
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("recording needs CAP_BPF and CAP_PERFMON"), "{}", text(&output));
    let doctor = without(&["doctor"]).expect("runs");
    assert_eq!(doctor.status.code(), Some(2));
    assert!(text(&doctor).contains("nothing can be recorded here"), "{}", text(&doctor));
}

#[test]
fn a_library_that_is_none_is_refused() {
    let Some(live) = ready("a_library_that_is_none_is_refused") else { return };
    for (path, words) in [("/does/not/exist", "No such file"), ("/proc/self/status", "not an ELF file")] {
        let output = live.agent(&["record", "--library", path, "--out"]).arg(live.path("run")).output().expect("runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains(path) && text(&output).contains(words), "{}", text(&output));
    }
}

#[test]
fn outside_of_the_initial_pid_namespace_nothing_is_recorded() {
    let name = "outside_of_the_initial_pid_namespace_nothing_is_recorded";
    let Some(live) = ready(name) else { return };
    let inside = |program: &[&str]| {
        Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "--"]).args(program).output()
    };
    if !inside(&["true"]).is_ok_and(|output| output.status.success()) {
        skipped(name, "unshare makes no PID namespace here");
        return;
    }
    let (agent, run) = (live.agent_path().to_str().expect("UTF-8"), live.path("run"));
    let record = [agent, "record", "--for", "1s", "--out", run.to_str().expect("UTF-8")];
    let output = inside(&record).expect("runs");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(
        text(&output).contains("initial PID namespace") && text(&output).contains("--pid=host"),
        "{}",
        text(&output)
    );
    assert!(!run.exists());
    let doctor = inside(&[agent, "doctor"]).expect("runs");
    assert_eq!(doctor.status.code(), Some(2));
    assert!(text(&doctor).contains("PID namespace       MISSING"), "{}", text(&doctor));
}
