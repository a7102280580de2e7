//! The process's one ring, and what goes with it. It is made when CUDA or NVTX first call, never taken down, and made anew
//! in a process that was forked off, which has neither the ring's mapping nor our thread.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use kvpath_ring::file::{self, FOLDER_VARIABLE, LEVEL_VARIABLE, SIZE_VARIABLE};
use kvpath_ring::{Map, Producer, ProducerInfo};
use kvpath_schema::wire::ring::{Level, Shape};

use crate::cupti::Gpu;
use crate::ffi;
use crate::nvtx::Texts;

/// Lanes for threads that use NVTX.
const THREAD_LANES: usize = 31;
/// Words of such a lane: 256 KiB, about 4,000 ranges between two drainings.
const THREAD_WORDS: usize = 1 << 15;
/// Words for names: 4 MiB.
const NAMES_WORDS: usize = 1 << 19;
/// Size of the lane for GPU records where none is named, MiB: 0.1 s of the most that one GPU makes.
const GPU_MIB: usize = 16;
/// The largest one, MiB.
const GPU_MIB_MAX: usize = 1024;
/// How long the file of a process that has ended waits for an agent before another process of the user removes it.
const KEEP_NS: u64 = 60_000_000_000;

/// What this process has.
pub struct Session {
    /// The ring.
    pub ring: Producer<Map>,
    /// CUPTI's part.
    pub gpu: Gpu,
    /// Texts that NVTX users repeat.
    pub texts: Texts,
    /// The level at which it began, while no agent has asked for another.
    pub level: Level,
    /// When it was made, ns.
    pub began_ns: u64,
    /// 1 here, 0 in every process that is forked off.
    alive: Map,
}

static SESSION: AtomicPtr<Session> = AtomicPtr::new(std::ptr::null_mut());
/// The pid that makes a session or has given up on it; 0 for none.
static MAKER: AtomicU32 = AtomicU32::new(0);

impl Session {
    /// The process's session; made if there is none, `None` if that is under way or not possible.
    pub fn of_process() -> Option<&'static Self> {
        match Self::there() {
            Some(session) if session.is_alive() => Some(session),
            _ => Self::make(),
        }
    }

    /// The session if it is made already: the path of every record.
    #[inline]
    pub fn current() -> Option<&'static Self> {
        let session = Self::there()?;
        if session.is_alive() { Some(session) } else { Self::make() }
    }

    #[inline]
    fn is_alive(&self) -> bool {
        self.alive[0].load(Ordering::Relaxed) == 1
    }

    fn make() -> Option<&'static Self> {
        let pid = ffi::pid();
        // One thread of a process makes it, once; what a forked process inherits is not its own.
        let before = MAKER.load(Ordering::Acquire);
        if before == pid || MAKER.compare_exchange(before, pid, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Self::there().filter(|session| session.is_alive());
        }
        let made: &'static Self = Box::leak(Box::new(Self::new(pid)?));
        SESSION.store(std::ptr::from_ref(made).cast_mut(), Ordering::Release);
        Some(made)
    }

    fn new(pid: u32) -> Option<Self> {
        let level = env::var(LEVEL_VARIABLE).ok().and_then(|text| Level::from_text(&text)).unwrap_or(Level::Kernel);
        let folder = env::var_os(FOLDER_VARIABLE)
            .filter(|folder: &OsString| !folder.is_empty())
            .map_or_else(|| file::default_folder(ffi::uid()), PathBuf::from);
        let mib = env::var(SIZE_VARIABLE).ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(GPU_MIB);
        let shape = Shape {
            lanes: 1 + THREAD_LANES,
            gpu_words: (mib.clamp(1, GPU_MIB_MAX) << 17).next_power_of_two(),
            thread_words: THREAD_WORDS,
            names_words: NAMES_WORDS,
        };
        file::make_folder(&folder, ffi::uid()).ok()?;
        let now = ffi::now_ns();
        let _ = file::sweep(&folder, now, KEEP_NS);
        let alive = Map::wiped_on_fork().ok()?;
        alive[0].store(1, Ordering::Relaxed);
        let about = ProducerInfo { pid, start_ticks: start_ticks().unwrap_or(0), created_ns: now };
        // An agent that ends removes an empty folder, maybe just now.
        let made = file::create(&folder, shape, about)
            .or_else(|_| file::make_folder(&folder, ffi::uid()).and_then(|()| file::create(&folder, shape, about)));
        let (_, ring) = made.ok()?;
        ring.set_level(level);
        Some(Self { ring, gpu: Gpu::default(), texts: Texts::default(), level, began_ns: now, alive })
    }
}

/// The one way to the pointer.
mod pointer {
    #![expect(unsafe_code, reason = "a session is leaked, so a pointer to it stays valid")]

    use super::{Ordering, SESSION, Session};

    impl Session {
        #[inline]
        pub(super) fn there() -> Option<&'static Self> {
            // SAFETY: null, or a leaked box; private memory that a forked process has a copy of.
            unsafe { SESSION.load(Ordering::Acquire).as_ref() }
        }
    }
}

/// When this process started, clock ticks since boot.
fn start_ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(19)?.parse().ok()
}
