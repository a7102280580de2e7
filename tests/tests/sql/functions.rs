//! Tables as functions of a request, on a recording of the workload on H200s.

use kvpath_tests::fixture;

use crate::run::{refusal, text};

fn recording() -> String {
    fixture("v1/workload-gpu").to_str().expect("UTF-8").to_owned()
}

/// Rows of the answer, in an order of their own: without `ORDER BY` they have none.
fn ask(query: &str) -> Vec<String> {
    let text = text(&["sql", &recording(), query, "--format", "csv"]);
    let mut rows: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    rows.sort();
    rows
}

#[test]
fn a_function_without_argument_is_the_table() {
    for table in [
        "requests",
        "stages",
        "chunks",
        "layers",
        "handoffs",
        "bubbles",
        "coverage",
        "paths",
        "critical_path",
        "clocks",
        "joins",
        "transfer_joins",
    ] {
        let rows = ask(&format!("SELECT * FROM {table}()"));
        assert!(!rows.is_empty(), "{table}");
        assert_eq!(rows, ask(&format!("SELECT * FROM {table}")), "{table}");
    }
}

#[test]
fn with_a_request_it_is_what_the_table_holds_of_it() {
    let id = &ask("SELECT request_id FROM requests WHERE request = 2")[0];
    for table in ["requests", "chunks", "layers", "handoffs", "bubbles", "paths", "critical_path", "transfer_joins"] {
        let of_table = ask(&format!("SELECT * FROM {table} WHERE request = 2"));
        assert!(!of_table.is_empty(), "{table}");
        assert_eq!(ask(&format!("SELECT * FROM {table}(2)")), of_table, "{table}");
        assert_eq!(ask(&format!("SELECT * FROM {table}('{id}')")), of_table, "{table}");
        assert_eq!(ask(&format!("SELECT * FROM {table}('2')")), of_table, "{table}");
    }
}

#[test]
fn slack_is_zero_on_the_path_and_edges_name_what_bound() {
    let least =
        ask("SELECT min(slack_ns), min(free_slack_ns), count(*) > 1000, count(DISTINCT stage_id) >= 3 FROM slack(1)");
    assert_eq!(least, ["0,0,true,true"]);
    // Every kernel of the path is among those without slack.
    let on_path = "SELECT count(*), count(s.request) FROM critical_path(1) AS c LEFT JOIN slack(1) AS s \
                   ON s.process_id = c.process_id AND s.correlation_id = c.correlation_id \
                   AND s.table_name = 'kernels' AND s.slack_ns = 0 \
                   WHERE c.table_name = 'kernels' AND c.kind = 'work' AND c.graph_node_id IS NULL";
    let counts = ask(on_path);
    let (all, found) = counts[0].split_once(',').expect("two counts");
    assert!(all == found && all.parse::<i64>().expect("a count") > 100, "{counts:?}");
    // Of each node one gate binds at most, and each gap of the path has its gate.
    let bound = "SELECT max(n) FROM (SELECT node, count(*) AS n FROM edges(1) WHERE is_bound GROUP BY node)";
    assert_eq!(ask(bound), ["1"]);
    let gaps = "SELECT count(*) FROM critical_path(1) AS c LEFT JOIN edges(1) AS e \
                ON e.position = c.position AND e.is_bound AND e.gate = c.gate AND e.time_ns = c.start_ns + c.dur_ns \
                WHERE c.kind = 'gap' AND c.gate IS NOT NULL AND e.node IS NULL";
    assert_eq!(ask(gaps), ["0"]);
}

#[test]
fn arguments_that_name_no_request_are_refused() {
    let says = |query: &str, parts: &[&str]| {
        let line = refusal(&["sql", &recording(), query]);
        for part in parts {
            assert!(line.contains(part), "{query}: `{part}` is not in {line}");
        }
    };
    for table in ["layers", "critical_path", "slack", "edges"] {
        says(
            &format!("SELECT * FROM {table}(99)"),
            &["no request `99` in this run; it has 4", "request_id FROM paths"],
        );
        says(&format!("SELECT * FROM {table}('nobody')"), &["no request `nobody`"]);
        says(&format!("SELECT * FROM {table}(1.5)"), &["named by its number", &format!("{table}('id')")]);
        says(&format!("SELECT * FROM {table}(NULL)"), &["named by its number"]);
    }
    for table in ["slack", "edges"] {
        says(&format!("SELECT * FROM {table}"), &["computed for one request", &format!("{table}(0)")]);
        says(&format!("SELECT * FROM {table}()"), &["computed for one request"]);
    }
    says("SELECT * FROM layers(1, 2)", &["layers takes one request at most"]);
    says("SELECT * FROM stages(1)", &["stages is of no request: stages() takes nothing"]);
    says("SELECT * FROM layer(1)", &["no table is called `layer`", "did you mean `layers`?"]);
}
