//! When CUPTI is attached to, and which level can be then.

use kvpath_cupti_sys::{MULTIPLE_SUBSCRIBERS, graph_trace_at_any_time};
use kvpath_schema::wire::ring::{Level, State};

use super::ffi::Cupti;
use super::level::{self, Calls};
use crate::session::Session;

/// How long after `cuInit` a process may be without the context of the CUDA runtime until it is taken to have contexts of its
/// own, which the driver does not tell of, ns.
const PATIENCE_NS: u64 = 60_000_000_000;

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

/// Since when a process has been without a context.
#[derive(Debug, Default)]
pub struct Patience {
    ready_ns: Option<u64>,
}

impl Patience {
    /// Whether it is time to attach, by what the driver says of a context: `None` while `cuInit` has not returned.
    pub fn is_over(&mut self, now_ns: u64, has_context: Option<bool>) -> bool {
        let Some(has_context) = has_context else { return false };
        let ready_ns = *self.ready_ns.get_or_insert(now_ns);
        has_context || now_ns.saturating_sub(ready_ns) > PATIENCE_NS
    }
}

/// Attaches to CUPTI and records at `level`; gives the number of what went wrong, 0 for nothing. `left_on`: the level that
/// was in force when recording stood aside, for what it had turned on may be on still.
///
/// # Errors
/// There is another client, or CUPTI refuses.
pub fn attach(
    session: &Session,
    cupti: &Cupti,
    calls: Calls,
    left_on: Option<Level>,
    level: Level,
) -> Result<u32, (State, u32)> {
    if !cupti.is_alone() {
        return Err((State::Aside, MULTIPLE_SUBSCRIBERS));
    }
    if left_on.is_some() {
        level::apply(session, cupti, calls, left_on, Level::Off)?;
    }
    cupti.begin().map_err(|status| (State::Refused, status))?;
    level::apply(session, cupti, calls, None, level)
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

    /// Whether that level could be gone back to once it was left.
    pub fn can_return_to(self, level: Level) -> bool {
        level != Level::Graph || self.at_any_time
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
        let mut patience = Patience::default();
        assert!(!patience.is_over(5, None) && !patience.is_over(9 * PATIENCE_NS, None), "within cuInit");
        assert!(!patience.is_over(9 * PATIENCE_NS, Some(false)));
        assert!(patience.is_over(9 * PATIENCE_NS, Some(true)));
        assert!(!patience.is_over(10 * PATIENCE_NS, Some(false)));
        assert!(patience.is_over(10 * PATIENCE_NS + 1, Some(false)), "contexts of its own");
    }
}
