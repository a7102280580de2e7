//! The real `libkvpath_inject.so` in a process of its own, with a mock GPU, read by the real reader.
//!
//! (no GPU, no BPF, no root)

mod attach;
mod ends;
mod gpu;
mod host;
mod nvtx;
mod readers;
