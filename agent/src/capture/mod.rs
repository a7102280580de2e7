//! Sources: a directory each, which goes from probes to rows of its tables.

pub mod cupti;
pub mod nixl;
pub mod pairs;
pub mod rdma;
pub mod sched;
pub mod ucx;
