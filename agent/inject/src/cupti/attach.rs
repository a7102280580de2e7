//! When CUPTI is attached to, and which level can be then.

use kvpath_cupti_sys::{MULTIPLE_SUBSCRIBERS, graph_trace_at_any_time};
use kvpath_schema::wire::ring::{Level, State};

use super::ffi::Cupti;
use super::level::{self, Calls};
use crate::session::Session;

/// How long a process that has called `cuInit` may be without the context of the CUDA runtime until it is taken to have
/// contexts of its own, ns.
const PATIENCE_NS: u64 = 10_000_000_000;

/// Whether CUPTI has to be attached to within `cuInit`: where nobody would tell us of a context, where graph launches are to
/// be recorded by a version that must see every graph made, and where calls are to be chosen one by one.
pub fn must_be_early(level: Level, version: u32, has_driver: bool) -> bool {
    match level {
        Level::Off => false,
        Level::Graph if !graph_trace_at_any_time(version) => true,
        Level::Launch | Level::Deep => true,
        Level::Graph | Level::Kernel => !has_driver,
    }
}

/// Whether it is time, for a process that has called `cuInit` `age_ns` ago.
pub fn is_time(age_ns: u64, has_context: impl FnOnce() -> bool) -> bool {
    age_ns > PATIENCE_NS || has_context()
}

/// Attaches to CUPTI and records at `level`.
///
/// # Errors
/// There is another client, or CUPTI refuses.
pub fn attach(session: &Session, cupti: &Cupti, calls: Calls, level: Level) -> Result<(), (State, u32)> {
    if !cupti.is_alone() {
        return Err((State::Aside, MULTIPLE_SUBSCRIBERS));
    }
    cupti.begin().map_err(|status| (State::Refused, status))?;
    level::apply(session, cupti, calls, None, level);
    Ok(())
}

/// Whether graph launches as a whole can be recorded from now on.
#[derive(Debug, Clone, Copy)]
pub struct GraphTrace {
    at_any_time: bool,
    was_always_on: bool,
}

impl GraphTrace {
    /// `early`: the level at which CUPTI was attached to within `cuInit`, if it was.
    pub fn new(version: u32, early: Option<Level>) -> Self {
        Self { at_any_time: graph_trace_at_any_time(version), was_always_on: early == Some(Level::Graph) }
    }

    /// Whether that level can be gone to.
    pub fn allows(self, level: Level) -> bool {
        level != Level::Graph || self.at_any_time || self.was_always_on
    }

    /// That level is in force now.
    pub fn went_to(&mut self, level: Level) {
        self.was_always_on &= level == Level::Graph;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_crash_on_late_graph_traces_are_attached_to_early_or_never() {
        for version in [19, 21, 23, 28, 130_000, 130_001, 130_101] {
            assert!(must_be_early(Level::Graph, version, true));
            assert!(!must_be_early(Level::Kernel, version, true));
            assert!(must_be_early(Level::Launch, version, true));
            let mut trace = GraphTrace::new(version, Some(Level::Graph));
            assert!(trace.allows(Level::Graph));
            trace.went_to(Level::Graph);
            assert!(trace.allows(Level::Graph));
            trace.went_to(Level::Off);
            assert!(!trace.allows(Level::Graph) && trace.allows(Level::Deep), "graphs were made meanwhile");
            assert!(!GraphTrace::new(version, Some(Level::Kernel)).allows(Level::Graph));
            assert!(!GraphTrace::new(version, None).allows(Level::Graph));
        }
        for version in [22, 130_200, 130_500] {
            assert!(!must_be_early(Level::Graph, version, true));
            assert!(GraphTrace::new(version, None).allows(Level::Graph));
        }
    }

    #[test]
    fn off_waits_and_so_does_a_process_without_a_context() {
        assert!(!must_be_early(Level::Off, 28, false));
        assert!(must_be_early(Level::Kernel, 28, false), "nobody would tell of a context");
        assert!(!is_time(0, || false));
        assert!(is_time(0, || true));
        assert!(is_time(PATIENCE_NS + 1, || false));
    }
}
