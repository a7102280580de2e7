//! The raw tables that the analyses read, in memory.

use kvpath_schema::tables::gpu::{Kernels, Memcpys};
use kvpath_schema::tables::nixl::{NixlAgents, NixlDescriptors, NixlNotifs, NixlRegions, NixlTransfers};
use kvpath_schema::tables::nvtx::NvtxRanges;
use kvpath_schema::tables::process::Processes;

use crate::error::LoadError;
use crate::load::Run;

/// The raw tables of one host that the analyses read. `api_calls` and `memsets` are not among them: they are large and
/// nothing here needs them.
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
}

impl Raw {
    /// Reads them from a run.
    ///
    /// # Errors
    /// Several hosts, or a segment that does not decode.
    pub fn of(run: &Run) -> Result<Self, LoadError> {
        run.one_host()?;
        Ok(Self {
            processes: run.table()?,
            kernels: run.table()?,
            memcpys: run.table()?,
            nvtx: run.table()?,
            agents: run.table()?,
            regions: run.table()?,
            transfers: run.table()?,
            descriptors: run.table()?,
            notifs: run.table()?,
        })
    }
}
