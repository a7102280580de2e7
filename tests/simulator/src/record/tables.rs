//! Rows on their way to segments: buffers by table, and a thread that writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use kvpath_schema::segment::{CLOCK_MONOTONIC, RunWriter, SegmentError};
use kvpath_schema::table::Columns;

use super::{Drop, Drops, WRITER};
use crate::distort::Distortions;
use crate::engine::Ns;

/// Open segments of one table of one host.
#[derive(Debug)]
pub(super) struct Buffers<C> {
    source: &'static str,
    open: Vec<C>,
    rows: usize,
    /// Lost since the last segment, by process.
    lost: BTreeMap<i64, u64>,
}

impl<C: Columns + Send + 'static> Buffers<C> {
    pub(super) fn new(source: &'static str, distort: &Distortions) -> Self {
        let open = (0..distort.shuffle.max(1)).map(|_| C::default()).collect();
        // As many rows in memory, however many segments share them.
        let rows = (distort.segment_rows / distort.shuffle.max(1) as usize).max(1);
        Self { source, open, rows, lost: BTreeMap::new() }
    }

    /// Adds a row to one of the open segments; the row after which it is full is written away.
    pub(super) fn push(&mut self, row: C::Row, slot: usize, (host, disk, drops, now): (usize, &Disk, &mut Drops, Ns)) {
        self.open[slot].push(row);
        if self.open[slot].len() >= self.rows {
            let full = std::mem::take(&mut self.open[slot]);
            let dropped = self.take_lost(drops, now);
            disk.write(host, self.source, full, dropped);
        }
    }

    pub(super) fn lose(&mut self, process_id: i64, is_silent: bool) {
        if !is_silent {
            *self.lost.entry(process_id).or_default() += 1;
        }
    }

    fn take_lost(&mut self, drops: &mut Drops, now: Ns) -> u64 {
        let mut sum = 0;
        for (process_id, count) in std::mem::take(&mut self.lost) {
            sum += count;
            drops.push(Drop {
                time_ns: now,
                source: self.source.into(),
                table_name: Some(C::DEF.name.into()),
                reason: "ring full".into(),
                count: i64::try_from(count).unwrap_or(i64::MAX),
                process_id: Some(process_id),
            });
        }
        sum
    }

    pub(super) fn finish(&mut self, host: usize, disk: &Disk, drops: &mut Drops, now: Ns) {
        for at in 0..self.open.len() {
            let left = std::mem::take(&mut self.open[at]);
            let dropped = self.take_lost(drops, now);
            disk.write(host, self.source, left, dropped);
        }
    }
}

type Writing = JoinHandle<Result<(), SegmentError>>;
type Job = Box<dyn FnOnce(&mut [RunWriter]) -> Result<(), SegmentError> + Send>;

/// The thread that writes segments, in the order in which they come.
#[derive(Debug)]
pub(super) struct Disk {
    /// `None` where rows are counted and not written.
    thread: Option<(SyncSender<Job>, Writing)>,
}

impl Disk {
    pub(super) fn new(run: &Path, hosts: &[&str]) -> Self {
        let mut writers: Vec<RunWriter> = hosts
            .iter()
            .map(|host| RunWriter::new(run, host, WRITER, None).on_clock(CLOCK_MONOTONIC).imported())
            .collect();
        // Few, because each holds a whole segment in memory.
        let (jobs, inbox) = sync_channel::<Job>(2);
        let thread = std::thread::spawn(move || {
            let mut first_error = Ok(());
            for job in inbox {
                if first_error.is_ok() {
                    first_error = job(&mut writers);
                }
            }
            first_error
        });
        Self { thread: Some((jobs, thread)) }
    }

    pub(super) fn nowhere() -> Self {
        Self { thread: None }
    }

    pub(super) fn write<C: Columns + Send + 'static>(&self, host: usize, source: &'static str, rows: C, dropped: u64) {
        let Some((jobs, _)) = &self.thread else { return };
        let job: Job = Box::new(move |writers| writers[host].write(source, &rows, dropped).map(|_| ()));
        // The thread takes jobs until this end is dropped; what it could not write is its result.
        jobs.send(job).expect("the writing thread lives as long as this");
    }

    pub(super) fn finish(self) -> Result<(), SegmentError> {
        let Some((jobs, thread)) = self.thread else { return Ok(()) };
        drop(jobs);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
