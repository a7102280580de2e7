//! CUPTI: which library, which records, at which level, and the one thread that does all the work.
//!
//! CUPTI asks for buffers and gives them back on whatever thread it likes; those two callbacks only move a bit. Our thread
//! decodes them into lane 0 of the ring, asks CUPTI every [`FLUSH_NS`] for what is complete (a flush period of CUPTI's own
//! lost seconds of records of killed processes), and follows the level that the agent asks for.
//!
//! We are no subscriber: CUPTI has one, and torch's profiler or Nsight want to be it. Where another client takes the
//! buffers over, ours fall silent; then, and only then, a short try to subscribe tells whether that is so, and we stand
//! aside: no call of CUPTI any more, except that a graph trace, which would hide kernels from the other, is turned off.

mod buffers;
mod decode;
mod ffi;
mod level;
mod names;
mod thread;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kvpath_ring::file::CUPTI_VARIABLE;
use kvpath_schema::wire::ring::State;

use crate::ffi::{Semaphore, at_exit, now_ns, sleep_us, start_thread};
use crate::session::Session;
use buffers::Buffers;
use ffi::{Cupti, OpenError};

/// How often CUPTI is asked for what is complete, ns: what a killed process loses at most.
const FLUSH_NS: u64 = 100_000_000;
/// How long the end of the process waits for the last records at most, steps of 200 us.
const EXIT_STEPS: u32 = 100;

/// What a session has of CUPTI.
pub struct Gpu {
    started: AtomicBool,
    cupti: OnceLock<Cupti>,
    buffers: OnceLock<Buffers>,
    wake: Semaphore,
    /// When CUPTI last asked for a buffer or gave one back, ns.
    stirred_ns: AtomicU64,
    ending: AtomicBool,
    ended: AtomicBool,
}

impl Default for Gpu {
    fn default() -> Self {
        Self {
            started: AtomicBool::new(false),
            cupti: OnceLock::new(),
            buffers: OnceLock::new(),
            wake: Semaphore::new(),
            stirred_ns: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }
}

/// Begins to record, once a process.
pub fn start(session: &'static Session) {
    if session.gpu.started.swap(true, Ordering::AcqRel) {
        return;
    }
    let (state, error) = match try_start(session) {
        Ok(()) => (State::Running, 0),
        Err(why) => why,
    };
    session.ring.set_state(state, now_ns(), error);
    if state == State::Running {
        at_exit(end);
        if !start_thread(thread::main) {
            session.ring.set_state(State::Refused, now_ns(), 0);
        }
    }
}

fn try_start(session: &'static Session) -> Result<(), (State, u32)> {
    let gpu = &session.gpu;
    let named = std::env::var_os(CUPTI_VARIABLE).filter(|name: &OsString| !name.is_empty()).map(PathBuf::from);
    let cupti = Cupti::open(named.as_deref()).map_err(|error| match error {
        OpenError::NotFound => (State::NotFound, 0),
        OpenError::Unsuitable => (State::Unsuitable, 0),
        OpenError::Refused(status) => (State::Refused, status),
    })?;
    let buffers = Buffers::new().ok_or((State::Refused, 0))?;
    let (cupti, _) = (gpu.cupti.get_or_init(|| cupti), gpu.buffers.get_or_init(|| buffers));
    session.ring.set_cupti(cupti.version(), 0);
    if !cupti.is_alone() {
        return Err((State::Aside, kvpath_cupti_sys::MULTIPLE_SUBSCRIBERS));
    }
    cupti.begin().map_err(|status| (State::Refused, status))?;
    // Here and not in our thread: what is launched right after `cuInit` must be recorded too.
    level::apply(session, cupti, None, session.level);
    Ok(())
}

/// At the end of the process: what is complete now still gets into the ring, but the program waits 20 ms at most.
extern "C" fn end() {
    let _ = std::panic::catch_unwind(|| {
        let Some(session) = Session::current() else { return };
        session.gpu.ending.store(true, Ordering::Release);
        session.gpu.wake.raise();
        for _ in 0..EXIT_STEPS {
            if session.gpu.ended.load(Ordering::Acquire) {
                return;
            }
            sleep_us(200);
        }
    });
}
