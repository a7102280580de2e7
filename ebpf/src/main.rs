//! BPF programs for NIXL.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "an atomic add on a map value")]

mod containers;
mod count;
mod end;
mod nixl;
mod shape;
mod stack;
mod user;
