//! Derived tables of the run's model as SQL sees them: made when a query first scans one, once for all.

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

use kvpath_schema::table::Columns as _;

use super::several;
use kvpath_analysis::error::LoadError;
use kvpath_analysis::model::Model;
use kvpath_analysis::model::derived::{Derived, RowOrigin, TABLES};
use kvpath_analysis::path::{RunPaths, Walker};
use kvpath_analysis::serving::lookup::{LookupError, RequestQuery};

/// Rows of paths that are kept for the next scan: some 50 MB.
const KEPT_ROWS: usize = 1 << 18;

/// Batches of the tables that are walked, by name.
type WalkedBatches = HashMap<&'static str, Vec<RecordBatch>>;

/// The derived tables of a run.
#[derive(Debug)]
pub struct Tables {
    model: Model,
    /// Only where there are few rows: many are walked for each scan.
    walked: OnceLock<WalkedBatches>,
}

impl Tables {
    /// Those of a model; nothing is computed yet.
    #[must_use]
    pub fn new(model: Model) -> Self {
        Self { model, walked: OnceLock::new() }
    }

    /// The same with paths that were walked elsewhere.
    #[cfg(test)]
    pub(super) fn with_paths(model: Model, found: &RunPaths) -> Self {
        let walked: WalkedBatches = of_walks(found).map(|(name, batch)| (name, vec![batch])).collect();
        Self { model, walked: OnceLock::from(walked) }
    }

    /// A derived table; what it holds of one request if one is `wanted`.
    ///
    /// # Errors
    /// None that is known: the table has its own schema.
    pub fn table(self: &Arc<Self>, derived: &'static Derived, wanted: Option<RequestQuery>) -> Result<StreamingTable> {
        let schema = derived.table.arrow_schema();
        let rows = Partition { of: Arc::clone(self), derived, wanted, schema: Arc::clone(&schema) };
        StreamingTable::try_new(schema, vec![Arc::new(rows)])
    }

