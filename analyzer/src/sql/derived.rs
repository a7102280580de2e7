//! Derived tables, computed when a query first scans one of them, once for all.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int32Type, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;
use kvpath_schema::table::{Columns, TableDef};
use kvpath_schema::tables::derived::{Clocks, Requests};

use super::functions::Wanted;
use kvpath_engine::analysis::{Analysis, Raw, Settings};
use kvpath_engine::clocks::gpu;
use kvpath_engine::error::LoadError;
use kvpath_engine::joins::Joined;
use kvpath_engine::load::Run;
use kvpath_engine::path::{Found, Walker};
use kvpath_schema::tables::joins::{Joins, TransferJoins};
use kvpath_schema::tables::path::{CriticalPath, Edges, Paths, Slacks};

type Batches = HashMap<&'static str, RecordBatch>;

/// Every derived table of a run.
#[derive(Debug)]
pub struct Derived {
    run: Run,
    // The error as text: each query that scans a derived table reports it anew.
    batches: OnceLock<Result<Batches, String>>,
    paths: OnceLock<Result<Batches, String>>,
    walked: OnceLock<Result<Walker, String>>,
    // By itself: it reads all CUDA calls, and no other table needs these.
    clocks: OnceLock<Result<RecordBatch, String>>,
    // By themselves too: they go over all that ran.
    joins: OnceLock<Result<Batches, String>>,
}

impl Derived {
    /// Those of `run`; nothing is computed yet.
    #[must_use]
    pub fn new(run: Run) -> Self {
        let (walked, clocks, joins) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { run, batches: OnceLock::new(), paths: OnceLock::new(), walked, clocks, joins }
    }

    /// Tables that were computed elsewhere.
    #[cfg(test)]
    pub(super) fn computed(run: Run, analysis: &Analysis, found: &Found, joined: &Joined) -> Self {
        Self {
            run,
            batches: OnceLock::from(Ok(batches(analysis))),
            paths: OnceLock::from(Ok(path_batches(found))),
            walked: OnceLock::new(),
            clocks: OnceLock::from(Ok(analysis.clocks.to_batch())),
            joins: OnceLock::from(Ok(join_batches(joined))),
        }
    }

    /// The table `def` as the engine sees it.
    ///
    /// # Errors
    /// None that is known: the table has its own schema.
    pub fn table(self: &Arc<Self>, def: &'static TableDef) -> Result<StreamingTable> {
        let schema = def.arrow_schema();
        let rows = Rows { of: Arc::clone(self), name: def.name, only: None, schema: Arc::clone(&schema) };
        StreamingTable::try_new(schema, vec![Arc::new(rows)])
    }

    /// What `def` holds of one request.
    ///
    /// # Errors
    /// None that is known: the table has its own schema.
    pub fn table_of(self: &Arc<Self>, def: &'static TableDef, only: Wanted) -> Result<StreamingTable> {
        let schema = def.arrow_schema();
        let rows = Rows { of: Arc::clone(self), name: def.name, only: Some(only), schema: Arc::clone(&schema) };
        StreamingTable::try_new(schema, vec![Arc::new(rows)])
    }

    fn batch_of(&self, name: &str, wanted: &Wanted) -> Result<RecordBatch> {
        // Those that paths are walked for know requests that only a client told of.
        let is_walked = [Paths::DEF.name, CriticalPath::DEF.name, Edges::DEF.name, Slacks::DEF.name].contains(&name);
        if !is_walked {
            let batch = self.batch(name)?;
            let requests = self.batch(Requests::DEF.name)?;
            let mut known = Requests::default();
            known.extend_from_batch(&requests).map_err(|error| DataFusionError::External(error.into()))?;
            let number =
                wanted.among(known.request.iter().copied().zip(known.request_id.iter().map(Option::as_deref)))?;
            return of_request(&batch, number);
        }
        let load = || Walker::of(&self.run, &Settings::default()).map_err(|error| error.to_string());
        let walker = self.walked.get_or_init(load).as_ref();
        let walker = walker.map_err(|error| DataFusionError::External(error.clone().into()))?;
        let requests = walker.requests().iter();
        let number = wanted.among(requests.map(|request| (request.number, request.id.as_deref())))?;
        let found = || walker.paths(|request| request.number == number);
        Ok(match name {
            name if name == Paths::DEF.name => found().paths.to_batch(),
            name if name == CriticalPath::DEF.name => found().segments.to_batch(),
            name if name == Edges::DEF.name => walker.edges(number).unwrap_or_default().to_batch(),
            _ => walker.slack(number).unwrap_or_default().to_batch(),
        })
    }

