//! BPF programs for Mooncake: an object of its own, so that each source owns its maps.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "an atomic add on a map value")]

mod containers;
mod count;
mod end;
mod mooncake;
mod user;
