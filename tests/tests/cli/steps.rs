//! Recordings without hand-offs: a step is the unit, and never a time to first token.

use std::path::{Path, PathBuf};

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

/// Two stages of a server without disaggregation.
const PLAIN: &str = "steps/plain";

fn run(command: &str, run: &Path, more: &[&str]) -> String {
    let out = kvpath().arg(command).arg(run).args(more).output().expect("kvpath runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("UTF-8")
}

/// What it prints of a recording, without the path of this checkout.
fn text(command: &str, recording: &Path, more: &[&str]) -> String {
    run(command, recording, more).replace(&recording.display().to_string(), "RUN")
}

fn rows(recording: &Path, sql: &str) -> Vec<Value> {
    let lines = run("sql", recording, &[sql, "--format", "json"]);
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn traces(names: &[&str], folder: &Path) -> PathBuf {
    let out = folder.join("run");
    let files = names.iter().map(|name| fixture(&format!("kineto/{name}.json.gz")));
    let done = kvpath().args(["import", "kineto"]).args(files).arg("--out").arg(&out).output().expect("kvpath runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    out
}

#[test]
fn passes_of_a_plain_server_are_the_steps_of_its_engine() {
    let found = rows(
        &fixture(PLAIN),
        "SELECT c.process_id, c.start_ns, s.processes, s.unit, s.method, s.name, s.incomplete FROM steps s JOIN chunks c ON \
         c.request = s.request ORDER BY c.process_id, s.request",
    );
    let witness = std::fs::read_to_string(fixture("witness/plain.tsv")).expect("a witness");
    let steps: Vec<(i64, i64)> = witness
        .lines()
        .map(|line| line.split('\t').collect::<Vec<&str>>())
        .map(|fields| (fields[0].parse().expect("a process"), fields[2].parse().expect("a time")))
        .collect();
    assert_eq!((found.len(), steps.len()), (14, 14));
    for (at, (row, (process, start))) in found.iter().zip(&steps).enumerate() {
        assert_eq!(row["process_id"], *process);
        let began = row["start_ns"].as_i64().expect("a time");
        let next = steps.get(at + 1).filter(|(other, _)| other == process).map_or(i64::MAX, |(_, next)| *next);
        assert!(*start <= began && began < next, "{row}: step from {start} to {next}");
        assert_eq!((&row["processes"], &row["unit"], &row["method"]), (&2.into(), &"pass".into(), &"messages".into()));
        assert_eq!((&row["name"], &row["incomplete"]), (&Value::Null, &false.into()));
    }
}

#[test]
fn a_plain_server_is_reported_by_pass() {
    insta::assert_snapshot!(text("report", &fixture(PLAIN), &[]));
    insta::assert_snapshot!("paths_of_a_plain_server", text("path", &fixture(PLAIN), &["--by", "stage,category"]));
}

#[test]
fn a_profiled_step_of_several_ranks_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let ranks = traces(&["dlrm_rank0", "dlrm_rank1"], folder.path());
    let report = text("report", &ranks, &[]);
    insta::assert_snapshot!("report_of_a_profiled_step", report);
    let path = text("path", &ranks, &[]);
    assert!(path.contains("TIME FROM START OF RANGE TO ITS LAST WORK"), "{path}");
    assert!(!path.contains("TOKEN") && !path.contains("TTFT") && !report.contains("TOKEN"), "{path}{report}");
    let found = rows(&ranks, "SELECT request_id, source, sink, ttft_ns FROM paths");
    let (id, source, sink) = (&found[0]["request_id"], &found[0]["source"], &found[0]["sink"]);
    assert_eq!((id, source, sink), (&"ProfilerStep#10".into(), &"range".into(), &"last_work".into()));
    // By name, and by the name of the range.
    let one = text("report", &ranks, &["--request", "ProfilerStep#10"]);
    assert!(
        one.contains("STEPS: 1") && text("path", &ranks, &["--request", "ProfilerStep#10"]).contains("step "),
        "{one}"
    );
    let of_request = rows(&ranks, "SELECT count(*) AS n FROM slack('ProfilerStep#10')");
    assert!(of_request[0]["n"].as_i64() > Some(0), "{of_request:?}");
}

#[test]
fn runs_with_hand_offs_have_no_steps() {
    let vllm = fixture("v1/vllm-full");
    assert_eq!(rows(&vllm, "SELECT * FROM steps").len(), 0);
    let out = kvpath().arg("path").arg(&vllm).arg("--steps").output().expect("kvpath runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && said.contains("no step: hand-offs were recorded"), "{said}");
    // Nor are paths of steps compared with those of requests.
    let out = kvpath().arg("path").arg(&vllm).arg("--against").arg(fixture(PLAIN)).output().expect("kvpath runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && said.contains("the paths are of requests"), "{said}");
}

#[test]
fn with_a_clients_log_its_requests_are_the_paths_and_steps_are_listed_beside() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("run");
    let done = std::process::Command::new("cp").arg("-r").arg(fixture(PLAIN)).arg(&copy).status().expect("cp runs");
    assert!(done.success());
    let log = folder.path().join("client.jsonl");
    std::fs::write(&log, "{\"request\": \"a\", \"start_ns\": 801751343501, \"ttft_s\": 0.1}\n").expect("written");
    let out = kvpath().args(["import", "client"]).arg(&log).arg("--run").arg(&copy).output().expect("kvpath runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let path = text("path", &copy, &[]);
    assert!(path.contains("1 requests") && path.contains("TIME TO FIRST TOKEN"), "{path}");
    let path = text("path", &copy, &["--steps"]);
    assert!(path.contains("7 steps") && !path.contains("TOKEN"), "{path}");
    // Their numbers do not meet those of requests.
    let first = rows(&copy, "SELECT min(request) AS first FROM steps");
    assert_eq!(first[0]["first"], 1);
    assert!(text("report", &copy, &[]).contains("STEPS: 7"));
}
