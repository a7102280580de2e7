//! What people read, as it stands.

use kvpath_tests::{fixture, kvpath};

/// Standard output of `kvpath COMMAND FIXTURE`, without the path of this checkout.
fn text(command: &str, recording: &str, more: &[&str]) -> String {
    let path = fixture(recording);
    let out = kvpath().arg(command).arg(&path).args(more).output().unwrap();
    String::from_utf8(out.stdout).unwrap().replace(&path.display().to_string(), "RUN")
}

#[test]
fn report_on_a_whole_recording() {
    insta::assert_snapshot!(text("report", "v1/even", &[]));
}

#[test]
fn report_on_one_request_lists_its_layers() {
    insta::assert_snapshot!(text("report", "v1/even", &["--request", "1"]));
}

#[test]
fn report_on_a_cut_recording() {
    insta::assert_snapshot!(text("report", "v1/uneven", &[]));
}

#[test]
fn report_on_all_that_can_be_recorded_of_vllm() {
    insta::assert_snapshot!(text("report", "v1/vllm-full", &[]));
}

#[test]
fn check_on_all_that_can_be_recorded_of_vllm() {
    insta::assert_snapshot!(text("check", "v1/vllm-full", &[]));
}

#[test]
fn report_on_a_live_recording_of_vllm() {
    insta::assert_snapshot!(text("report", "v1/vllm-live", &[]));
}

#[test]
fn check_on_a_whole_recording() {
    insta::assert_snapshot!(text("check", "v1/even", &[]));
}

#[test]
fn check_on_a_cut_recording() {
    insta::assert_snapshot!(text("check", "v1/uneven", &[]));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let path = fixture("v1/even");
    let script =
        format!("set -o pipefail; {} report {} | head -n 1", kvpath_tests::binary("kvpath").display(), path.display());
    let out = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
