//! Sources: a directory each, which goes from probes to rows of its tables. [`registry`] starts those that are asked for.

mod context;
pub mod cupti;
pub mod error;
pub mod kernel;
pub mod mooncake;
pub mod nixl;
pub mod pairs;
pub mod rdma;
pub mod registry;
pub mod sched;
pub mod sockets;
mod source;
pub mod telemetry;
pub mod tracepoints;
pub mod ucx;

pub use context::Context;
pub use source::{Budgeted, EndedProcess, RecordSource};
