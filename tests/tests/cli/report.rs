//! Reading `kvpath report --json`.

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

/// The report on a bundled recording.
pub(crate) fn of(recording: &str, more: &[&str]) -> Value {
    let out = kvpath().args(["report", "--json"]).arg(fixture(recording)).args(more).output().expect("kvpath runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("one JSON object")
}

/// The rows of a table of the report for which every given column has the given value.
pub(crate) fn rows<'a>(report: &'a Value, table: &str, wanted: &[(&str, i64)]) -> Vec<&'a Value> {
    let rows = report[table].as_array().expect("a table is a list");
    rows.iter().filter(|row| wanted.iter().all(|(column, value)| row[*column] == *value)).collect()
}

/// The only such row.
pub(crate) fn row<'a>(report: &'a Value, table: &str, wanted: &[(&str, i64)]) -> &'a Value {
    let found = rows(report, table, wanted);
    assert_eq!(found.len(), 1, "{table} {wanted:?}");
    found[0]
}

/// Asserts that a number lies within a share of what is expected.
pub(crate) fn near(found: &Value, expected: f64, share: f64) {
    let value = found.as_f64().unwrap_or_else(|| panic!("{found} is no number"));
    assert!((value - expected).abs() <= share * expected, "{value} is not within {share} of {expected}");
}
