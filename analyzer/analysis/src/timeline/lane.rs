//! What ran on one stream or one thread, in order of time, a few columns an operation.

use crate::error::LoadError;
use crate::spill::{Column, Memory, sorted};

/// What a lane stands for. Order: by process, threads after streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    /// `processes.process_id`.
    pub process: i64,
    /// Which of its lanes.
    pub kind: LaneKind,
}

/// Stream or thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaneKind {
    /// A CUDA stream.
    Stream {
        /// CUDA context.
        context: i32,
        /// CUDA stream.
        stream: i32,
    },
    /// A host thread, by its id.
    Thread(i32),
}

/// The operations of a lane.
#[derive(Debug, Default)]
pub struct Lane {
    /// Starts, ns, rising.
    pub start: Column<i64>,
    /// Ends, ns.
    pub end: Column<i64>,
    /// `correlation_id` of GPU work and calls (0: unknown); of NIXL calls the row of the transfer.
    pub key: Column<i64>,
    /// Number of the name ([`super::OpNames`]).
    pub name: Column<u32>,
    /// `graph_node_id`, 0 outside graphs; empty where the lane has none.
    pub node: Column<i64>,
    /// CUDA ordinal, of streams.
    pub device: Option<i32>,
    /// Positions in the order of `key`, where that is not the order of time.
    by_key: Option<Column<u32>>,
    /// Longest time from the end of one operation to the start of the next that had been launched long before: what
    /// dispatch takes at most, ns ([`super::dispatch`]).
    pub dispatch_ns: i64,
    memory: Memory,
}

/// One operation.
#[derive(Debug, Clone, Copy)]
pub struct New {
    /// Start, ns.
    pub start: i64,
    /// End, ns.
    pub end: i64,
    /// See [`Lane::key`].
    pub key: i64,
    /// See [`Lane::name`].
    pub name: u32,
    /// See [`Lane::node`].
    pub node: i64,
}

impl Lane {
    /// An empty one, whose columns share that memory.
    #[must_use]
    pub fn new(memory: &Memory) -> Self {
        let column = || Column::new(memory);
        Self {
            start: column(),
            end: column(),
            key: column(),
            name: Column::new(memory),
            node: column(),
            device: None,
            by_key: None,
            dispatch_ns: 0,
            memory: memory.clone(),
        }
    }

    /// Adds an operation, in any order.
    ///
    /// # Errors
    /// It goes beyond the memory limit, and there is no room for a file.
    pub fn push(&mut self, new: New) -> Result<(), LoadError> {
        if new.node != 0 && self.node.is_empty() {
            self.node.fill(self.start.len(), 0)?;
        }
        if !self.node.is_empty() || new.node != 0 {
            self.node.push(new.node)?;
        }
        self.start.push(new.start)?;
        self.end.push(new.end)?;
        self.key.push(new.key)?;
        self.name.push(new.name)
    }

    /// Puts the operations in order of time; `rank` orders names that run at the same time.
    ///
    /// # Errors
    /// As [`Lane::push`].
    pub fn sort(&mut self, rank: impl Fn(u32) -> usize) -> Result<(), LoadError> {
        let node = |lane: &Self, at: usize| lane.node.get(at).copied().unwrap_or(0);
        let order = |lane: &Self, at: usize| (lane.start[at], lane.end[at], lane.key[at], node(lane, at));
        let is_sorted = (1..self.start.len()).all(|at| order(self, at - 1) < order(self, at));
        if !is_sorted {
            let rows = sorted(&self.memory, self.len(), |a, b| {
                let whole = |row: u32| (order(self, row as usize), rank(self.name[row as usize]), row);
                whole(a).cmp(&whole(b))
            })?;
            let memory = &self.memory;
            let pick = |values: &[i64]| Column::collect(memory, rows.iter().map(|row| values[*row as usize]));
            self.start = pick(&self.start)?;
            self.end = pick(&self.end)?;
            self.key = pick(&self.key)?;
            if !self.node.is_empty() {
                self.node = pick(&self.node)?;
            }
            self.name = Column::collect(memory, rows.iter().map(|row| self.name[*row as usize]))?;
        }
        // Calls of a process draw rising numbers, and a stream runs in the order of its launches.
        self.by_key = None;
        if self.key.windows(2).any(|pair| pair[1] < pair[0]) {
            let key = |row: u32| (self.key[row as usize], row);
            self.by_key = Some(sorted(&self.memory, self.len(), |a, b| key(a).cmp(&key(b)))?);
        }
        Ok(())
    }

    /// Number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.start.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// The first operation with that key.
    #[must_use]
    pub fn with_key(&self, key: i64) -> Option<usize> {
        let at = self.keys_below(key);
        let row = self.in_key_order(at)?;
        (self.key[row] == key).then_some(row)
    }

    /// The operation with the greatest key below `key`.
    #[must_use]
    pub fn before_key(&self, key: i64) -> Option<usize> {
        self.in_key_order(self.keys_below(key).checked_sub(1)?)
    }

