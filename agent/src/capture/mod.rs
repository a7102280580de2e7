//! Sources: a directory each, which goes from probes to rows of its tables.

pub mod cupti;
pub mod error;
pub mod nixl;
pub mod pairs;
pub mod rdma;
pub mod sched;
pub mod sockets;
pub mod telemetry;
pub mod tracepoints;
pub mod ucx;
