//! Sources: a directory each, which goes from probes to rows of its tables.

pub mod cupti;
pub mod nixl;
pub mod sched;
pub mod ucx;
