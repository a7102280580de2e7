//! One session over a run, or several.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::common::config::SpillCompression;
use datafusion::dataframe::DataFrame;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use kvpath_schema::tables::RAW;

use super::derived::{Tables, table};
use super::error::{SqlError, planning, running};
use super::functions::Function;
use super::header::Param;
use super::segments::Segments;
use super::{catalog, named, params, several, statement};
use kvpath_analysis::load::Run;
use kvpath_analysis::model::Model;
use kvpath_analysis::model::derived::TABLES;
use kvpath_analysis::settings::Settings;
use kvpath_analysis::spill::Memory;

/// Memory that a sort or aggregation wants before it can spill well, a partition: fewer partitions run where the limit
/// is small.
const PARTITION_BYTES: usize = 64 << 20;

/// A session.
pub struct Session {
    context: SessionContext,
    pool: Arc<dyn MemoryPool>,
    limit: usize,
}

/// The rows of an answer, as they come.
pub struct Answer {
    stream: SendableRecordBatchStream,
    limit: usize,
}

impl Session {
    /// Opens a session over `runs` whose queries hold at most `limit` bytes; beyond it, what can spill to the temporary
    /// folder does, and the rest is refused.
    ///
    /// # Errors
    /// A segment that is gone since the run was opened.
    pub fn new(runs: &[Run], limit: usize) -> Result<Self, SqlError> {
        let settings = Settings { memory: Memory::of(limit), ..Settings::default() };
        let of_run = |run: &Run| Tables::new(Model::new(run.clone(), settings.clone()));
        Self::build(runs.iter().map(|run| (run, of_run(run))).collect(), limit).map_err(|error| running(&error, limit))
    }

    /// The same with derived tables of their own.
    pub(super) fn build(runs: Vec<(&Run, Tables)>, limit: usize) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let partitions = (limit / PARTITION_BYTES).max(1);
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema("kvpath", "run")
            .with_information_schema(true)
            .with_target_partitions(partitions.min(cores));
        config.options_mut().execution.spill_compression = SpillCompression::Lz4Frame;
        // Fair, not greedy: under a greedy pool the first operator takes all, and those that could spill fail.
        let pool: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(limit));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::clone(&pool)).build_arc()?;
        let context = SessionContext::new_with_config_rt(config, runtime);

        let register = |name: &str, table: Arc<dyn TableProvider>| context.register_table(name, table);
        let runs: Vec<(&Run, Arc<Tables>)> = runs.into_iter().map(|(run, of)| (run, Arc::new(of))).collect();
        for def in RAW {
            let of_run = |(at, (run, _)): (usize, &(&Run, Arc<Tables>))| -> Result<(String, Arc<dyn TableProvider>)> {
                let store = store_of(&context, run, at)?;
                let segments = Arc::new(Segments::new(run, def, store, partitions)?);
                Ok((run.label.clone(), named::read(def.name, segments)?))
            };
            register(def.name, several::union(def.name, runs.iter().enumerate().map(of_run).collect::<Result<_>>()?)?)?;
        }
        let tables: Arc<[(String, Arc<Tables>)]> =
            runs.iter().map(|(run, of)| (run.label.clone(), Arc::clone(of))).collect();
        for derived in &TABLES {
            if !derived.is_of_request() {
                register(derived.table.name, table(derived, &tables)?)?;
            }
            context.register_udtf(derived.table.name, Arc::new(Function::new(derived, Arc::clone(&tables))));
        }
        register("query_catalog", Arc::new(catalog::query_catalog()?))?;
        register("schema_columns", Arc::new(catalog::schema_columns()?))?;
        Ok(Self { context, pool, limit })
    }

    /// Plans `sql`; its parameters stay open.
    ///
    /// # Errors
    /// Not SQL, not a reading statement, or of tables, columns or functions that are not there.
    pub async fn plan(&self, sql: &str) -> Result<LogicalPlan, SqlError> {
        let state = self.context.state();
        let dialect = state.config().options().sql_parser.dialect;
        let parsed = state.sql_to_statement(sql, &dialect).map_err(|error| planning(&error))?;
        statement::check(&parsed)?;
        let tables = state.resolve_table_references(&parsed).map_err(|error| planning(&error))?;
        let plan = match state.statement_to_plan(parsed).await {
            Ok(plan) => plan,
            Err(error) => {
                // The engine says which table it lacks, not which one might be meant.
                let lacks = error.message().contains("not found");
                let unknown =
                    |name: &&TableReference| lacks && catalog::table_names().all(|known| known != name.table());
                return Err(match tables.iter().find(unknown) {
                    Some(name) => SqlError::unknown_table(&name.to_string()),
                    None => planning(&error),
                });
            }
        };
        statement::check_plan(&plan)?;
        Ok(plan)
    }

    /// Fills in the parameters of `plan`: as `given`, else by the defaults of those `declared`.
    ///
    /// # Errors
    /// One that is missing, unknown or of another type.
    pub fn bind(
        &self,
        plan: LogicalPlan,
        declared: &[Param],
        given: &BTreeMap<String, String>,
    ) -> Result<LogicalPlan, SqlError> {
        let placed = plan
            .get_parameter_types()
            .map_err(|error| planning(&error))?
            .into_iter()
            .map(|(name, data_type)| (name.trim_start_matches('$').to_owned(), data_type))
            .collect();
        let values = params::bind(declared, &placed, given)?;
        if values.is_empty() {
            return Ok(plan);
        }
        plan.with_param_values(values).map_err(|error| planning(&error))
    }

    /// Runs a plan.
    ///
    /// # Errors
    /// It does not fit the tables after all, as where types do not compare.
    pub async fn run(&self, plan: LogicalPlan) -> Result<Answer, SqlError> {
        let limit = self.limit;
        let frame = DataFrame::new(self.context.state(), plan);
        let physical = frame.create_physical_plan().await.map_err(|error| match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => running(&error, limit),
            _ => planning(&error),
        })?;
        let stream = datafusion::physical_plan::execute_stream(physical, self.context.task_ctx())
            .map_err(|error| running(&error, limit))?;
        Ok(Answer { stream, limit })
    }

    /// A share of the session's memory, to hold rows in.
    #[must_use]
    pub fn reserve(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(&self.pool)
    }

    /// The engine's error as ours.
    #[must_use]
    pub fn error(&self, error: &DataFusionError) -> SqlError {
        running(error, self.limit)
    }
}

/// The store that a run lies in, made known to the engine unless it is the file system.
fn store_of(context: &SessionContext, run: &Run, at: usize) -> Result<ObjectStoreUrl> {
    let Some(objects) = run.segments.first().and_then(|segment| segment.store.objects()) else {
        return Ok(ObjectStoreUrl::local_filesystem());
    };
    let url = ObjectStoreUrl::parse(format!("kvpath://run-{at}"))?;
    context.register_object_store(url.as_ref(), objects);
    Ok(url)
}

impl Answer {
    /// Its columns.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// The next rows; none at the end.
    ///
    /// # Errors
    /// The query fails on the way, or passes its memory limit.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        let next = poll_fn(|context| self.stream.as_mut().poll_next(context)).await;
        next.transpose().map_err(|error| running(&error, self.limit))
    }
}
