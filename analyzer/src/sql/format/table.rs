//! The table for people.

use std::io::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::util::display::FormatOptions;
use datafusion::arrow::util::pretty::pretty_format_batches_with_options;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;

use super::cells;

/// Memory that laying out one cell takes, about: its text, its line and its place in the grid.
const CELL_BYTES: usize = 256;

/// Rows that wait for their columns' widths.
pub struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    memory: MemoryReservation,
    out: Vec<u8>,
}

impl Table {
    pub(super) fn new(schema: &SchemaRef, memory: MemoryReservation) -> Self {
        Self { schema: Arc::clone(schema), batches: Vec::new(), memory, out: Vec::new() }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let layout = batch.num_rows() * batch.num_columns() * CELL_BYTES;
        self.memory.try_grow(batch.get_array_memory_size() + layout).map_err(|_| {
            let rows: usize = self.batches.iter().map(RecordBatch::num_rows).sum();
            DataFusionError::ResourcesExhausted(format!(
                "a table of more than {rows} rows cannot be laid out (--format csv and json print rows as they come)"
            ))
        })?;
        self.batches.push(cells::readable(batch)?);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        // An empty batch makes the header print where there are no rows.
        self.batches.push(cells::readable(&RecordBatch::new_empty(Arc::clone(&self.schema)))?);
        let options = FormatOptions::default().with_null("NULL");
        writeln!(self.out, "{}", pretty_format_batches_with_options(&self.batches, &options)?)?;
        self.batches.clear();
        self.memory.free();
        Ok(())
    }

    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }
}
