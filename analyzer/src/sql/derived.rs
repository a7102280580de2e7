//! Derived tables, computed when a query first scans one of them, once for all.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int32Type, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;
use kvpath_schema::table::{Columns, TableDef};
use kvpath_schema::tables::derived::{Clocks, Requests};

use super::functions::Wanted;
use super::several;
use kvpath_analysis::analysis::{Analysis, Raw, Settings};
use kvpath_analysis::clocks::gpu;
use kvpath_analysis::error::LoadError;
use kvpath_analysis::joins::Joined;
use kvpath_analysis::load::Run;
#[cfg(test)]
use kvpath_analysis::path::Found;
use kvpath_analysis::path::Walker;
use kvpath_analysis::spill::Memory;
use kvpath_schema::tables::joins::{Joins, TransferJoins};
use kvpath_schema::tables::path::{CriticalPath, Edges, Paths, Slacks};

/// Rows of paths that are kept for the next scan: some 50 MB.
const KEPT_ROWS: usize = 1 << 18;

type Batches = HashMap<&'static str, RecordBatch>;

/// Every derived table of a run.
#[derive(Debug)]
pub struct Derived {
    run: Run,
    settings: Settings,
    // Each query that scans a derived table reports the error anew.
    batches: OnceLock<Result<Batches, Arc<LoadError>>>,
    // Only where there are few: many are walked for each scan.
    paths: OnceLock<HashMap<&'static str, Vec<RecordBatch>>>,
    walked: OnceLock<Result<Walker, Arc<LoadError>>>,
    // By itself: it reads all CUDA calls, and no other table needs these.
    clocks: OnceLock<Result<RecordBatch, Arc<LoadError>>>,
    // By themselves too: they go over all that ran.
    joins: OnceLock<Result<Batches, Arc<LoadError>>>,
}

impl Derived {
    /// Those of `run`, whose records share that memory; nothing is computed yet.
    #[must_use]
    pub fn new(run: Run, memory: Memory) -> Self {
        let settings = Settings { memory, ..Settings::default() };
        let (walked, clocks, joins) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { run, settings, batches: OnceLock::new(), paths: OnceLock::new(), walked, clocks, joins }
    }

    /// Tables that were computed elsewhere.
    #[cfg(test)]
    pub(super) fn computed(run: Run, analysis: &Analysis, found: &Found, joined: &Joined) -> Self {
        Self {
            run,
            settings: Settings::default(),
            batches: OnceLock::from(Ok(batches(analysis))),
            paths: OnceLock::from(HashMap::from([
                (Paths::DEF.name, vec![found.paths.to_batch()]),
                (CriticalPath::DEF.name, vec![found.segments.to_batch()]),
            ])),
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
        let walker = self.walker()?;
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
            let clocks = self.clocks.get_or_init(|| self.compute_clocks().map_err(Arc::new));
            return clocks.clone().map_err(|error| DataFusionError::External(Box::new(error)));
        }
        let batches = if [Joins::DEF.name, TransferJoins::DEF.name].contains(&name) {
            self.joins.get_or_init(|| self.compute_joins().map_err(Arc::new))
        } else {
            self.batches.get_or_init(|| self.compute().map_err(Arc::new))
        };
        match batches {
            Ok(batches) => batches
                .get(name)
                .cloned()
                .ok_or_else(|| DataFusionError::Internal(format!("derived table {name} is not computed"))),
            Err(error) => Err(DataFusionError::External(Box::new(Arc::clone(error)))),
        }
    }

    /// Hands the rows of a table on, `size` at a time, until `take` wants no more.
    fn each_batch(&self, name: &'static str, size: usize, take: &mut dyn FnMut(RecordBatch) -> bool) -> Result<()> {
        let mut slices = |batch: &RecordBatch| {
            let starts = (0..batch.num_rows()).step_by(size);
            starts.map(|start| batch.slice(start, size.min(batch.num_rows() - start))).all(&mut *take)
        };
        if ![Paths::DEF.name, CriticalPath::DEF.name].contains(&name) {
            slices(&self.batch(name)?);
            return Ok(());
        }
        match self.paths.get() {
            Some(paths) => {
                paths[name].iter().all(slices);
            }
            None => self.walk(name, size, take)?,
        }
        Ok(())
    }

