//! Several runs as one: each table is the union of theirs, and says in `run` whose each row is.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};

/// The column that names the run of a row.
const RUN: &str = "run";

/// The table `name` of each run, by the run's label. Of one run it is that run's, as it is.
///
/// # Errors
/// None that is known: their schema is one.
pub fn union(name: &str, of_runs: Vec<(String, Arc<dyn TableProvider>)>) -> Result<Arc<dyn TableProvider>> {
    if let [(_, only)] = of_runs.as_slice() {
        return Ok(Arc::clone(only));
    }
    let mut all: Option<LogicalPlanBuilder> = None;
    for (label, table) in of_runs {
        let schema = table.schema();
        let columns = schema.fields().iter().map(|field| col(format!("\"{}\"", field.name())));
        let columns: Vec<_> = std::iter::once(lit(label).alias(RUN)).chain(columns).collect();
        let own = LogicalPlanBuilder::scan(name, provider_as_source(table), None)?.project(columns)?;
        all = Some(match all {
            Some(before) => before.union(own.build()?)?,
            None => own,
        });
    }
    let plan = all.unwrap_or_else(|| LogicalPlanBuilder::empty(false)).build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray as _;
    use datafusion::arrow::datatypes::Int64Type;
    use datafusion::object_store::memory::InMemory;
    use kvpath_analysis::load::Run;
    use kvpath_schema::segment::RunWriter;
    use kvpath_schema::store::Store;
    use kvpath_schema::tables::nixl::{NixlAgent, NixlAgents};

    use super::*;
    use crate::sql::Session;

    /// A run in memory with so many agents.
    fn run(label: &str, count: u64) -> Run {
        let store = Store::of(Arc::new(InMemory::new()), format!("memory:///{label}"));
        let mut agents = NixlAgents::default();
        for agent_ptr in 0..count {
            kvpath_schema::table::Columns::push(
                &mut agents,
                NixlAgent { time_ns: 1, process_id: 7, agent_ptr, name: label.into(), library: "nixl".into() },
            );
        }
        RunWriter::to(store.clone(), "h", "test", None).write("nixl", &agents, 0).unwrap();
        Run { label: label.to_owned(), ..Run::of_store(&store).unwrap() }
    }

    #[test]
    fn runs_in_several_stores_are_one_table() {
        let runs = [run("a", 3), run("b", 4)];
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let counts = runtime.block_on(async {
            let session = Session::new(&runs, 256 << 20).unwrap();
            let sql = "SELECT count(*) AS n FROM nixl_agents WHERE run = name GROUP BY run ORDER BY run";
            let mut answer = session.run(session.plan(sql).await.unwrap()).await.unwrap();
            let mut counts = Vec::new();
            while let Some(batch) = answer.next().await.unwrap() {
                counts.extend(batch.column(0).as_primitive::<Int64Type>().values().iter().copied());
            }
            counts
        });
        assert_eq!(counts, [3, 4]);
    }
}
