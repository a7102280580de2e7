//! What is refused, how it is said.

use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use kvpath_schema::segment::keys;
use kvpath_schema::table::Columns as _;

use kvpath_tests::kvpath;

use crate::run::{SmallRun, kernels, refusal};

fn says(run: &SmallRun, query: &str, parts: &[&str]) {
    let line = refusal(&["sql", &run.path(), query]);
    for part in parts {
        assert!(line.contains(part), "{query}: `{part}` is not in {line}");
    }
}

#[test]
fn bad_sql_is_one_line_with_the_engines_hint() {
    let run = SmallRun::new(1);
    says(&run, "SELEC 1", &["does not plan", "SELEC"]);
    says(&run, "SELECT name\n  FROM kernels\n  WHERE", &["does not plan"]);
    says(&run, "SELECT start_n FROM kernels", &["start_n", "Did you mean", "start_ns"]);
    says(&run, "SELECT summ(dur_ns) FROM kernels", &["summ", "Did you mean"]);
    says(&run, "SELECT * FROM kernel", &["no table is called `kernel`", "did you mean `kernels`?", "kvpath schema"]);
    says(&run, "SELECT 1; SELECT 2", &["single SQL statement"]);
    says(&run, &format!("SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000)), &["does not plan"]);
    says(&run, "SELECT name + 1 FROM kernels", &["kvpath: the query"]);
    says(&run, "SELECT CAST(name AS BIGINT) FROM kernels", &["the query failed", "'a'"]);
}

#[test]
fn writing_is_refused_and_leaves_the_run_as_it_was() {
    let run = SmallRun::new(1);
    let before = std::fs::read(run.segment("kernels")).unwrap();
    let out = run.beside("stolen.csv");
    for query in [
        "DROP TABLE kernels",
        "INSERT INTO kernels SELECT * FROM kernels",
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/tmp'",
        "CREATE TABLE t AS SELECT 1",
        "SET datafusion.execution.batch_size = 1",
        &format!("COPY (SELECT 1) TO '{out}' STORED AS CSV"),
        &format!("EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}' STORED AS CSV"),
    ] {
        says(&run, query, &["is refused: a run is never modified"]);
    }
    assert!(!std::path::Path::new(&out).exists());
    assert_eq!(std::fs::read(run.segment("kernels")).unwrap(), before);
    // Nor is a path a table: only the run is read.
    says(&run, &format!("SELECT * FROM '{}'", run.segment("kernels").display()), &["no table is called"]);
}

#[test]
fn names_of_queries_never_reach_the_file_system() {
    let run = SmallRun::new(1);
    for name in ["../../etc/passwd", "/etc/passwd", "handoffs/slowest", "handoffs.slowest.sql"] {
        says(&run, name, &["no query is called", name, "kvpath queries list"]);
        assert!(refusal(&["queries", "show", name]).contains("no query is called"));
    }
    says(&run, "handoff.slowest", &["did you mean `handoffs.slowest`?"]);
}

#[test]
fn parameters_are_named_in_errors() {
    let run = SmallRun::new(1);
    let line = |query: &str, params: &[&str]| {
        let path = run.path();
        let mut args = vec!["sql", &path, query];
        args.extend(params.iter().flat_map(|param| ["--param", param]));
        refusal(&args)
    };
    assert!(line("SELECT * FROM kernels WHERE dur_ns > $least", &[]).contains("parameter least must be given"));
    assert!(line("handoffs.slowest", &["row=3"]).contains("no parameter `row`; it takes rows BIGINT"));
    assert!(line("handoffs.slowest", &["rows=three"]).contains("parameter `rows` is a BIGINT, and `three` is none"));
    assert!(line("handoffs.slowest", &["rows"]).contains("name=value"));
    assert!(line("handoffs.slowest", &["rows=1", "rows=2"]).contains("given twice"));
    assert!(line("SELECT 1 AS one", &["x=1"]).contains("it takes none"));
}

/// Answers `query` as CSV without a segment, naming that on standard error; refuses it with `--strict`.
fn answers_without(run: &SmallRun, query: &str, answer: &str, parts: &[&str]) {
    let path = run.path();
    let out = kvpath().args(["sql", &path, query, "--format", "csv"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&out.stdout), answer, "{said}");
    assert!(parts.iter().all(|part| said.contains(part)) && said.contains("left out"), "{said}");
    let line = refusal(&["sql", &path, query, "--strict"]);
    assert!(parts.iter().all(|part| line.contains(part)), "{line}");
}

#[test]
fn bad_segments_are_named() {
    let run = SmallRun::new(100);
    let segment = run.segment("kernels");
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    let whole = std::fs::read(&segment).unwrap();
    for keep in [0, 4, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&segment, &whole[..keep]).unwrap();
        answers_without(&run, "SELECT count(*) AS n FROM kernels", "n\n100\n", &[&name, "cut short"]);
    }
    // Its footer is whole, its data is not: met by a query of the table, and by a derived one.
    let mut damaged = whole.clone();
    let footer = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap());
    damaged[4..whole.len() - 8 - usize::try_from(footer).unwrap()].fill(0xff);
    std::fs::write(&segment, &damaged).unwrap();
    let sums = "SELECT count(dur_ns) AS n, min(name) IS NULL AS m FROM kernels";
    answers_without(&run, sums, "n,m\n100,false\n", &[&name, "damaged data"]);
    let derived = "SELECT rows FROM coverage WHERE table_name = 'kernels'";
    answers_without(&run, derived, "rows\n100\n", &[&name, "damaged data"]);

    let pair = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    let footer = vec![pair(keys::SCHEMA_VERSION, "99"), pair(keys::TABLE, "kernels")];
    let properties = WriterProperties::builder().set_key_value_metadata(Some(footer)).build();
    let batch = kernels(1).to_batch();
    let file = std::fs::File::create(&segment).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    says(&run, "SELECT 1 AS one", &[&name, "version 99", "version 1", "update kvpath"]);
}

#[test]
fn what_is_no_run_is_refused() {
    let run = SmallRun::new(1);
    assert!(refusal(&["sql", &run.beside("nowhere"), "SELECT 1"]).contains("no such file"));
    let empty = run.beside("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(refusal(&["sql", &empty, "SELECT 1"]).contains("no kvpath segments"));
    assert!(refusal(&["sql", &run.path(), "-f", &run.beside("nowhere.sql")]).contains("nowhere.sql"));
}
