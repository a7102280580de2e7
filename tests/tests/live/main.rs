//! The real agent on the real workload (requires root, BPF, and a NIXL wheel; no GPU).
//!
//! Each test records a run, reads the segments back, and compares them with what the workload says it did. Needed:
//! `kvpath-agent` and `kvpath-workload` built with the same profile beside this binary; the wheel in `KVPATH_NIXL` or in
//! `nixl-1.5.1` below the target folder; for other releases, wheels in the folders of `KVPATH_OTHER_NIXL`; for Mooncake, python3 and the wheel in `KVPATH_MOONCAKE` or in
//! `mooncake-0.3.13.post1` there. Where something
//! is missing, a test prints `SKIPPED live::<test>: <why>` on stderr, past the capture of its output, so that a caller can
//! count what did not run.

mod agents;
mod assumed;
mod budget;
mod calls;
mod capabilities;
mod clocks;
mod discovery;
mod ends;
mod kills;
mod knobs;
mod learn;
mod mooncake;
mod prepared;
mod recorded;
mod refusals;
mod releases;
mod sched;
mod setup;
mod sockets;
mod storage;
mod telemetry;
mod transfers;
mod truth;
mod ucx;
mod vm;
