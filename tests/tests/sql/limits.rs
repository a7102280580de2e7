//! Order, pruning and memory.

use crate::run::{SmallRun, refusal, text};

#[test]
fn rows_of_several_segments_come_in_order_without_a_sort() {
    let run = SmallRun::new(5_000);
    let plan = text(&["sql", &run.path(), "EXPLAIN SELECT start_ns FROM kernels ORDER BY start_ns", "--format", "csv"]);
    assert!(plan.contains("output_ordering=[start_ns"), "{plan}");
    assert!(plan.contains("SortPreservingMergeExec") && !plan.contains("SortExec:"), "{plan}");
}

#[test]
fn filters_reach_the_segments() {
    let run = SmallRun::new(5_000);
    let plan = text(&["sql", &run.path(), "EXPLAIN SELECT name FROM kernels WHERE start_ns < 100", "--format", "csv"]);
    assert!(plan.contains("pruning_predicate=") && plan.contains("start_ns_min"), "{plan}");
    let count = text(&["sql", &run.path(), "SELECT count(*) AS n FROM kernels", "--format", "csv"]);
    assert_eq!(count, "n\n10000\n");
}

/// Answers `query` alike within `limit` and within plenty, and spills to do so.
fn spills(run: &SmallRun, query: &str, limit: &str) {
    let ask = |query: &str, limit| text(&["sql", &run.path(), query, "--format", "csv", "--memory-limit", limit]);
    assert_eq!(ask(query, limit), ask(query, "1GiB"));
    let plan = ask(&format!("EXPLAIN ANALYZE {query}"), limit);
    let spills = plan.split("spill_count=").skip(1).filter(|rest| !rest.starts_with('0')).count();
    assert!(spills > 0, "{query} did not spill within {limit}: {plan}");
}

#[test]
fn a_sort_beyond_the_limit_spills() {
    let query = "SELECT sum(start_ns * n) AS s FROM (SELECT start_ns, row_number() OVER (ORDER BY name, dur_ns, start_ns) AS n \
                 FROM kernels)";
    spills(&SmallRun::new(400_000), query, "32MiB");
}

#[test]
fn an_aggregation_beyond_the_limit_spills() {
    let query = "SELECT count(DISTINCT a.start_ns * b.start_ns) AS n FROM kernels AS a, kernels AS b";
    spills(&SmallRun::new(500), query, "1MiB");
}

#[test]
fn a_cross_join_beyond_the_limit_ends_cleanly() {
    let run = SmallRun::new(2_000);
    let everything = "SELECT * FROM kernels AS a, kernels AS b, kernels AS c";
    let line = refusal(&["sql", &run.path(), everything, "--memory-limit", "16MiB"]);
    assert!(line.contains("memory limit of 16 MiB") && line.contains("--memory-limit"), "{line}");
}

#[test]
fn a_limit_is_a_size() {
    let run = SmallRun::new(1);
    let assert = crate::run::kvpath(&["sql", &run.path(), "SELECT 1", "--memory-limit", "lots"]).code(2);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("512MiB"));
}
