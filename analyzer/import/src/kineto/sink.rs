//! Rows on their way to segments: no more of them in memory than the segments that are filled and written.

use std::collections::BTreeMap;

use kvpath_schema::segment::{self, RunWriter, SegmentError};
use kvpath_schema::table::Columns;

use super::SOURCE;
use super::tables::Tables;

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

/// A segment that was written, or could not be.
pub(super) struct WrittenSegment {
    table: &'static str,
    writer: RunWriter,
    written: Result<Option<segment::Written>, SegmentError>,
}

/// A segment to be written, by whichever thread.
pub(super) type Writing = Box<dyn FnOnce() -> WrittenSegment + Send>;

/// The segments of one host. Each table numbers its own, and writes one at a time, so that their names and what is in them
/// depend on nothing but the rows.
pub(super) struct Sink {
    writer: Box<dyn Fn() -> RunWriter>,
    tables: Tables,
    writers: Writers,
    totals: Totals,
}

/// Rows of a table in memory before they become a segment: 30 MB of kernels.
const SEGMENT_ROWS: usize = 1 << 18;

impl Sink {
    /// `writer` makes a writer of segments whose first is the first.
    pub(super) fn new(writer: impl Fn() -> RunWriter + 'static) -> Self {
        let (tables, writers, totals) = (Tables::default(), Writers::default(), Totals::default());
        Self { writer: Box::new(writer), tables, writers, totals }
    }

    /// Adds the rows of a part.
    pub(super) fn append(&mut self, part: Tables) {
        let Tables { kernels, memcpys, memsets, api_calls, gpu_syncs, cuda_events, overheads, nvtx } = part;
        self.tables.kernels.append(kernels);
        self.tables.memcpys.append(memcpys);
        self.tables.memsets.append(memsets);
        self.tables.api_calls.append(api_calls);
        self.tables.gpu_syncs.append(gpu_syncs);
        self.tables.cuda_events.append(cuda_events);
        self.tables.overheads.append(overheads);
        self.tables.nvtx.append(nvtx);
    }

    /// Segments that are full, and whether there are more whose tables write one now.
    pub(super) fn full(&mut self) -> (Vec<Writing>, bool) {
        self.with_rows(SEGMENT_ROWS)
    }

    /// The segments of what is left, and whether there are more whose tables write one now.
    pub(super) fn rest(&mut self) -> (Vec<Writing>, bool) {
        self.with_rows(1)
    }

    fn with_rows(&mut self, rows: usize) -> (Vec<Writing>, bool) {
        let Self { writer, tables, writers, .. } = self;
        let mut due = DueTables { rows, writer, writers, writings: Vec::new(), is_more: false };
        // The longest first: what is begun first is done first.
        due.take(&mut tables.nvtx);
        due.take(&mut tables.api_calls);
        due.take(&mut tables.kernels);
        due.take(&mut tables.memcpys);
        due.take(&mut tables.memsets);
        due.take(&mut tables.gpu_syncs);
        due.take(&mut tables.cuda_events);
        due.take(&mut tables.overheads);
        (due.writings, due.is_more)
    }

    /// The segment of a table that does not grow with the trace; none without rows.
    pub(super) fn whole<C: Columns + Send + 'static>(&mut self, mut columns: C) -> Option<Writing> {
        let Self { writer, writers, .. } = self;
        let mut due = DueTables { rows: 1, writer, writers, writings: Vec::new(), is_more: false };
        due.take(&mut columns);
        due.writings.pop()
    }

    /// A segment was written.
    pub(super) fn done(&mut self, done: WrittenSegment) -> Result<(), SegmentError> {
        self.writers.insert(done.table, Some(done.writer));
        if let Some(written) = done.written? {
            let total = self.totals.entry(done.table).or_default();
            total.rows += written.rows;
            total.bytes += written.bytes;
        }
        Ok(())
    }

    /// Whether no segment is being written.
    pub(super) fn is_idle(&self) -> bool {
        self.writers.values().all(Option::is_some)
    }

    /// What was written.
    pub(super) fn totals(self) -> Totals {
        self.totals
    }
}

/// Writers by table; none while it writes.
type Writers = BTreeMap<&'static str, Option<RunWriter>>;

/// Segments of at least so many rows.
struct DueTables<'a> {
    rows: usize,
    writer: &'a dyn Fn() -> RunWriter,
    writers: &'a mut Writers,
    writings: Vec<Writing>,
    is_more: bool,
}

impl DueTables<'_> {
    fn take<C: Columns + Send + 'static>(&mut self, columns: &mut C) {
        if columns.len() < self.rows {
            return;
        }
        let table = C::DEF.name;
        let Some(mut writer) = self.writers.entry(table).or_insert_with(|| Some((self.writer)())).take() else {
            self.is_more = true;
            return;
        };
        let columns = std::mem::take(columns);
        self.writings.push(Box::new(move || {
            let written = writer.write(SOURCE, &columns, 0);
            WrittenSegment { table, writer, written }
        }));
    }
}
