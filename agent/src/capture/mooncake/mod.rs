//! Mooncake's transfer engine by uprobes on `engine.so`, into the tables of NIXL.
//!
//! Hooks: the functions that `builds.toml` names for each known Build ID: `openSegment` (and its return, once a peer),
//! `registerLocalMemory` and its batch, `submitTransfer`, `freeBatchID`. Polls are not probed: callers make them in a loop without
//! a pause.
//! Emits: `nixl_agents`, `nixl_regions`, `nixl_transfers`, `nixl_descriptors`, with `library` = `mooncake`.
//! Costs: two traps a batch, and what its requests take to copy: one record for each 64 of them.
//! Loses when full: whole records, counted by table; the traced process never waits.
//! Limits: a transfer's end is known to lie between its submit and the freeing of its batch. Whether a registration succeeded is
//! not seen, nor a peer that was opened before recording began. Transfers in slices of the caller's (`submitScatter`, which
//! Mooncake's store uses) and the engine of another design that `MC_USE_TENT` switches on are not recorded. An exception that leaves
//! `openSegment` ends the process (`std::terminate`), because unwinding does not get past the kernel's return trampoline.

pub mod assemble;
pub mod attach;
pub mod builds;
pub mod decode;
pub mod memory;
pub mod source;
