//! Copies from device to device, 44 bytes each: a hand-off by `cuda_ipc` makes one a descriptor, and there may be more of them
//! than kernels.

use std::collections::BTreeMap;
use std::ops::Range;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::Memcpys;

use super::{Consumer, WantedColumns};
use crate::clocks::{HostClock, rows};
use crate::error::LoadError;
use crate::intervals::Span;
use crate::load::batches::Batch;
use crate::load::limits::{SPAN, plausible};
use crate::spill::{Column, Memory, Numbers, sorted};

/// Copies of several processes: once they are [`DeviceCopies::finish`]ed by process, and those of each by start.
#[derive(Debug, Default)]
pub struct DeviceCopies {
    start: Column<i64>,
    end: Column<i64>,
    bytes: Column<i64>,
    correlation: Column<i64>,
    way: Column<u32>,
    ways: Numbers<CopyRoute>,
    /// Bytes of all before each, and of all. Modulo 2^64, which those of no transfer come near.
    before: Column<u64>,
    of_process: BTreeMap<i64, Range<usize>>,
}

/// What many copies have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyRoute {
    /// Process that asked for it.
    pub process: i64,
    /// CUDA context.
    pub context: i32,
    /// CUDA stream.
    pub stream: i32,
    /// Whether it is a peer copy, from one device to another.
    pub is_peer: bool,
    /// Source device.
    pub from: Option<i32>,
    /// Destination device.
    pub to: Option<i32>,
}

/// A peer copy with what identifies it.
#[derive(Debug, Clone, Copy)]
pub struct PeerCopy {
    /// Its way.
    pub way: CopyRoute,
    /// Start, ns.
    pub start: i64,
    /// `correlation_id`.
    pub correlation: i64,
}

/// A peer copy.
#[derive(Debug, Clone, Copy)]
pub struct Copy {
    /// When.
    pub span: Span,
    /// Size, bytes.
    pub bytes: i64,
    /// Source device.
    pub from: Option<i32>,
    /// Destination device.
    pub to: Option<i32>,
}

const MEMCPYS: [WantedColumns; 1] = [WantedColumns {
    table: Memcpys::DEF,
    columns: &[
        "start_ns",
        "dur_ns",
        "process_id",
        "context_id",
        "stream_id",
        "correlation_id",
        "bytes",
        "kind",
        "src_device_id",
        "dst_device_id",
    ],
}];

impl DeviceCopies {
    /// None yet.
    #[must_use]
    pub fn within(memory: &Memory) -> Self {
        Self {
            start: Column::new(memory),
            end: Column::new(memory),
            bytes: Column::new(memory),
            correlation: Column::new(memory),
            way: Column::new(memory),
            before: Column::new(memory),
            ..Self::default()
        }
    }

    fn add(&mut self, way: CopyRoute, span: (i64, i64), bytes: i64, correlation: i64) -> Result<(), LoadError> {
        self.start.push(span.0)?;
        self.end.push(span.1)?;
        self.bytes.push(bytes)?;
        self.correlation.push(correlation)?;
        self.way.push(self.ways.of(way))
    }

    /// Puts all that was read in order.
    ///
    /// # Errors
    /// No room for files.
    pub fn finish(&mut self, memory: &Memory) -> Result<(), LoadError> {
        let order = |row: u32| {
            let at = row as usize;
            let (way, span) = (self.way(at), (self.start[at], self.end[at]));
            (way.process, span, self.bytes[at], way, self.correlation[at], row)
        };
        let rows = sorted(memory, self.start.len(), |a, b| order(a).cmp(&order(b)))?;
        let pick = |values: &[i64]| Column::collect(memory, rows.iter().map(|row| values[*row as usize]));
        let (start, end) = (pick(&self.start)?, pick(&self.end)?);
        let (bytes, correlation) = (pick(&self.bytes)?, pick(&self.correlation)?);
        let way = Column::collect(memory, rows.iter().map(|row| self.way[*row as usize]))?;
        (self.start, self.end, self.bytes, self.correlation, self.way) = (start, end, bytes, correlation, way);
        self.before = Column::new(memory);
        let mut sum = 0u64;
        self.before.push(sum)?;
        for bytes in &self.bytes[..] {
            sum = sum.wrapping_add(bytes.unsigned_abs());
            self.before.push(sum)?;
        }
        self.of_process.clear();
        for row in 0..self.start.len() {
            let process = self.way(row).process;
            self.of_process.entry(process).or_insert(row..row).end = row + 1;
        }
        Ok(())
    }

    fn way(&self, row: usize) -> CopyRoute {
        *self.ways.value(self.way[row])
    }

    /// The peer copies of each process that made some.
    pub fn peers(&self) -> impl Iterator<Item = (i64, Peers<'_>)> {
        let all = self
            .of_process
            .iter()
            .map(|(process, rows)| (*process, Peers { all: self, from: rows.start, until: rows.end }));
        all.filter(|(_, peers)| peers.iter().next().is_some())
    }

