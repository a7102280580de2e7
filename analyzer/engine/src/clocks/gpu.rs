//! Whether GPU times agree with the host's: a kernel cannot start before its launch was entered.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Clock, Clocks as Table};
use kvpath_schema::tables::gpu::{ApiCalls, Kernels};

use super::hosts::Clocks;
use crate::error::LoadError;
use crate::load::Run;
use crate::load::limits::{TIME, within};

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
///
/// # Errors
/// A segment that does not decode, or times that cannot be.
pub fn rows(run: &Run, clocks: &Clocks) -> Result<Table, LoadError> {
    let mut table = Table::default();
    for (at, host) in clocks.hosts.iter().enumerate() {
        let own = run.of_host(&host.name);
        for (process_id, causality) in causality(&own.table()?, &own.table()?)? {
            let Causality { smallest_ns, kernels, early, span } = causality;
            table.push(Clock {
                host: host.name.as_str().into(),
                host_index: i32::try_from(at).unwrap_or(i32::MAX),
                reference: host.name.as_str().into(),
                process_id: host.id(process_id),
                start_ns: Some(host.time(span.0)),
                end_ns: Some(host.time(span.1)),
                offset_ns: None,
                drift_ppb: None,
                eps_ns: None,
                offset_min_ns: None,
                offset_max_ns: Some(smallest_ns),
                observations: kernels,
                violations: early,
                open_triangles: 0,
                method: "gpu_causality".into(),
                via: None,
            });
        }
    }
    Ok(table)
}

/// By process.
fn causality(calls: &ApiCalls, kernels: &Kernels) -> Result<BTreeMap<i64, Causality>, LoadError> {
    within("api_calls", "start_ns", calls.start_ns.iter().copied(), -TIME..=TIME)?;
    within("kernels", "start_ns", kernels.start_ns.iter().copied(), -TIME..=TIME)?;
    let mut entries: Vec<(i64, i64, i64)> = (0..calls.len())
        .filter(|row| calls.correlation_id[*row] != 0)
        .map(|row| (calls.process_id[row], calls.correlation_id[row], calls.start_ns[row]))
        .collect();
    // Of calls with one id, as a runtime call and the driver call within it, the first was entered first.
    entries.sort_unstable();
    let mut by_process: BTreeMap<i64, Causality> = BTreeMap::new();
    for row in 0..kernels.len() {
        let key = (kernels.process_id[row], kernels.correlation_id[row]);
        let at = entries.partition_point(|(process, correlation, _)| (*process, *correlation) < key);
        let Some((_, _, entry)) = entries.get(at).filter(|(process, id, _)| (*process, *id) == key) else { continue };
        let start = kernels.start_ns[row];
        let after = start - entry;
        let new = Causality { smallest_ns: after, kernels: 0, early: 0, span: (start, start) };
        let found = by_process.entry(key.0).or_insert(new);
        found.smallest_ns = found.smallest_ns.min(after);
        found.kernels += 1;
        found.early += i64::from(after < 0);
        found.span = (found.span.0.min(start), found.span.1.max(start));
    }
    Ok(by_process)
}

#[cfg(test)]
mod tests {
    use kvpath_schema::tables::gpu::{ApiCall, Kernel};

    use super::*;

    fn call(start_ns: i64, correlation_id: i64) -> ApiCall {
        ApiCall { start_ns, dur_ns: 5, process_id: 7, tid: 1, correlation_id, name: "cudaLaunchKernel".into() }
    }

    fn kernel(start_ns: i64, correlation_id: i64) -> Kernel {
        Kernel {
            start_ns,
            dur_ns: 10,
            process_id: 7,
            device_id: 0,
            context_id: 1,
            stream_id: 1,
            correlation_id,
            name: "k".into(),
            graph_node_id: None,
            grid_x: None,
            grid_y: None,
            grid_z: None,
            block_x: None,
            block_y: None,
            block_z: None,
        }
    }

    #[test]
    fn kernels_before_their_launch_are_counted() {
        let (mut calls, mut kernels) = (ApiCalls::default(), Kernels::default());
        for (start, id) in [(1_000, 1), (1_010, 1), (2_000, 2), (3_000, 0)] {
            calls.push(call(start, id));
        }
        for (start, id) in [(4_000, 1), (1_700, 2), (1, 0), (1, 9)] {
            kernels.push(kernel(start, id));
        }
        let found = causality(&calls, &kernels).unwrap();
        let expected = Causality { smallest_ns: -300, kernels: 2, early: 1, span: (1_700, 4_000) };
        assert_eq!(found, BTreeMap::from([(7, expected)]));
    }
}
