//! The raw tables that the analyses read, in memory.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{ApiCalls, Kernels, Memcpys};
use kvpath_schema::tables::nixl::{NixlAgents, NixlDescriptors, NixlNotifs, NixlRegions, NixlTransfers};
use kvpath_schema::tables::nvtx::NvtxRanges;
use kvpath_schema::tables::process::Processes;

use super::ranges;
use crate::error::LoadError;
use crate::load::Run;

/// The raw tables of one host that the analyses read. `memsets` are not among them: nothing here needs them.
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
    /// CUDA calls, which are many: only where NVTX ranges name layers, to tell which kernels these launched.
    pub calls: ApiCalls,
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
        let mut raw = Self {
            processes: run.table()?,
            kernels: run.table()?,
            memcpys: run.table()?,
            nvtx: run.table()?,
            calls: ApiCalls::default(),
            agents: run.table()?,
            regions: run.table()?,
            transfers: run.table()?,
            descriptors: run.table()?,
            notifs: run.table()?,
        };
        if raw.nvtx.text.iter().any(|text| ranges::layer(text).is_some()) {
            raw.calls = run.table()?;
        }
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

    /// The recorder rewrites `processes`; a reader may meet two versions of it.
    fn keep_last_of_each_process(&mut self) {
        let rows = std::mem::take(&mut self.processes);
        let last: std::collections::BTreeMap<i64, usize> = rows.process_id.iter().copied().zip(0..).collect();
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

/// The largest time, ns: 73 years, more than any clock of a running host and than the wall clock. The sum of two fits.
const TIME: i64 = 1 << 61;
/// The longest duration, ns (104 days), and the largest copy, bytes (9 PB).
const SPAN: i64 = 1 << 53;

fn within(
    table: &'static str,
    column: &'static str,
    mut values: impl Iterator<Item = i64>,
    range: std::ops::RangeInclusive<i64>,
) -> Result<(), LoadError> {
    match values.find(|value| !range.contains(value)) {
        Some(value) => Err(LoadError::Implausible { table, column, value }),
        None => Ok(()),
    }
}
