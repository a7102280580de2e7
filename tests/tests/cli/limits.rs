//! `--memory-limit`: what lies in files says the same as what is in memory.

use std::path::{Path, PathBuf};

use kvpath_analysis::load::Run;
use kvpath_schema::segment::RunWriter;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::ApiCalls;
use kvpath_schema::tables::nvtx::{NvtxRange, NvtxRanges};
use kvpath_tests::{fixture, kvpath};

fn answer(run: &Path, command: &str, more: &[&str]) -> String {
    let out = kvpath().arg(command).arg(run).args(more).output().expect("kvpath runs");
    assert!(out.status.success(), "{command} {more:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("UTF-8")
}

/// Asks everything that all of a run is read for, within `limit` and within plenty.
fn is_the_same(run: &Path, limit: &str, asked: &[(&str, &[&str])]) {
    for (command, more) in asked {
        let plenty = answer(run, command, more);
        assert!(plenty.lines().count() > 2, "{command} {more:?} answers nothing: {plenty}");
        let limited = answer(run, command, &[more, &["--memory-limit", limit][..]].concat());
        assert_eq!(limited, plenty, "{command} {more:?}");
    }
}

#[test]
fn a_memory_limit_changes_no_byte_of_an_answer() {
    // vLLM's holds 150,000 peer copies, and as many recorded events and waits.
    for recording in ["v1/vllm-full", "v1/workload-gpu", "v1/sglang"] {
        let asked: [(&str, &[&str]); 3] =
            [("path", &["--by", "stage,layer,category"]), ("path", &["--request", "1"]), ("report", &[])];
        is_the_same(&fixture(recording), "1KiB", &asked);
    }
    let tables = ["clocks", "coverage", "handoffs", "joins", "transfer_joins", "layers"];
    for query in tables.map(|table| format!("SELECT * FROM {table}")) {
        is_the_same(&fixture("v1/vllm-full"), "1MiB", &[("sql", &[&query, "--format", "csv"])]);
    }
}

/// The workload's recording as if `PyTorch` had named an operator around each of its calls, in a few rounds.
fn with_operators(folder: &Path) -> PathBuf {
    let (from, run) = (fixture("v1/workload-gpu"), folder.join("run"));
    let status = std::process::Command::new("cp").arg("-r").arg(&from).arg(&run).status().expect("cp runs");
    assert!(status.success());
    let calls: ApiCalls = Run::open(from.to_str().expect("UTF-8")).and_then(|run| run.table()).expect("its calls");
    let mut ranges = NvtxRanges::default();
    for row in 0..calls.len() {
        let text = if row % 10_000 == 0 { "round".to_owned() } else { format!("aten::{}", calls.name[row]) };
        ranges.push(NvtxRange {
            start_ns: calls.start_ns[row],
            dur_ns: Some(calls.dur_ns[row] + if row % 10_000 == 0 { 50_000_000 } else { 0 }),
            process_id: calls.process_id[row],
            tid: calls.tid[row],
            kind: "range".into(),
            domain: None,
            text: text.into(),
            payload: None,
        });
    }
    assert!(ranges.len() > 50_000);
    RunWriter::new(&run, "vm", "test 0", None).write("nvtx", &ranges, 0).expect("a segment");
    run
}

#[test]
fn nor_does_it_where_every_operator_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = with_operators(folder.path());
    is_the_same(&run, "1KiB", &[("path", &["--by", "stage,layer"]), ("path", &["--range", "round"]), ("report", &[])]);
    is_the_same(&run, "1MiB", &[("sql", &["SELECT * FROM coverage", "--format", "csv"])]);
}
