//! `nvtx_ranges`, 24 bytes a row: `PyTorch` names every operator that runs on a CPU, which are more than the kernels.

use std::sync::Arc;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nvtx::NvtxRanges;

use super::{Consumer, WantedColumns};
use crate::clocks::{HostClock, rows};
use crate::error::LoadError;
use crate::load::batches::Batch;
use crate::spill::{Column, Memory, Numbers, Optional};

/// Ranges and markers, in the order of the segments.
#[derive(Debug, Default)]
pub struct Nvtx {
    start: Column<i64>,
    dur: Optional,
    thread: Column<u32>,
    text: Column<u32>,
    threads: Numbers<(i64, i32)>,
    texts: Numbers<Arc<str>>,
}

/// A row.
#[derive(Debug, Clone, Copy)]
pub struct NvtxRow<'a> {
    /// Start, ns.
    pub start: i64,
    /// Length, ns; none of a marker, or where the end was not recorded.
    pub dur: Option<i64>,
    /// Process and thread.
    pub thread: (i64, i32),
    /// Text.
    pub text: &'a str,
}

impl Nvtx {
    /// None yet.
    #[must_use]
    pub fn within(memory: &Memory) -> Self {
        Self {
            start: Column::new(memory),
            dur: Optional::new(memory),
            thread: Column::new(memory),
            text: Column::new(memory),
            ..Self::default()
        }
    }

    fn add(&mut self, start: i64, dur: Option<i64>, thread: (i64, i32), text: u32) -> Result<(), LoadError> {
        self.start.push(start)?;
        self.dur.push(dur)?;
        self.thread.push(self.threads.of(thread))?;
        self.text.push(text)
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.start.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row.
    #[must_use]
    pub fn mark(&self, row: usize) -> NvtxRow<'_> {
        NvtxRow {
            start: self.start[row],
            dur: self.dur.get(row),
            thread: *self.threads.value(self.thread[row]),
            text: self.texts.value(self.text[row]),
        }
    }

    /// The rows whose text `is_wanted`, each with what that says of it; it is asked once for each text.
    pub fn of_texts<T: Copy>(&self, is_wanted: impl Fn(&str) -> Option<T>) -> impl Iterator<Item = (usize, T)> {
        let wanted: Vec<Option<T>> = self.texts.values().iter().map(|text| is_wanted(text)).collect();
        self.text.iter().enumerate().filter_map(move |(row, text)| Some((row, wanted[*text as usize]?)))
    }
}

const RANGES: [WantedColumns; 1] =
    [WantedColumns { table: NvtxRanges::DEF, columns: &["start_ns", "dur_ns", "process_id", "tid", "text"] }];

impl Consumer for Nvtx {
    fn wants(&self) -> &'static [WantedColumns] {
        &RANGES
    }

    fn take(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        let texts = batch.names("text", |text| self.texts.of(text.into()))?;
        let (start, dur) = (batch.i64("start_ns")?, batch.optional_i64("dur_ns")?);
        let (process, tid) = (batch.i64("process_id")?, batch.i32("tid")?);
        for row in 0..batch.len() {
            let table = batch.table();
            let (begin, length) = match dur(row) {
                Some(dur) => rows::span(table, host, start[row], dur).map(|(start, end)| (start, Some(end - start)))?,
                None => (rows::time(table, "start_ns", host, start[row])?, None),
            };
            let thread = (rows::process(table, host, process[row])?, tid[row]);
            self.add(begin, length, thread, texts[row])?;
        }
        Ok(())
    }
}

#[cfg(test)]
impl Nvtx {
    /// Those of some rows.
    pub(crate) fn of_rows(rows: impl Iterator<Item = (i64, Option<i64>, (i64, i32), String)>, memory: &Memory) -> Self {
        let mut all = Self::within(memory);
        for (start, dur, thread, text) in rows {
            let text = all.texts.of(text.into());
            all.add(start, dur, thread, text).unwrap();
        }
        all
    }

    /// Adds a row by hand.
    pub(crate) fn push(&mut self, start: i64, dur: Option<i64>, thread: (i64, i32), text: &str) {
        let text = self.texts.of(text.into());
        self.add(start, dur, thread, text).unwrap();
    }
}
