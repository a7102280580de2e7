//! What streams and threads were made to wait for: recorded events, streams, the whole context.

use std::collections::HashMap;

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
    /// Of threads, in order: process, correlation id of the blocking call, what for.
    calls: Vec<(i64, i64, Awaited)>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// before the wait (handles are reused: that is a guess, and none where that record is known to be another recording). Rows may come in any order, and more than once; of several
    /// records of one recording the last before the wait counts.
    #[must_use]
    pub fn of(syncs: &[Sync], records: &[Record], find: impl Fn(LaneId) -> Option<LaneAt>) -> Self {
        let by_recording = Sorted::of(records, |record| Some((record.process, record.recording?)));
        let by_handle = Sorted::of(records, |record| Some((record.process, record.context, record.event)));
        let stream = |process, context, stream| find(LaneId { process, kind: LaneKind::Stream { context, stream } });
        let mut waits = Self::default();
        for sync in syncs {
            let exact = sync.recording.map(|recording| by_recording.with((sync.process, recording)));
            let exact = exact.and_then(|all| before(all, sync.correlation).or(all.first().map(|(_, record)| *record)));
            let last = || {
                let last = before(by_handle.with((sync.process, sync.context, sync.event?)), sync.correlation);
                last.filter(|record| sync.recording.is_none() || record.recording.is_none())
            };
            let event = || {
                let record = exact.or_else(last)?;
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
                waits.calls.push((sync.process, sync.correlation, awaited));
            }
        }
        for of_stream in waits.streams.values_mut() {
            of_stream.sort_unstable();
            of_stream.dedup();
        }
        waits.calls.sort_unstable();
        waits.calls.dedup();
        waits
    }

    /// Whether a stream was made to wait for anything.
    #[must_use]
    pub fn is_waiting(&self, stream: LaneAt) -> bool {
        self.streams.contains_key(&stream)
    }

    /// What a stream was made to wait for by calls numbered after `after` and before `before`.
    pub fn of_stream(&self, stream: LaneAt, after: i64, before: i64) -> impl Iterator<Item = Awaited> {
        let all = self.streams.get(&stream).map_or(&[][..], Vec::as_slice);
        let from = all.partition_point(|(correlation, _)| *correlation <= after);
        all[from..].iter().take_while(move |(correlation, _)| *correlation < before).map(|(_, awaited)| *awaited)
    }

    /// What a blocking call waits for: mostly one thing.
    #[must_use]
    pub fn of_call(&self, process: i64, correlation: i64) -> &[(i64, i64, Awaited)] {
        let key = |wait: &(i64, i64, Awaited)| (wait.0, wait.1);
        let from = self.calls.partition_point(|wait| key(wait) < (process, correlation));
        let count = self.calls[from..].partition_point(|wait| key(wait) == (process, correlation));
        &self.calls[from..from + count]
    }
}

/// Records by a key, those of one in the order of their calls.
struct Sorted<'a, K>(Vec<(K, &'a Record)>);

impl<'a, K: Ord + Copy> Sorted<'a, K> {
    fn of(records: &'a [Record], key: impl Fn(&Record) -> Option<K>) -> Self {
        let mut sorted: Vec<(K, &Record)> = records.iter().filter_map(|record| Some((key(record)?, record))).collect();
        sorted.sort_unstable_by_key(|(key, record)| (*key, record.correlation, **record));
        Self(sorted)
    }

    fn with(&self, key: K) -> &[(K, &'a Record)] {
        let from = self.0.partition_point(|(own, _)| *own < key);
        let count = self.0[from..].partition_point(|(own, _)| *own == key);
        &self.0[from..from + count]
    }
}

/// The last record before a call.
fn before<'a, K>(records: &[(K, &'a Record)], correlation: i64) -> Option<&'a Record> {
    let until = records.partition_point(|(_, record)| record.correlation < correlation);
    until.checked_sub(1).map(|at| records[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Streams are lanes by their number.
    fn find(id: LaneId) -> Option<LaneAt> {
        match id.kind {
            LaneKind::Stream { stream, .. } => u32::try_from(stream).ok(),
            LaneKind::Thread(_) => None,
        }
    }

    fn record(stream: i32, recording: Option<i64>, correlation: i64) -> Record {
        Record { process: 1, context: 1, stream, event: 5, recording, correlation }
    }

    fn sync(kind: SyncKind, recording: Option<i64>, correlation: i64) -> Sync {
        Sync { process: 1, context: 1, stream: Some(3), event: Some(5), recording, correlation, kind }
    }

    #[test]
    fn of_several_records_of_one_recording_the_last_before_the_wait_counts() {
        let records = [record(7, Some(40), 10), record(8, Some(40), 20), record(9, Some(40), 30)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let records = order.map(|at| records[at]);
            let awaited = |recording, at| {
                let waits = Waits::of(&[sync(SyncKind::Event, recording, at)], &records, find);
                waits.of_call(1, at).iter().map(|(.., awaited)| *awaited).collect::<Vec<_>>()
            };
            let event = |stream, correlation, exact| vec![Awaited::Event { stream, correlation, exact }];
            assert_eq!(awaited(Some(40), 25), event(8, 20, true));
            assert_eq!(awaited(Some(40), 5), event(7, 10, true), "its id says so");
            assert_eq!(awaited(None, 31), event(9, 30, false));
            assert_eq!(awaited(None, 5), [], "the handle was not recorded before");
            assert_eq!(awaited(Some(41), 31), [], "its own record was lost: the last of its handle is another one");
        }
    }

    #[test]
    fn a_call_waits_for_all_that_is_recorded_of_it_and_for_the_same_once() {
        let syncs = [SyncKind::Stream, SyncKind::Context, SyncKind::Stream].map(|kind| sync(kind, None, 9));
        let waits = Waits::of(&syncs, &[], find);
        assert_eq!(waits.of_call(1, 9), [(1, 9, Awaited::Stream(3)), (1, 9, Awaited::Context(1))]);
        assert!(waits.of_call(1, 8).is_empty() && waits.of_call(2, 9).is_empty());
    }

    proptest! {
        #[test]
        fn the_order_of_rows_does_not_count(
            records in prop::collection::vec((0..3i32, prop::option::of(0..3i64), 0..6i64), 0..8),
            syncs in prop::collection::vec((0..4usize, prop::option::of(0..3i64), 0..6i64), 0..8),
            seed in any::<prop::sample::Index>(),
        ) {
            let kinds = [SyncKind::Event, SyncKind::StreamWait, SyncKind::Stream, SyncKind::Context];
            let mut records: Vec<Record> = records.into_iter().map(|(s, r, c)| record(s, r, c)).collect();
            let mut syncs: Vec<Sync> = syncs.into_iter().map(|(kind, r, c)| sync(kinds[kind], r, c)).collect();
            let seen = |waits: &Waits| {
                let calls: Vec<_> = (0..6).flat_map(|call| waits.of_call(1, call).to_vec()).collect();
                (calls, waits.of_stream(3, -1, 7).collect::<Vec<_>>(), waits.unknown)
            };
            let first = seen(&Waits::of(&syncs, &records, find));
            records.reverse();
            syncs.reverse();
            prop_assert_eq!(&first, &seen(&Waits::of(&syncs, &records, find)));
            let (records_from, syncs_from) = (seed.index(records.len().max(1)), seed.index(syncs.len().max(1)));
            records.rotate_left(records_from);
            syncs.rotate_left(syncs_from);
            prop_assert_eq!(&first, &seen(&Waits::of(&syncs, &records, find)));
        }
    }
}
