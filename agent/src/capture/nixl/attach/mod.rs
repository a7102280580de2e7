//! The BPF programs of NIXL, loaded, and attached to the libraries that are found.

use std::num::NonZeroU32;
use std::path::Path;

use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::uprobe::UProbeScope;
use aya::{Ebpf, EbpfLoader};
use kvpath_schema::wire::nixl::{
    Cookie, Entry, HIT_SLOTS, Kind, LAYOUTS, Layout, Loss, Polls, RING_BYTES, hit_slot, loss_slot,
};

use super::builds;
use crate::capture::error::AttachError;
use crate::capture::kernel::{self, Counters};
use crate::capture::pairs::{AttachPoint, Links, Pair};

static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kvpath-ebpf"));

/// Its programs.
pub const PAIR: Pair = Pair { entry: "nixl_entry", returns: "nixl_return" };

/// A call that was entered and has not returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// Which function.
    pub kind: Kind,
    /// OS pid.
    pub pid: i32,
    /// OS thread.
    pub tid: i32,
    /// Entry, ns.
    pub entry_ns: i64,
    /// `this`.
    pub agent_ptr: u64,
    /// The handle.
    pub handle: u64,
}

/// Records that the ring can hold.
const RECORDS: u32 = RING_BYTES / 48;

/// The programs in the kernel; dropping this detaches them.
pub struct Programs {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    entries: HashMap<MapData, [u64; 2], [u64; Entry::WORDS]>,
    polls: HashMap<MapData, [u64; 2], [u64; 2]>,
    losses: PerCpuArray<MapData, u64>,
    seen_losses: Vec<u64>,
    hits: Counters<{ HIT_SLOTS as usize }>,
    layouts: Vec<Layout>,
    layout_map: Array<MapData, [u32; Layout::WORDS]>,
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
        let mut layout_map: Array<_, [u32; Layout::WORDS]> = Array::try_from(take("NIXL_LAYOUTS")?)?;
        let layouts = builds::layouts();
        for (index, layout) in (0..).zip(&layouts) {
            layout_map.set(index, &layout.to_words(), 0)?;
        }
        Ok(Self {
            layouts,
            layout_map,
            ring: RingBuf::try_from(take("NIXL_RING")?)?,
            entries: HashMap::try_from(take("NIXL_ENTRIES")?)?,
            polls: HashMap::try_from(take("NIXL_POLLS")?)?,
            losses: PerCpuArray::try_from(take("NIXL_LOSSES")?)?,
            hits: Counters::of(PerCpuArray::try_from(take("NIXL_HITS")?)?),
            ebpf,
            seen_losses: vec![0; Kind::ALL.len() * Loss::ALL.len()],
        })
    }

    /// The programs, to attach them.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Attaches to functions of this program as if they were `getXferStatus`, for one process alone (`None`: this one). Each is
    /// an offset, and whether its return is attached to as well.
    ///
    /// # Errors
    /// The kernel refuses; then nothing is attached.
    pub fn attach_to_own(&mut self, functions: &[(u64, bool)], pid: Option<u32>) -> Result<Links, AttachError> {
        let scope = pid.and_then(NonZeroU32::new).map_or(UProbeScope::CallingProcess, UProbeScope::OneProcess);
        let cookie = Cookie { kind: Kind::Status as u32, layout: 0 }.to_u64();
        let spot = |&(offset, has_return): &(u64, bool)| AttachPoint { offset, cookie, has_return };
        let spots: Vec<AttachPoint> = functions.iter().map(spot).collect();
        PAIR.attach(&mut self.ebpf, Path::new("/proc/self/exe"), &spots, scope)
    }

    /// Takes them off again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn detach_from_own(&mut self, links: Links) -> Result<(), AttachError> {
        PAIR.detach(&mut self.ebpf, links)
    }

    /// Hits since the last call: of what, whether of its return, and how many.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn hits(&mut self) -> Result<Vec<(Kind, bool, u64)>, AttachError> {
        let since = self.hits.since()?;
        let pairs = Kind::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]);
        Ok(pairs
            .map(|(kind, is_return)| (kind, is_return, hit_slot(kind, is_return) as usize))
            .filter_map(|(kind, is_return, slot)| (since[slot] > 0).then_some((kind, is_return, since[slot])))
            .collect())
    }

    /// Takes the records that are in the ring, with the layouts that they name.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8], &[Layout])) {
        let Self { ring, layouts, .. } = self;
        kernel::drain(ring, RECORDS, |bytes| take(bytes, layouts));
    }

    /// Adds a copy of a layout that is to be judged; gives its index. `None`: there are too many.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn add_judged(&mut self, layout: u32) -> Result<Option<u32>, AttachError> {
        match self.layouts.get(layout as usize) {
            Some(known) => self.add(Layout { judged: 1, ..*known }),
            None => Ok(None),
        }
    }

    /// Adds a layout; gives its index. `None`: there are too many.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn add(&mut self, layout: Layout) -> Result<Option<u32>, AttachError> {
        let Some(index) = u32::try_from(self.layouts.len()).ok().filter(|index| *index < LAYOUTS) else {
            return Ok(None);
        };
        self.layout_map.set(index, &layout.to_words(), 0)?;
        self.layouts.push(layout);
        Ok(Some(index))
    }

    /// A layout is judged no more.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn believe(&mut self, layout: u32) -> Result<(), AttachError> {
        if let Some(known) = self.layouts.get_mut(layout as usize) {
            known.judged = 0;
            self.layout_map.set(layout, &known.to_words(), 0)?;
        }
        Ok(())
    }

    /// Losses since the last call.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn losses(&mut self) -> Result<Vec<(Loss, Kind, u64)>, AttachError> {
        let mut found = Vec::new();
        let pairs = Loss::ALL.into_iter().flat_map(|loss| Kind::ALL.into_iter().map(move |kind| (loss, kind)));
        for ((loss, kind), seen) in pairs.zip(&mut self.seen_losses) {
            let now: u64 = self.losses.get(&loss_slot(loss, kind), 0)?.iter().sum();
            if now > *seen {
                found.push((loss, kind, now - *seen));
                *seen = now;
            }
        }
        Ok(found)
    }

    /// Those calls in flight that are wanted, by pid and kind. They are forgotten here, so only for calls whose return will not be
    /// seen.
    pub fn take_in_flight(&mut self, wanted: impl Fn(i32, Kind) -> bool) -> Vec<InFlight> {
        let halves = |pid_tgid: u64| {
            let half = |value: u64| i32::try_from(value & 0xffff_ffff).unwrap_or(-1);
            (half(pid_tgid >> 32), half(pid_tgid))
        };
        let found: Vec<([u64; 2], [u64; Entry::WORDS])> = self.entries.iter().filter_map(Result::ok).collect();
        let mut calls = Vec::new();
        for (key, [entry_ns, agent_ptr, handle, ..]) in found {
            let (pid, tid) = halves(key[0]);
            let Some(kind) = u32::try_from(key[1]).ok().and_then(Kind::from_u32) else { continue };
            if wanted(pid, kind) {
                // Gone already if the call has returned just now.
                let _ = self.entries.remove(&key);
                let entry_ns = i64::try_from(entry_ns).unwrap_or(i64::MAX);
                calls.push(InFlight { kind, pid, tid, entry_ns, agent_ptr, handle });
            }
        }
        calls
    }

    /// Polls of transfers that were not seen to end, of one process or of all: pid, handle and polls. Forgotten here.
    pub fn take_polls(&mut self, pid: Option<i32>) -> Vec<(i32, u64, Polls)> {
        let found: Vec<([u64; 2], [u64; 2])> = self.polls.iter().filter_map(Result::ok).collect();
        let mut polls = Vec::new();
        for (key, [pending, last_pending_ns]) in found {
            let owner = i32::try_from(key[0]).unwrap_or(-1);
            if pid.is_none_or(|pid| pid == owner) {
                // Gone already if a poll has seen the end just now.
                let _ = self.polls.remove(&key);
                polls.push((owner, key[1], Polls { pending, last_pending_ns }));
            }
        }
        polls
    }
}

#[cfg(test)]
mod tests;
