//! The BPF programs of UCX, loaded, and attached to libraries.

use std::collections::HashMap as Map;

use aya::Ebpf;
use aya::EbpfLoader;
use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use kvpath_schema::wire::ucx::{COUNT_SLOTS, Entry, FUNCTIONS, RING_BYTES, cookie};

use super::functions::Function;
use crate::budget::Group;
use crate::capture::error::AttachError;
use crate::capture::kernel::{self, Counters};
use crate::capture::pairs::{AttachPoint, Pair};
use crate::libraries::Probe;

static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kvpath-ebpf-ucx"));

/// Its programs.
pub const PAIR: Pair = Pair { entry: "ucx_entry", returns: "ucx_return" };

/// Records that the ring can hold.
const RECORDS: u32 = RING_BYTES / 32;

/// The programs in the kernel; dropping this detaches them.
pub struct Programs {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    entries: HashMap<MapData, u64, [u8; size_of::<Entry>()]>,
    calls: HashMap<MapData, [u32; 2], u64>,
    counts: Counters<{ COUNT_SLOTS as usize }>,
    seen_calls: Map<[u32; 2], u64>,
    /// Transport and function, by number less one.
    transports: Vec<(String, String)>,
}

impl Programs {
    /// Loads them. Nothing is attached yet.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn load() -> Result<Self, AttachError> {
        let mut ebpf = EbpfLoader::new().load(PROGRAMS)?;
        PAIR.load(&mut ebpf)?;
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(AttachError::Missing(name));
        Ok(Self {
            ring: RingBuf::try_from(take("UCX_RING")?)?,
            entries: HashMap::try_from(take("UCX_ENTRIES")?)?,
            calls: HashMap::try_from(take("UCX_CALLS")?)?,
            counts: Counters::of(PerCpuArray::try_from(take("UCX_COUNTS")?)?),
            ebpf,
            seen_calls: Map::new(),
            transports: Vec::new(),
        })
    }

    /// The programs, to attach them.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// What to attach to for these functions; those of transports beyond what can be told apart are left out.
    pub fn probes(&mut self, functions: &[Function]) -> Vec<Probe> {
        let spots = functions.iter().filter_map(|Function { call, transport, point }| {
            let number = transport.as_ref().map_or(Some(0), |transport| self.number_of(transport))?;
            Some(AttachPoint { offset: point.offset, cookie: cookie(*call, number), has_return: call.has_return() })
        });
        spots.map(|spot| Probe { group: Some(Group::Ucx), spot }).collect()
    }

    /// Forgets calls in flight, whose return will not be seen.
    pub fn forget_in_flight(&mut self) {
        kernel::forget_in_flight(&mut self.entries);
    }

    /// The number of a transport's function, from 1; `None` if there are too many.
    fn number_of(&mut self, transport: &(String, String)) -> Option<u32> {
        let at = self.transports.iter().position(|known| known == transport);
        let at = at.or_else(|| {
            (self.transports.len() < FUNCTIONS as usize).then(|| {
                self.transports.push(transport.clone());
                self.transports.len() - 1
            })
        })?;
        u32::try_from(at + 1).ok()
    }

    /// Transport and function of a number.
    pub fn transport(&self, number: u32) -> Option<&(String, String)> {
        self.transports.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// Takes the records that are in the ring.
    pub fn drain(&mut self, take: impl FnMut(&[u8])) {
        kernel::drain(&mut self.ring, RECORDS, take);
    }

    /// Counters of the kernel half since the last call, by slot.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counts(&mut self) -> Result<[u64; COUNT_SLOTS as usize], AttachError> {
        self.counts.since()
    }

    /// Calls of transports' functions of one process, or all, since the last time: pid, number and calls.
    pub fn calls(&mut self, only: Option<i32>) -> Vec<(i32, u32, u64)> {
        let mut found = Vec::new();
        for ([tgid, function], calls) in self.calls.iter().filter_map(Result::ok) {
            if only.is_some_and(|pid| i32::try_from(tgid) != Ok(pid)) {
                continue;
            }
            let seen = self.seen_calls.insert([tgid, function], calls).unwrap_or(0);
            if calls > seen {
                found.push((i32::try_from(tgid).unwrap_or(-1), function, calls - seen));
            }
        }
        found
    }

    /// Forgets what is counted of a process that has ended.
    pub fn forget(&mut self, pid: i32) {
        let own = |key: &[u32; 2]| i32::try_from(key[0]) == Ok(pid);
        let keys: Vec<[u32; 2]> = self.seen_calls.keys().filter(|key| own(key)).copied().collect();
        for key in keys {
            self.seen_calls.remove(&key);
            // It is there unless the kernel half never got to it.
            let _ = self.calls.remove(&key);
        }
    }
}