    fn keys_below(&self, key: i64) -> usize {
        match &self.by_key {
            None => self.key.partition_point(|own| *own < key),
            Some(rows) => rows.partition_point(|row| self.key[*row as usize] < key),
        }
    }

    fn in_key_order(&self, at: usize) -> Option<usize> {
        match &self.by_key {
            None => (at < self.key.len()).then_some(at),
            Some(rows) => rows.get(at).map(|row| *row as usize),
        }
    }

    /// The operation that ended last at or before the start of `at`, among those that started before it. Operations of a
    /// stream overlap in CUDA graphs only, so few are looked at.
    #[must_use]
    pub fn before(&self, at: usize) -> Option<usize> {
        const LOOK: usize = 16;
        let from = at.saturating_sub(LOOK);
        let ended = (from..at).rev().filter(|other| self.end[*other] <= self.start[at]);
        ended.max_by_key(|other| (self.end[*other], *other))
    }

    /// Operations that run at some time of `[from, to)`. Few overlap, so those that begin long before and run on are missed
    /// only behind many shorter ones.
    pub fn overlapping(&self, (from, to): (i64, i64)) -> impl Iterator<Item = usize> {
        const LOOK: usize = 64;
        let begin = self.start.partition_point(|start| *start < from);
        let end = self.start.partition_point(|start| *start < to);
        (begin.saturating_sub(LOOK)..end).filter(move |at| self.end[*at] > from)
    }

    /// The last operation that started before `time`.
    #[must_use]
    pub fn started_before(&self, time: i64) -> Option<usize> {
        self.start.partition_point(|start| *start < time).checked_sub(1)
    }

    /// The first operation that started at `time` or after.
    #[must_use]
    pub fn started_from(&self, time: i64) -> Option<usize> {
        Some(self.start.partition_point(|start| *start < time)).filter(|at| *at < self.len())
    }

    /// The operation that ended last at or before `time`, among the last ones that started before it.
    #[must_use]
    pub fn ended_by(&self, time: i64) -> Option<usize> {
        const LOOK: usize = 16;
        let until = self.start.partition_point(|start| *start < time);
        let ended = (until.saturating_sub(LOOK)..until).rev().filter(|at| self.end[*at] <= time);
        ended.max_by_key(|at| (self.end[*at], *at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(ops: &[(i64, i64, i64)]) -> Lane {
        let mut lane = Lane::default();
        for (start, end, key) in ops {
            lane.push(New { start: *start, end: *end, key: *key, name: 0, node: 0 }).unwrap();
        }
        lane.sort(|name| name as usize).unwrap();
        lane
    }

    #[test]
    fn rows_in_any_order_make_the_same_lane() {
        let a = lane(&[(0, 5, 1), (5, 9, 2), (10, 12, 3)]);
        let b = lane(&[(10, 12, 3), (0, 5, 1), (5, 9, 2)]);
        assert_eq!((&a.start[..], &a.key[..]), (&b.start[..], &b.key[..]));
        assert_eq!(a.before(2), Some(1));
        assert_eq!(a.before(0), None);
        assert_eq!((a.with_key(2), a.with_key(4), a.before_key(3), a.before_key(1)), (Some(1), None, Some(1), None));
    }

    #[test]
    fn a_lane_beyond_the_memory_limit_is_the_same() {
        let ops = |at: i64| New {
            start: at * 10 % 70_001,
            end: at * 10 % 70_001 + at % 7,
            key: at % 5 - 2,
            name: 0,
            node: at % 2,
        };
        let of = |memory: &Memory| {
            let mut lane = Lane::new(memory);
            (0..70_000).for_each(|at| lane.push(ops(at)).unwrap());
            lane.sort(|name| name as usize).unwrap();
            lane
        };
        let (plain, small) = (of(&Memory::default()), of(&Memory::of(1)));
        assert!(small.memory.spilled() > plain.len() * 28);
        let columns = |lane: &Lane| [lane.start.to_vec(), lane.end.to_vec(), lane.key.to_vec(), lane.node.to_vec()];
        assert_eq!((columns(&plain), &plain.by_key.as_deref()), (columns(&small), &small.by_key.as_deref()));
        assert_eq!(plain.with_key(0), small.with_key(0));
    }

    #[test]
    fn keys_that_do_not_rise_with_time_are_found_too() {
        let lane = lane(&[(0, 5, 7), (6, 9, 3), (10, 12, 5)]);
        assert_eq!((lane.with_key(3), lane.with_key(7), lane.before_key(7)), (Some(1), Some(0), Some(2)));
    }

    #[test]
    fn of_operations_that_overlap_the_one_that_ended_last_comes_before() {
        let lane = lane(&[(0, 10, 1), (1, 4, 2), (6, 20, 3), (12, 13, 4)]);
        assert_eq!(lane.before(3), Some(0));
        assert_eq!(lane.ended_by(12), Some(0));
        assert_eq!(lane.started_before(6), Some(1));
    }
}
