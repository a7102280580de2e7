//! What a run's raw tables say by themselves: tables that can be long within the memory limit ([`crate::spill`]), a few columns of
//! each, the others in memory; and which rows of them are two ends of one thing.
//!
//! Nothing is read here: [`crate::load`] hands over rows, of one host after another, and [`hosts`] puts them on one axis.

pub mod agents;
pub mod arrivals;
mod consumer;
mod copies;
mod copy_rows;
mod descriptors;
mod host_copies;
pub mod hosts;
pub mod lost;
mod nvtx;
mod places;
pub mod prepared;
pub mod received;
pub mod regions;
pub mod set;
mod slots;
pub mod staging;

pub use consumer::{Consumer, WantedColumns};
pub use copies::{Copy, CopyRoute, DeviceCopies, PeerCopy, Peers};
pub use descriptors::{Descriptor, Descriptors};
pub use host_copies::HostCopies;
pub use nvtx::{Nvtx, NvtxRow};

use std::collections::{BTreeMap, BTreeSet};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{
    NixlAgents, NixlCalls, NixlNotifs, NixlPrepared, NixlRegions, NixlTransfers, NotifDirection,
};
use kvpath_schema::tables::process::Processes;
use kvpath_schema::tables::purposes::{Purpose, PurposeMethod};
use kvpath_schema::tables::spans::Spans;

use crate::clocks::HostClock;
use crate::error::LoadError;
use crate::load::limits::{SPAN, TIME, within};
use crate::spill::Memory;

/// What the analyses read, of all hosts whose clocks could be related, on the clock of one of them.
#[derive(Debug, Default)]
pub struct Facts {
    /// Processes.
    pub processes: Processes,
    /// Copies from device to device, among them those of a hand-off by `cuda_ipc`.
    pub device_copies: DeviceCopies,
    /// Copies between GPUs and host memory.
    pub host_copies: HostCopies,
    /// NVTX.
    pub nvtx: Nvtx,
    /// NIXL agents.
    pub agents: NixlAgents,
    /// Calls of NIXL agents beside transfers.
    pub calls: NixlCalls,
    /// NIXL regions.
    pub regions: NixlRegions,
    /// Lists that NIXL agents prepared.
    pub prepared: NixlPrepared,
    /// NIXL transfers; once it is known what each is for, those of hand-offs.
    pub transfers: NixlTransfers,
    /// Those that hand nothing over.
    pub others: NixlTransfers,
    /// What both are for.
    pub purposes: Purposes,
    /// NIXL descriptors.
    pub descriptors: Descriptors,
    /// NIXL notifications, as sent and as arrived.
    pub notifs: NixlNotifs,
    /// The same, as received by the programs that asked for them.
    pub received: NixlNotifs,
    /// What clients, routers and engines say of requests.
    pub spans: Spans,
    /// Transfers whose request follows from where they go on in memory, as rows.
    pub continued: BTreeSet<usize>,
    /// Whose agents names are that no record tells.
    pub presumed: agents::Presumed,
}

/// What transfers are for and how that is known, by row.
#[derive(Debug, Default)]
pub struct Purposes {
    /// Of [`Facts::transfers`].
    pub transfers: Vec<(Purpose, PurposeMethod)>,
    /// Of [`Facts::others`].
    pub others: Vec<(Purpose, PurposeMethod)>,
}

impl Facts {
    /// None yet; those that can be long share that memory.
    #[must_use]
    pub fn within(memory: &Memory) -> Self {
        Self {
            device_copies: DeviceCopies::within(memory),
            host_copies: HostCopies::within(memory),
            nvtx: Nvtx::within(memory),
            descriptors: Descriptors::within(memory),
            ..Self::default()
        }
    }

    /// Adds a host's tables that are kept in memory; times and ids are made those of its reference where `host` is given.
    ///
    /// # Errors
    /// Values that cannot be.
    pub fn add(&mut self, mut own: Self, host: Option<&HostClock>) -> Result<(), LoadError> {
        own.check()?;
        own.keep_last_of_each_process();
        if let Some(host) = host {
            own.settle(host)?;
            own.check()?;
        }
        self.append(own);
        Ok(())
    }

    /// Puts all that was added in order.
    ///
    /// # Errors
    /// No room for files.
    pub fn finish(&mut self, memory: &Memory) -> Result<(), LoadError> {
        self.device_copies.finish(memory)?;
        self.host_copies.finish(memory)?;
        self.descriptors.finish(memory)?;
        self.set_received_apart();
        Ok(())
    }

    /// Whether what a transfer moves lies on a GPU, as KV does where a GPU computes it; the metadata of a request
    /// does not. True where the memory is unknown.
    #[must_use]
    pub fn is_on_gpu(&self, transfer: usize) -> bool {
        self.transfers.local_memory[transfer].as_ref().is_none_or(|memory| &**memory == "VRAM")
    }

    /// What pairs sent with arrived need not know of a third kind.
    pub(crate) fn set_received_apart(&mut self) {
        if !self.notifs.direction.iter().any(|direction| **direction == NotifDirection::Taken) {
            return;
        }
        let all = std::mem::take(&mut self.notifs);
        for row in 0..all.len() {
            let is_received = *all.direction[row] == NotifDirection::Taken;
            let table = if is_received { &mut self.received } else { &mut self.notifs };
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
        let Self { processes, transfers, notifs, spans, prepared, calls, .. } = self;
        within("processes", "start_ns", processes.start_ns.iter().copied().flatten(), -TIME..=TIME)?;
        within("processes", "end_ns", processes.end_ns.iter().copied().flatten(), -TIME..=TIME)?;
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
        within("nixl_prepared", "time_ns", prepared.time_ns.iter().copied(), -TIME..=TIME)?;
        within("nixl_calls", "start_ns", calls.start_ns.iter().copied(), -TIME..=TIME)?;
        within("nixl_calls", "end_ns", calls.end_ns.iter().copied().flatten(), -TIME..=TIME)?;
        within("nixl_notifs", "time_ns", notifs.time_ns.iter().copied(), -TIME..=TIME)?;
        within("spans", "start_ns", spans.start_ns.iter().copied(), -TIME..=TIME)?;
        within("spans", "dur_ns", spans.dur_ns.iter().copied().flatten(), 0..=SPAN)
    }
}