    /// Walks the paths of all requests; keeps them for the next scan if they are few.
    fn walk(&self, name: &'static str, size: usize, take: &mut dyn FnMut(RecordBatch) -> bool) -> Result<()> {
        let (mut paths, mut segments) = (Paths::default(), CriticalPath::default());
        let mut kept: Option<HashMap<&'static str, Vec<RecordBatch>>> = Some(HashMap::new());
        let mut rows = 0;
        let mut hand_on = |batch: (&'static str, RecordBatch), kept: &mut Option<HashMap<_, Vec<_>>>| {
            rows += batch.1.num_rows();
            if rows > KEPT_ROWS {
                *kept = None;
            }
            if let Some(kept) = kept {
                kept.entry(batch.0).or_default().push(batch.1.clone());
            }
            batch.0 != name || batch.1.num_rows() == 0 || take(batch.1)
        };
        let mut more = true;
        let walker = self.walker()?;
        walker.each_of(&walker.requests().iter().collect::<Vec<_>>(), |path, of_path| {
            paths.push(path);
            for row in of_path {
                segments.push(row);
            }
            if segments.len() >= size {
                more = hand_on(one(&std::mem::take(&mut segments)), &mut kept)
                    && hand_on(one(&std::mem::take(&mut paths)), &mut kept);
            }
            if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if more && hand_on(one(&segments), &mut kept) && hand_on(one(&paths), &mut kept) {
            // Another scan may have been faster: its rows are the same.
            kept.and_then(|kept| self.paths.set(kept).err());
        }
        Ok(())
    }

    fn walker(&self) -> Result<&Walker> {
        let load = || Walker::of(&self.run, &self.settings).map_err(Arc::new);
        let walker = self.walked.get_or_init(load).as_ref();
        walker.map_err(|error| DataFusionError::External(Box::new(Arc::clone(error))))
    }

    fn compute(&self) -> Result<Batches, LoadError> {
        // What is loaded for paths need not be loaded again.
        if let Some(Ok(walker)) = self.walked.get() {
            return Ok(batches(&walker.analysis));
        }
        Ok(batches(&Analysis::of(&Raw::within(&self.run, &self.settings.memory)?, &self.settings)))
    }

    fn compute_joins(&self) -> Result<Batches, LoadError> {
        Ok(join_batches(&Joined::of(&self.run, &self.settings)?))
    }

    fn compute_clocks(&self) -> Result<RecordBatch, LoadError> {
        let hosts = kvpath_analysis::clocks::Clocks::of(&self.run)?;
        let mut clocks: Clocks = hosts.table();
        clocks.append(gpu::rows(&self.run, &hosts, &self.settings.memory)?);
        Ok(clocks.to_batch())
    }
}

/// The table `def` of runs, by their labels.
///
/// # Errors
/// None that is known: the table has its own schema.
pub fn table(def: &'static TableDef, of: &[(String, Arc<Derived>)]) -> Result<Arc<dyn TableProvider>> {
    let of_run = |(label, derived): &(String, Arc<Derived>)| -> Result<(String, Arc<dyn TableProvider>)> {
        Ok((label.clone(), Arc::new(derived.table(def)?)))
    };
    several::union(def.name, of.iter().map(of_run).collect::<Result<_>>()?)
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
            // It fails where nobody reads on, as below a LIMIT.
            let mut send = |batch| rows.blocking_send(Ok(batch)).is_ok();
            match &only {
                Some(wanted) => {
                    send(of.batch_of(name, wanted)?);
                    Ok(())
                }
                None => of.each_batch(name, size, &mut send),
            }
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
        batches.extend([one(&Paths::default()), one(&CriticalPath::default())]);
        batches.extend(join_batches(&Joined::default()));
        assert_eq!(batches.len(), DERIVED.len());
        for def in DERIVED {
            assert_eq!(batches[def.name].schema(), def.arrow_schema(), "{}", def.name);
        }
    }
}
