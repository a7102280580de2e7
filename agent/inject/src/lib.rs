//! `libkvpath_inject.so`: loaded into a traced process by CUDA (`CUDA_INJECTION64_PATH`) and by NVTX
//! (`NVTX_INJECTION64_PATH`); hands what it sees to kvpath-agent through a ring file and does nothing else.
//!
//! What it may never do: wait for anything, keep more memory than it took at the start, write anything but its ring, or
//! let an error out. Every entry point catches panics; whatever does not work is counted in the ring's header, and the
//! program goes on.
//!
//! * [`entry`]: the functions that CUDA and NVTX call first;
//! * [`session`]: the process's one ring; begun anew in a process that is forked off;
//! * [`lane`]: which lane of the ring a thread writes to;
//! * [`cupti`]: buffers, records, levels, and the one thread that decodes;
//! * [`nvtx`]: ranges and marks;
//! * [`ffi`]: the C library.

mod cupti;
mod entry;
mod ffi;
mod lane;
mod nvtx;
mod session;
