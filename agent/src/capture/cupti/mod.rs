//! The GPU and NVTX by `libkvpath_inject.so`, which CUDA and NVTX load into the traced process.
//!
//! Hooks: CUPTI's activity records and NVTX's function tables; the library hands records over through a ring file.
//! Emits: `kernels`, `memcpys`, `memsets`, `gpu_syncs`, `cuda_events`, `graph_launches`, `cupti_overheads`, `api_calls` (source
//! `cupti`), `nvtx_ranges` (source `nvtx`).
//! Costs: CUPTI's own cost, by level; about 20 ns of one thread of the process a record, and a clock read and a record on
//! the calling thread an NVTX event.
//! Loses when full: whole records, counted by kind in the ring; the traced process never waits.

pub mod decode;
pub mod environment;
pub mod folders;
pub mod interned;
pub mod names;
pub mod plan;
pub mod rows;
pub mod silence;
pub mod source;
mod tap;
