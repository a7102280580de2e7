//! Every table. Times are Int64 ns on the recording host's `CLOCK_MONOTONIC`; the run's zero is that clock's zero. In a run of
//! several hosts that holds for raw tables, each row on its own host's clock; derived tables are on the clock of the reference
//! host (`clocks`), and their `process_id` is the raw one + host index * 2^48.

pub mod capture;
pub mod clock;
pub mod contacts;
pub mod derived;
pub mod findings;
pub mod gpu;
pub mod heartbeats;
pub mod joins;
pub mod nixl;
pub mod nvtx;
pub mod path;
pub mod process;
pub mod purposes;
pub mod rdma;
pub mod sched;
pub mod sockets;
pub mod spans;
pub mod stuck;
pub mod ucx;

use crate::table::{Columns, TableDef};

/// Raw tables, in the order of the documentation.
pub const RAW: &[&TableDef] = &[
    process::Processes::DEF,
    process::Threads::DEF,
    gpu::Gpus::DEF,
    gpu::Kernels::DEF,
    gpu::Memcpys::DEF,
    gpu::Memsets::DEF,
    gpu::ApiCalls::DEF,
    gpu::GpuSyncs::DEF,
    gpu::CudaEvents::DEF,
    gpu::GraphLaunches::DEF,
    gpu::CuptiOverheads::DEF,
    nvtx::NvtxRanges::DEF,
    nixl::NixlAgents::DEF,
    nixl::NixlCalls::DEF,
    nixl::NixlRegions::DEF,
    nixl::NixlPrepared::DEF,
    nixl::NixlTransfers::DEF,
    nixl::NixlDescriptors::DEF,
    nixl::NixlNotifs::DEF,
    nixl::NixlTelemetry::DEF,
    ucx::UcxOps::DEF,
    ucx::UcxTransportCalls::DEF,
    rdma::RdmaOps::DEF,
    sockets::Sockets::DEF,
    sched::OffCpus::DEF,
    spans::Spans::DEF,
    clock::ClockProbes::DEF,
    capture::Drops::DEF,
    capture::SourceStates::DEF,
    capture::CaptureInfos::DEF,
];

/// The raw table of that name.
#[must_use]
pub fn raw(name: &str) -> Option<&'static TableDef> {
    RAW.iter().copied().find(|t| t.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sort_columns_exist() {
        let mut seen = std::collections::HashSet::new();
        for table in RAW {
            assert!(seen.insert(table.name), "{} is defined twice", table.name);
            for column in table.sorted_by {
                assert!(table.column(column).is_some(), "{}: sorted by unknown `{column}`", table.name);
            }
        }
    }

    #[test]
    fn every_column_of_time_carries_its_unit() {
        for table in RAW {
            for column in table.columns {
                let name = column.name;
                for word in ["start", "end", "dur", "time", "first", "last"] {
                    assert!(!name.starts_with(word) || name.ends_with("_ns"), "{}.{name}", table.name);
                }
            }
        }
    }
}
