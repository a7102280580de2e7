//! The BPF programs of NIXL, loaded, and attached to the libraries that are found.

use std::num::NonZeroU32;
use std::path::Path;

use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope};
use aya::{Ebpf, EbpfLoader};
use kvpath_schema::wire::nixl::{Cookie, Kind, Layout, Loss, Polls, loss_slot};

use super::builds::{self, Known, Probe};
use crate::discover::library::Library;
use crate::elf::{Elf, ElfError, Point};

static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kvpath-ebpf"));

/// Why the programs are not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel refused the object or a map.
    #[error("the kernel refused the BPF programs: {0}")]
    Load(#[from] aya::EbpfError),
    /// The kernel refused a program, or to attach it.
    #[error("the kernel refused a BPF program: {0}")]
    Program(#[from] aya::programs::ProgramError),
    /// A map cannot be used.
    #[error("a BPF map cannot be used: {0}")]
    Map(#[from] aya::maps::MapError),
    /// The embedded object lacks a program or map.
    #[error("the embedded BPF object has no `{0}`")]
    Missing(&'static str),
}

/// What became of one probe.
#[derive(Debug, Clone)]
pub struct ProbeState {
    /// The probe.
    pub probe: &'static Probe,
    /// Where it goes, or why it cannot.
    pub point: Result<Point, ElfError>,
}

/// A library that could be probed.
#[derive(Debug, Clone)]
pub struct Examined {
    /// Build ID, if the file has one.
    pub build_id: Option<String>,
    /// The releases of NIXL that hold it, if the build is known.
    pub nixl: Option<String>,
    known: Option<Known>,
    /// Its probes; none for an unknown build.
    pub probes: Vec<ProbeState>,
}

/// Looks into a library, without touching it.
///
/// # Errors
/// It is not an ELF file.
pub fn examine(data: &[u8]) -> Result<Examined, ElfError> {
    let elf = Elf::parse(data)?;
    let build_id = elf.build_id();
    let known = build_id.as_deref().and_then(builds::find);
    let probes = known
        .into_iter()
        .flat_map(Known::probes)
        .map(|probe| ProbeState { probe, point: elf.entry(&probe.symbol) })
        .collect();
    Ok(Examined { build_id, nixl: known.map(|known| known.build.nixl()), known, probes })
}

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

/// The probes of one library; [`Programs::detach`] takes them off again.
#[derive(Debug, Default)]
pub struct Attached {
    /// How many points there are.
    pub points: usize,
    returns: Option<UProbeLinkId>,
    entries: Option<UProbeLinkId>,
}

/// The programs in the kernel; dropping this detaches them.
pub struct Programs {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    entries: HashMap<MapData, [u64; 2], [u64; 4]>,
    polls: HashMap<MapData, [u64; 2], [u64; 2]>,
    losses: PerCpuArray<MapData, u64>,
    seen_losses: Vec<u64>,
}

impl Programs {
    /// Loads them. Nothing is attached yet.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn load() -> Result<Self, AttachError> {
        let mut ebpf = EbpfLoader::new().load(PROGRAMS)?;
        for name in ["nixl_entry", "nixl_return"] {
            program(&mut ebpf, name)?.load()?;
        }
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(AttachError::Missing(name));
        let mut layouts: Array<_, [u32; Layout::WORDS]> = Array::try_from(take("NIXL_LAYOUTS")?)?;
        for (index, layout) in (0..).zip(builds::layouts()) {
            layouts.set(index, &layout.to_words(), 0)?;
        }
        Ok(Self {
            ring: RingBuf::try_from(take("NIXL_RING")?)?,
            entries: HashMap::try_from(take("NIXL_ENTRIES")?)?,
            polls: HashMap::try_from(take("NIXL_POLLS")?)?,
            losses: PerCpuArray::try_from(take("NIXL_LOSSES")?)?,
            ebpf,
            seen_losses: vec![0; Kind::ALL.len() * Loss::ALL.len()],
        })
    }

    /// Attaches the probes of an examined library, for every process that maps it now or later.
    ///
    /// # Errors
    /// The kernel refuses; then none of this library's are attached.
    pub fn attach(&mut self, library: &Library, examined: &Examined) -> Result<Attached, AttachError> {
        let Some(known) = examined.known else {
            return Ok(Attached::default());
        };
        let points = |returns: bool| {
            examined
                .probes
                .iter()
                .filter(move |state| !returns || state.probe.kind.has_return())
                .filter_map(move |state| {
                    let cookie = Cookie { kind: state.probe.kind.wire() as u32, layout: known.layout };
                    let offset = state.point.as_ref().ok()?.offset;
                    Some(UProbeAttachPoint {
                        location: UProbeAttachLocation::AbsoluteOffset(offset),
                        cookie: Some(cookie.to_u64()),
                    })
                })
                .collect::<Vec<_>>()
        };
        self.attach_points(points(true), points(false), &library.attach_path(), UProbeScope::AllProcesses)
    }

    /// Attaches to a function of this program as if it were `getXferStatus`, for one process alone.
    ///
    /// # Errors
    /// The kernel refuses; then nothing is attached.
    pub fn attach_to_own(&mut self, offset: u64, pid: u32) -> Result<Attached, AttachError> {
        let scope = NonZeroU32::new(pid).map_or(UProbeScope::CallingProcess, UProbeScope::OneProcess);
        let cookie = Cookie { kind: Kind::Status as u32, layout: 0 };
        let points = || {
            let location = UProbeAttachLocation::AbsoluteOffset(offset);
            vec![UProbeAttachPoint { location, cookie: Some(cookie.to_u64()) }]
        };
        self.attach_points(points(), points(), Path::new("/proc/self/exe"), scope)
    }

    fn attach_points(
        &mut self,
        returns: Vec<UProbeAttachPoint<'_>>,
        entries: Vec<UProbeAttachPoint<'_>>,
        file: &Path,
        scope: UProbeScope,
    ) -> Result<Attached, AttachError> {
        let mut attached = Attached { points: returns.len() + entries.len(), ..Attached::default() };
        // Returns first: an entry without its return would leave entries behind.
        if !returns.is_empty() {
            attached.returns = Some(program(&mut self.ebpf, "nixl_return")?.attach(returns, file, scope)?);
        }
        if !entries.is_empty() {
            match program(&mut self.ebpf, "nixl_entry")?.attach(entries, file, scope) {
                Ok(link) => attached.entries = Some(link),
                Err(error) => {
                    self.detach(attached)?;
                    return Err(error.into());
                }
            }
        }
        Ok(attached)
    }

    /// Takes probes off.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn detach(&mut self, attached: Attached) -> Result<(), AttachError> {
        for (name, link) in [("nixl_entry", attached.entries), ("nixl_return", attached.returns)] {
            if let Some(link) = link {
                program(&mut self.ebpf, name)?.detach(link)?;
            }
        }
        Ok(())
    }

    /// Takes all records that are in the ring.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        while let Some(record) = self.ring.next() {
            take(&record);
        }
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

    /// Calls in flight of one process, or of all; they are forgotten here, so only for processes that have ended or at
    /// the end of a recording.
    pub fn take_in_flight(&mut self, pid: Option<i32>) -> Vec<InFlight> {
        let halves = |pid_tgid: u64| {
            let half = |value: u64| i32::try_from(value & 0xffff_ffff).unwrap_or(-1);
            (half(pid_tgid >> 32), half(pid_tgid))
        };
        let found: Vec<([u64; 2], [u64; 4])> = self
            .entries
            .iter()
            .filter_map(Result::ok)
            .filter(|(key, _)| pid.is_none_or(|pid| halves(key[0]).0 == pid))
            .collect();
        let mut calls = Vec::new();
        for (key, [entry_ns, agent_ptr, handle, _]) in found {
            // Gone already if the call has returned just now.
            let _ = self.entries.remove(&key);
            let Some(kind) = u32::try_from(key[1]).ok().and_then(Kind::from_u32) else {
                continue;
            };
            let (pid, tid) = halves(key[0]);
            let entry_ns = i64::try_from(entry_ns).unwrap_or(i64::MAX);
            calls.push(InFlight { kind, pid, tid, entry_ns, agent_ptr, handle });
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

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, AttachError> {
    ebpf.program_mut(name).ok_or(AttachError::Missing(name))?.try_into().map_err(AttachError::Program)
}

#[cfg(test)]
mod tests;
