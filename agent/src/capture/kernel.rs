//! What the kernel halves of sources hand over: records of a ring, counters, calls in flight.

use aya::Pod;
use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};

use super::error::AttachError;

/// Takes the records that are in a ring; no more than it can hold at once, `most`, or a producer that is faster would keep us here, and
/// from shedding what is too much.
pub fn drain(ring: &mut RingBuf<MapData>, most: u32, mut take: impl FnMut(&[u8])) {
    for _ in 0..most {
        let Some(record) = ring.next() else { break };
        take(&record);
    }
}

/// Forgets calls in flight, whose return will not be seen.
pub fn forget_in_flight<V: Pod>(entries: &mut HashMap<MapData, u64, V>) {
    let threads: Vec<u64> = entries.keys().filter_map(Result::ok).collect();
    for thread in threads {
        // Gone already if the call has returned just now.
        let _ = entries.remove(&thread);
    }
}

/// Counters of a program, which every CPU has its own of, by slot.
pub struct Counters<const SLOTS: usize> {
    map: PerCpuArray<MapData, [u64; SLOTS]>,
    seen: [u64; SLOTS],
}

impl<const SLOTS: usize> Counters<SLOTS> {
    /// Those of a map with one entry.
    pub fn of(map: PerCpuArray<MapData, [u64; SLOTS]>) -> Self {
        Self { map, seen: [0; SLOTS] }
    }

    /// What was counted since the last call.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn since(&mut self) -> Result<[u64; SLOTS], AttachError> {
        let by_cpu = self.map.get(&0, 0)?;
        let now: [u64; SLOTS] = std::array::from_fn(|slot| by_cpu.iter().map(|counts| counts[slot]).sum());
        let before = std::mem::replace(&mut self.seen, now);
        Ok(std::array::from_fn(|slot| now[slot] - before[slot]))
    }
}
