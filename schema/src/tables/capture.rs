//! What the recording itself was, and what it lacks.

use crate::cell::Name;

crate::define_table! {
    /// Records that were lost, by cause. No row means none: every source counts its losses.
    Raw drops: Drop, Drops, sorted by [time_ns] {
        /// When the loss was counted, ns.
        time_ns: i64 => Delta,
        /// Source: `nixl`, `cupti`, `nvtx`, `process`, or an importer.
        source: Name => Dict,
        /// Table that lacks the rows; null if several or unknown.
        table_name: Option<Name> => Dict,
        /// Why.
        reason: Name => Dict,
        /// How many records.
        count: i64 => Plain,
        /// Process that lost them; null if unknown.
        process_id: Option<i64> => Dict,
    }
}

crate::define_table! {
    /// A fact about the recording: tool and kernel versions, probes that were on or off and why, clock, settings.
    Raw capture_info: CaptureInfo, CaptureInfos, sorted by [source, key] {
        /// Source that says it.
        source: Name => Dict,
        /// What.
        key: String => Plain,
        /// Value.
        value: String => Plain,
    }
}