    /// All copies of a process between devices or within its own, if there are any.
    #[must_use]
    pub fn of_process(&self, process: i64) -> Option<Peers<'_>> {
        let rows = self.of_process.get(&process)?;
        Some(Peers { all: self, from: rows.start, until: rows.end })
    }

    /// All peer copies.
    pub fn peer_copies(&self) -> impl Iterator<Item = PeerCopy> {
        let rows = (0..self.start.len()).filter(|row| self.way(*row).is_peer);
        rows.map(|row| PeerCopy { way: self.way(row), start: self.start[row], correlation: self.correlation[row] })
    }

    /// From the first to the last copy that a process began in a span, if the copies in it are the transfer's bytes exactly.
    /// Of many transfers that are on their way together each one's span holds all their copies: those are only summed up.
    #[must_use]
    pub fn span_of(&self, process: i64, (from, to): (i64, i64), bytes: i64) -> Option<(i64, i64)> {
        let own = self.of_process.get(&process)?.clone();
        let starts = &self.start[own.clone()];
        let first = own.start + starts.partition_point(|start| *start < from);
        let until = own.start + starts.partition_point(|start| *start <= to);
        if first >= until || self.before[until].wrapping_sub(self.before[first]) != u64::try_from(bytes).ok()? {
            return None;
        }
        let end = self.end[first..until].iter().max()?;
        (*end <= to).then_some((self.start[first], *end))
    }
}

impl Consumer for DeviceCopies {
    fn wants(&self) -> &'static [WantedColumns] {
        &MEMCPYS
    }

    fn take(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        let kinds = batch.names("kind", |kind| match kind {
            "PtoP" => PEER,
            "DtoD" => OWN,
            _ => OTHER,
        })?;
        let (start, dur, bytes) = (batch.i64("start_ns")?, batch.i64("dur_ns")?, batch.i64("bytes")?);
        let (process, correlation) = (batch.i64("process_id")?, batch.i64("correlation_id")?);
        let (context, stream) = (batch.i32("context_id")?, batch.i32("stream_id")?);
        let (from, to) = (batch.optional_i32("src_device_id")?, batch.optional_i32("dst_device_id")?);
        for row in (0..batch.len()).filter(|row| kinds[*row] != OTHER) {
            plausible(batch.table(), "bytes", &(0..=SPAN), bytes[row])?;
            let way = CopyRoute {
                process: rows::process(batch.table(), host, process[row])?,
                context: context[row],
                stream: stream[row],
                is_peer: kinds[row] == PEER,
                from: from(row),
                to: to(row),
            };
            let span = rows::span(batch.table(), host, start[row], dur[row])?;
            self.add(way, span, bytes[row], correlation[row])?;
        }
        Ok(())
    }
}

const PEER: u32 = 0;
const OWN: u32 = 1;
const OTHER: u32 = 2;

/// Copies of a process that follow each other, by start.
#[derive(Debug, Clone, Copy)]
pub struct Peers<'a> {
    all: &'a DeviceCopies,
    from: usize,
    until: usize,
}

impl<'a> Peers<'a> {
    /// Those that began at `from` or later and before `until`, if that is given.
    #[must_use]
    pub fn begun(self, from: i64, until: Option<i64>) -> Self {
        let starts = &self.all.start[self.from..self.until];
        let at = |time| self.from + starts.partition_point(|start| *start < time);
        let (from, until) = (at(from), until.map_or(self.until, at));
        Self { from, until: until.max(from), ..self }
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Copy> + Clone + 'a {
        self.ways().filter(|(way, _)| way.is_peer).map(|(_, copy)| copy)
    }

    /// Each of them with its way, copies within a device among them.
    pub fn ways(self) -> impl Iterator<Item = (CopyRoute, Copy)> + Clone + 'a {
        (self.from..self.until).map(move |row| {
            let way = self.all.way(row);
            let span = (self.all.start[row], self.all.end[row]);
            (way, Copy { span, bytes: self.all.bytes[row], from: way.from, to: way.to })
        })
    }
}

#[cfg(test)]
impl DeviceCopies {
    /// Adds peer copies by hand, on stream 9 of context 1: start and length of each, and its bytes.
    pub(crate) fn extend(
        &mut self,
        process: i64,
        (from, to): (i32, i32),
        copies: impl IntoIterator<Item = ((i64, i64), i64)>,
    ) {
        let way = CopyRoute { process, context: 1, stream: 9, is_peer: true, from: Some(from), to: Some(to) };
        for ((start, dur), bytes) in copies {
            self.add(way, (start, start + dur), bytes, 0).unwrap();
        }
        self.finish(&Memory::default()).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPIES: [(i64, i64, i64); 5] = [(1, 30, 4), (2, 10, 8), (1, 10, 2), (1, 20, 3), (1, 10, 1)];

    fn made(memory: &Memory, turn: usize) -> DeviceCopies {
        let mut copies = DeviceCopies::within(memory);
        for at in 0..COPIES.len() {
            let (process, start, bytes) = COPIES[(at + turn) % COPIES.len()];
            copies.extend(process, (0, 2), [((start, 5), bytes)]);
        }
        copies
    }

    #[test]
    fn copies_in_any_order_are_those_of_each_process_by_start() {
        for turn in 0..COPIES.len() {
            let copies = made(&Memory::default(), turn);
            let of = |process| {
                let (_, peers) = copies.peers().find(|(own, _)| *own == process).unwrap();
                let seen = |peers: Peers| peers.iter().map(|copy| (copy.span.0, copy.bytes)).collect::<Vec<_>>();
                (seen(peers), seen(peers.begun(11, Some(30))), seen(peers.begun(20, None)))
            };
            assert_eq!(of(1), (vec![(10, 1), (10, 2), (20, 3), (30, 4)], vec![(20, 3)], vec![(20, 3), (30, 4)]));
            assert_eq!(of(2).0, [(10, 8)]);
            assert_eq!(copies.span_of(1, (10, 29), 6), Some((10, 25)));
            assert_eq!(copies.span_of(1, (10, 29), 7), None, "other bytes");
            assert_eq!(copies.span_of(1, (10, 24), 6), None, "the last one ends later");
            assert_eq!((copies.span_of(1, (40, 50), 0), copies.span_of(3, (0, 50), 1)), (None, None));
        }
    }
}
