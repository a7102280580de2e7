//! Whether GPU times agree with the host's: a kernel cannot start before its launch was entered.

use kvpath_schema::tables::derived::Clock;

use crate::clocks::Clocks;
use crate::timeline::{LaneAt, Timeline};

/// What the launches of a process say of its GPU times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Causality {
    /// Smallest time from a launch's entry to its kernel's start, ns.
    smallest_ns: i64,
    /// Kernels with their launch.
    kernels: i64,
    /// Of these, kernels that start before it.
    early: i64,
    /// First and last kernel's start, ns.
    span: (i64, i64),
}

/// A row of method `gpu_causality` for each process whose launches were recorded (levels `launch` and `deep`), by process.
#[must_use]
pub fn rows(timeline: &Timeline, clocks: &Clocks) -> Vec<Clock> {
    let found = timeline.processes.iter().filter_map(|(process, lanes)| {
        let causality = of_process(timeline, *process, &lanes.streams)?;
        let host = clocks.host_of(*process)?;
        let at = clocks.hosts.iter().position(|other| other.name == host.name)?;
        Some((*process, host.name.as_str(), at, causality))
    });
    let row = |(process, host, at, causality): (i64, &str, usize, Causality)| Clock {
        host: host.into(),
        host_index: i32::try_from(at).unwrap_or(i32::MAX),
        reference: host.into(),
        process_id: Some(process),
        start_ns: Some(causality.span.0),
        end_ns: Some(causality.span.1),
        offset_ns: None,
        drift_ppb: None,
        eps_ns: None,
        offset_min_ns: None,
        offset_max_ns: Some(causality.smallest_ns),
        observations: causality.kernels,
        violations: causality.early,
        open_triangles: 0,
        method: "gpu_causality".into(),
        via: None,
    };
    found.map(row).collect()
}

/// Of calls with one id, as a runtime call and the driver call within it, the first was entered first.
fn of_process(timeline: &Timeline, process: i64, streams: &[LaneAt]) -> Option<Causality> {
    let mut found: Option<Causality> = None;
    for stream in streams {
        let lane = timeline.lane(*stream);
        for at in (0..lane.len()).filter(|at| timeline.class(*stream, *at).table() == "kernels") {
            let Some((thread, call)) = timeline.call(process, lane.key[at]) else { continue };
            let start = lane.start[at];
            let after = start - timeline.lane(thread).start[call];
            let new = Causality { smallest_ns: after, kernels: 0, early: 0, span: (start, start) };
            let found = found.get_or_insert(new);
            found.smallest_ns = found.smallest_ns.min(after);
            found.kernels += 1;
            found.early += i64::from(after < 0);
            found.span = (found.span.0.min(start), found.span.1.max(start));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::{LaneId, LaneKind};

    #[test]
    fn kernels_before_their_launch_are_counted() {
        let mut timeline = Timeline::default();
        // A runtime call and the driver call within it have one number.
        for (span, call) in [((1_000, 1_100), 1), ((1_010, 1_090), 1), ((2_000, 2_100), 2), ((3_000, 3_100), 0)] {
            timeline.add_call(7, 1, "cudaLaunchKernel", (span.0, span.1, call));
        }
        let stream = LaneId { process: 7, kind: LaneKind::Stream { context: 1, stream: 7 } };
        for (start, call) in [(4_000, 1), (1_700, 2), (1, 0), (5_000, 9)] {
            timeline.add_kernel(stream, 0, "k", (start, start + 10, call));
        }
        let expected = Causality { smallest_ns: -300, kernels: 2, early: 1, span: (1_700, 4_000) };
        let streams: &[LaneAt] = &timeline.processes[&7].streams;
        assert_eq!(of_process(&timeline, 7, streams), Some(expected));
        assert_eq!(of_process(&timeline, 8, streams), None);
    }
}
