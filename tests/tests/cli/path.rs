//! `kvpath path`: what people read, and that its figures add up.

use std::path::Path;

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

const VLLM: &str = "v1/vllm-full";
const WORKLOAD: &str = "v1/workload-gpu";

fn out(run: &Path, more: &[&str]) -> String {
    let out = kvpath().arg("path").arg(run).args(more).output().expect("kvpath runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("UTF-8")
}

/// What it prints of a recording, without the path of this checkout.
fn text(recording: &str, more: &[&str]) -> String {
    let path = fixture(recording);
    out(&path, more).replace(&path.display().to_string(), "RUN")
}

fn object(run: &Path, more: &[&str]) -> Value {
    serde_json::from_str(&out(run, &[&["--json"], more].concat())).expect("one JSON object")
}

fn ns(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no time"))
}

#[test]
fn all_requests_of_vllm() {
    insta::assert_snapshot!(text(VLLM, &[]));
}

#[test]
fn timings_are_said_beside_and_change_nothing_else() {
    let out = kvpath().arg("path").arg(fixture(WORKLOAD)).args(["--json", "--timings"]).output().expect("kvpath runs");
    assert_eq!(String::from_utf8_lossy(&out.stdout), self::out(&fixture(WORKLOAD), &["--json"]));
    let said = String::from_utf8(out.stderr).expect("UTF-8");
    let seconds = said.split(" in ").skip(1).map(|after| after.split(" s").next().and_then(|took| took.parse().ok()));
    let seconds: Option<Vec<f64>> = seconds.collect();
    assert!(seconds.is_some_and(|took| took.len() == 3 && took.iter().all(|took| *took > 0.0)), "{said}");
}

#[test]
fn one_request_of_vllm_from_stretch_to_stretch() {
    insta::assert_snapshot!(text(VLLM, &["--request", "cmpl-req-1-32000-0"]));
}

#[test]
fn all_requests_of_the_workload_by_stage() {
    insta::assert_snapshot!(text(WORKLOAD, &["--by", "stage"]));
}

#[test]
fn the_slowest_request_of_the_workload_by_chunk_and_gate() {
    insta::assert_snapshot!(text(WORKLOAD, &["--slowest", "1", "--by", "chunk,gate"]));
}

#[test]
fn groups_sum_to_the_time_to_first_token() {
    for recording in [VLLM, WORKLOAD] {
        let all = object(&fixture(recording), &["--slowest", "1"]);
        let sum: i64 = all["on_path"].as_array().expect("a list").iter().map(|group| ns(&group["p99_ns"])).sum();
        assert_eq!(sum, ns(&all["requests"][0]["ttft_ns"]));
    }
}

/// The recording with a client that says when requests came, `late_ns` before their first record.
fn told(late_ns: i64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = |from: &Path, to: &Path| {
        let status = std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp runs");
        assert!(status.success());
    };
    copy(&fixture(WORKLOAD), &folder.path().join("run"));
    let requests = object(&fixture(WORKLOAD), &[]);
    let lines = requests["requests"].as_array().expect("a list").iter().map(|request| {
        let (id, start) = (request["request_id"].as_str().expect("an id"), ns(&request["source_ns"]) - late_ns);
        format!(r#"{{"request": "{id}", "start_ns": {start}, "ttft_ns": {}}}"#, ns(&request["end_ns"]) - start)
    });
    let log = folder.path().join("client.jsonl");
    std::fs::write(&log, lines.collect::<Vec<_>>().join("\n")).expect("a log");
    let status = kvpath().args(["import", "client"]).arg(&log).arg("--run").arg(folder.path().join("run")).output();
    assert!(status.expect("kvpath runs").status.success());
    folder
}

#[test]
fn two_runs_differ_by_the_difference_of_their_means() {
    let (slow, clean) = (told(7_000_001), told(0));
    let (slow, clean) = (slow.path().join("run"), clean.path().join("run"));
    for by in ["stage,category", "chunk,layer", "name"] {
        let found = object(&slow, &["--against", clean.to_str().expect("UTF-8"), "--by", by]);
        assert_eq!((ns(&found["difference_ns"]), ns(&found["requests"])), (7_000_001, 4));
        assert_eq!(ns(&found["ttft_ns"]) - ns(&found["against_ttft_ns"]), 7_000_001);
        let parts = found["on_path"].as_array().expect("a list");
        let sum = |key: &str| parts.iter().map(|part| ns(&part[key])).sum::<i64>();
        assert_eq!(sum("difference_ns"), 7_000_001);
        assert_eq!((sum("ns"), sum("against_ns")), (ns(&found["ttft_ns"]), ns(&found["against_ttft_ns"])));
        let sizes: Vec<u64> = parts.iter().map(|part| ns(&part["difference_ns"]).unsigned_abs()).collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
    }
    let found = object(&slow, &["--against", clean.to_str().expect("UTF-8")]);
    let top = &found["on_path"][0];
    assert_eq!((top["stage"].as_str(), top["category"].as_str()), (Some("prefill 0"), Some("queue")));
    let text = out(&slow, &["--against", clean.to_str().expect("UTF-8")]);
    assert!(text.contains("the first 4 requests of each") && text.contains("+7.00 ms   100 %"), "{text}");
}

#[test]
fn what_cannot_be_walked_or_compared_says_why() {
    let refused = |args: &[&str], part: &str| {
        let out = kvpath().arg("path").args(args).output().expect("kvpath runs");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(2) && out.stdout.is_empty() && said.contains(part), "{args:?}: {said}");
    };
    let run = fixture(WORKLOAD);
    let run = run.to_str().expect("UTF-8");
    refused(&[run, "--request", "99"], "no request `99` in this run; it has 4");
    refused(&[run, "--against", "nowhere"], "nowhere");
    refused(&[run, "--against", run, "--slowest", "1"], "cannot be used with");
    refused(&[run, "--by", "colour"], "invalid value 'colour'");
}

#[test]
fn none_of_the_slowest_is_no_question() {
    let done = kvpath().arg("path").arg(fixture(VLLM)).args(["--slowest", "0"]).output().expect("kvpath runs");
    assert_eq!(done.status.code(), Some(2), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_range_ends_with_its_last_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    let trace = fixture("kineto/dlrm_rank0.json.gz");
    let done = kvpath().args(["import", "kineto"]).arg(trace).arg("--out").arg(&run).output().expect("kvpath runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let path = object(&run, &["--range", "ProfilerStep"]);
    assert_eq!(path["requests"].as_array().map(Vec::len), Some(1), "{path}");
    assert_eq!(path["requests"][0]["source"], "range");
    assert!(
        path["on_path"].as_array().is_some_and(|on| on.iter().all(|group| group["category"] != "respond")),
        "{path}"
    );
}

#[test]
fn where_there_is_no_room_for_what_goes_beyond_the_limit_it_says_so() {
    let nowhere = Path::new("/nowhere/at/all");
    let mut command = kvpath();
    command.env("TMPDIR", nowhere).arg("path").arg(fixture(VLLM)).args(["--memory-limit", "1KiB"]);
    let done = command.output().expect("kvpath runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    for part in ["beyond the memory limit", "/nowhere/at/all", "set TMPDIR", "--memory-limit"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn paths_in_sql_are_those_of_the_command() {
    let run = fixture(WORKLOAD);
    let sql = "SELECT p.request, p.ttft_ns, sum(c.dur_ns) FROM paths p JOIN critical_path c ON c.request = p.request GROUP BY 1, 2 \
               ORDER BY 1";
    let ask = |more: &[&str]| {
        let out =
            kvpath().arg("sql").arg(&run).arg(sql).args(["--format", "csv"]).args(more).output().expect("kvpath runs");
        String::from_utf8(out.stdout).expect("UTF-8")
    };
    let answer = ask(&[]);
    let requests = object(&run, &[]);
    let requests = requests["requests"].as_array().expect("a list");
    assert_eq!(answer.lines().count(), 1 + requests.len());
    for (line, request) in answer.lines().skip(1).zip(requests) {
        let ttft = ns(&request["ttft_ns"]);
        assert_eq!(line, format!("{},{ttft},{ttft}", request["request"]));
    }
    assert_eq!(ask(&["--memory-limit", "64MiB"]), answer);
}

/// Prefill PP=2 in chunks of 2,048 tokens: stage 0's thread launches more slowly than its GPU computes, and stage 1's waits for it on a
/// socket before each chunk. The path is on stage 0 until the last chunk is sent.
#[test]
fn a_stage_that_waits_to_be_told_leads_to_the_one_that_launches() {
    let run = fixture("v1/small-chunks");
    for request in ["1", "2"] {
        let path = object(&run, &["--request", request]);
        let on = |stage: &str, categories: &[&str]| -> i64 {
            let items = path["on_path"].as_array().expect("a list").iter();
            let own =
                items.filter(|item| item["stage"] == stage && categories.iter().any(|name| item["category"] == *name));
            own.filter_map(|item| item["p50_ns"].as_i64()).sum()
        };
        let (first, second) =
            (on("prefill 0", &["host", "compute", "unexplained"]), on("prefill 1", &["queue", "host", "waiting"]));
        assert!(first > 40_000_000 && second < 5_000_000, "request {request}: {first} and {second} ns");
    }
    let query = "SELECT count(*) AS n FROM critical_path WHERE gate = 'peer_sends' AND request < 3";
    let out = kvpath().args(["sql", "--format", "json"]).arg(&run).arg(query).output().expect("kvpath runs");
    let counted: Value = serde_json::from_slice(&out.stdout).expect("one row");
    assert!(counted["n"].as_i64() >= Some(1), "{counted}");
}