    fn batch(&self, name: &str) -> Result<RecordBatch> {
        if name == Clocks::DEF.name {
            let clocks = self.clocks.get_or_init(|| self.compute_clocks().map_err(|error| error.to_string()));
            return clocks.clone().map_err(|error| DataFusionError::External(error.into()));
        }
        // Paths are computed for those who ask for them: they need all that ran.
        let batches = if [Paths::DEF.name, CriticalPath::DEF.name].contains(&name) {
            self.paths.get_or_init(|| self.compute_paths().map_err(|error| error.to_string()))
        } else if [Joins::DEF.name, TransferJoins::DEF.name].contains(&name) {
            self.joins.get_or_init(|| self.compute_joins().map_err(|error| error.to_string()))
        } else {
            self.batches.get_or_init(|| self.compute().map_err(|error| error.to_string()))
        };
        match batches {
            Ok(batches) => batches
                .get(name)
                .cloned()
                .ok_or_else(|| DataFusionError::Internal(format!("derived table {name} is not computed"))),
            Err(error) => Err(DataFusionError::External(error.clone().into())),
        }
    }

    fn compute(&self) -> Result<Batches, LoadError> {
        Ok(batches(&Analysis::of(&Raw::of(&self.run)?, &Settings::default())))
    }

    fn compute_paths(&self) -> Result<Batches, LoadError> {
        Ok(path_batches(&Walker::of(&self.run, &Settings::default())?.paths(|_| true)))
    }

    fn compute_joins(&self) -> Result<Batches, LoadError> {
        Ok(join_batches(&Joined::of(&self.run, &Settings::default())?))
    }

    fn compute_clocks(&self) -> Result<RecordBatch, LoadError> {
        let hosts = kvpath_engine::clocks::Clocks::of(&self.run)?;
        let mut clocks: Clocks = hosts.table();
        clocks.append(gpu::rows(&self.run, &hosts)?);
        Ok(clocks.to_batch())
    }
}

/// The rows of a table that are of a request.
fn of_request(batch: &RecordBatch, number: i32) -> Result<RecordBatch> {
    let requests = batch.column_by_name("request").and_then(|column| column.as_primitive_opt::<Int32Type>());
    let requests = requests.ok_or_else(|| DataFusionError::Internal("the table is of no request".to_owned()))?;
    let is_wanted: BooleanArray = requests.iter().map(|request| Some(request == Some(number))).collect();
    Ok(filter_record_batch(batch, &is_wanted)?)
}

fn one<C: Columns>(columns: &C) -> (&'static str, RecordBatch) {
    (C::DEF.name, columns.to_batch())
}

fn path_batches(found: &Found) -> Batches {
    [one(&found.paths), one(&found.segments)].into()
}

fn join_batches(joined: &Joined) -> Batches {
    [one(&joined.joins), one(&joined.transfers)].into()
}

fn batches(analysis: &Analysis) -> Batches {
    let Analysis { stages, requests, chunks, bubbles, layers, handoffs, coverage, clocks, .. } = analysis;
    [one(stages), one(requests), one(chunks), one(bubbles), one(layers), one(handoffs), one(coverage), one(clocks)]
        .into()
}

/// The rows of one derived table.
#[derive(Debug)]
struct Rows {
    of: Arc<Derived>,
    name: &'static str,
    only: Option<Wanted>,
    schema: SchemaRef,
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 1);
        let (rows, of, name, only) = (builder.tx(), Arc::clone(&self.of), self.name, self.only.clone());
        let size = context.session_config().batch_size();
        builder.spawn_blocking(move || {
            let batch = match &only {
                Some(wanted) => of.batch_of(name, wanted)?,
                None => of.batch(name)?,
            };
            for start in (0..batch.num_rows()).step_by(size) {
                let slice = batch.slice(start, size.min(batch.num_rows() - start));
                if rows.blocking_send(Ok(slice)).is_err() {
                    break; // nobody reads on, as below a LIMIT
                }
            }
            Ok(())
        });
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvpath_schema::tables::DERIVED;

    #[test]
    fn every_derived_table_is_computed_and_has_its_schema() {
        let mut batches = batches(&Analysis::default());
        batches.extend(path_batches(&Found::default()));
        batches.extend(join_batches(&Joined::default()));
        assert_eq!(batches.len(), DERIVED.len());
        for def in DERIVED {
            assert_eq!(batches[def.name].schema(), def.arrow_schema(), "{}", def.name);
        }
    }
}
