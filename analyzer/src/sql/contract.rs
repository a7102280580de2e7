//! The library's contract: what each query says of itself is what its plan does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use kvpath_schema::docs::sql_type;
use kvpath_schema::version;

use super::library::{self, Query};
use super::params::SqlType;
use super::{Session, memory};
use kvpath_analysis::load::Run;
use kvpath_analysis::model::derived::definitions;

fn empty_run() -> Run {
    Run { name: "empty".to_owned(), ..Run::default() }
}

fn session() -> Session {
    Session::new(&[empty_run()], memory::parse("256MiB").unwrap()).unwrap()
}

fn scanned(plan: &LogicalPlan) -> BTreeSet<String> {
    let mut tables = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            tables.insert(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    tables
}

/// Values for the parameters without a default, so that the query can run.
fn given(query: &Query) -> BTreeMap<String, String> {
    let needed = query.header.params.iter().filter(|param| param.default.is_none());
    let value = |sql_type| if sql_type == SqlType::Boolean { "true" } else { "1" };
    needed.map(|param| (param.name.clone(), value(param.sql_type).to_owned())).collect()
}

#[test]
fn every_query_is_what_its_head_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let session = session();
    assert!(library::all().len() >= 12, "the library has only {} queries", library::all().len());
    for query in library::all() {
        let (name, header) = (query.name, &query.header);
        assert_eq!(header.query, name, "@query differs from the path of {name}");
        assert!(header.answers.ends_with(['?', '.']), "{name}: @answers asks no question");
        assert!((1..=version::CURRENT).contains(&header.schema), "{name}: @schema >={}", header.schema);

        let plan = runtime.block_on(session.plan(query.text)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let placed: BTreeSet<String> =
            plan.get_parameter_names().unwrap().iter().map(|p| p.trim_start_matches('$').to_owned()).collect();
        let declared: BTreeSet<String> = header.params.iter().map(|param| param.name.clone()).collect();
        assert_eq!(declared, placed, "{name}: @param lines differ from the parameters of the plan");
        let reads: Vec<String> = scanned(&plan).into_iter().collect();
        assert_eq!(header.reads, reads, "{name}: @reads differs from the tables of the plan");

        let plan = session.bind(plan, &header.params, &given(query)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut answer = runtime.block_on(session.run(plan)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let planned: Vec<String> =
            answer.schema().fields().iter().map(|f| format!("{} {}", f.name(), sql_type(f.data_type()))).collect();
        let says: Vec<String> = header.columns.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect();
        assert_eq!(says, planned, "{name}: @column lines differ from the plan");
        while let Some(batch) = runtime.block_on(answer.next()).unwrap_or_else(|error| panic!("{name}: {error}")) {
            assert_eq!(batch.num_rows(), 0, "{name}: rows from an empty run");
        }
    }
}

fn generated(page: &str, path: &str, command: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == found, "{} is stale; make it again with `{command}`", path.display());
}

#[test]
fn the_page_of_the_library_is_fresh() {
    let command = "kvpath queries list --format markdown > queries/README.md";
    generated(&library::markdown(), "queries/README.md", command);
}

#[test]
fn the_page_of_the_tables_is_fresh() {
    let command = "kvpath schema --format markdown > docs/tables.md";
    generated(&kvpath_schema::docs::markdown(definitions(false), definitions(true)), "docs/tables.md", command);
}

#[test]
fn every_type_that_the_schema_has_is_one_that_queries_can_name() {
    for def in super::catalog::all_definitions() {
        for column in def.columns {
            let name = sql_type(&(column.data_type)());
            assert!(SqlType::NAMES.contains(&name), "{}.{}: {name}", def.name, column.name);
        }
    }
}
