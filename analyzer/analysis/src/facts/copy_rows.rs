//! Copies as they are kept, 44 bytes each, and how they are read from segments: what [`super::copies`] and [`super::host_copies`] share.

use std::hash::Hash;

use crate::clocks::{HostClock, rows};
use crate::error::LoadError;
use crate::intervals::Span;
use crate::load::batches::Batch;
use crate::load::limits::{SPAN, plausible};
use crate::spill::{Column, Memory, Numbers, sorted};

/// Copies in columns; `R` is what many have in common.
#[derive(Debug)]
pub(super) struct CopyRows<R> {
    pub(super) start: Column<i64>,
    pub(super) end: Column<i64>,
    pub(super) bytes: Column<i64>,
    pub(super) correlation: Column<i64>,
    way: Column<u32>,
    ways: Numbers<R>,
}

impl<R> Default for CopyRows<R> {
    fn default() -> Self {
        Self::within(&Memory::default())
    }
}

impl<R> CopyRows<R> {
    /// None yet.
    pub(super) fn within(memory: &Memory) -> Self {
        Self {
            start: Column::new(memory),
            end: Column::new(memory),
            bytes: Column::new(memory),
            correlation: Column::new(memory),
            way: Column::new(memory),
            ways: Numbers::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.start.len()
    }
}

impl<R: Copy + Eq + Hash> CopyRows<R> {
    pub(super) fn push(&mut self, way: R, span: Span, bytes: i64, correlation: i64) -> Result<(), LoadError> {
        self.start.push(span.0)?;
        self.end.push(span.1)?;
        self.bytes.push(bytes)?;
        self.correlation.push(correlation)?;
        self.way.push(self.ways.of(way))
    }

    pub(super) fn way(&self, row: usize) -> R {
        *self.ways.value(self.way[row])
    }

    pub(super) fn span(&self, row: usize) -> Span {
        (self.start[row], self.end[row])
    }

    /// Puts them in the order of a key of each; those of one key stay as they came.
    pub(super) fn sort_by_key<K: Ord>(
        &mut self,
        memory: &Memory,
        key: impl Fn(&Self, usize) -> K,
    ) -> Result<(), LoadError> {
        let order = |row: u32| (key(self, row as usize), row);
        let rows = sorted(memory, self.len(), |a, b| order(a).cmp(&order(b)))?;
        let pick = |values: &[i64]| Column::collect(memory, rows.iter().map(|row| values[*row as usize]));
        let (start, end) = (pick(&self.start)?, pick(&self.end)?);
        let (bytes, correlation) = (pick(&self.bytes)?, pick(&self.correlation)?);
        let way = Column::collect(memory, rows.iter().map(|row| self.way[*row as usize]))?;
        (self.start, self.end, self.bytes, self.correlation, self.way) = (start, end, bytes, correlation, way);
        Ok(())
    }

    /// Adds what a batch of `memcpys` holds of the kinds that `kind` numbers, of that size or more; `way` makes of process, context,
    /// stream, kind and row what is kept.
    pub(super) fn take(
        &mut self,
        batch: &Batch,
        host: Option<&HostClock>,
        kind: impl Fn(&str) -> Option<u32>,
        smallest: i64,
        way: impl Fn((i64, i32, i32), u32, usize) -> R,
    ) -> Result<(), LoadError> {
        let kinds = batch.names("kind", |name| kind(name).unwrap_or(u32::MAX))?;
        let (start, dur, bytes) = (batch.i64("start_ns")?, batch.i64("dur_ns")?, batch.i64("bytes")?);
        let (process, correlation) = (batch.i64("process_id")?, batch.i64("correlation_id")?);
        let (context, stream) = (batch.i32("context_id")?, batch.i32("stream_id")?);
        for row in (0..batch.len()).filter(|row| kinds[*row] != u32::MAX && bytes[*row] >= smallest) {
            plausible(batch.table(), "bytes", &(0..=SPAN), bytes[row])?;
            let process = rows::process(batch.table(), host, process[row])?;
            let span = rows::span(batch.table(), host, start[row], dur[row])?;
            self.push(way((process, context[row], stream[row]), kinds[row], row), span, bytes[row], correlation[row])?;
        }
        Ok(())
    }
}
