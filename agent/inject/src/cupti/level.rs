//! What CUPTI is asked for at each level.

use kvpath_cupti_sys::{MULTIPLE_SUBSCRIBERS, kind};
use kvpath_schema::wire::calls::{self, CALLS, Domain};
use kvpath_schema::wire::ring::{Level, State};

use super::ffi::Cupti;
use crate::ffi::now_ns;
use crate::session::Session;

/// How long without a sign of an agent until recording stops, ns: nobody would read it.
const READER_AWAY_NS: u64 = 10_000_000_000;

/// How calls are recorded. CUPTI lets them be chosen one by one only where it was attached to before the context; later it
/// accepts the choice and records none (13.0, H200). Then all runtime calls are taken and ours picked from them, and none of
/// the driver API: UCX makes three of those a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// By the list.
    Chosen,
    /// Runtime calls by the list, once CUPTI has recorded all.
    Picked,
}

impl Calls {
    /// Whether a call that CUPTI recorded is to be kept at a level.
    pub fn keeps(self, level: Level, domain: Domain, cbid: u32) -> bool {
        self == Self::Chosen || calls::find(domain as u32, cbid).is_some_and(|call| call.level <= level)
    }
}

/// The kinds of a level.
fn kinds(level: Level, calls: Calls) -> Vec<u32> {
    let mut kinds = records(level).to_vec();
    if calls == Calls::Picked && level >= Level::Launch {
        kinds.push(kind::RUNTIME);
    }
    kinds
}

fn records(level: Level) -> &'static [u32] {
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

/// The level that should be in force now; `None` if there is no agent to read anything.
pub fn target(session: &Session, now: u64) -> Option<Level> {
    let is_away = now.saturating_sub(session.ring.reader_ns().max(session.began_ns)) > READER_AWAY_NS;
    (!is_away).then(|| session.ring.wanted().unwrap_or(session.level))
}

/// Goes from one level (`None`: CUPTI as it was found) to another; gives the number of the first kind that was refused, 0 if
/// none was.
///
/// # Errors
/// Another client has CUPTI, or not one kind could be turned on.
pub fn apply(
    session: &Session,
    cupti: &Cupti,
    calls: Calls,
    from: Option<Level>,
    to: Level,
) -> Result<u32, (State, u32)> {
    let (before, after) = (from.map_or_else(Vec::new, |from| kinds(from, calls)), kinds(to, calls));
    for kind in before.iter().filter(|kind| !after.contains(kind)) {
        let _ = cupti.turn(*kind, false);
    }
    let (mut first_refused, mut is_recording) = (0, after.iter().any(|kind| before.contains(kind)));
    for kind in after.iter().filter(|kind| !before.contains(kind)) {
        match cupti.turn(*kind, true) {
            Ok(()) => is_recording = true,
            Err(MULTIPLE_SUBSCRIBERS) => return Err((State::Aside, MULTIPLE_SUBSCRIBERS)),
            Err(status) if first_refused == 0 => first_refused = status,
            Err(_) => {}
        }
    }
    if !after.is_empty() && !is_recording {
        return Err((State::Refused, first_refused));
    }
    let mut refused = 0;
    for call in CALLS {
        let (was, will) = (from.is_some_and(|from| call.level <= from), call.level <= to);
        let is_there = match calls {
            Calls::Chosen => was == will || cupti.turn_call(call, will),
            Calls::Picked => call.domain == Domain::Runtime,
        };
        refused += u64::from(will && !is_there);
    }
    cupti.turn_pending_queries(to == Level::Deep);
    session.ring.set_cupti(cupti.version(), refused);
    session.ring.set_level(to);
    Ok(first_refused)
}

/// Leaves CUPTI to another client.
pub fn stand_aside(session: &Session, cupti: &Cupti, from: Level) {
    if from == Level::Graph {
        let _ = cupti.turn(kind::GRAPH_TRACE, false);
    }
    session.ring.set_state(State::Aside, now_ns(), MULTIPLE_SUBSCRIBERS);
    session.ring.set_level(Level::Off);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picked_calls_are_those_of_the_list_and_level() {
        let launch = CALLS.iter().find(|call| call.name == "cudaLaunchKernel").unwrap();
        let query = CALLS.iter().find(|call| call.name == "cudaEventQuery").unwrap();
        let keeps = |level, call: &calls::Call| Calls::Picked.keeps(level, call.domain, call.cbid);
        assert!(keeps(Level::Launch, launch) && !keeps(Level::Launch, query) && keeps(Level::Deep, query));
        assert!(
            !Calls::Picked.keeps(Level::Deep, Domain::Runtime, 1)
                && Calls::Chosen.keeps(Level::Launch, Domain::Runtime, 1)
        );
        assert!(kinds(Level::Launch, Calls::Picked).contains(&kind::RUNTIME));
        assert!(!kinds(Level::Kernel, Calls::Picked).contains(&kind::RUNTIME));
        assert!(!kinds(Level::Deep, Calls::Chosen).contains(&kind::RUNTIME));
    }
}
