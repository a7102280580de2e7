//! Ranges and markers that programs emit through NVTX.

use crate::cell::Name;

crate::define_table! {
    /// An NVTX range or marker.
    Raw nvtx_ranges: NvtxRange, NvtxRanges, sorted by [start_ns] {
        /// Start, ns.
        start_ns: i64 => Delta,
        /// Length, ns; null for a marker and for a range whose end was not recorded.
        dur_ns: Option<i64> => Split,
        /// Process that emitted it.
        process_id: i64 => Dict,
        /// Thread that emitted it.
        tid: i32 => Dict,
        /// `range` (push/pop or start/end) or `marker`.
        kind: Name => Dict,
        /// NVTX domain, if recorded; NIXL's is the agent's name.
        domain: Option<Name> => Dict,
        /// Text.
        text: Name => Dict,
        /// Number that the program gave with it, if any; exact up to 2^53.
        payload: Option<f64> => Plain,
    }
}
