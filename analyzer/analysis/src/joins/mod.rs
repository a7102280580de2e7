//! What could be joined with what: how, how surely, and of how many rows.
//!
//! The joins themselves are made elsewhere ([`crate::timeline`], [`crate::graph`], [`crate::analysis`]); here they are counted,
//! [`lanes`] for what ran, [`transfers`] for hand-offs, [`notifs`] for messages. Only [`ops`] joins: calls of UCX and RDMA with
//! the NIXL call that they were made in. Those tables may be long, so they are read a batch at a time.

mod lanes;
mod notifs;
mod ops;
mod tally;
#[cfg(test)]
mod tests;
mod transfers;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::joins::{Joins, TransferJoins};

use crate::analysis::{Analysis, Raw, Settings};
use crate::error::LoadError;
use crate::load::Run;
use crate::path::Walker;
use tally::Tally;

/// The joins of a run.
#[derive(Debug, Default)]
pub struct Joined {
    /// Counts.
    pub joins: Joins,
    /// Those of each transfer.
    pub transfers: TransferJoins,
}

impl Joined {
    /// Those of a run.
    ///
    /// # Errors
    /// A segment that does not decode.
    pub fn of(run: &Run, settings: &Settings) -> Result<Self, LoadError> {
        let mut first = Raw::within(run, &settings.memory)?;
        let clocks = first.clocks.clone();
        let apart = std::mem::take(&mut first.apart);
        let mut tally = Tally::default();
        let mut rows: Vec<transfers::Joining> = Vec::new();
        // Hosts whose clocks could not be related have their numbers after those of the others, as in `Analysis`.
        let (mut stages, mut requests) = (0, 0);
        for raw in std::iter::once(first).chain(apart) {
            let analysis = Analysis::of(&raw, settings);
            let walker = Walker::join(run, raw, analysis)?;
            tally.name(&walker.raw.processes);
            lanes::count(&walker.graph(), &mut tally);
            notifs::count(&walker.raw, &mut tally);
            rows.extend(transfers::of(&walker, (stages, requests), &mut tally));
            stages += walker.analysis.stages.len();
            requests += walker.analysis.requests.len();
        }
        ops::join(run, &clocks, &mut rows, &mut tally)?;
        let mut transfers = TransferJoins::default();
        rows.sort_by_key(|row| (row.row.transfer_id, row.row.process_id));
        for row in rows {
            transfers.push(row.row);
        }
        Ok(Self { joins: tally.table(), transfers })
    }
}
