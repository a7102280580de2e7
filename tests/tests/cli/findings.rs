//! The table `findings`: what each rests on can be looked up, and `report` prints from it.

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

use crate::report::of;

fn sql(run: &str, query: &str) -> Vec<Value> {
    let out =
        kvpath().arg("sql").arg(fixture(run)).arg(query).args(["--format", "json"]).output().expect("kvpath runs");
    assert!(out.status.success(), "{query}: {}", String::from_utf8_lossy(&out.stderr));
    let lines = String::from_utf8(out.stdout).expect("UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_else(|| panic!("{column} of {row}"))
}

#[test]
fn what_each_rests_on_can_be_looked_up() {
    for run in ["v1/uneven", "v1/faults/uneven", "v1/vllm-full", "v1/workload-gpu"] {
        let found = sql(run, "SELECT * FROM findings ORDER BY finding");
        assert!(!found.is_empty(), "{run}");
        for row in &found {
            let table = text(row, "tables").split(',').next().unwrap();
            let rows = sql(run, &format!("SELECT * FROM {table} WHERE {}", text(row, "row_keys")));
            assert!(!rows.is_empty(), "{run}: {row}");
            let shown = sql(run, text(row, "query"));
            for key in ["request", "stage_id", "process_id"] {
                // The slowest comes first, and is the one that the finding names.
                let is_shown = row[key].is_null() || shown[0].get(key).is_none_or(|first| *first == row[key]);
                assert!(is_shown, "{run}: {row} shows {}", shown[0]);
            }
            let confidence = row["confidence"].as_f64().unwrap();
            assert!(confidence > 0.0 && confidence <= 1.0, "{run}: {row}");
        }
    }
}

#[test]
fn report_prints_from_the_table() {
    for run in ["v1/even", "v1/uneven", "v1/vllm-full"] {
        let report = of(run, &[]);
        let texts = |condition: &str| {
            let found = sql(run, &format!("SELECT text FROM findings WHERE {condition} ORDER BY finding"));
            found.into_iter().map(|mut row| row["text"].take()).collect::<Vec<_>>()
        };
        assert_eq!(*report["findings"].as_array().unwrap(), texts("code <> 'lost_records'"), "{run}");
        let missing = report["missing"].as_array().unwrap();
        assert!(missing.ends_with(&texts("code = 'lost_records'")), "{run}");
    }
    assert_eq!(sql("v1/uneven", "SELECT code FROM findings WHERE subject = 'process'").len(), 4);
}

#[test]
fn a_finding_has_its_time_on_the_path() {
    let run = "v1/vllm-full";
    let posts = sql(run, "SELECT request, stage_id, path_ns FROM findings WHERE code = 'slowest_post'");
    let expected = sql(
        run,
        "SELECT sum(c.dur_ns) AS ns FROM critical_path c JOIN findings f ON c.request = f.request AND c.stage_id = f.stage_id \
         WHERE f.code = 'slowest_post' AND c.category = 'post'",
    );
    assert_eq!(posts.len(), 1);
    assert!(posts[0]["path_ns"].as_i64().unwrap() > 0, "{posts:?}");
    assert_eq!(posts[0]["path_ns"], expected[0]["ns"]);
    let balanced = sql(run, "SELECT path_ns FROM findings WHERE code = 'balanced_stages'");
    assert!(balanced[0]["path_ns"].is_null(), "what is balanced costs nothing");
    let run = "v1/faults/uneven";
    let slow = sql(run, "SELECT stage_id, path_ns FROM findings WHERE code = 'slow_stage'");
    let of_stage = sql(run, "SELECT sum(dur_ns) AS ns FROM critical_path WHERE stage_id = 0 AND category = 'compute'");
    assert_eq!(slow[0]["stage_id"], 0);
    assert!(slow[0]["path_ns"].as_i64().unwrap() > 0, "{slow:?}");
    assert_eq!(slow[0]["path_ns"], of_stage[0]["ns"], "every request was recorded whole");
}

#[test]
fn a_report_of_one_request_has_its_findings_alone() {
    let findings = |request: &str| {
        let report = of("v1/vllm-full", &["--request", request]);
        report["findings"].as_array().unwrap().iter().map(|f| f.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = of("v1/vllm-full", &[])["findings"].as_array().unwrap().len();
    // Request 2 is the slowest of the scattered ones, and of all.
    let own = findings("2");
    assert_eq!((all, own.len()), (4, 4), "{own:?}");
    let of_fastest = findings("5");
    assert_eq!(of_fastest.len(), 3, "{of_fastest:?}");
    assert!(of_fastest[1..].iter().all(|text| text.contains("(request 5)")), "{of_fastest:?}");
    let of_another = findings("0");
    assert_eq!(of_another.len(), 1, "{of_another:?}");
    assert!(of_another[0].starts_with("Stages are balanced"), "it was one of those that were compared");
}
