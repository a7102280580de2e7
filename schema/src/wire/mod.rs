//! Layouts that BPF programs write and the agent reads: `repr(C)`, explicit padding, sizes asserted, one file a source.

pub mod nixl;
