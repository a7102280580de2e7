//! Our one thread.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use kvpath_schema::wire::ring::{Kind, Level, Loss, State};

use super::buffers::Buffers;
use super::ffi::Cupti;
use super::names::Names;
use super::{FLUSH_NS, decode, level};
use crate::ffi::now_ns;
use crate::session::Session;

/// Silence of CUPTI after which another client is suspected, ns; and again after each such time.
const SILENCE_NS: u64 = 1_000_000_000;

/// Runs until the process ends.
pub extern "C" fn main(_: *mut c_void) -> *mut c_void {
    let Some(session) = Session::current() else { return std::ptr::null_mut() };
    if catch_unwind(AssertUnwindSafe(|| run(session))).is_err() {
        session.ring.lose(Loss::Panic, Kind::Other, 1);
        session.ring.set_state(State::Refused, now_ns(), 0);
    }
    session.gpu.ended.store(true, Ordering::Release);
    std::ptr::null_mut()
}

fn run(session: &'static Session) {
    let gpu = &session.gpu;
    let (Some(cupti), Some(buffers)) = (gpu.cupti.get(), gpu.buffers.get()) else { return };
    let mut names = Names::default();
    let mut in_force = session.level;
    let mut suspected_ns = now_ns();
    let mut flush_ns = now_ns() + FLUSH_NS;
    loop {
        gpu.wake.wait(flush_ns);
        read_all(session, cupti, buffers, &mut names);
        let ending = gpu.ending.load(Ordering::Acquire);
        let now = now_ns();
        if now < flush_ns && !ending {
            continue;
        }
        flush_ns = now + FLUSH_NS;
        session.ring.beat(now);
        if session.ring.state() == Some(State::Running) {
            if in_force != Level::Off {
                cupti.flush();
                read_all(session, cupti, buffers, &mut names);
                let dropped = cupti.dropped();
                if dropped > 0 {
                    session.ring.lose(Loss::Cupti, Kind::Other, dropped);
                }
                let silent_since = gpu.stirred_ns.load(Ordering::Relaxed).max(suspected_ns);
                if now.saturating_sub(silent_since) > SILENCE_NS {
                    suspected_ns = now;
                    if !cupti.is_alone() {
                        level::stand_aside(session, cupti, in_force);
                        in_force = Level::Off;
                        continue;
                    }
                }
            }
            let target = level::target(session, now);
            if target != in_force && !ending {
                level::apply(session, cupti, Some(in_force), target);
                in_force = target;
                suspected_ns = now;
            }
        }
        if ending {
            // CUPTI may be gone any moment now.
            return;
        }
    }
}

fn read_all(session: &Session, cupti: &Cupti, buffers: &Buffers, names: &mut Names) {
    while buffers
        .read_one(|buffer, bytes| cupti.records(buffer, bytes, |seen| decode::record(&session.ring, names, &seen)))
    {
    }
}
