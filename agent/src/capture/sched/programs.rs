//! The BPF programs of the scheduler.

use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use aya::{Ebpf, EbpfLoader};
use kvpath_schema::wire::sched::{
    COUNTS, LOST, RUNS, SWITCH_NEXT_PID, SWITCH_PREV_PID, SWITCH_PREV_STATE, TIMED, TIMED_NS, Thread, WAKING_PID,
};

use crate::capture::error::AttachError;
use crate::capture::tracepoints::{self, Field};

static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kvpath-ebpf-sched"));
/// A thread's words in the map: see [`Thread`].
pub type ThreadWords = [u64; Thread::WORDS];

/// The programs in the kernel; dropping this detaches them.
pub struct Programs {
    /// Holds what is attached.
    _ebpf: Ebpf,
    ring: RingBuf<MapData>,
    threads: HashMap<MapData, u32, ThreadWords>,
    counts: PerCpuArray<MapData, CountWords>,
    seen: CountWords,
}

/// What the programs count: see [`COUNTS`].
type CountWords = [u64; COUNTS as usize];

/// What the programs did in some time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Intervals lost.
    pub lost: u64,
    /// Runs.
    pub runs: u64,
    /// Runs that were timed.
    pub timed: u64,
    /// What those took, ns.
    pub timed_ns: u64,
}

impl Programs {
    /// Loads and attaches them. No thread is watched yet.
    ///
    /// # Errors
    /// The kernel refuses, or its tracepoints are not those that the programs read.
    pub fn start() -> Result<Self, AttachError> {
        are_known()?;
        let mut ebpf = EbpfLoader::new().load(PROGRAMS)?;
        tracepoints::attach(&mut ebpf, "sched", &["sched_switch", "sched_waking"])?;
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(AttachError::Missing(name));
        Ok(Self {
            ring: RingBuf::try_from(take("SCHED_RING")?)?,
            threads: HashMap::try_from(take("SCHED_THREADS")?)?,
            counts: PerCpuArray::try_from(take("SCHED_COUNTS")?)?,
            _ebpf: ebpf,
            seen: CountWords::default(),
        })
    }

    /// Watches a thread from now on.
    ///
    /// # Errors
    /// There are too many.
    pub fn watch(&mut self, tid: u32) -> Result<(), AttachError> {
        Ok(self.threads.insert(&tid, &ThreadWords::default(), 0)?)
    }

    /// Watches it no more; gives its words, if it was watched.
    pub fn leave(&mut self, tid: u32) -> Option<ThreadWords> {
        let words = self.words(tid);
        // Gone already where the map was full.
        let _ = self.threads.remove(&tid);
        words
    }

    /// A thread's words.
    pub fn words(&self, tid: u32) -> Option<ThreadWords> {
        self.threads.get(&tid, 0).ok()
    }

    /// Takes all records that are in the ring.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        while let Some(record) = self.ring.next() {
            take(&record);
        }
    }

    /// What was counted since the last call.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counts(&mut self) -> Result<Counts, AttachError> {
        let by_cpu = self.counts.get(&0, 0)?;
        let now: CountWords = std::array::from_fn(|slot| by_cpu.iter().map(|counts| counts[slot]).sum());
        let before = std::mem::replace(&mut self.seen, now);
        let since = |slot: u32| now[slot as usize] - before[slot as usize];
        Ok(Counts { lost: since(LOST), runs: since(RUNS), timed: since(TIMED), timed_ns: since(TIMED_NS) })
    }
}

/// Whether this kernel's tracepoints are those that the programs read.
///
/// # Errors
/// They are not, or cannot be looked at.
pub fn are_known() -> Result<(), AttachError> {
    let field = |name, declaration, offset, size| Field { tracepoint: ("sched", name), declaration, offset, size };
    tracepoints::are_known(&[
        field("sched_switch", "pid_t prev_pid", SWITCH_PREV_PID, 4),
        field("sched_switch", "long prev_state", SWITCH_PREV_STATE, 8),
        field("sched_switch", "pid_t next_pid", SWITCH_NEXT_PID, 4),
        field("sched_waking", "pid_t pid", WAKING_PID, 4),
    ])
}
