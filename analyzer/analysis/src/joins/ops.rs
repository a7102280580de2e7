//! Calls of UCX and RDMA with the NIXL call that they were made in: those of its thread, between its entry and its return.
//!
//! A thread is in one call of NIXL at a time, so of the calls that were entered before, the last one is it, or none.

use std::collections::HashMap;

use kvpath_schema::table::{Columns as _, TableDef};
use kvpath_schema::tables::rdma::RdmaOps;
use kvpath_schema::tables::ucx::UcxOps;

use super::tally::{Kind, Tally, how};
use super::transfers::Joining;
use crate::clocks::Clocks;
use crate::error::LoadError;
use crate::graph::Method;
use crate::load::limits::TIME;
use crate::load::{Run, batches};

/// Joins both tables, as far as the run has them.
///
/// # Errors
/// A segment that does not decode, or values that cannot be.
pub fn join(run: &Run, clocks: &Clocks, rows: &mut [Joining], tally: &mut Tally) -> Result<(), LoadError> {
    let ucx = (("transfer_to_ucx_ops", "nixl_transfers"), ("ucx_op_to_transfer", "ucx_ops"));
    // UCX registers memory that it meets first when a request is made.
    let rdma = (("transfer_to_rdma_ops", "nixl_transfers"), ("rdma_op_to_transfer", "rdma_ops"));
    if let Some(counts) = joined(run, clocks, UcxOps::DEF, rows, (ucx, false), tally)? {
        rows.iter_mut().zip(counts).for_each(|(row, count)| row.row.ucx_ops = Some(count));
    }
    if let Some(counts) = joined(run, clocks, RdmaOps::DEF, rows, (rdma, true), tally)? {
        rows.iter_mut().zip(counts).for_each(|(row, count)| row.row.rdma_ops = Some(count));
    }
    Ok(())
}

/// NIXL calls of each thread: entry, return, transfer, by entry.
type Calls = HashMap<(i64, i32), Vec<(i64, i64, usize)>>;

fn calls(rows: &[Joining], with_make: bool) -> Calls {
    let mut calls = Calls::new();
    for (at, row) in rows.iter().enumerate() {
        for (entry, end) in [row.make.filter(|_| with_make), row.post].into_iter().flatten() {
            calls.entry((row.row.process_id, row.tid)).or_default().push((entry, end, at));
        }
    }
    for of_thread in calls.values_mut() {
        of_thread.sort_unstable();
    }
    calls
}

/// Counts the rows of `def` that lie in a call, of each transfer; `None` if the run has no such table.
fn joined(
    run: &Run,
    clocks: &Clocks,
    def: &'static TableDef,
    rows: &[Joining],
    ((of_transfers, of_ops), with_make): ((Kind, Kind), bool),
    tally: &mut Tally,
) -> Result<Option<Vec<i64>>, LoadError> {
    if run.of_table(def.name).next().is_none() {
        return Ok(None);
    }
    let calls = calls(rows, with_make);
    let mut counts = vec![0; rows.len()];
    for host in &clocks.hosts {
        let own = run.of_host(&host.name);
        batches::for_each(&own, def, &["start_ns", "process_id", "tid"], |batch| {
            let (start, process, tid) = (batch.i64("start_ns")?, batch.i64("process_id")?, batch.i32("tid")?);
            for row in 0..batch.len() {
                let wrong = |column, value| LoadError::Implausible { table: def.name, column, value };
                if !(-TIME..=TIME).contains(&start[row]) {
                    return Err(wrong("start_ns", start[row]));
                }
                let several = clocks.hosts.len() > 1;
                let process = if several { host.id(process[row]) } else { Some(process[row]) };
                let process =
                    process.ok_or_else(|| wrong("process_id", batch.i64("process_id").map_or(0, |ids| ids[row])))?;
                let at = within(&calls, (process, tid[row]), host.time(start[row]));
                tally.add(process, of_ops, at.map(|_| how(Method::Order)));
                if let Some(at) = at {
                    counts[at] += 1;
                }
            }
            Ok(())
        })?;
    }
    for (row, count) in rows.iter().zip(&counts).filter(|(row, _)| row.post.is_some()) {
        tally.add(row.row.process_id, of_transfers, (*count > 0).then(|| how(Method::Order)));
    }
    Ok(Some(counts))
}

/// The transfer in whose call a thread was.
fn within(calls: &Calls, thread: (i64, i32), time: i64) -> Option<usize> {
    let own = calls.get(&thread)?;
    let before = own.partition_point(|(entry, ..)| *entry <= time);
    let (_, end, transfer) = own[before.checked_sub(1)?];
    (time <= end).then_some(transfer)
}
