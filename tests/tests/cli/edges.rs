//! What a newcomer meets first: files that are no run, an empty run, a client's log of another clock, names of requests, help.

use std::path::{Path, PathBuf};

use kvpath_schema::segment::RunWriter;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{Kernel, Kernels};
use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

const VLLM: &str = "v1/vllm-full";
const WORKLOAD: &str = "v1/workload-gpu";

/// Standard output and standard error of a command that ends with `code`.
fn said(args: &[&str], code: i32) -> (String, String) {
    let out = kvpath().args(args).output().expect("kvpath runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(code), "{args:?}: {stderr}");
    (stdout.into_owned(), stderr.into_owned())
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_file_of_another_tool_names_the_command_that_imports_it() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, cure) in [
        ("trace.nsys-rep", "nsys export --type sqlite"),
        ("trace.json", "kvpath import kineto"),
        ("trace.json.gz", "kvpath import kineto"),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, "{}").expect("a file");
        for command in ["report", "path", "check"] {
            let (stdout, stderr) = said(&[command, shown(&file)], 2);
            assert!(stdout.is_empty() && stderr.lines().count() == 1, "{stderr}");
            assert!(stderr.contains(name) && stderr.contains(cure), "{stderr}");
        }
    }
}

#[test]
fn an_empty_run_says_what_to_do_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, stderr) = said(&["report", shown(folder.path())], 2);
    assert!(stderr.contains("kvpath-agent record") && stderr.contains("kvpath import"), "{stderr}");
    let mut kernels = Kernels::default();
    kernels.push(Kernel {
        start_ns: 0,
        dur_ns: 5,
        process_id: 1,
        device_id: 0,
        context_id: 1,
        stream_id: 7,
        correlation_id: 1,
        name: "k".into(),
        graph_node_id: None,
        grid_x: None,
        grid_y: None,
        grid_z: None,
        block_x: None,
        block_y: None,
        block_z: None,
    });
    RunWriter::new(folder.path(), "host", "test", None).write("cupti", &kernels, 0).expect("a segment");
    let (report, _) = said(&["report", shown(folder.path())], 0);
    assert!(report.contains("REQUESTS: 0") && report.contains("kvpath check") && report.contains("doctor"), "{report}");
    let (_, stderr) = said(&["path", shown(folder.path())], 2);
    assert!(stderr.contains("kvpath check"), "{stderr}");
}

/// A recording whose wall clock was `zero_ns` at its zero, with one kernel a second for 30 s from 1000 s on.
fn recording(folder: &Path, zero_ns: Option<i64>) -> PathBuf {
    let run = folder.join("run");
    let mut kernels = Kernels::default();
    for second in 1_000..1_030 {
        kernels.push(Kernel {
            start_ns: second * 1_000_000_000,
            dur_ns: 5,
            process_id: 1,
            device_id: 0,
            context_id: 1,
            stream_id: 7,
            correlation_id: second,
            name: "k".into(),
            graph_node_id: None,
            grid_x: None,
            grid_y: None,
            grid_z: None,
            block_x: None,
            block_y: None,
            block_z: None,
        });
    }
    RunWriter::new(&run, "host", "test", zero_ns).write("cupti", &kernels, 0).expect("a segment");
    run
}

