//! NIXL by uprobes on `libnixl.so` and its UCX plugin.
//!
//! Hooks: the functions that `builds.toml` names for each known Build ID; entries, and returns where a result matters.
//! Emits: `nixl_agents`, `nixl_calls`, `nixl_regions`, `nixl_prepared`, `nixl_transfers`, `nixl_descriptors`, `nixl_notifs`.
//! Costs: about 0.7 us an entry, 1.1 us a return in a virtual machine, plus what a record copies; one record a call,
//! none for a poll that is still pending or a `getNotifs` that brings nothing, one for each 64 descriptors of a post and each
//! notification that is taken.
//! Loses when full: whole records, counted by table; the traced process never waits.
//! Builds before 1.4 do not tell the size of a transfer: it is the sum of its descriptors, unknown beyond 65,536 of them.
//! A prepared list of single blocks (before NIXL 1.5) is not read whole: a search for the ends of its runs looks at some 40 blocks of
//! each, and takes those between for what they should be.
//! Builds that the table does not know: what `learn` has found out; else the layout of the release that the library names is taken (`release`), if its functions are
//! those of that release (`shape`), and held against the first posts (`judge`); until then transfers are not written.
//! Limits: an exception that leaves a function with a return probe ends the process (`std::terminate`), because unwinding
//! does not get past the kernel's return trampoline. One that is caught within the function does no harm. NIXL's own functions and its
//! UCX backend return errors; they let none out but those of the allocator (0.10 to 1.4, as read).

pub mod assemble;
pub mod attach;
pub mod builds;
pub mod decode;
pub mod examine;
mod judge;
mod libraries;
pub mod names;
pub mod release;
pub mod shape;
pub mod source;