    fn walker(&self) -> Result<Walker<'_>> {
        self.model.walker().map_err(external)
    }

    /// What a table holds of one request. Those that paths are walked for know requests that only a client told of.
    fn of_request(&self, derived: &Derived, wanted: &RequestQuery) -> Result<RecordBatch> {
        if let RowOrigin::Whole(make) = derived.rows {
            let batch = make(&self.model).map_err(external)?;
            let known = self.model.analysis().map_err(external)?.units();
            let number = wanted.among(known).map_err(|error| not_found(&error))?;
            return rows_of(&batch, number);
        }
        let walker = self.walker()?;
        let requests = walker.requests().iter();
        let number = wanted
            .among(requests.map(|request| (request.number, request.id.as_deref())))
            .map_err(|error| not_found(&error))?;
        Ok(match derived.rows {
            RowOrigin::OfRequest(make) => make(&walker, number).unwrap_or_else(|| empty(derived)),
            RowOrigin::Walked(make) => make(&walker.paths(|request| request.number == number)),
            RowOrigin::Whole(_) => empty(derived),
        })
    }

    /// Hands the rows of a table on, `size` at a time, until `take` wants no more.
    fn each_batch(&self, derived: &Derived, size: usize, take: &mut dyn FnMut(RecordBatch) -> bool) -> Result<()> {
        let mut slices = |batch: &RecordBatch| {
            let starts = (0..batch.num_rows()).step_by(size);
            starts.map(|start| batch.slice(start, size.min(batch.num_rows() - start))).all(&mut *take)
        };
        match (derived.rows, self.walked.get()) {
            (RowOrigin::Whole(make), _) => {
                slices(&make(&self.model).map_err(external)?);
            }
            (RowOrigin::Walked(_), Some(kept)) => {
                kept[derived.table.name].iter().all(slices);
            }
            (RowOrigin::Walked(_), None) => self.walk(derived.table.name, size, take)?,
            (RowOrigin::OfRequest(_), _) => {
                return Err(DataFusionError::Internal(format!("{} is of one request", derived.table.name)));
            }
        }
        Ok(())
    }

    /// Walks the paths of all requests; keeps them for the next scan if they are few.
    fn walk(&self, name: &'static str, size: usize, take: &mut dyn FnMut(RecordBatch) -> bool) -> Result<()> {
        let mut found = RunPaths::default();
        let mut kept = Some(WalkedBatches::new());
        let mut rows = 0;
        let mut hand_on = |found: &RunPaths, kept: &mut Option<WalkedBatches>| {
            let mut wants_more = true;
            for (table, batch) in of_walks(found) {
                rows += batch.num_rows();
                if rows > KEPT_ROWS {
                    *kept = None;
                }
                if let Some(kept) = kept {
                    kept.entry(table).or_default().push(batch.clone());
                }
                wants_more &= table != name || batch.num_rows() == 0 || take(batch);
            }
            wants_more
        };
        let mut more = true;
        let walker = self.walker()?;
        walker.each_of(&walker.requests().iter().collect::<Vec<_>>(), |path, segments| {
            found.add(path, segments);
            if found.segments.len() >= size {
                more = hand_on(&std::mem::take(&mut found), &mut kept);
            }
            if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if more && hand_on(&found, &mut kept) {
            // Another scan may have been faster: its rows are the same.
            kept.and_then(|kept| self.walked.set(kept).err());
        }
        Ok(())
    }
}

/// A derived table of runs, by their labels.
///
/// # Errors
/// None that is known: the table has its own schema.
pub fn table(derived: &'static Derived, of: &[(String, Arc<Tables>)]) -> Result<Arc<dyn TableProvider>> {
    let of_run = |(label, tables): &(String, Arc<Tables>)| -> Result<(String, Arc<dyn TableProvider>)> {
        Ok((label.clone(), Arc::new(tables.table(derived, None)?)))
    };
    several::union(derived.table.name, of.iter().map(of_run).collect::<Result<_>>()?)
}

fn external(error: Arc<LoadError>) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn not_found(error: &LookupError) -> DataFusionError {
    DataFusionError::Execution(error.to_string())
}

fn empty(derived: &Derived) -> RecordBatch {
    RecordBatch::new_empty(derived.table.arrow_schema())
}

/// The tables that are made of walked paths.
fn of_walks(found: &RunPaths) -> impl Iterator<Item = (&'static str, RecordBatch)> {
    TABLES.iter().filter_map(|derived| match derived.rows {
        RowOrigin::Walked(make) => Some((derived.table.name, make(found))),
        _ => None,
    })
}

/// The rows of a table that are of a request.
fn rows_of(batch: &RecordBatch, number: i32) -> Result<RecordBatch> {
    let requests = batch.column_by_name("request").and_then(|column| column.as_primitive_opt::<Int32Type>());
    let requests = requests.ok_or_else(|| DataFusionError::Internal("the table is of no request".to_owned()))?;
    let is_wanted: BooleanArray = requests.iter().map(|request| Some(request == Some(number))).collect();
    Ok(filter_record_batch(batch, &is_wanted)?)
}

/// The rows of one derived table.
#[derive(Debug)]
struct Partition {
    of: Arc<Tables>,
    derived: &'static Derived,
    wanted: Option<RequestQuery>,
    schema: SchemaRef,
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 1);
        let (rows, of, derived, wanted) = (builder.tx(), Arc::clone(&self.of), self.derived, self.wanted.clone());
        let size = context.session_config().batch_size();
        builder.spawn_blocking(move || {
            // It fails where nobody reads on, as below a LIMIT.
            let mut send = |batch| rows.blocking_send(Ok(batch)).is_ok();
            match &wanted {
                Some(wanted) => {
                    send(of.of_request(derived, wanted)?);
                    Ok(())
                }
                None => of.each_batch(derived, size, &mut send),
            }
        });
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvpath_analysis::joins::Joined;
    use kvpath_analysis::load::Run;
    use kvpath_analysis::model::Analysis;

    #[test]
    fn every_derived_table_is_computed_and_has_its_schema() {
        let model = Model::computed(Run::default(), Analysis::default(), Joined::default());
        for derived in &TABLES {
            let batch = match derived.rows {
                RowOrigin::Whole(make) => make(&model).unwrap(),
                RowOrigin::Walked(make) => make(&RunPaths::default()),
                RowOrigin::OfRequest(_) => continue,
            };
            assert_eq!(batch.schema(), derived.table.arrow_schema(), "{}", derived.table.name);
        }
    }
}