#[test]
fn a_clients_wall_clock_is_converted_and_another_time_is_refused() {
    let zero = 1_700_000_000_000_000_000i64;
    let folder = tempfile::tempdir().expect("a folder");
    let run = recording(folder.path(), Some(zero));
    let log = folder.path().join("client.jsonl");
    let import = |lines: &str, code: i32| {
        std::fs::write(&log, lines).expect("a log");
        said(&["import", "client", shown(&log), "--run", shown(&run)], code).1
    };
    let wall = zero + 1_005_000_000_000;
    let told = format!(
        "{{\"request\": \"a\", \"start_ns\": {wall}, \"ttft_s\": 1}}\n{{\"rid\": \"b\", \"t0\": 1700001006.5, \"ttft_s\": 1}}\n\
         {{\"request\": \"c\", \"start_ns\": 1007000000000, \"ttft_s\": 1}}\n{{\"request\": \"d\", \"start_ns\": 5, \"ttft_s\": 1}}\n"
    );
    let stderr = import(&told, 0);
    assert!(stderr.contains("converted: 2 of 4 requests from wall clock"), "{stderr}");
    assert!(stderr.contains("outside: 1 of 4 requests"), "{stderr}");
    let sql = "SELECT request, start_ns FROM spans ORDER BY request";
    let (csv, _) = said(&["sql", shown(&run), sql, "--format", "csv"], 0);
    assert_eq!(csv, "request,start_ns\na,1005000000000\nb,1006500000000\nc,1007000000000\nd,5\n");
    // Seconds of another clock, and milliseconds of this one.
    let stderr = import("{\"request\": \"a\", \"t0\": 1690000000, \"ttft_s\": 1}\n", 2);
    assert!(stderr.contains("line 1") && stderr.contains("115 days before it"), "{stderr}");
    let stderr = import("\n{\"request\": \"a\", \"start_ns\": 1005000, \"ttft_s\": 1}\n", 2);
    assert!(stderr.contains("line 2") && stderr.contains("lies 16 min before it"), "{stderr}");
    assert!(stderr.contains("CLOCK_MONOTONIC") && stderr.contains("wall clock"), "{stderr}");
}

#[test]
fn wall_clock_without_the_recordings_pair_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = recording(folder.path(), None);
    let log = folder.path().join("client.jsonl");
    std::fs::write(&log, "{\"request\": \"a\", \"start_ns\": 1700001006000000000, \"ttft_s\": 1}\n").expect("a log");
    let (_, stderr) = said(&["import", "client", shown(&log), "--run", shown(&run)], 2);
    assert!(stderr.contains("`start_ns` is wall clock, and the run does not say what that was"), "{stderr}");
}

#[test]
fn a_request_goes_by_what_its_client_called_it_everywhere() {
    let run = fixture(VLLM);
    let run = shown(&run);
    let whole = said(&["path", run, "--request", "cmpl-req-1-32000-0"], 0).0;
    assert_eq!(said(&["path", run, "--request", "req-1"], 0).0, whole);
    assert_eq!(said(&["path", run, "--request", "cmpl-req-1-32000-0-0123abcd"], 0).0, whole);
    let report = said(&["report", run, "--request", "1"], 0).0;
    assert_eq!(said(&["report", run, "--request", "req-1-32000"], 0).0, report);
    let csv =
        |request: &str| said(&["sql", run, &format!("SELECT * FROM handoffs({request})"), "--format", "csv"], 0).0;
    assert_eq!(csv("'req-1'"), csv("1"));
    for command in ["path", "report"] {
        let (_, stderr) = said(&[command, run, "--request", "32000"], 2);
        assert!(stderr.contains("`32000` may be any of 4 requests: 1 (cmpl-req-1-32000-0), 2 ("), "{stderr}");
    }
    let (_, stderr) = said(&["sql", run, "SELECT * FROM handoffs('32000')"], 2);
    assert!(stderr.contains("may be any of 4 requests"), "{stderr}");
}

#[test]
fn the_slowest_requests_come_slowest_first() {
    let (json, _) = said(&["path", shown(&fixture(VLLM)), "--slowest", "4", "--json"], 0);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let times: Vec<i64> =
        json["requests"].as_array().expect("a list").iter().filter_map(|request| request["ttft_ns"].as_i64()).collect();
    assert!(times.len() == 4 && times.is_sorted_by(|a, b| a >= b), "{times:?}");
}

#[test]
fn steps_that_are_too_short_to_matter_are_summed_up() {
    let run = fixture(WORKLOAD);
    let (text, _) = said(&["path", shown(&run), "--request", "0"], 0);
    let steps = text.split("\nFROM FIRST RECORD TO DECODE'S FIRST PASS\n").nth(1).expect("the steps");
    assert!(steps.lines().count() < 200, "{} lines", steps.lines().count());
    assert!(steps.lines().any(|line| line.contains(" steps below 1.23 ms, together ")), "{steps}");
    let (text, _) = said(&["path", shown(&run), "--by", "name"], 0);
    assert!(text.lines().count() < 60, "{text}");
}

