//! The raw tables that the analyses read: those that can be long within the memory limit ([`crate::spill`]), a few columns of each,
//! the others in memory.

mod copies;
mod descriptors;
mod nvtx;

pub use copies::{DeviceCopies, PeerCopy, Peers, Way};
pub use descriptors::{Descriptor, Descriptors};
pub use nvtx::{Mark, Nvtx};

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{NixlAgents, NixlNotifs, NixlRegions, NixlTransfers};
use kvpath_schema::tables::process::Processes;

use crate::clocks::Clocks;
use crate::error::LoadError;
use crate::load::Run;
use crate::load::limits::{SPAN, TIME, within};
use crate::spill::Memory;
use crate::timeline::Timeline;
use crate::timeline::build::Builder;

/// What the analyses read, of all hosts whose clocks could be related, on the clock of one of them.
#[derive(Debug, Default)]
pub struct Raw {
    /// Processes.
    pub processes: Processes,
    /// What ran: GPU work and calls.
    pub timeline: Timeline,
    /// Copies from device to device, among them those of a hand-off by `cuda_ipc`.
    pub device_copies: DeviceCopies,
    /// NVTX.
    pub nvtx: Nvtx,
    /// NIXL agents.
    pub agents: NixlAgents,
    /// NIXL regions.
    pub regions: NixlRegions,
    /// NIXL transfers.
    pub transfers: NixlTransfers,
    /// NIXL descriptors.
    pub descriptors: Descriptors,
    /// NIXL notifs, as sent and as arrived.
    pub notifs: NixlNotifs,
    /// The same, as taken by their programs.
    pub takings: NixlNotifs,
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
        Self::within(run, &Memory::default())
    }

    /// The same, with a limit to the memory of what ran: beyond it that is in files.
    ///
    /// # Errors
    /// As [`Raw::of`]; no room for files.
    pub fn within(run: &Run, memory: &Memory) -> Result<Self, LoadError> {
        let clocks = Clocks::of(run)?;
        let mut groups: BTreeMap<usize, (Self, Builder)> = BTreeMap::new();
        for host in &clocks.hosts {
            let of_host = if clocks.hosts.len() > 1 { run.of_host(&host.name) } else { run.clone() };
            let mut raw = Self::of_host(&of_host)?;
            if clocks.hosts.len() > 1 {
                raw.settle(host)?;
                raw.check()?;
            }
            let (group, builder) =
                groups.entry(host.reference).or_insert_with(|| (Self::empty(memory), Builder::within(memory)));
            let host = (clocks.hosts.len() > 1).then_some(host);
            builder.read(&of_host, host)?;
            group.append(raw);
            group.device_copies.read(&of_host, host)?;
            group.nvtx.read(&of_host, host)?;
            group.descriptors.read(&of_host, host)?;
        }
        let finish = |(mut raw, builder): (Self, Builder)| {
            raw.device_copies.finish(memory)?;
            raw.nvtx.finish(memory)?;
            raw.descriptors.finish(memory)?;
            let timeline = builder.finish(&raw.transfers)?;
            raw.set_takings_apart();
            Ok::<Self, LoadError>(Self { timeline, ..raw })
        };
        let mut groups = groups.into_values().map(finish);
        let first = groups.next().transpose()?.unwrap_or_default();
        let apart = groups.collect::<Result<Vec<Self>, LoadError>>()?;
        Ok(Self { clocks, apart, ..first })
    }

    fn empty(memory: &Memory) -> Self {
        Self {
            device_copies: DeviceCopies::within(memory),
            nvtx: Nvtx::within(memory),
            descriptors: Descriptors::within(memory),
            ..Self::default()
        }
    }

    /// Reads those of one host that are in memory, as they are.
    fn of_host(run: &Run) -> Result<Self, LoadError> {
        let mut raw = Self {
            processes: run.table()?,
            agents: run.table()?,
            regions: run.table()?,
            transfers: run.table()?,
            notifs: run.table()?,
            ..Self::default()
        };
        raw.check()?;
        raw.keep_last_of_each_process();
        Ok(raw)
    }

    /// Whether what a transfer moves lies on a GPU, as KV does where a GPU computes it; SGLang's last transfer of a request, its
    /// metadata, does not. True where the memory is unknown.
    #[must_use]
    pub fn is_on_gpu(&self, transfer: usize) -> bool {
        self.transfers.local_memory[transfer].as_ref().is_none_or(|memory| &**memory == "VRAM")
    }

    /// What pairs sent with arrived need not know of a third kind.
    pub(crate) fn set_takings_apart(&mut self) {
        if !self.notifs.direction.iter().any(|direction| &**direction == "taken") {
            return;
        }
        let all = std::mem::take(&mut self.notifs);
        for row in 0..all.len() {
            let is_taking = &*all.direction[row] == "taken";
            let table = if is_taking { &mut self.takings } else { &mut self.notifs };
            table.push(all.row(row));
        }
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
        let Self { transfers, notifs, .. } = self;
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
        within("nixl_notifs", "time_ns", notifs.time_ns.iter().copied(), -TIME..=TIME)
    }
}
