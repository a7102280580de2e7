//! What streams and threads were made to wait for: recorded events, streams, the whole context.

use super::recorded::{EventRecord, Records, Sync, SyncKind, Syncs};
use super::waiting::Waiting;
use super::{LaneAt, LaneId, LaneKind};
use crate::error::LoadError;
use crate::spill::{Column, Memory, sorted};

/// What a wait is for. Positions within a process are correlation ids: those of calls rise with the time of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitTarget {
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
    /// Of streams, by lane.
    streams: Waiting,
    /// Of threads, by process: blocking calls.
    calls: Waiting,
    /// Waits whose event was not recorded, or is not known.
    pub unknown: i64,
}

impl Waits {
    /// Joins the waits that `is_wanted` with the events that they are for, by recording where that is known, else the last record
    /// of the handle before the wait (handles are reused: that is a guess, and none where that record is known to be another
    /// recording). Rows may come in any order, and more than once; of several records of one recording the last before the wait
    /// counts.
    ///
    /// # Errors
    /// No room for files.
    pub fn of(
        (syncs, records): (&Syncs, &Records),
        is_wanted: impl Fn(&Sync) -> bool,
        find: impl Fn(LaneId) -> Option<LaneAt>,
        memory: &Memory,
    ) -> Result<Self, LoadError> {
        let by_recording = Sorted::of(records, |record| (record.process, record.recording), memory)?;
        let by_handle = Sorted::of(records, |record| (record.process, record.context, record.event), memory)?;
        let stream = |process, context, stream| find(LaneId { process, kind: LaneKind::Stream { context, stream } });
        let (mut streams, mut calls) = (Waiting::within(memory), Waiting::within(memory));
        let mut unknown = 0;
        for sync in syncs.iter().filter(is_wanted) {
            let exact = || {
                let all = by_recording.with(&(sync.process, Some(sync.recording?)));
                by_recording.before(all, sync.correlation).or_else(|| by_recording.first(all))
            };
            let last = || {
                let of_handle = by_handle.with(&(sync.process, sync.context, sync.event?));
                let last = by_handle.before(of_handle, sync.correlation);
                last.filter(|record| sync.recording.is_none() || record.recording.is_none())
            };
            let event = || {
                let exact = exact();
                let record = exact.or_else(last)?;
                let lane = stream(record.process, record.context, record.stream)?;
                Some(WaitTarget::Event { stream: lane, correlation: record.correlation, exact: exact.is_some() })
            };
            let awaited = match sync.kind {
                SyncKind::Event | SyncKind::StreamWait => event(),
                SyncKind::Stream => {
                    sync.stream.and_then(|own| stream(sync.process, sync.context, own)).map(WaitTarget::Stream)
                }
                SyncKind::Context => Some(WaitTarget::Context(sync.context)),
            };
            let Some(awaited) = awaited else {
                unknown += 1;
                continue;
            };
            if sync.kind == SyncKind::StreamWait {
                let own = sync.stream.and_then(|own| stream(sync.process, sync.context, own));
                match own {
                    Some(own) => streams.push((i64::from(own), sync.correlation, awaited))?,
                    None => unknown += 1,
                }
            } else if sync.correlation > 0 {
                calls.push((sync.process, sync.correlation, awaited))?;
            }
        }
        Ok(Self { streams: streams.sorted(memory)?, calls: calls.sorted(memory)?, unknown })
    }

    /// Whether a stream was made to wait for anything.
    #[must_use]
    pub fn is_waiting(&self, stream: LaneAt) -> bool {
        self.streams.is_there(i64::from(stream))
    }

    /// What a stream was made to wait for by calls numbered after `after` and before `before`.
    pub fn of_stream(&self, stream: LaneAt, after: i64, before: i64) -> impl Iterator<Item = WaitTarget> {
        self.streams.of(
            i64::from(stream),
            move |correlation| correlation <= after,
            move |correlation| correlation < before,
        )
    }

    /// What a blocking call waits for: mostly one thing.
    pub fn of_call(&self, process: i64, call: i64) -> impl Iterator<Item = WaitTarget> {
        self.calls.of(process, move |correlation| correlation < call, move |correlation| correlation == call)
    }
}

/// Records by a key, those of one in the order of their calls.
struct Sorted<'a, F> {
    records: &'a Records,
    key: F,
    rows: Column<u32>,
}

