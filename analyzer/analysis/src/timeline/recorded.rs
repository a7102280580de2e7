//! Rows of `gpu_syncs` and `cuda_events` until they are joined, 28 bytes each: transports record an event for every copy.

use crate::error::LoadError;
use crate::spill::{Column, Memory, Numbers, Optional};

/// A row of `gpu_syncs`, as far as it is needed.
#[derive(Debug, Clone, Copy)]
pub struct Sync {
    /// Process.
    pub process: i64,
    /// Context.
    pub context: i32,
    /// Stream, where one takes part.
    pub stream: Option<i32>,
    /// Handle of the event.
    pub event: Option<i32>,
    /// Which recording of it.
    pub recording: Option<i64>,
    /// Number of the call.
    pub correlation: i64,
    /// Of what kind it is.
    pub kind: SyncKind,
}

/// `gpu_syncs.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyncKind {
    /// A thread waits for an event.
    Event,
    /// A stream waits for an event.
    StreamWait,
    /// A thread waits for a stream.
    Stream,
    /// A thread waits for a context.
    Context,
}

/// A row of `cuda_events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventRecord {
    /// Process.
    pub process: i64,
    /// Context.
    pub context: i32,
    /// Stream that it was recorded into.
    pub stream: i32,
    /// Handle.
    pub event: i32,
    /// Which recording of the handle.
    pub recording: Option<i64>,
    /// Number of the call.
    pub correlation: i64,
}

/// Rows of either: what many have in common, and what each has of its own.
#[derive(Debug)]
struct RecordRows<T> {
    all: Numbers<T>,
    of: Column<u32>,
    event: Optional,
    recording: Optional,
    correlation: Column<i64>,
}

impl<T: Copy + Eq + std::hash::Hash> RecordRows<T> {
    fn within(memory: &Memory) -> Self {
        Self {
            all: Numbers::default(),
            of: Column::new(memory),
            event: Optional::new(memory),
            recording: Optional::new(memory),
            correlation: Column::new(memory),
        }
    }

    fn push(
        &mut self,
        of: T,
        (event, recording, correlation): (Option<i32>, Option<i64>, i64),
    ) -> Result<(), LoadError> {
        self.of.push(self.all.of(of))?;
        self.event.push(event.map(i64::from))?;
        self.recording.push(recording)?;
        self.correlation.push(correlation)
    }

    fn get(&self, row: usize) -> (T, (Option<i32>, Option<i64>, i64)) {
        let event = self.event.get(row).and_then(|event| i32::try_from(event).ok());
        (*self.all.value(self.of[row]), (event, self.recording.get(row), self.correlation[row]))
    }
}

/// Rows of `gpu_syncs`.
#[derive(Debug)]
pub struct Syncs(RecordRows<(i64, i32, Option<i32>, SyncKind)>);

impl Syncs {
    /// None yet.
    #[must_use]
    pub fn within(memory: &Memory) -> Self {
        Self(RecordRows::within(memory))
    }

    /// Adds one.
    ///
    /// # Errors
    /// No room for a file.
    pub fn push(&mut self, sync: Sync) -> Result<(), LoadError> {
        let Sync { process, context, stream, event, recording, correlation, kind } = sync;
        self.0.push((process, context, stream, kind), (event, recording, correlation))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Sync> {
        (0..self.0.of.len()).map(|row| {
            let ((process, context, stream, kind), (event, recording, correlation)) = self.0.get(row);
            Sync { process, context, stream, event, recording, correlation, kind }
        })
    }
}

/// Rows of `cuda_events`.
#[derive(Debug)]
pub struct Records(RecordRows<(i64, i32, i32)>);

impl Records {
    /// None yet.
    #[must_use]
    pub fn within(memory: &Memory) -> Self {
        Self(RecordRows::within(memory))
    }

    /// Adds one.
    ///
    /// # Errors
    /// No room for a file.
    pub fn push(&mut self, record: EventRecord) -> Result<(), LoadError> {
        let EventRecord { process, context, stream, event, recording, correlation } = record;
        self.0.push((process, context, stream), (Some(event), recording, correlation))
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.of.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row.
    #[must_use]
    pub fn get(&self, row: usize) -> EventRecord {
        let ((process, context, stream), (event, recording, correlation)) = self.0.get(row);
        EventRecord { process, context, stream, event: event.unwrap_or_default(), recording, correlation }
    }
}
