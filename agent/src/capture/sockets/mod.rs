//! Sockets by the kernel's tracepoints, where they are asked for: whatever else sends or receives on the machine pays a
//! look-up a call.
//!
//! Hooks: `sock:sock_send_length` and `sock:sock_recv_length`, for traced processes; counted in the kernel.
//! Emits: `sockets`.
//! Loses when full: calls on connections beyond 65,536, counted.
//! Limits: a process is watched from the first look after its first recorded call on; what is received by other ways than
//! calls of the socket (`io_uring`, `splice`) is not told.

pub mod programs;
mod rows;
pub mod source;
