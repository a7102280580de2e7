//! What each format prints.

use std::fs::File;
use std::io::Cursor;
use std::process::Stdio;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::run::{SmallRun, kvpath, refusal, stdout, text};

const ROWS: &str = "SELECT start_ns, name, graph_node_id FROM kernels ORDER BY start_ns, name LIMIT 3";
const NONE: &str = "SELECT start_ns, name FROM kernels WHERE dur_ns < 0";

#[test]
fn a_table_shows_nulls_and_prints_its_header_over_no_rows() {
    let run = SmallRun::new(4);
    insta::assert_snapshot!("table", text(&["sql", &run.path(), ROWS]));
    insta::assert_snapshot!("empty_table", text(&["sql", &run.path(), NONE]));
    insta::assert_snapshot!("named", text(&["sql", &run.path(), "timeline.kernels_by_name", "--param", "rows=1"]));
}

#[test]
fn csv_has_one_header_line_with_or_without_rows() {
    let run = SmallRun::new(4);
    let csv = text(&["sql", &run.path(), ROWS, "--format", "csv"]);
    assert_eq!(csv, "start_ns,name,graph_node_id\n0,a,\n0,a,\n10,b,1\n");
    assert_eq!(text(&["sql", &run.path(), NONE, "--format", "csv"]), "start_ns,name\n");
}

#[test]
fn json_is_an_object_a_line_with_every_key() {
    let run = SmallRun::new(4);
    let json = text(&["sql", &run.path(), ROWS, "--format", "json"]);
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0], serde_json::json!({"start_ns": 0, "name": "a", "graph_node_id": null}));
    assert_eq!(lines[2], serde_json::json!({"start_ns": 10, "name": "b", "graph_node_id": 1}));
    assert_eq!(text(&["sql", &run.path(), NONE, "--format", "json"]), "");
}

fn check(batches: &[RecordBatch]) {
    let starts = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(batches.iter().flat_map(starts).collect::<Vec<_>>(), [0, 0, 10]);
    assert_eq!(batches[0].schema().field(2).name(), "graph_node_id");
}

#[test]
fn parquet_and_arrow_read_back_from_files_and_from_standard_output() {
    let run = SmallRun::new(4);
    let (parquet, arrow) = (run.beside("answer.parquet"), run.beside("answer.arrow"));
    for (format, out) in [("parquet", &parquet), ("arrow", &arrow)] {
        let printed = stdout(&["sql", &run.path(), ROWS, "--format", format, "--out", out]);
        assert!(printed.is_empty());
        assert_eq!(std::fs::read(out).unwrap(), stdout(&["sql", &run.path(), ROWS, "--format", format]));
        assert!(!std::path::Path::new(&format!("{out}.partial")).exists());
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(parquet).unwrap()).unwrap().build().unwrap();
    check(&reader.map(Result::unwrap).collect::<Vec<_>>());
    let reader = StreamReader::try_new(Cursor::new(std::fs::read(arrow).unwrap()), None).unwrap();
    check(&reader.map(Result::unwrap).collect::<Vec<_>>());
}

#[test]
fn a_failed_answer_leaves_no_file_and_none_is_written_into_the_run() {
    let run = SmallRun::new(4);
    let out = run.beside("answer.csv");
    refusal(&["sql", &run.path(), "SELECT nothing FROM kernels", "--format", "csv", "--out", &out]);
    refusal(&["sql", &run.path(), "SELECT 1 / (dur_ns - dur_ns) FROM kernels", "--format", "csv", "--out", &out]);
    assert!(!std::path::Path::new(&out).exists() && !std::path::Path::new(&format!("{out}.partial")).exists());
    for inside in ["x.parquet", "node=host/x.parquet", "node=host/source=nixl/x.parquet"] {
        let inside = format!("{}/{inside}", run.path());
        let line = refusal(&["sql", &run.path(), ROWS, "--out", &inside]);
        assert!(line.contains("never modified"), "{line}");
        assert!(!std::path::Path::new(&inside).exists());
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let run = SmallRun::new(20_000);
    let path = run.path();
    let everything: [&[&str]; 4] = [
        &["sql", &path, "SELECT * FROM kernels", "--format", "csv"],
        &["sql", &path, "SELECT * FROM kernels", "--format", "parquet"],
        &["queries", "list", "--format", "markdown"],
        &["schema"],
    ];
    for args in everything {
        // `true` ends without reading, so the pipe breaks while kvpath writes.
        let mut reader = std::process::Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let pipe = reader.stdin.take().unwrap();
        reader.wait().unwrap();
        let status = std::process::Command::new(crate::run::program())
            .args(args)
            .stdout(Stdio::from(pipe))
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert!(status.status.success() && status.stderr.is_empty(), "{args:?}: {status:?}");
    }
}

#[test]
fn sql_comes_from_a_file_or_standard_input_with_its_own_parameters() {
    let run = SmallRun::new(4);
    let file = run.beside("mine.sql");
    std::fs::write(&file, "-- @param at BIGINT = 10  when\nSELECT name FROM kernels WHERE start_ns = $at LIMIT 1;\n")
        .unwrap();
    assert_eq!(text(&["sql", &run.path(), "-f", &file, "--format", "csv"]), "name\nb\n");
    assert_eq!(text(&["sql", &run.path(), "-f", &file, "--param", "at=0", "--format", "csv"]), "name\na\n");
    let inline = "SELECT count(*) AS n FROM kernels WHERE name = $name";
    assert_eq!(text(&["sql", &run.path(), inline, "--param", "name=a", "--format", "csv"]), "n\n4\n");
    let stdin = assert_cmd::Command::new(crate::run::program())
        .args(["sql", &run.path(), "-f", "-", "--format", "csv"])
        .write_stdin("SELECT 1 AS one")
        .assert()
        .success();
    assert_eq!(stdin.get_output().stdout, b"one\n1\n");
    kvpath(&["sql", &run.path()]).code(2);
}
