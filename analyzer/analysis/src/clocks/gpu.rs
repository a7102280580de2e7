//! Whether GPU times agree with the host's: a kernel cannot start before its launch was entered.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Clock, Clocks as Table};
use kvpath_schema::tables::gpu::{ApiCalls, Kernels};

use super::hosts::Clocks;
use crate::error::LoadError;
use crate::load::limits::{TIME, within};
use crate::load::{Run, batches};
use crate::spill::{Column, Memory, sorted};

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
/// A segment that does not decode, times that cannot be, or no room for files.
pub fn rows(run: &Run, clocks: &Clocks, memory: &Memory) -> Result<Table, LoadError> {
    let mut table = Table::default();
    for (at, host) in clocks.hosts.iter().enumerate() {
        let own = run.of_host(&host.name);
        for (process_id, causality) in ByProcess::of(&own, memory)?.0 {
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

/// When calls were entered, by process and correlation id, 28 bytes each.
struct Entries {
    process: Column<i64>,
    call: Column<i64>,
    entry: Column<i64>,
    order: Column<u32>,
}

impl Entries {
    fn within(memory: &Memory) -> Self {
        let column = || Column::new(memory);
        Self { process: column(), call: column(), entry: column(), order: Column::new(memory) }
    }

    /// Those of a host.
    fn of(run: &Run, memory: &Memory) -> Result<Self, LoadError> {
        let mut entries = Self::within(memory);
        batches::for_each(run, ApiCalls::DEF, &["start_ns", "process_id", "correlation_id"], |batch| {
            let (start, process) = (batch.i64("start_ns")?, batch.i64("process_id")?);
            let correlation = batch.i64("correlation_id")?;
            within(batch.table(), "start_ns", start.iter().copied(), -TIME..=TIME)?;
            (0..batch.len()).try_for_each(|row| entries.add((process[row], correlation[row]), start[row]))
        })?;
        entries.finish(memory)
    }

    fn add(&mut self, (process, call): (i64, i64), entry: i64) -> Result<(), LoadError> {
        if call == 0 {
            return Ok(());
        }
        self.process.push(process)?;
        self.call.push(call)?;
        self.entry.push(entry)
    }

    fn finish(mut self, memory: &Memory) -> Result<Self, LoadError> {
        let order = |row: u32| (self.key(row), self.entry[row as usize], row);
        self.order = sorted(memory, self.entry.len(), |a, b| order(a).cmp(&order(b)))?;
        Ok(self)
    }

    fn key(&self, row: u32) -> (i64, i64) {
        (self.process[row as usize], self.call[row as usize])
    }

    /// Of calls with one id, as a runtime call and the driver call within it, the first was entered first.
    fn first(&self, key: (i64, i64)) -> Option<i64> {
        let at = self.order.partition_point(|row| self.key(*row) < key);
        self.order.get(at).filter(|row| self.key(**row) == key).map(|row| self.entry[*row as usize])
    }
}

/// By process.
#[derive(Default)]
struct ByProcess(BTreeMap<i64, Causality>);

impl ByProcess {
    /// Those of a host.
    fn of(run: &Run, memory: &Memory) -> Result<Self, LoadError> {
        let entries = Entries::of(run, memory)?;
        let mut all = Self::default();
        batches::for_each(run, Kernels::DEF, &["start_ns", "process_id", "correlation_id"], |batch| {
            let (start, process) = (batch.i64("start_ns")?, batch.i64("process_id")?);
            let correlation = batch.i64("correlation_id")?;
            within(batch.table(), "start_ns", start.iter().copied(), -TIME..=TIME)?;
            (0..batch.len()).for_each(|row| all.see(&entries, (process[row], correlation[row]), start[row]));
            Ok(())
        })?;
        Ok(all)
    }

    /// A kernel.
    fn see(&mut self, entries: &Entries, key: (i64, i64), start: i64) {
        let Some(entry) = entries.first(key) else { return };
        let after = start - entry;
        let new = Causality { smallest_ns: after, kernels: 0, early: 0, span: (start, start) };
        let found = self.0.entry(key.0).or_insert(new);
        found.smallest_ns = found.smallest_ns.min(after);
        found.kernels += 1;
        found.early += i64::from(after < 0);
        found.span = (found.span.0.min(start), found.span.1.max(start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_their_launch_are_counted() {
        for (memory, spills) in [(Memory::default(), false), (Memory::of(1), true)] {
            let mut entries = Entries::within(&memory);
            // Others, more than stay in memory whatever the limit.
            let others = (0..20_000).map(|call| (5_000, 100 + call));
            for (entry, call) in [(1_010, 1), (1_000, 1), (2_000, 2), (3_000, 0)].into_iter().chain(others) {
                entries.add((7, call), entry).unwrap();
            }
            let entries = entries.finish(&memory).unwrap();
            assert_eq!(memory.spilled() > 0, spills);
            let mut all = ByProcess::default();
            for (start, call) in [(4_000, 1), (1_700, 2), (1, 0), (1, 9)] {
                all.see(&entries, (7, call), start);
            }
            let expected = Causality { smallest_ns: -300, kernels: 2, early: 1, span: (1_700, 4_000) };
            assert_eq!(all.0, BTreeMap::from([(7, expected)]));
        }
    }
}
