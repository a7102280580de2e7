//! Rows on their way to segments: no more of them in memory than a segment holds.

use std::collections::BTreeMap;

use kvpath_schema::segment::{RunWriter, SegmentError};
use kvpath_schema::table::Columns;
use kvpath_schema::tables::gpu::{ApiCalls, CudaEvents, CuptiOverheads, GpuSyncs, Kernels, Memcpys, Memsets};
use kvpath_schema::tables::nvtx::NvtxRanges;

use super::SOURCE;

/// The tables that grow with the trace.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) kernels: Kernels,
    pub(super) memcpys: Memcpys,
    pub(super) memsets: Memsets,
    pub(super) api_calls: ApiCalls,
    pub(super) gpu_syncs: GpuSyncs,
    pub(super) cuda_events: CudaEvents,
    pub(super) overheads: CuptiOverheads,
    pub(super) nvtx: NvtxRanges,
}

/// Rows and bytes of a table, written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: usize,
    /// Bytes on disk.
    pub bytes: u64,
}

/// What was written, by table.
pub type Totals = BTreeMap<&'static str, Written>;

/// Writes the segments of one host.
pub(super) struct Sink {
    run: RunWriter,
    tables: Tables,
    totals: Totals,
}

/// Rows of a table in memory before they become a segment: 60 MB of kernels.
const SEGMENT_ROWS: usize = 1 << 19;

impl Sink {
    pub(super) fn new(run: RunWriter) -> Self {
        Self { run, tables: Tables::default(), totals: Totals::default() }
    }

    /// Adds a row to a table.
    #[inline]
    pub(super) fn push<C: Columns>(
        &mut self,
        table: impl Fn(&mut Tables) -> &mut C,
        row: C::Row,
    ) -> Result<(), SegmentError> {
        let columns = table(&mut self.tables);
        columns.push(row);
        if columns.len() < SEGMENT_ROWS { Ok(()) } else { self.flush(table) }
    }

    fn flush<C: Columns>(&mut self, table: impl Fn(&mut Tables) -> &mut C) -> Result<(), SegmentError> {
        let columns = std::mem::take(table(&mut self.tables));
        self.write(&columns)?;
        let kept = table(&mut self.tables);
        *kept = columns;
        kept.clear();
        Ok(())
    }

    /// Writes a whole table.
    pub(super) fn write<C: Columns>(&mut self, columns: &C) -> Result<(), SegmentError> {
        if let Some(written) = self.run.write(SOURCE, columns, 0)? {
            let total = self.totals.entry(C::DEF.name).or_default();
            total.rows += written.rows;
            total.bytes += written.bytes;
        }
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> Result<Totals, SegmentError> {
        self.flush(|tables| &mut tables.kernels)?;
        self.flush(|tables| &mut tables.memcpys)?;
        self.flush(|tables| &mut tables.memsets)?;
        self.flush(|tables| &mut tables.api_calls)?;
        self.flush(|tables| &mut tables.gpu_syncs)?;
        self.flush(|tables| &mut tables.cuda_events)?;
        self.flush(|tables| &mut tables.overheads)?;
        self.flush(|tables| &mut tables.nvtx)?;
        Ok(self.totals)
    }
}