impl<'a, K: Ord, F: Fn(&EventRecord) -> K> Sorted<'a, F> {
    fn of(records: &'a Records, key: F, memory: &Memory) -> Result<Self, LoadError> {
        let order = |row: u32| {
            let record = records.get(row as usize);
            (key(&record), record.correlation, record, row)
        };
        let rows = sorted(memory, records.len(), |a, b| order(a).cmp(&order(b)))?;
        Ok(Self { records, key, rows })
    }

    fn record(&self, row: u32) -> EventRecord {
        self.records.get(row as usize)
    }

    fn with(&self, key: &K) -> &[u32] {
        let from = self.rows.partition_point(|row| (self.key)(&self.record(*row)) < *key);
        let count = self.rows[from..].partition_point(|row| (self.key)(&self.record(*row)) == *key);
        &self.rows[from..from + count]
    }

    fn first(&self, rows: &[u32]) -> Option<EventRecord> {
        rows.first().map(|row| self.record(*row))
    }

    /// The last of these records before a call.
    fn before(&self, rows: &[u32], correlation: i64) -> Option<EventRecord> {
        let until = rows.partition_point(|row| self.record(*row).correlation < correlation);
        until.checked_sub(1).map(|at| self.record(rows[at]))
    }
}

#[cfg(test)]
impl Waits {
    /// Those of rows made by hand.
    pub(crate) fn by_hand(syncs: &[Sync], records: &[EventRecord], find: impl Fn(LaneId) -> Option<LaneAt>) -> Self {
        let memory = Memory::default();
        let (mut rows, mut recorded) = (Syncs::within(&memory), Records::within(&memory));
        for sync in syncs {
            rows.push(*sync).unwrap();
        }
        for record in records {
            recorded.push(*record).unwrap();
        }
        Self::of((&rows, &recorded), |_| true, find, &memory).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waits(syncs: &[Sync], records: &[EventRecord]) -> Waits {
        Waits::by_hand(syncs, records, find)
    }

    /// Streams are lanes by their number.
    fn find(id: LaneId) -> Option<LaneAt> {
        match id.kind {
            LaneKind::Stream { stream, .. } => u32::try_from(stream).ok(),
            LaneKind::Thread(_) => None,
        }
    }

    fn record(stream: i32, recording: Option<i64>, correlation: i64) -> EventRecord {
        EventRecord { process: 1, context: 1, stream, event: 5, recording, correlation }
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
                let waits = waits(&[sync(SyncKind::Event, recording, at)], &records);
                waits.of_call(1, at).collect::<Vec<_>>()
            };
            let event = |stream, correlation, exact| vec![WaitTarget::Event { stream, correlation, exact }];
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
        let waits = waits(&syncs, &[]);
        assert!(waits.of_call(1, 9).eq([WaitTarget::Stream(3), WaitTarget::Context(1)]));
        assert_eq!((waits.of_call(1, 8).count(), waits.of_call(2, 9).count()), (0, 0));
    }

    proptest! {
        #[test]
        fn the_order_of_rows_does_not_count(
            records in prop::collection::vec((0..3i32, prop::option::of(0..3i64), 0..6i64), 0..8),
            syncs in prop::collection::vec((0..4usize, prop::option::of(0..3i64), 0..6i64), 0..8),
            seed in any::<prop::sample::Index>(),
        ) {
            let kinds = [SyncKind::Event, SyncKind::StreamWait, SyncKind::Stream, SyncKind::Context];
            let mut records: Vec<EventRecord> = records.into_iter().map(|(s, r, c)| record(s, r, c)).collect();
            let mut syncs: Vec<Sync> = syncs.into_iter().map(|(kind, r, c)| sync(kinds[kind], r, c)).collect();
            let seen = |waits: &Waits| {
                let calls: Vec<_> = (0..6).map(|call| waits.of_call(1, call).collect::<Vec<_>>()).collect();
                (calls, waits.of_stream(3, -1, 7).collect::<Vec<_>>(), waits.unknown)
            };
            let first = seen(&waits(&syncs, &records));
            records.reverse();
            syncs.reverse();
            prop_assert_eq!(&first, &seen(&waits(&syncs, &records)));
            let (records_from, syncs_from) = (seed.index(records.len().max(1)), seed.index(syncs.len().max(1)));
            records.rotate_left(records_from);
            syncs.rotate_left(syncs_from);
            prop_assert_eq!(&first, &seen(&waits(&syncs, &records)));
        }
    }
}
