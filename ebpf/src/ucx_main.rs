//! BPF programs for UCX: an object of its own, so that its maps are made only where it is asked for.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "an atomic add on a map value")]

mod count;
mod end;
mod stack;
mod ucx;
mod user;
