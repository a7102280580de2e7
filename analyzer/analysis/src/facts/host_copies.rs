//! Copies between a GPU and host memory, 44 bytes each, but for the small ones that every step of an engine makes.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::Memcpys;

use super::{Consumer, WantedColumns};
use crate::clocks::{HostClock, rows};
use crate::error::LoadError;
use crate::intervals::Span;
use crate::load::batches::Batch;
use crate::load::limits::{SPAN, plausible};
use crate::spill::{Column, Memory, Numbers, sorted};

/// Numbers for a step, tokens that were sampled, are smaller; the KV of a block of tokens in a layer is not.
const SMALLEST_BYTES: i64 = 4096;

/// Copies of several processes: once they are [`HostCopies::finish`]ed by process, stream and direction, those of each by start.
#[derive(Debug, Default)]
pub struct HostCopies {
    start: Column<i64>,
    end: Column<i64>,
    bytes: Column<i64>,
    correlation: Column<i64>,
    way: Column<u32>,
    ways: Numbers<HostRoute>,
}

/// What many copies have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostRoute {
    /// Process that asked for it.
    pub process: i64,
    /// CUDA context.
    pub context: i32,
    /// CUDA stream.
    pub stream: i32,
    /// To the host, not from it.
    pub is_out: bool,
}

/// A copy from a GPU to host memory, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCopy {
    /// Whose, and which way.
    pub way: HostRoute,
    /// When.
    pub span: Span,
    /// Size, bytes.
    pub bytes: i64,
    /// `correlation_id`.
    pub correlation: i64,
}

const MEMCPYS: [WantedColumns; 1] = [WantedColumns {
    table: Memcpys::DEF,
    columns: &["start_ns", "dur_ns", "process_id", "context_id", "stream_id", "correlation_id", "bytes", "kind"],
}];

const OUT: u32 = 0;
const IN: u32 = 1;
const OTHER: u32 = 2;

impl HostCopies {
    /// None yet.
    #[must_use]
    pub fn within(memory: &Memory) -> Self {
        Self {
            start: Column::new(memory),
            end: Column::new(memory),
            bytes: Column::new(memory),
            correlation: Column::new(memory),
            way: Column::new(memory),
            ways: Numbers::default(),
        }
    }

    pub(super) fn add(&mut self, copy: HostCopy) -> Result<(), LoadError> {
        self.start.push(copy.span.0)?;
        self.end.push(copy.span.1)?;
        self.bytes.push(copy.bytes)?;
        self.correlation.push(copy.correlation)?;
        self.way.push(self.ways.of(copy.way))
    }

    /// Puts all that was read in order.
    ///
    /// # Errors
    /// No room for files.
    pub fn finish(&mut self, memory: &Memory) -> Result<(), LoadError> {
        let order = |row: u32| {
            let at = row as usize;
            let copy = self.copy(at);
            (copy.way, copy.span, copy.bytes, copy.correlation, row)
        };
        let rows = sorted(memory, self.start.len(), |a, b| order(a).cmp(&order(b)))?;
        let pick = |values: &[i64]| Column::collect(memory, rows.iter().map(|row| values[*row as usize]));
        let (start, end) = (pick(&self.start)?, pick(&self.end)?);
        let (bytes, correlation) = (pick(&self.bytes)?, pick(&self.correlation)?);
        let way = Column::collect(memory, rows.iter().map(|row| self.way[*row as usize]))?;
        (self.start, self.end, self.bytes, self.correlation, self.way) = (start, end, bytes, correlation, way);
        Ok(())
    }

    fn copy(&self, at: usize) -> HostCopy {
        HostCopy {
            way: *self.ways.value(self.way[at]),
            span: (self.start[at], self.end[at]),
            bytes: self.bytes[at],
            correlation: self.correlation[at],
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = HostCopy> {
        (0..self.start.len()).map(|at| self.copy(at))
    }
}

impl Consumer for HostCopies {
    fn wants(&self) -> &'static [WantedColumns] {
        &MEMCPYS
    }

    fn take(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        let kinds = batch.names("kind", |kind| match kind {
            "DtoH" => OUT,
            "HtoD" => IN,
            _ => OTHER,
        })?;
        let (start, dur, bytes) = (batch.i64("start_ns")?, batch.i64("dur_ns")?, batch.i64("bytes")?);
        let (process, correlation) = (batch.i64("process_id")?, batch.i64("correlation_id")?);
        let (context, stream) = (batch.i32("context_id")?, batch.i32("stream_id")?);
        for row in (0..batch.len()).filter(|row| kinds[*row] != OTHER && bytes[*row] >= SMALLEST_BYTES) {
            plausible(batch.table(), "bytes", &(0..=SPAN), bytes[row])?;
            self.add(HostCopy {
                way: HostRoute {
                    process: rows::process(batch.table(), host, process[row])?,
                    context: context[row],
                    stream: stream[row],
                    is_out: kinds[row] == OUT,
                },
                span: rows::span(batch.table(), host, start[row], dur[row])?,
                bytes: bytes[row],
                correlation: correlation[row],
            })?;
        }
        Ok(())
    }
}
