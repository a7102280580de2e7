//! The tables that grow with the trace.

use std::collections::{BTreeMap, HashSet};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{ApiCalls, CudaEvents, CuptiOverheads, GpuSyncs, Kernels, Memcpys, Memsets};
use kvpath_schema::tables::nvtx::NvtxRanges;

use super::actors::Renumbered;

/// The tables that grow with the trace.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) kernels: Kernels,
    pub(super) memcpys: Memcpys,
    pub(super) memsets: Memsets,
    pub(super) api_calls: ApiCalls,
    pub(super) gpu_syncs: GpuSyncs,
    pub(super) cuda_events: CudaEvents,
    pub(super) overheads: CuptiOverheads,
    pub(super) nvtx: NvtxRanges,
}

impl Tables {
    /// Gives threads the numbers that they have in the trace as a whole.
    pub(super) fn renumber(&mut self, threads: &Renumbered) {
        let calls = self.api_calls.process_id.iter().zip(&mut self.api_calls.tid);
        let ranges = self.nvtx.process_id.iter().zip(&mut self.nvtx.tid);
        for (pid, tid) in calls.chain(ranges) {
            let key = i32::try_from(*pid).ok().map(|pid| (pid, *tid));
            if let Some(here) = key.and_then(|key| threads.get(&key)) {
                *tid = *here;
            }
        }
    }

    /// Puts the ids of processes in the place of their pids.
    pub(super) fn identify(&mut self, ids: &BTreeMap<i64, i64>) {
        let Self { kernels, memcpys, memsets, api_calls, gpu_syncs, cuda_events, overheads, nvtx } = self;
        let columns = [
            &mut kernels.process_id,
            &mut memcpys.process_id,
            &mut memsets.process_id,
            &mut api_calls.process_id,
            &mut gpu_syncs.process_id,
            &mut cuda_events.process_id,
            &mut overheads.process_id,
            &mut nvtx.process_id,
        ];
        for pid in columns.into_iter().flatten() {
            *pid = ids.get(pid).copied().unwrap_or(*pid);
        }
    }

    /// Keeps of the recordings of events those by calls that are not in `known`, which they are then.
    pub(super) fn keep_new_recordings(&mut self, known: &mut HashSet<i64, foldhash::fast::RandomState>) {
        let is_new: Vec<bool> = self.cuda_events.correlation_id.iter().map(|call| known.insert(*call)).collect();
        if is_new.iter().all(|is_new| *is_new) {
            return;
        }
        let all = std::mem::take(&mut self.cuda_events);
        for (row, _) in is_new.iter().enumerate().filter(|(_, is_new)| **is_new) {
            self.cuda_events.push(all.row(row));
        }
    }
}
