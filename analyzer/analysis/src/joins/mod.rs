//! What could be joined with what: how, how surely, and of how many rows.
//!
//! The joins themselves are made elsewhere ([`crate::timeline`], [`crate::graph`], [`crate::structure`]); here they are counted,
//! [`lanes`] for what ran, [`transfers`] for hand-offs, [`notifs`] for messages. Only [`ops`] joins: calls of UCX and RDMA with
//! the NIXL call that they were made in. Those tables may be long, so they are read a batch at a time.

mod lanes;
mod notifs;
mod ops;
mod tally;
#[cfg(test)]
mod tests;
mod transfers;

use std::collections::BTreeMap;

use kvpath_schema::table::{Columns as _, TableDef};
use kvpath_schema::tables::derived::{Requests, Stages};
use kvpath_schema::tables::joins::{Joins, TransferJoins};

use crate::clocks::HostClock;
use crate::error::LoadError;
use crate::facts::Facts;
use crate::facts::regions::Regions;
use crate::graph::Links;
use crate::load::batches::Batch;
use crate::structure::held_layers::RegionLayerMap;
use crate::timeline::Timeline;
use ops::{Kinds, Ops};
use tally::Tally;

pub use ops::COLUMNS;

/// What is counted, of hosts whose clocks are related.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Facts.
    pub facts: &'a Facts,
    /// What ran.
    pub timeline: &'a Timeline,
    /// What waited for what.
    pub links: &'a Links,
    /// Stages.
    pub stages: &'a Stages,
    /// Requests.
    pub requests: &'a Requests,
    /// Request of each row of `nixl_transfers` that carries KV.
    pub of_transfer: &'a BTreeMap<usize, i32>,
    /// Registered memory.
    pub regions: &'a Regions,
    /// Its layers.
    pub known: &'a RegionLayerMap,
}

/// The joins of a run.
#[derive(Debug, Default, Clone)]
pub struct Joined {
    /// Counts.
    pub joins: Joins,
    /// Those of each transfer.
    pub transfers: TransferJoins,
}

/// Counts joins.
#[derive(Debug, Default)]
pub struct Counter {
    tally: Tally,
    rows: Vec<transfers::Joining>,
    /// Stages and requests of the hosts before: those whose clocks could not be related have their numbers after those of others.
    before: (usize, usize),
}

impl Counter {
    /// Counts those of hosts whose clocks are related.
    pub fn add(&mut self, inputs: &Inputs) {
        self.tally.name(&inputs.facts.processes);
        lanes::count(&inputs.links.graph(inputs.timeline), &mut self.tally);
        notifs::count(inputs.facts, &mut self.tally);
        self.rows.extend(transfers::of(inputs, self.before, &mut self.tally));
        self.before.0 += inputs.stages.len();
        self.before.1 += inputs.requests.len();
    }

    /// Counts the calls of UCX or RDMA; `each` hands over all batches of a table, if the run has it, with the clock of the host that
    /// recorded them where there are several.
    ///
    /// # Errors
    /// Values that cannot be; what `each` returns.
    pub fn add_ops(
        &mut self,
        mut each: impl FnMut(&'static TableDef, &mut Take) -> Result<bool, LoadError>,
    ) -> Result<(), LoadError> {
        for kinds in [Kinds::ucx(), Kinds::rdma()] {
            let mut ops = Ops::of(&self.rows, kinds);
            let tally = &mut self.tally;
            if each(kinds.table, &mut |batch, host| ops.take(batch, host, tally))? {
                ops.finish(&mut self.rows, &mut self.tally);
            }
        }
        Ok(())
    }

    /// The tables.
    #[must_use]
    pub fn finish(mut self) -> Joined {
        let mut transfers = TransferJoins::default();
        self.rows.sort_by_key(|row| (row.row.transfer_id, row.row.process_id));
        for row in self.rows {
            transfers.push(row.row);
        }
        Joined { joins: self.tally.table(), transfers }
    }
}

/// Takes a batch and the clock of its host.
pub type Take<'a> = dyn FnMut(&Batch, Option<&HostClock>) -> Result<(), LoadError> + 'a;
