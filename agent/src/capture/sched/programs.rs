//! The BPF programs of the scheduler.

use std::fs;

use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, FEntry};
use aya::{Ebpf, EbpfLoader};
use kvpath_schema::wire::sched::{COUNTS, LOST, RUNS, TIMED, TIMED_NS, Thread};

use crate::btf::{Btf, KERNEL};
use crate::capture::error::AttachError;
use crate::capture::kernel::Counters;

static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kvpath-ebpf-sched"));
/// A thread's words in the map: see [`Thread`].
pub type ThreadWords = [u64; Thread::WORDS];

/// The programs in the kernel; dropping this detaches them.
pub struct Programs {
    /// Holds what is attached.
    _ebpf: Ebpf,
    ring: RingBuf<MapData>,
    threads: HashMap<MapData, u32, ThreadWords>,
    counts: Counters<{ COUNTS as usize }>,
    /// Why it is not seen that threads spin.
    no_spins: Option<String>,
}

/// The kernel's function for `sched_yield` (`SYSCALL_DEFINE0(sched_yield)` in kernel/sched/syscalls.c), by the names that kernels on
/// x86-64 have in their types: one function, of which the compiler keeps a name, or what it calls.
const YIELD_FUNCTIONS: [&str; 3] = ["__do_sys_sched_yield", "__x64_sys_sched_yield", "do_sched_yield"];

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
        let offset = tid_offset()?;
        let mut ebpf = EbpfLoader::new().load(PROGRAMS)?;
        let map = ebpf.take_map("SCHED_OFFSETS").ok_or(AttachError::Missing("SCHED_OFFSETS"))?;
        let mut offsets: Array<_, u32> = Array::try_from(map)?;
        offsets.set(0, &offset, 0)?;
        let types = aya::Btf::from_sys_fs()?;
        for name in ["sched_switch", "sched_waking"] {
            let program: &mut BtfTracePoint =
                ebpf.program_mut(name).ok_or(AttachError::Missing(name))?.try_into().map_err(AttachError::Program)?;
            program.load(name, &types)?;
            program.attach()?;
        }
        // A kernel may have no such function by that name, or no trampolines.
        let no_spins = watch_yields(&mut ebpf, &types).err().map(|error| error.to_string());
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(AttachError::Missing(name));
        Ok(Self {
            ring: RingBuf::try_from(take("SCHED_RING")?)?,
            threads: HashMap::try_from(take("SCHED_THREADS")?)?,
            counts: Counters::of(PerCpuArray::try_from(take("SCHED_COUNTS")?)?),
            _ebpf: ebpf,
            no_spins,
        })
    }

    /// Why it is not seen that threads spin; `None`: it is.
    pub fn no_spins(&self) -> Option<&str> {
        self.no_spins.as_deref()
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
        let since = self.counts.since()?;
        let of = |slot: u32| since[slot as usize];
        Ok(Counts { lost: of(LOST), runs: of(RUNS), timed: of(TIMED), timed_ns: of(TIMED_NS) })
    }
}

fn watch_yields(ebpf: &mut Ebpf, types: &aya::Btf) -> Result<(), AttachError> {
    let name = "sched_yield";
    let program: &mut FEntry =
        ebpf.program_mut(name).ok_or(AttachError::Missing(name))?.try_into().map_err(AttachError::Program)?;
    let mut loaded = Err(AttachError::Missing(name));
    for function in YIELD_FUNCTIONS {
        loaded = program.load(function, types).map_err(AttachError::from);
        if loaded.is_ok() {
            program.attach()?;
            break;
        }
    }
    loaded
}

/// Where a task's thread id lies, by the kernel's own description; its tracepoints are found there too.
///
/// # Errors
/// It cannot be read.
pub fn tid_offset() -> Result<u32, AttachError> {
    let data = fs::read(KERNEL).map_err(|_| AttachError::NoBtf)?;
    Ok(Btf::parse(&data)?.offset_of("task_struct", "pid")?)
}
