//! RDMA in a recording: its libraries, what is drained, and what is written.

use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::programs::uprobe::UProbeScope;
use aya::{Ebpf, EbpfLoader};
use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::rdma::RdmaOps;
use kvpath_schema::wire::rdma::{LOST_SLOTS, RING_BYTES};

use super::{functions, rows};
use crate::capture::error::AttachError;
use crate::capture::nixl::assemble::Lack;
use crate::capture::pairs::{Links, Pair};
use crate::discover::library::Library;
use crate::discover::maps::Mapping;
use crate::processes::ProcessTable;
use crate::segments::{Facts, Segments};

static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kvpath-ebpf-rdma"));
const PAIR: Pair = Pair { entry: "rdma_entry", returns: "rdma_return" };
/// More records than the ring can hold, whose heads alone take 8 bytes.
const RECORDS: u32 = RING_BYTES / 8;
const REASONS: [&str; LOST_SLOTS as usize] = ["ring buffer full", "too many calls in flight"];

struct Seen {
    /// Stays open, so that its inode cannot be given to another file.
    library: Library,
    /// Detached when the programs go.
    _links: Option<Links>,
}

/// See the module.
pub struct Source {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    lost: PerCpuArray<MapData, [u64; LOST_SLOTS as usize]>,
    seen_lost: [u64; LOST_SLOTS as usize],
    seen: Vec<Seen>,
    rows: RdmaOps,
    lacks: Vec<(Lack, u64)>,
}

impl Source {
    /// Loads the programs; libraries come by [`Self::mapped`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn start() -> Result<Self, AttachError> {
        let mut ebpf = EbpfLoader::new().load(PROGRAMS)?;
        PAIR.load(&mut ebpf)?;
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(AttachError::Missing(name));
        Ok(Self {
            ring: RingBuf::try_from(take("RDMA_RING")?)?,
            lost: PerCpuArray::try_from(take("RDMA_LOST")?)?,
            ebpf,
            seen_lost: [0; LOST_SLOTS as usize],
            seen: Vec::new(),
            rows: RdmaOps::default(),
            lacks: Vec::new(),
        })
    }

    /// A process maps a file whose name may be a library's of RDMA.
    pub fn mapped(&mut self, pid: i32, mapping: &Mapping, facts: &mut Facts) {
        match Library::of_mapping(pid, mapping) {
            Ok(library) => self.found(library, facts),
            Err(error) => {
                facts.say(
                    "rdma",
                    format!("library {}", mapping.path),
                    format!("cannot be opened by pid {pid}: {error}"),
                );
            }
        }
    }

    /// A library: it is attached to, once.
    pub fn found(&mut self, library: Library, facts: &mut Facts) {
        let key = format!("library {}", library.path);
        if self.seen.iter().any(|seen| seen.library.is_same_below(&library)) {
            return;
        }
        let found = library.read().map_err(|error| error.to_string()).and_then(|data| functions::find(&data));
        let attached = found.and_then(|spots| {
            let links = PAIR.attach(&mut self.ebpf, &library.attach_path(), &spots, UProbeScope::AllProcesses);
            links.map(|links| (spots.len(), links)).map_err(|error| error.to_string())
        });
        let (said, links) = match attached {
            Ok((count, links)) => (format!("{count} functions probed"), Some(links)),
            Err(error) => (format!("probes off: {error}"), None),
        };
        facts.say("rdma", key, said);
        self.seen.push(Seen { library, _links: links });
    }

    /// Takes what the kernel half has written; no more than the ring can hold at once.
    pub fn drain(&mut self, processes: &mut ProcessTable) {
        for _ in 0..RECORDS {
            let Some(record) = self.ring.next() else { break };
            let half = |value: u64| i32::try_from(value & 0xffff_ffff).ok();
            let row = rows::returned(&record).and_then(|returned| {
                let (pid, tid) = (half(returned.pid_tgid >> 32)?, half(returned.pid_tgid)?);
                let row = rows::row(&returned, processes.id_of(pid), tid)?;
                processes.saw_thread(pid, tid);
                Some(row)
            });
            match row {
                Some(row) => self.rows.push(row),
                None => self.lacks.push((Lack::of("rdma_ops", "record that contradicts itself"), 1)),
            }
        }
    }

    /// Writes what is ready.
    ///
    /// # Errors
    /// A segment cannot be written.
    pub fn write(&mut self, now_ns: i64, segments: &mut Segments) -> Result<(), SegmentError> {
        match self.lost.get(&0, 0) {
            Ok(cpus) => {
                for (slot, reason) in REASONS.into_iter().enumerate() {
                    let now: u64 = cpus.iter().map(|cpu| cpu[slot]).sum();
                    let since = now - std::mem::replace(&mut self.seen_lost[slot], now);
                    if since > 0 {
                        self.lacks.push((Lack::of("rdma_ops", reason), since));
                    }
                }
            }
            Err(error) => self.lacks.push((Lack::of("rdma_ops", format!("losses cannot be counted: {error}")), 1)),
        }
        let lost = self.lacks.iter().map(|(_, count)| count).sum();
        segments.table("rdma", &std::mem::take(&mut self.rows), lost)?;
        segments.drops("rdma", now_ns, &std::mem::take(&mut self.lacks))
    }
}
