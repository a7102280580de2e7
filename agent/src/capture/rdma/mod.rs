//! RDMA verbs by uprobes on `libibverbs` and `libmlx5`, where it is asked for: the control path, which is walked seldom.
//!
//! Hooks: registration of memory, queue pairs and completion queues; of a function with several symbol versions, each.
//! Emits: `rdma_ops`.
//! Loses when full: whole records, counted.
//! Limits: posting and polling are inlined into their callers and ring doorbells of the device: invisible.

mod functions;
mod rows;
pub mod source;
