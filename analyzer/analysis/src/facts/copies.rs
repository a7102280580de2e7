//! Copies from device to device, 44 bytes each: a hand-off by `cuda_ipc` makes one a descriptor, and there may be more of them
//! than kernels.

use std::collections::BTreeMap;
use std::ops::Range;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::Memcpys;

use super::copy_rows::CopyRows;
use super::{Consumer, WantedColumns};
use crate::clocks::HostClock;
use crate::error::LoadError;
use crate::intervals::Span;
use crate::load::batches::Batch;
use crate::spill::{Column, Memory};

/// Copies of several processes: once they are [`DeviceCopies::finish`]ed by process, and those of each by start.
#[derive(Debug, Default)]
pub struct DeviceCopies {
    rows: CopyRows<CopyRoute>,
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
        Self { rows: CopyRows::within(memory), before: Column::new(memory), of_process: BTreeMap::new() }
    }

    /// Puts all that was read in order.
    ///
    /// # Errors
    /// No room for files.
    pub fn finish(&mut self, memory: &Memory) -> Result<(), LoadError> {
        let key = |own: &CopyRows<CopyRoute>, at: usize| {
            let way = own.way(at);
            (way.process, own.span(at), own.bytes[at], way, own.correlation[at])
        };
        self.rows.sort_by_key(memory, key)?;
        self.before = Column::new(memory);
        let mut sum = 0u64;
        self.before.push(sum)?;
        for bytes in &self.rows.bytes[..] {
            sum = sum.wrapping_add(bytes.unsigned_abs());
            self.before.push(sum)?;
        }
        self.of_process.clear();
        for row in 0..self.rows.len() {
            let process = self.rows.way(row).process;
            self.of_process.entry(process).or_insert(row..row).end = row + 1;
        }
        Ok(())
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
        let rows = (0..self.rows.len()).filter(|row| self.rows.way(*row).is_peer);
        rows.map(|row| PeerCopy {
            way: self.rows.way(row),
            start: self.rows.start[row],
            correlation: self.rows.correlation[row],
        })
    }

    /// From the first to the last copy that a process began in a span, if the copies in it are the transfer's bytes exactly.
    /// Of many transfers that are on their way together each one's span holds all their copies: those are only summed up.
    #[must_use]
    pub fn span_of(&self, process: i64, (from, to): (i64, i64), bytes: i64) -> Option<(i64, i64)> {
        let own = self.of_process.get(&process)?.clone();
        let starts = &self.rows.start[own.clone()];
        let first = own.start + starts.partition_point(|start| *start < from);
        let until = own.start + starts.partition_point(|start| *start <= to);
        if first >= until || self.before[until].wrapping_sub(self.before[first]) != u64::try_from(bytes).ok()? {
            return None;
        }
        let end = self.rows.end[first..until].iter().max()?;
        (*end <= to).then_some((self.rows.start[first], *end))
    }
}

impl Consumer for DeviceCopies {
    fn wants(&self) -> &'static [WantedColumns] {
        &MEMCPYS
    }

    fn take(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        let kind = |name: &str| match name {
            "PtoP" => Some(PEER),
            "DtoD" => Some(OWN),
            _ => None,
        };
        let (from, to) = (batch.optional_i32("src_device_id")?, batch.optional_i32("dst_device_id")?);
        let way = |(process, context, stream), kind, row| CopyRoute {
            process,
            context,
            stream,
            is_peer: kind == PEER,
            from: from(row),
            to: to(row),
        };
        self.rows.take(batch, host, kind, i64::MIN, way)
    }
}

const PEER: u32 = 0;
const OWN: u32 = 1;

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
        let starts = &self.all.rows.start[self.from..self.until];
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
            let way = self.all.rows.way(row);
            let span = self.all.rows.span(row);
            (way, Copy { span, bytes: self.all.rows.bytes[row], from: way.from, to: way.to })
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
            self.rows.push(way, (start, start + dur), bytes, 0).unwrap();
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
