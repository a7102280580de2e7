//! GPU records that were decoded and wait for the next segment.

use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::gpu::{
    ApiCalls, CudaEvents, CuptiOverheads, GpuSyncs, GraphLaunches, Kernels, Memcpys, Memsets,
};
use kvpath_schema::tables::nvtx::NvtxRanges;

use crate::segments::Segments;

/// Rows of the tables that the injected library's records go to.
#[derive(Debug, Default)]
pub struct GpuRows {
    pub kernels: Kernels,
    pub memcpys: Memcpys,
    pub memsets: Memsets,
    pub syncs: GpuSyncs,
    pub events: CudaEvents,
    pub graphs: GraphLaunches,
    pub overheads: CuptiOverheads,
    pub calls: ApiCalls,
    pub ranges: NvtxRanges,
}

impl GpuRows {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.kernels.len()
            + self.memcpys.len()
            + self.memsets.len()
            + self.syncs.len()
            + self.events.len()
            + self.graphs.len()
            + self.overheads.len()
            + self.calls.len()
            + self.ranges.len()
    }

    /// Drops them and keeps their memory, which the kernel would otherwise clear anew for each segment.
    pub fn clear(&mut self) {
        self.kernels.clear();
        self.memcpys.clear();
        self.memsets.clear();
        self.syncs.clear();
        self.events.clear();
        self.graphs.clear();
        self.overheads.clear();
        self.calls.clear();
        self.ranges.clear();
    }

    /// Writes them; `dropped` says how many a table lacks.
    ///
    /// # Errors
    /// A segment cannot be written.
    pub fn write(&self, segments: &mut Segments, dropped: impl Fn(&str) -> u64) -> Result<(), SegmentError> {
        segments.table("cupti", &self.kernels, dropped("kernels"))?;
        segments.table("cupti", &self.memcpys, dropped("memcpys"))?;
        segments.table("cupti", &self.memsets, dropped("memsets"))?;
        segments.table("cupti", &self.syncs, dropped("gpu_syncs"))?;
        segments.table("cupti", &self.events, dropped("cuda_events"))?;
        segments.table("cupti", &self.graphs, dropped("graph_launches"))?;
        segments.table("cupti", &self.overheads, dropped("cupti_overheads"))?;
        segments.table("cupti", &self.calls, dropped("api_calls"))?;
        segments.table("nvtx", &self.ranges, dropped("nvtx_ranges"))
    }
}
