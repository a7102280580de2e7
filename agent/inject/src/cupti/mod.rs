//! CUPTI: which library, which records, at which level, and the one thread that does all the work.
//!
//! CUPTI asks for buffers and gives them back on whatever thread it likes; those two callbacks only move a bit. Our thread
//! decodes them into lane 0 of the ring, asks CUPTI every [`FLUSH_NS`] for what is complete (a flush period of CUPTI's own
//! lost seconds of records of killed processes), and follows the level that the agent asks for.
//!
//! CUPTI is opened within `cuInit` and not touched before there is a context and a level other than off. Any call that
//! initialises it changes the driver for good: a context that is made after it runs CUDA graphs of 1 us kernels 17 % slower
//! even if nothing is recorded, one that was there before 1 % (tests/gpu/kinds.sh, H200). What is launched in the first
//! 20 ms of the first context is not recorded for that. Where the driver tells of no context, it is attached to all the same
//! after a minute; [`attach`] says which levels cannot wait at all. There is no way back but `cuptiFinalize`, which broke the
//! program in one of two tries while kernels were launched, so that is never called.
//!
//! We are no subscriber: CUPTI has one, and torch's profiler or Nsight want to be it. (A client that subscribes in the very
//! microseconds in which we try whether there is one is refused; one that never subscribes cannot be seen.) Where another client takes the
//! buffers over, ours fall silent; then, and only then, a short try to subscribe tells whether that is so, and we stand
//! aside: no call of CUPTI any more, except that a graph trace, which would hide kernels from the other, is turned off.

mod attach;
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

use kvpath_cupti_sys::driver::Driver;
use kvpath_ring::file::CUPTI_VARIABLE;
use kvpath_schema::wire::ring::{Level, State};

use crate::ffi::{Semaphore, at_exit, now_ns, sleep_us, start_thread};
use crate::session::Session;
use buffers::Buffers;
use ffi::{Cupti, OpenError};
use level::Calls;

/// How often CUPTI is asked for what is complete, ns: a killed process loses what came since (2 to 26 ms, H200). What a copy costs
/// did not change between 20, 50 and 200 ms (tests/gpu/runs). CUPTI cannot answer while the driver loads a function that is
/// launched for the first time: that waits until the GPU has done all that was launched before (352 ms in a vLLM worker), and a
/// process killed meanwhile loses that time.
const FLUSH_NS: u64 = 25_000_000;
/// How long the end of the process waits for the last records at most, steps of 200 us.
const EXIT_STEPS: u32 = 100;
/// How long it waits at most where CUPTI is just being attached to, for its own exit handlers would run into that.
const ATTACH_STEPS: u32 = 10_000;

/// What a session has of CUPTI.
pub struct Gpu {
    started: AtomicBool,
    cupti: OnceLock<Cupti>,
    buffers: OnceLock<Buffers>,
    wake: Semaphore,
    /// Whether CUPTI was attached to within `cuInit`.
    attached_early: AtomicBool,
    /// Whether our thread is just attaching: the process must not end meanwhile.
    attaching: AtomicBool,
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
            attached_early: AtomicBool::new(false),
            attaching: AtomicBool::new(false),
            stirred_ns: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }
}

/// Begins, once a process.
pub fn start(session: &'static Session) {
    if session.gpu.started.swap(true, Ordering::AcqRel) {
        return;
    }
    let (state, error) = try_start(session).unwrap_or_else(|why| why);
    session.ring.set_state(state, now_ns(), error);
    let goes_on = matches!(state, State::Running | State::Waiting | State::Aside);
    if goes_on {
        at_exit(end);
        if !start_thread(thread::main) {
            session.ring.set_state(State::Refused, now_ns(), 0);
        }
    }
}

/// The state that CUPTI is in; an error is one with its number.
fn try_start(session: &'static Session) -> Result<(State, u32), (State, u32)> {
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
    if !attach::must_be_early(session.level, cupti.version(), Driver::of_process().is_some()) {
        session.ring.set_level(Level::Off);
        return Ok((State::Waiting, 0));
    }
    let error = attach::attach(session, cupti, Calls::Chosen, None, session.level)?;
    gpu.attached_early.store(true, Ordering::Release);
    Ok((State::Running, error))
}

/// At the end of the process: what is complete now still gets into the ring, but the program waits 20 ms at most, or until
/// CUPTI is attached to.
extern "C" fn end() {
    let _ = std::panic::catch_unwind(|| {
        let Some(session) = Session::current() else { return };
        session.gpu.ending.store(true, Ordering::SeqCst);
        session.gpu.wake.raise();
        for step in 0..ATTACH_STEPS {
            let is_late = step >= EXIT_STEPS && !session.gpu.attaching.load(Ordering::SeqCst);
            if is_late || session.gpu.ended.load(Ordering::Acquire) {
                return;
            }
            sleep_us(200);
        }
    });
}