#[test]
fn only_a_clients_times_are_called_time_to_first_token() {
    let run = fixture(VLLM);
    let (text, _) = said(&["path", shown(&run)], 0);
    assert!(!text.contains("TIME TO FIRST TOKEN") && !text.contains("TTFT"), "{text}");
    assert!(text.contains("TIME FROM FIRST RECORD TO DECODE'S FIRST PASS"), "{text}");
}

#[test]
fn categories_are_explained_and_the_page_says_the_same() {
    let (all, _) = said(&["explain"], 0);
    assert_eq!(all.lines().count(), 22);
    assert_eq!(said(&["explain", "copy"], 0).0, "copy  The GPU copies or sets memory, not to another device.\n");
    let (_, stderr) = said(&["explain", "colour"], 2);
    assert!(stderr.contains("no category `colour`; there are queue, host"), "{stderr}");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/categories.md");
    let page = std::fs::read_to_string(page).expect("docs/categories.md");
    assert_eq!(said(&["explain", "--format", "markdown"], 0).0, page, "run `./x docs`");
}

#[test]
fn the_schema_begins_with_an_index() {
    let (text, _) = said(&["schema"], 0);
    let (index, tables) = text.split_once("\n\n").expect("an index");
    assert!(index.lines().nth(1).is_some_and(|line| line.starts_with("  ")), "{index}");
    for table in ["kernels", "chunks", "critical_path", "slack"] {
        assert!(index.lines().any(|line| line.split_whitespace().next() == Some(table)), "{table}: {index}");
        assert!(tables.contains(&format!("{table} (")), "{table}");
    }
    assert!(!said(&["schema", "kernels"], 0).0.contains(" tables; "));
}

#[test]
fn an_answer_takes_its_format_from_the_name_of_its_file_and_says_its_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = fixture(VLLM);
    let (run, sql) = (shown(&run), "SELECT request FROM requests");
    for (name, format) in [("a.parquet", "parquet"), ("a.csv", "csv"), ("a.jsonl", "json"), ("a.arrow", "arrow")] {
        let out = folder.path().join(name);
        let (stdout, stderr) = said(&["sql", run, sql, "--out", shown(&out)], 0);
        assert!(stdout.is_empty() && stderr.contains(&format!("{name}: 6 rows ({format})")), "{stderr}");
        let direct = kvpath().args(["sql", run, sql, "--format", format]).output().expect("kvpath runs");
        assert_eq!(std::fs::read(&out).expect("the file"), direct.stdout, "{name}");
    }
    let out = folder.path().join("b.csv");
    said(&["sql", run, sql, "--format", "json", "--out", shown(&out)], 0);
    assert!(std::fs::read_to_string(&out).expect("the file").starts_with("{\"request\":0}"));
    let (table, stderr) = said(&["sql", run, "SELECT 1.0 / 3 AS third"], 0);
    assert!(table.contains("| 0.333333 |") && stderr == "1 row\n", "{table}{stderr}");
    let (csv, stderr) = said(&["sql", run, "SELECT 1.0 / 3 AS third", "--format", "csv"], 0);
    assert!(csv.contains("0.3333333333333333") && stderr.is_empty(), "{csv}{stderr}");
}

#[test]
fn kernels_join_chunks_by_process_and_time() {
    let sql = "SELECT count(*) AS all, count(*) FILTER (WHERE counted = kernels) AS same FROM (\
               SELECT c.kernels, count(*) AS counted FROM chunks c JOIN kernels k ON k.process_id = c.process_id AND \
               k.device_id = c.device_id AND k.start_ns >= c.start_ns AND k.start_ns < c.end_ns AND k.name NOT LIKE '%nccl%' \
               GROUP BY c.request, c.stage_id, c.chunk, c.kernels)";
    let (csv, _) = said(&["sql", shown(&fixture(WORKLOAD)), sql, "--format", "csv"], 0);
    let counts: Vec<i64> =
        csv.lines().nth(1).expect("a row").split(',').map(|count| count.parse().expect("a count")).collect();
    assert!(counts[0] > 0 && counts[0] == counts[1], "{csv}");
}
