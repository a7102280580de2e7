//! What streams and threads were made to wait for: recorded events, streams, the whole context.

use std::collections::{BTreeMap, HashMap};

use super::{LaneAt, LaneId, LaneKind};

/// What a wait is for. Positions within a process are correlation ids: those of calls rise with the time of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Awaited {
    /// What was launched on that stream before the call with that number: a recorded event.
    Event {
        /// The stream that it was recorded into.
        stream: LaneAt,
        /// `correlation_id` of the record.
        correlation: i64,
        /// Whether the recording of the event is known by its id, and not only as the last one of its handle.
        exact: bool,
    },
    /// All that was launched on that stream before.
    Stream(LaneAt),
    /// All that was launched in that context before.
    Context(i32),
}

/// All waits of a run.
#[derive(Debug, Default)]
pub struct Waits {
    /// Of each stream, by position in the process's calls: (correlation id of the wait, what for).
    streams: HashMap<LaneAt, Vec<(i64, Awaited)>>,
    /// Of threads, by process and correlation id of the blocking call.
    calls: HashMap<(i64, i64), Awaited>,
    /// Waits whose event was not recorded, or is not known.
    pub unknown: i64,
}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy)]
pub struct Record {
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

impl Waits {
    /// Joins waits with the events that they are for, by recording where that is known, else the last record of the handle
    /// before the wait (handles are reused: that is a guess).
    #[must_use]
    pub fn of(syncs: &[Sync], records: &[Record], find: impl Fn(LaneId) -> Option<LaneAt>) -> Self {
        let mut by_recording: HashMap<(i64, i64), &Record> = HashMap::new();
        let mut by_handle: HashMap<(i64, i32, i32), BTreeMap<i64, &Record>> = HashMap::new();
        for record in records {
            if let Some(recording) = record.recording {
                by_recording.insert((record.process, recording), record);
            }
            let handle = (record.process, record.context, record.event);
            by_handle.entry(handle).or_default().insert(record.correlation, record);
        }
        let stream = |process, context, stream| find(LaneId { process, kind: LaneKind::Stream { context, stream } });
        let mut waits = Self::default();
        for sync in syncs {
            let exact = sync.recording.and_then(|recording| by_recording.get(&(sync.process, recording)));
            let last = || {
                let handle = by_handle.get(&(sync.process, sync.context, sync.event?))?;
                handle.range(..sync.correlation).next_back().map(|(_, record)| record)
            };
            let event = || {
                let record = exact.copied().or_else(|| last().copied())?;
                let lane = stream(record.process, record.context, record.stream)?;
                Some(Awaited::Event { stream: lane, correlation: record.correlation, exact: exact.is_some() })
            };
            let awaited = match sync.kind {
                SyncKind::Event | SyncKind::StreamWait => event(),
                SyncKind::Stream => {
                    sync.stream.and_then(|own| stream(sync.process, sync.context, own)).map(Awaited::Stream)
                }
                SyncKind::Context => Some(Awaited::Context(sync.context)),
            };
            let Some(awaited) = awaited else {
                waits.unknown += 1;
                continue;
            };
            if sync.kind == SyncKind::StreamWait {
                let own = sync.stream.and_then(|own| stream(sync.process, sync.context, own));
                match own {
                    Some(own) => waits.streams.entry(own).or_default().push((sync.correlation, awaited)),
                    None => waits.unknown += 1,
                }
            } else if sync.correlation > 0 {
                waits.calls.insert((sync.process, sync.correlation), awaited);
            }
        }
        for of_stream in waits.streams.values_mut() {
            of_stream.sort_unstable();
            of_stream.dedup();
        }
        waits
    }

    /// What a stream was made to wait for by calls numbered after `after` and before `before`.
    pub fn of_stream(&self, stream: LaneAt, after: i64, before: i64) -> impl Iterator<Item = Awaited> {
        let all = self.streams.get(&stream).map_or(&[][..], Vec::as_slice);
        let from = all.partition_point(|(correlation, _)| *correlation <= after);
        all[from..].iter().take_while(move |(correlation, _)| *correlation < before).map(|(_, awaited)| *awaited)
    }

    /// What a blocking call waits for.
    #[must_use]
    pub fn of_call(&self, process: i64, correlation: i64) -> Option<Awaited> {
        self.calls.get(&(process, correlation)).copied()
    }
}
