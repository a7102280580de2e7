//! Several runs at once, and what is added to a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kvpath_tests::{fixture, kvpath};

/// Runs and expects success; standard output.
fn ask(args: &[&str]) -> String {
    let out = kvpath().args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Runs and expects exit code 2 and one line that holds all `words`.
fn refused(args: &[&str], words: &[&str]) {
    let out = kvpath().args(args).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!((out.status.code(), said.trim_end().lines().count()), (Some(2), 1), "{args:?}: {said}");
    assert!(words.iter().all(|word| said.contains(word)) && out.stdout.is_empty(), "{args:?}: {said}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A folder with the runs `even` and `uneven`.
fn two() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["even", "uneven"] {
        copy(&fixture(&format!("v1/{name}")), &folder.path().join(name));
    }
    let path = folder.path().to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn sql_sees_all_runs_and_says_whose_each_row_is() {
    let (_folder, path) = two();
    let of = |run: &str, query: &str| ask(&["sql", run, query, "--format", "csv"]);
    for table in ["kernels", "layers", "requests", "paths", "nixl_notifs"] {
        let counts = of(&path, &format!("SELECT run, count(*) AS n FROM {table} GROUP BY run ORDER BY run"));
        let mut expected = "run,n\n".to_owned();
        for name in ["even", "uneven"] {
            let own = of(&format!("{path}/{name}"), &format!("SELECT count(*) AS n FROM {table}"));
            let own = own.lines().nth(1).unwrap();
            if own != "0" {
                writeln!(expected, "{name},{own}").unwrap();
            }
        }
        assert_eq!(counts, expected, "{table}");
    }
    // One of them is as if it were named alone, without that column.
    let query = "SELECT * FROM requests ORDER BY request";
    let even = of(&format!("{path}/even"), query);
    assert_eq!(ask(&["sql", &path, query, "--format", "csv", "--run", "even"]), even);
    assert!(!even.starts_with("run,") && of(&path, query).starts_with("run,"));
    assert_eq!(of(&path, "SELECT DISTINCT run FROM kernels WHERE run = 'uneven'"), "run\nuneven\n");
    let glob = format!("{path}/*even");
    assert_eq!(of(&glob, "SELECT count(DISTINCT run) AS n FROM kernels"), "n\n2\n");
    let sums = of(&path, "SELECT count(*) AS n FROM requests() WHERE run = 'even'");
    assert_eq!(sums, of(&format!("{path}/even"), "SELECT count(*) AS n FROM requests"));
}

#[test]
fn what_is_about_one_run_asks_which() {
    let (_folder, path) = two();
    for command in ["report", "path", "check"] {
        refused(&[command, &path], &["2 recordings (even, uneven)", "--run"]);
        refused(&[command, &path, "--run", "odd"], &["no recording `odd`", "even, uneven"]);
    }
    refused(&["sql", &path, "handoffs.slowest"], &["handoffs.slowest", "2 recordings (even, uneven)", "--run"]);
    refused(&["sql", &path, "SELECT * FROM layers(0)"], &["layers", "2 runs", "--run"]);
    let by_name = ask(&["report", &path, "--run", "even"]);
    assert_eq!(by_name, ask(&["report", &format!("{path}/even")]));
    assert_eq!(ask(&["path", &path, "--run", "even"]), ask(&["path", &format!("{path}/even")]));
}

/// All files below a folder with what is in them.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

#[test]
fn a_clients_log_lies_beside_what_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // It holds what an earlier kvpath imported among the recorded segments.
    copy(&fixture("v1/faults/clean"), &run);
    let before = files(&run);
    let name = run.to_str().unwrap();
    let spans = || ask(&["sql", name, "SELECT start_ns, dur_ns, request FROM spans ORDER BY 1", "--format", "csv"]);
    let log = folder.path().join("client.jsonl");
    let old = spans();
    // A log of another time is refused.
    let first: i64 = old.lines().nth(1).and_then(|row| row.split(',').next()?.parse().ok()).expect("a span");
    for requests in [2, 1] {
        let line = |at: i64| format!(r#"{{"request": "r{at}", "start_ns": {}, "ttft_ns": 7}}"#, first + at);
        let lines: Vec<String> = (0..requests).map(line).collect();
        std::fs::write(&log, lines.join("\n")).unwrap();
        ask(&["import", "client", log.to_str().unwrap(), "--run", name]);
        // The last import counts, and it alone.
        let rows: Vec<String> = (0..requests).map(|at| format!("{},7,r{at}", first + at)).collect();
        assert_eq!(spans().trim_end(), format!("start_ns,dur_ns,request\n{}", rows.join("\n")));
        let mut after = files(&run);
        after.retain(|path, _| !path.starts_with(run.join("imported")));
        assert!(after == before, "recorded segments are never touched");
    }
    assert_eq!(files(&run.join("imported")).len(), 1);
}
