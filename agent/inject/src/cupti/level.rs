//! What CUPTI is asked for at each level.

use kvpath_cupti_sys::{MULTIPLE_SUBSCRIBERS, kind};
use kvpath_schema::wire::calls::CALLS;
use kvpath_schema::wire::ring::{Level, State};

use super::ffi::Cupti;
use crate::ffi::now_ns;
use crate::session::Session;

/// How long without a sign of an agent until recording stops, ns: nobody would read it.
const READER_AWAY_NS: u64 = 10_000_000_000;

/// The kinds of a level.
fn kinds(level: Level) -> &'static [u32] {
    match level {
        Level::Off => &[],
        Level::Graph => &[kind::GRAPH_TRACE, kind::CONCURRENT_KERNEL, kind::MEMCPY, kind::MEMCPY2, kind::MEMSET],
        Level::Kernel => &[kind::CONCURRENT_KERNEL, kind::MEMCPY, kind::MEMCPY2, kind::MEMSET, kind::OVERHEAD],
        Level::Launch | Level::Deep => &[
            kind::CONCURRENT_KERNEL,
            kind::MEMCPY,
            kind::MEMCPY2,
            kind::MEMSET,
            kind::OVERHEAD,
            kind::SYNCHRONIZATION,
            kind::CUDA_EVENT,
        ],
    }
}

/// The level that should be in force now.
pub fn target(session: &Session, now: u64) -> Level {
    let agent_is_away = now.saturating_sub(session.ring.reader_ns().max(session.began_ns)) > READER_AWAY_NS;
    if agent_is_away { Level::Off } else { session.ring.wanted().unwrap_or(session.level) }
}

/// Goes from one level (`None`: CUPTI as it was found) to another.
pub fn apply(session: &Session, cupti: &Cupti, from: Option<Level>, to: Level) {
    let before = from.map_or(&[][..], kinds);
    for kind in before.iter().filter(|kind| !kinds(to).contains(kind)) {
        let _ = cupti.turn(*kind, false);
    }
    for kind in kinds(to).iter().filter(|kind| !before.contains(kind)) {
        if let Err(status) = cupti.turn(*kind, true) {
            let state = if status == MULTIPLE_SUBSCRIBERS { State::Aside } else { State::Running };
            session.ring.set_state(state, now_ns(), status);
        }
    }
    let mut refused = 0;
    for call in CALLS {
        let (was, will) = (from.is_some_and(|from| call.level <= from), call.level <= to);
        if was != will && !cupti.turn_call(call, will) {
            refused += u64::from(will);
        }
    }
    cupti.turn_pending_queries(to == Level::Deep);
    session.ring.set_cupti(cupti.version(), refused);
    session.ring.set_level(to);
}

/// Leaves CUPTI to another client.
pub fn stand_aside(session: &Session, cupti: &Cupti, from: Level) {
    if from == Level::Graph {
        let _ = cupti.turn(kind::GRAPH_TRACE, false);
    }
    session.ring.set_state(State::Aside, now_ns(), MULTIPLE_SUBSCRIBERS);
    session.ring.set_level(Level::Off);
}
