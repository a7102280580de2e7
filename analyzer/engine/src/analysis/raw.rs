//! The raw tables that the analyses read, in memory.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{Kernels, Memcpys};
use kvpath_schema::tables::nixl::{NixlAgents, NixlDescriptors, NixlNotifs, NixlRegions, NixlTransfers};
use kvpath_schema::tables::nvtx::NvtxRanges;
use kvpath_schema::tables::process::Processes;

use crate::clocks::Clocks;
use crate::error::LoadError;
use crate::load::Run;
use crate::load::limits::{SPAN, TIME, within};

/// The raw tables that the analyses read, of all hosts whose clocks could be related, on the clock of one of them.
/// `api_calls` and `memsets` are not among them: they are large and nothing here needs them.
#[derive(Debug, Default)]
pub struct Raw {
    /// Processes.
    pub processes: Processes,
    /// Kernels.
    pub kernels: Kernels,
    /// Copies.
    pub memcpys: Memcpys,
    /// NVTX.
    pub nvtx: NvtxRanges,
    /// NIXL agents.
    pub agents: NixlAgents,
    /// NIXL regions.
    pub regions: NixlRegions,
    /// NIXL transfers.
    pub transfers: NixlTransfers,
    /// NIXL descriptors.
    pub descriptors: NixlDescriptors,
    /// NIXL notifs.
    pub notifs: NixlNotifs,
    /// How the clocks of the run's hosts stand to each other.
    pub clocks: Clocks,
    /// The same of hosts whose clocks could not be related to those of these: nothing crosses over.
    pub apart: Vec<Self>,
}

impl Raw {
    /// Reads them from a run, the times of each host moved to the clock of its reference, and the ids of each its own.
    ///
    /// # Errors
    /// A segment that does not decode, or values that cannot be.
    pub fn of(run: &Run) -> Result<Self, LoadError> {
        let clocks = Clocks::of(run)?;
        if clocks.hosts.len() < 2 {
            return Ok(Self { clocks, ..Self::of_host(run)? });
        }
        let mut by_reference: BTreeMap<usize, Self> = BTreeMap::new();
        for host in &clocks.hosts {
            let mut raw = Self::of_host(&run.of_host(&host.name))?;
            raw.settle(host)?;
            raw.check()?;
            by_reference.entry(host.reference).or_default().append(raw);
        }
        let mut groups = by_reference.into_values();
        let first = groups.next().unwrap_or_default();
        Ok(Self { clocks, apart: groups.collect(), ..first })
    }

    /// Reads those of one host, as they are.
    fn of_host(run: &Run) -> Result<Self, LoadError> {
        let mut raw = Self {
            processes: run.table()?,
            kernels: run.table()?,
            memcpys: run.table()?,
            nvtx: run.table()?,
            agents: run.table()?,
            regions: run.table()?,
            transfers: run.table()?,
            descriptors: run.table()?,
            notifs: run.table()?,
            ..Self::default()
        };
        raw.check()?;
        raw.keep_last_of_each_process();
        Ok(raw)
    }

    /// The recorder rewrites `processes`; a reader may meet two versions of it.
    fn keep_last_of_each_process(&mut self) {
        let rows = std::mem::take(&mut self.processes);
        let last: BTreeMap<i64, usize> = rows.process_id.iter().copied().zip(0..).collect();
        for row in last.into_values() {
            self.processes.push(rows.row(row));
        }
    }

    /// Refuses times, durations and sizes that would overflow what is reckoned with them.
    fn check(&self) -> Result<(), LoadError> {
        let Self { kernels, memcpys, nvtx, transfers, notifs, descriptors, .. } = self;
        within("kernels", "start_ns", kernels.start_ns.iter().copied(), -TIME..=TIME)?;
        within("kernels", "dur_ns", kernels.dur_ns.iter().copied(), 0..=SPAN)?;
        within("memcpys", "start_ns", memcpys.start_ns.iter().copied(), -TIME..=TIME)?;
        within("memcpys", "dur_ns", memcpys.dur_ns.iter().copied(), 0..=SPAN)?;
        within("memcpys", "bytes", memcpys.bytes.iter().copied(), 0..=SPAN)?;
        within("nvtx_ranges", "start_ns", nvtx.start_ns.iter().copied(), -TIME..=TIME)?;
        within("nvtx_ranges", "dur_ns", nvtx.dur_ns.iter().copied().flatten(), 0..=SPAN)?;
        for (column, values) in [
            ("made_ns", &transfers.made_ns),
            ("posted_ns", &transfers.posted_ns),
            ("post_end_ns", &transfers.post_end_ns),
            ("last_pending_poll_ns", &transfers.last_pending_poll_ns),
            ("done_poll_ns", &transfers.done_poll_ns),
            ("released_ns", &transfers.released_ns),
        ] {
            within("nixl_transfers", column, values.iter().copied().flatten(), -TIME..=TIME)?;
        }
        within("nixl_transfers", "make_dur_ns", transfers.make_dur_ns.iter().copied().flatten(), 0..=SPAN)?;
        within("nixl_transfers", "bytes", transfers.bytes.iter().copied().flatten(), 0..=i64::MAX)?;
        within("nixl_notifs", "time_ns", notifs.time_ns.iter().copied(), -TIME..=TIME)?;
        within("nixl_descriptors", "bytes", descriptors.bytes.iter().copied(), 0..=i64::MAX)
    }
}
