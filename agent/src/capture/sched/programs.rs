//! The BPF programs of the scheduler.

use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use aya::{Ebpf, EbpfLoader};
use kvpath_schema::wire::sched::{SWITCH_NEXT_PID, SWITCH_PREV_PID, SWITCH_PREV_STATE, Thread, WAKEUP_PID};

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
    lost: PerCpuArray<MapData, u64>,
    seen_lost: u64,
}

impl Programs {
    /// Loads and attaches them. No thread is watched yet.
    ///
    /// # Errors
    /// The kernel refuses, or its tracepoints are not those that the programs read.
    pub fn start() -> Result<Self, AttachError> {
        are_known()?;
        let mut ebpf = EbpfLoader::new().load(PROGRAMS)?;
        tracepoints::attach(&mut ebpf, "sched", &["sched_switch", "sched_wakeup"])?;
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(AttachError::Missing(name));
        Ok(Self {
            ring: RingBuf::try_from(take("SCHED_RING")?)?,
            threads: HashMap::try_from(take("SCHED_THREADS")?)?,
            lost: PerCpuArray::try_from(take("SCHED_LOST")?)?,
            _ebpf: ebpf,
            seen_lost: 0,
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

    /// Intervals lost since the last call.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn lost(&mut self) -> Result<u64, AttachError> {
        let now: u64 = self.lost.get(&0, 0)?.iter().sum();
        Ok(now - std::mem::replace(&mut self.seen_lost, now))
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
        field("sched_wakeup", "pid_t pid", WAKEUP_PID, 4),
    ])
}
