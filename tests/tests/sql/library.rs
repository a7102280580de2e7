//! The library and the schema, from outside.

use kvpath_analysis::model::derived::definitions;
use kvpath_schema::segment::RunWriter;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{NixlAgent, NixlAgents, NixlNotif, NixlNotifs};
use serde_json::Value;

use crate::run::{SmallRun, notif, refusal, text};

fn object(args: &[&str]) -> Value {
    serde_json::from_str(&text(args)).expect("one JSON object")
}

#[test]
fn the_list_names_every_query_and_show_prints_it() {
    let list = object(&["queries", "list", "--json"]);
    let queries = list["queries"].as_array().unwrap();
    assert!(queries.len() >= 12);
    let lines = text(&["queries", "list"]);
    assert_eq!(lines.lines().count(), queries.len());
    for query in queries {
        let name = query["name"].as_str().unwrap();
        assert!(lines.contains(name));
        assert!(text(&["queries", "show", name]).starts_with(&format!("-- @query   {name}\n")), "{name}");
    }
}

#[test]
fn every_query_answers_over_a_run_without_its_tables() {
    let run = SmallRun::new(1);
    let notifs = run.segment("nixl_notifs");
    for query in object(&["queries", "list", "--json"])["queries"].as_array().unwrap() {
        let columns: Vec<&str> =
            query["columns"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        let args = ["sql", notifs.to_str().unwrap(), query["name"].as_str().unwrap(), "--format", "csv"];
        assert_eq!(text(&args).lines().next(), Some(columns.join(",").as_str()));
    }
}

#[test]
fn the_catalog_and_the_schema_are_tables() {
    let run = SmallRun::new(1);
    let ask = |query: &str| text(&["sql", &run.path(), query, "--format", "csv"]);
    let catalog = ask("SELECT params, reads FROM query_catalog WHERE name = 'nvtx.by_text'");
    assert_eq!(catalog, "params,reads\n\"domain TEXT = NULL, rows BIGINT = 30\",nvtx_ranges\n");
    let column = ask("SELECT type, nullable, meaning FROM schema_columns \
                      WHERE table_name = 'handoffs' AND column_name = 'copies'");
    assert_eq!(
        column,
        "type,nullable,meaning\nBIGINT,true,\"Copies that carried it: peer copies, and those within a GPU that sender and receiver share; null without GPU records.\"\n"
    );
    assert!(ask("SHOW TABLES").contains("kvpath,run,handoffs,"));
    assert!(ask("DESCRIBE kernels").contains("dur_ns,Int64,NO"));
}

#[test]
fn derived_tables_have_their_columns() {
    let run = SmallRun::new(1);
    let all = object(&["schema", "--format", "json"]);
    let is_table = |table: &&Value| definitions(true).all(|function| table["name"] != function.name);
    for table in all["tables"].as_array().unwrap().iter().filter(is_table) {
        let columns: Vec<&str> =
            table["columns"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        let query = format!("SELECT * FROM {}", table["name"].as_str().unwrap());
        let csv = text(&["sql", run.segment("nixl_notifs").to_str().unwrap(), &query, "--format", "csv"]);
        assert_eq!(csv.lines().next(), Some(columns.join(",").as_str()));
    }
}

/// The fixtures are older than the column.
#[test]
fn recordings_of_before_hold_nixl_alone() {
    let run = kvpath_tests::fixture("v1/sglang");
    let ask = |sql: &str| text(&["sql", run.to_str().expect("UTF-8"), sql, "--format", "csv"]);
    for table in ["nixl_agents", "nixl_regions", "nixl_transfers"] {
        let all = ask(&format!("SELECT count(*) FROM {table}"));
        let count = all.lines().nth(1).expect("a row");
        assert_eq!(
            ask(&format!("SELECT library, count(*) AS n FROM {table} GROUP BY library")),
            format!("library,n\nnixl,{count}\n")
        );
        let other = ask(&format!("SELECT count(*) AS n FROM {table} WHERE library = 'mooncake'"));
        assert_eq!(other, "n\n0\n");
    }
}

#[test]
fn notifs_are_joined_in_order_of_repetition() {
    let run = SmallRun::new(1);
    let csv = text(&["sql", &run.path(), "nixl.notifs_latency", "--format", "csv"]);
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert_eq!(rows, ["lost,1,,genNotif,21,", "m,1,2,genNotif,20,7", "m,1,2,genNotif,5,4"]);
}

/// One text to two agents at once, and to a process that has taken the name of another: each arrival is of what was sent to its
/// process.
#[test]
fn notifs_are_joined_between_the_processes_that_had_the_names_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = RunWriter::new(folder.path(), "host", "test 0", None);
    let mut agents = NixlAgents::default();
    for (time_ns, process_id, name) in [(1, 1, "p"), (1, 2, "d"), (1, 3, "e"), (50, 4, "d")] {
        agents.push(NixlAgent { time_ns, process_id, agent_ptr: 0x1000, name: name.into(), library: "nixl".into() });
    }
    let mut notifs = NixlNotifs::default();
    for (time_ns, process_id, direction, peer) in [
        (10, 1, "sent", "d"),
        (11, 1, "sent", "e"),
        (12, 3, "arrived", "p"),
        (30, 2, "arrived", "p"),
        (60, 1, "sent", "d"),
        (61, 1, "sent", "e"),
        (64, 4, "arrived", "p"),
    ] {
        notifs.push(NixlNotif { process_id, peer: Some(peer.into()), ..notif(time_ns, direction, "m") });
    }
    run.write("nixl", &agents, 0).expect("a segment");
    run.write("nixl", &notifs, 0).expect("a segment");
    let path = folder.path().to_str().expect("UTF-8");
    let csv = text(&["sql", path, "nixl.notifs_latency", "--format", "csv"]);
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    // Of the two that went to 3 one arrived: by their number it is not known which.
    let expected = ["m,1,,genNotif,11,", "m,1,,genNotif,61,", "m,1,2,genNotif,10,20", "m,1,4,genNotif,60,4"];
    assert_eq!(rows, expected);
}

#[test]
fn a_notif_lies_until_a_call_takes_all_that_has_arrived() {
    let folder = tempfile::tempdir().unwrap();
    let mut notifs = NixlNotifs::default();
    for (time, direction, message) in [
        (5, "sent", "m"),
        (9, "arrived", "m"),
        (12, "arrived", "m"),
        (15, "taken", "m"),
        (15, "taken", "m"),
        (20, "arrived", "m"),
        (21, "arrived", "left"),
        (30, "taken", "m"),
        // Of one of these two the record of its receipt is missing.
        (40, "arrived", "m"),
        (41, "arrived", "m"),
        (42, "taken", "m"),
    ] {
        notifs.push(NixlNotif { peer: Some("p".into()), ..notif(time, direction, message) });
    }
    RunWriter::new(folder.path().join("run"), "host", "test 0", None).write("nixl", &notifs, 0).unwrap();
    let run = folder.path().join("run");
    let csv = text(&["sql", run.to_str().unwrap(), "nixl.notifs_taken", "--format", "csv"]);
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert_eq!(rows, ["left,2,p,21,", "m,2,p,40,", "m,2,p,41,", "m,2,p,20,10", "m,2,p,9,6", "m,2,p,12,3"]);
}

#[test]
fn kernels_are_summed_by_name() {
    let run = SmallRun::new(4);
    let csv = text(&["sql", &run.path(), "timeline.kernels_by_name", "--format", "csv"]);
    // Twice the durations 1, 2, 3, 1: `a` has 1 and 3, `b` has 2 and 1.
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0][..3], ["a", "4", "8"]);
    assert_eq!(rows[1][..3], ["b", "4", "6"]);
    let share: f64 = rows[0][3].parse().unwrap();
    assert!((share - 8.0 / 14.0).abs() < 1e-12);
    let other = ["sql", &run.path(), "timeline.kernels_by_name", "--param", "process_id=8", "--format", "csv"];
    assert_eq!(text(&other).lines().count(), 1);
}

#[test]
fn a_table_of_the_schema_prints_alone() {
    insta::assert_snapshot!("schema_text", text(&["schema", "threads"]));
    insta::assert_snapshot!("schema_markdown", text(&["schema", "threads", "--format", "markdown"]));
    assert!(refusal(&["schema", "thread"]).contains("did you mean `threads`?"));
}
