//! The BPF programs of Mooncake, loaded, and what to attach to in a library.

use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::{Ebpf, EbpfLoader};
use kvpath_schema::wire::mooncake::{COUNT_SLOTS, Cookie, Entry, Kind, Layout, RING_BYTES};

use super::builds::{self, KnownBuild, MARK, ProbeKind};
use crate::budget::Group;
use crate::capture::error::AttachError;
use crate::capture::kernel::{self, Counters};
use crate::capture::pairs::{AttachPoint, Pair};
use crate::elf::{Elf, ElfError, Point};
use crate::libraries::Probe;

static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kvpath-ebpf-mooncake"));

/// Its programs.
pub const PAIR: Pair = Pair { entry: "mooncake_entry", returns: "mooncake_return" };

/// Records that the ring can hold.
const RECORDS: u32 = RING_BYTES / 72;

/// What became of one probe.
#[derive(Debug, Clone)]
pub struct ProbeState {
    /// The probe.
    pub probe: &'static builds::Probe,
    /// Where it goes, or why it cannot.
    pub point: Result<Point, ElfError>,
}

/// A library that could be probed.
#[derive(Debug, Clone)]
pub struct Examined {
    /// Whether it holds Mooncake's engine at all.
    pub is_mooncake: bool,
    /// Build ID, if the file has one.
    pub build_id: Option<String>,
    /// The releases of Mooncake that hold it, if the build is known.
    pub mooncake: Option<String>,
    known: Option<KnownBuild>,
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
    let probes = known.map_or(&[][..], KnownBuild::probes).iter();
    Ok(Examined {
        is_mooncake: elf.entry(MARK).is_ok(),
        build_id,
        mooncake: known.map(|known| known.build.mooncake()),
        known,
        probes: probes.map(|probe| ProbeState { probe, point: elf.entry(&probe.symbol) }).collect(),
    })
}

impl Examined {
    /// What to attach to: the probes whose functions were found, without that with a return if there may be none.
    pub fn probes_to_attach(&self, may_return: bool, reads_room: bool) -> Vec<Probe> {
        let Some(known) = self.known else { return Vec::new() };
        let found = self.probes.iter().filter_map(|state| Some((state.probe.kind, state.point.as_ref().ok()?)));
        found
            .filter(|(kind, _)| may_return || !kind.has_return())
            .map(|(kind, point)| {
                let reads_room = reads_room && kind == ProbeKind::Submit;
                let cookie = Cookie { kind: kind.wire() as u32, layout: known.layout, reads_room }.to_u64();
                let spot = AttachPoint { offset: point.offset, cookie, has_return: kind.has_return() };
                Probe { group: Some(Group::Mooncake), spot }
            })
            .collect()
    }
}

/// The programs in the kernel; dropping this detaches them.
pub struct Programs {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    entries: HashMap<MapData, u64, [u8; size_of::<Entry>()]>,
    counts: Counters<{ COUNT_SLOTS as usize }>,
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
        let mut layouts: Array<_, [u32; Layout::WORDS]> = Array::try_from(take("MOONCAKE_LAYOUTS")?)?;
        for (index, layout) in (0..).zip(builds::layouts()) {
            layouts.set(index, &layout.to_words(), 0)?;
        }
        Ok(Self {
            ring: RingBuf::try_from(take("MOONCAKE_RING")?)?,
            entries: HashMap::try_from(take("MOONCAKE_ENTRIES")?)?,
            counts: Counters::of(PerCpuArray::try_from(take("MOONCAKE_COUNTS")?)?),
            ebpf,
        })
    }

    /// The programs, to attach them.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
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

    /// Forgets calls in flight, whose return will not be seen.
    pub fn forget_in_flight(&mut self) {
        kernel::forget_in_flight(&mut self.entries);
    }
}

/// The table that a record of that kind would have gone to.
pub fn table_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Register | Kind::RegisterBatch => "nixl_regions",
        Kind::Requests => "nixl_descriptors",
        Kind::Open | Kind::Submit | Kind::Free => "nixl_transfers",
    }
}
