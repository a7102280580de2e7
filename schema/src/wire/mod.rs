//! Layouts that two programs share: what BPF programs write and the agent reads (`repr(C)`, explicit padding, sizes
//! asserted), and the ring file of a process that `libkvpath_inject.so` is loaded into. One file a source.

pub mod calls;
pub mod mooncake;
pub mod nixl;
pub mod rdma;
pub mod ring;
pub mod sched;
pub mod sockets;
pub mod ucx;
