//! RDMA in a recording: its libraries, what is drained, and what is written.

use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::{Ebpf, EbpfLoader};
use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::capture::RecordingState;
use kvpath_schema::tables::rdma::RdmaOps;
use kvpath_schema::wire::rdma::{LOST_SLOTS, RING_BYTES};

use super::{functions, rows};
use crate::capture::error::AttachError;
use crate::capture::pairs::Pair;
use crate::capture::{Context, RecordSource};
use crate::discover::library::Library;
use crate::discover::maps::Mapping;
use crate::libraries::{Libraries, Probe};
use crate::losses::{Cause, Losses};
use crate::states::Subject;

static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kvpath-ebpf-rdma"));
const PAIR: Pair = Pair { entry: "rdma_entry", returns: "rdma_return" };
/// More records than the ring can hold, whose heads alone take 8 bytes.
const RECORDS: u32 = RING_BYTES / 8;
const REASONS: [&str; LOST_SLOTS as usize] = ["ring buffer full", "too many calls in flight"];

/// The source.
pub struct Rdma {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    lost: PerCpuArray<MapData, [u64; LOST_SLOTS as usize]>,
    seen_lost: [u64; LOST_SLOTS as usize],
    libraries: Libraries,
    rows: RdmaOps,
    losses: Losses,
}

impl Rdma {
    /// Loads the programs.
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
            libraries: Libraries::new("rdma", PAIR),
            rows: RdmaOps::default(),
            losses: Losses::default(),
        })
    }
}

impl RecordSource for Rdma {
    fn name(&self) -> &'static str {
        "rdma"
    }

    fn is_candidate(&self, file_name: &str) -> bool {
        functions::is_candidate(file_name)
    }

    fn found(&mut self, library: Library, _file_name: &str, context: &mut Context) {
        if self.libraries.is_probed(&library).is_some() {
            return;
        }
        let (key, subject) = (format!("library {}", library.path), Subject::library("rdma", library.path.as_str()));
        let spots = match library.read().map_err(|error| error.to_string()).and_then(|data| functions::find(&data)) {
            Ok(spots) => spots,
            Err(error) => {
                context.facts.say("rdma", key, format!("probes off: {error}"));
                context.set(subject, RecordingState::Unreadable, error);
                return self.libraries.leave(library);
            }
        };
        let count = spots.len();
        let probes = spots.into_iter().map(|spot| Probe { group: None, spot }).collect();
        match self.libraries.attach(&mut self.ebpf, library, probes) {
            Ok(_) => {
                let text = format!("{count} functions probed");
                context.facts.say("rdma", key, text.as_str());
                context.set(subject, RecordingState::Recording, text);
            }
            Err(error) => {
                context.facts.say("rdma", key, format!("probes off: {error}"));
                context.set(subject, RecordingState::Refused, error.to_string());
            }
        }
    }

    fn mapped(&mut self, pid: i32, mapping: &Mapping, context: &mut Context) {
        if let Some(library) = self.libraries.open(pid, mapping, context) {
            self.found(library, mapping.file_name(), context);
        }
    }

    /// No more than the ring can hold at once.
    fn drain(&mut self, context: &mut Context) {
        let processes = &mut context.processes;
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
                None => self.losses.add(Cause::of("rdma_ops", "record that contradicts itself"), 1),
            }
        }
    }

    fn write(&mut self, context: &mut Context) -> Result<(), SegmentError> {
        match self.lost.get(&0, 0) {
            Ok(cpus) => {
                for (slot, reason) in REASONS.into_iter().enumerate() {
                    let now: u64 = cpus.iter().map(|cpu| cpu[slot]).sum();
                    let since = now - std::mem::replace(&mut self.seen_lost[slot], now);
                    self.losses.add(Cause::of("rdma_ops", reason), since);
                }
            }
            Err(error) => self.losses.add(Cause::of("rdma_ops", format!("losses cannot be counted: {error}")), 1),
        }
        let losses = std::mem::take(&mut self.losses);
        context.segments.table("rdma", &std::mem::take(&mut self.rows), losses.total())?;
        context.segments.drops("rdma", context.now_ns, &losses)
    }
}
