//! Calls of UCX and RDMA with the NIXL call that they were made in: those of its thread, between its entry and its return.
//!
//! A thread is in one call of NIXL at a time, so of the calls that were entered before, the last one is it, or none.

use std::collections::HashMap;

use kvpath_schema::table::{Columns as _, TableDef};
use kvpath_schema::tables::joins::TransferJoin;
use kvpath_schema::tables::rdma::RdmaOps;
use kvpath_schema::tables::ucx::UcxOps;

use super::tally::{Kind, Tally, how};
use super::transfers::Joining;
use crate::clocks::HostClock;
use crate::error::LoadError;
use crate::load::batches::Batch;
use crate::load::limits::TIME;
use crate::method::Method;

/// Columns that are needed of either table.
pub const COLUMNS: [&str; 3] = ["start_ns", "process_id", "tid"];

/// What is counted of a table.
#[derive(Clone, Copy)]
pub struct Kinds {
    /// The table.
    pub table: &'static TableDef,
    of_transfers: Kind,
    of_ops: Kind,
    /// UCX registers memory that it meets first when a request is made.
    with_make: bool,
    /// The column of a transfer's row.
    count: fn(&mut TransferJoin) -> &mut Option<i64>,
}

impl Kinds {
    /// Calls of UCX.
    pub fn ucx() -> Self {
        Self {
            table: UcxOps::DEF,
            of_transfers: ("transfer_to_ucx_ops", "nixl_transfers"),
            of_ops: ("ucx_op_to_transfer", "ucx_ops"),
            with_make: false,
            count: |row| &mut row.ucx_ops,
        }
    }

    /// Calls of RDMA libraries.
    pub fn rdma() -> Self {
        Self {
            table: RdmaOps::DEF,
            of_transfers: ("transfer_to_rdma_ops", "nixl_transfers"),
            of_ops: ("rdma_op_to_transfer", "rdma_ops"),
            with_make: true,
            count: |row| &mut row.rdma_ops,
        }
    }
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

/// Rows of a table that lie in a call, of each transfer.
pub struct Ops {
    kinds: Kinds,
    calls: Calls,
    counts: Vec<i64>,
}

impl Ops {
    /// None yet.
    pub fn of(rows: &[Joining], kinds: Kinds) -> Self {
        Self { kinds, calls: calls(rows, kinds.with_make), counts: vec![0; rows.len()] }
    }

    /// Counts those of a batch.
    ///
    /// # Errors
    /// Values that cannot be.
    pub fn take(&mut self, batch: &Batch, host: Option<&HostClock>, tally: &mut Tally) -> Result<(), LoadError> {
        let (start, process, tid) = (batch.i64("start_ns")?, batch.i64("process_id")?, batch.i32("tid")?);
        for row in 0..batch.len() {
            let wrong = |column, value| LoadError::Implausible { table: batch.table(), column, value };
            if !(-TIME..=TIME).contains(&start[row]) {
                return Err(wrong("start_ns", start[row]));
            }
            let own = host.map_or(Some(process[row]), |host| host.id(process[row]));
            let own = own.ok_or_else(|| wrong("process_id", process[row]))?;
            let start = host.map_or(start[row], |host| host.time(start[row]));
            let at = within(&self.calls, (own, tid[row]), start);
            tally.add(own, self.kinds.of_ops, at.map(|_| how(Method::Order)));
            if let Some(at) = at {
                self.counts[at] += 1;
            }
        }
        Ok(())
    }

    /// Notes the counts with their transfers.
    pub fn finish(self, rows: &mut [Joining], tally: &mut Tally) {
        for (row, count) in rows.iter_mut().zip(self.counts) {
            if row.post.is_some() {
                let how = (count > 0).then(|| how(Method::Order));
                tally.add(row.row.process_id, self.kinds.of_transfers, how);
            }
            *(self.kinds.count)(&mut row.row) = Some(count);
        }
    }
}

/// The transfer in whose call a thread was.
fn within(calls: &Calls, thread: (i64, i32), time: i64) -> Option<usize> {
    let own = calls.get(&thread)?;
    let before = own.partition_point(|(entry, ..)| *entry <= time);
    let (_, end, transfer) = own[before.checked_sub(1)?];
    (time <= end).then_some(transfer)
}
