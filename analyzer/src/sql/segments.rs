//! Raw tables, served from the segments of a run.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::object_store::path::Path;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use kvpath_schema::table::TableDef;

use kvpath_analysis::load::{Run, Segment};

use super::absent::Absent;

/// A raw table. A run that lacks it has it without rows, so that every query plans over every run.
///
/// The engine pushes filters into the scan by itself and skips row groups by their statistics.
#[derive(Debug)]
pub struct Segments {
    schema: SchemaRef,
    sorted_by: &'static [&'static str],
    absent: Option<Arc<Absent>>,
    store: ObjectStoreUrl,
    files: Vec<PartitionedFile>,
    rows: usize,
    ordered: bool,
}

impl Segments {
    /// The table `def` of `run`, which lies in `store`. Up to `most_partitions` segments each is a partition of the scan,
    /// which keeps the sort order that each of them has; more share partitions, without an order, because each partition
    /// of a query takes its part of the memory.
    ///
    /// # Errors
    /// A file that is gone since the run was opened.
    pub fn new(run: &Run, def: &TableDef, store: ObjectStoreUrl, most_partitions: usize) -> Result<Self> {
        let mut files = Vec::new();
        let mut rows = 0;
        for segment in run.of_table(def.name) {
            files.push(file(segment)?);
            rows += usize::try_from(segment.rows).unwrap_or(0);
        }
        let ordered = files.len() <= most_partitions;
        let absent = Absent::of(def).map(Arc::new);
        Ok(Self { schema: def.arrow_schema(), sorted_by: def.sorted_by, absent, store, files, rows, ordered })
    }

    fn ordering(&self) -> Result<Option<LexOrdering>> {
        let options = SortOptions { descending: false, nulls_first: true };
        let by = |name: &&str| Ok(PhysicalSortExpr::new(col(name, &self.schema)?, options));
        Ok(LexOrdering::new(self.sorted_by.iter().map(by).collect::<Result<Vec<_>>>()?))
    }
}

/// A segment as the engine opens it.
fn file(segment: &Segment) -> Result<PartitionedFile> {
    let named = |error: io::Error| io::Error::other(format!("{}: {error}", segment.path.display()));
    let (location, bytes) = if segment.store.objects().is_some() {
        let opened = segment.store.open(&segment.location);
        let bytes = opened.map_err(|error| DataFusionError::External(error.into()))?.size();
        (segment.location.clone(), bytes)
    } else {
        let path = segment.path.canonicalize().map_err(named)?;
        let location = Path::from_absolute_path(&path).map_err(|error| DataFusionError::External(error.into()))?;
        (location, path.metadata().map_err(named)?.len())
    };
    let mut file = PartitionedFile::new("", bytes);
    file.object_meta.location = location;
    Ok(file)
}

#[async_trait]
impl TableProvider for Segments {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.files.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.schema.project(columns)?),
                None => self.schema(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let groups = if self.ordered {
            self.files.iter().map(|file| FileGroup::new(vec![file.clone()])).collect()
        } else {
            FileGroup::new(self.files.clone()).split_files(state.config().target_partitions())
        };
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(self.rows);
        let source =
            ParquetSource::new(self.schema()).with_table_parquet_options(state.default_table_options().parquet);
        let mut scan = FileScanConfigBuilder::new(self.store.clone(), Arc::new(source))
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .with_expr_adapter(self.absent.clone().map(|absent| absent as _));
        if self.ordered {
            scan = scan.with_output_ordering(self.ordering()?.into_iter().collect());
        }
        Ok(DataSourceExec::from_data_source(scan.with_file_groups(groups).build()))
    }
}
