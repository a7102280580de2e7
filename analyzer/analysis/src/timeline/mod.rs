//! Everything that ran, by stream and thread: about 28 bytes an operation, in memory up to its limit ([`crate::spill`]).

pub mod build;
mod communication;
pub mod dispatch;
pub mod lane;
pub mod mixers;
pub mod names;
pub mod presumed;
pub mod recorded;
mod relayout;
mod staging;
pub mod threads;
mod waiting;
pub mod waits;

use std::collections::BTreeMap;

pub use lane::{Lane, LaneId, LaneKind, New};
pub use names::{Class, OpNames};
pub use threads::Threads;
pub use waits::{WaitTarget, Waits};

/// A lane's position in [`Timeline::lanes`].
pub type LaneAt = u32;

/// All lanes of a run.
#[derive(Debug, Default)]
pub struct Timeline {
    /// Lanes, in the order of their ids.
    pub lanes: Vec<(LaneId, Lane)>,
    /// Names.
    pub names: OpNames,
    /// Lanes of each process.
    pub processes: BTreeMap<i64, ProcessLanes>,
    /// What streams and threads waited for.
    pub waits: Waits,
    /// What is recorded of threads besides their calls.
    pub threads: Threads,
}

/// The lanes of a process.
#[derive(Debug, Default)]
pub struct ProcessLanes {
    /// Streams.
    pub streams: Vec<LaneAt>,
    /// Threads.
    pub threads: Vec<LaneAt>,
    /// The stream that computes most.
    pub main: Option<LaneAt>,
}

impl Timeline {
    /// The lane at a position.
    #[must_use]
    pub fn lane(&self, at: LaneAt) -> &Lane {
        &self.lanes[at as usize].1
    }

    /// Its id.
    #[must_use]
    pub fn id(&self, at: LaneAt) -> LaneId {
        self.lanes[at as usize].0
    }

    /// Position of the lane with that id.
    #[must_use]
    pub fn find(&self, id: LaneId) -> Option<LaneAt> {
        let at = self.lanes.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        u32::try_from(at).ok()
    }

    /// What an operation is.
    #[must_use]
    pub fn class(&self, lane: LaneAt, at: usize) -> Class {
        self.names.class(self.lane(lane).name[at])
    }

    /// The call of a process with that correlation id.
    #[must_use]
    pub fn call(&self, process: i64, correlation: i64) -> Option<(LaneAt, usize)> {
        if correlation <= 0 {
            return None;
        }
        let threads = &self.processes.get(&process)?.threads;
        threads.iter().find_map(|lane| {
            let at = self.lane(*lane).with_key(correlation)?;
            (self.class(*lane, at) == Class::Call).then_some((*lane, at))
        })
    }

    /// The recorded call of a process that was entered last before the one with that correlation id: numbers are drawn at
    /// entry, so it stands for a call that was not recorded.
    #[must_use]
    pub fn call_before(&self, process: i64, correlation: i64) -> Option<(LaneAt, usize)> {
        if correlation <= 0 {
            return None;
        }
        let threads = &self.processes.get(&process)?.threads;
        let before = threads.iter().filter_map(|lane| {
            let at = self.lane(*lane).before_key(correlation)?;
            (self.class(*lane, at) == Class::Call).then_some((*lane, at))
        });
        before.max_by_key(|(lane, at)| self.lane(*lane).key[*at])
    }

    /// The GPU operation that a call started; of a graph's the first.
    #[must_use]
    pub fn started_by(&self, process: i64, correlation: i64) -> Option<(LaneAt, usize)> {
        if correlation <= 0 {
            return None;
        }
        let streams = &self.processes.get(&process)?.streams;
        streams.iter().find_map(|lane| self.lane(*lane).with_key(correlation).map(|at| (*lane, at)))
    }

    /// Whether the record of an operation was lost that may have run on a stream before `at` and after what is recorded before
    /// it: its launch is there, and nothing that it started. Launches do not say on which stream.
    #[must_use]
    pub fn may_lack_before(&self, stream: LaneAt, at: usize) -> bool {
        // Launches of other streams between: a pass's.
        const LOOK: usize = 1024;
        let (process, own) = (self.id(stream).process, self.lane(stream));
        let Some(before) = own.before(at).map(|before| own.key[before]).filter(|key| *key > 0) else { return false };
        let is_launch = |key: i64| {
            let call = self.call(process, key);
            call.is_some_and(|(thread, call)| self.names.text(self.lane(thread).name[call]).contains("LaunchKernel"))
        };
        let Some(after) = before.checked_add(1) else { return false };
        (after..own.key[at]).rev().take(LOOK).any(|key| is_launch(key) && self.started_by(process, key).is_none())
    }

    /// Operations of all lanes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.iter().map(|(_, lane)| lane.len()).sum()
    }

    /// Whether nothing ran.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

#[cfg(test)]
impl Timeline {
    /// Adds a kernel to a lane, in its place.
    pub(crate) fn add_kernel(&mut self, id: LaneId, device: i32, text: &str, span_and_key: (i64, i64, i64)) {
        let name = self.names.kernel(text);
        self.add(id, name, span_and_key).device = Some(device);
    }

    /// Adds a copy.
    pub(crate) fn add_copy(&mut self, id: LaneId, kind: &str, span_and_key: (i64, i64, i64)) {
        let name = self.names.intern(Class::Copy, kind);
        self.add(id, name, span_and_key);
    }

    /// Marks what brings received KV into another layout among the kernels that were added.
    pub(crate) fn mark_relayouts(&mut self) {
        relayout::mark(self.lanes.iter_mut().map(|(_, lane)| lane), &mut self.names);
    }

    /// Adds a call of a thread.
    pub(crate) fn add_call(&mut self, process: i64, tid: i32, text: &str, span_and_key: (i64, i64, i64)) {
        let name = self.names.intern(Class::Call, text);
        self.add(LaneId { process, kind: LaneKind::Thread(tid) }, name, span_and_key);
    }

    fn add(&mut self, id: LaneId, name: u32, (start, end, key): (i64, i64, i64)) -> &mut Lane {
        let at = match self.lanes.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => at,
            Err(at) => {
                self.lanes.insert(at, (id, Lane::default()));
                at
            }
        };
        let lane = &mut self.lanes[at].1;
        lane.push(New { start, end, key, name, node: 0 }).unwrap();
        lane.sort(|name| name as usize).unwrap();
        self.processes = build::processes(&self.lanes, &self.names);
        &mut self.lanes[at].1
    }
}
