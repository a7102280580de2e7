//! Functions of ours whose first instruction is known, to measure what a probe on it costs.
#![expect(unsafe_code, reason = "naked functions")]

use std::arch::naked_asm;

/// Starts with `push`, which the kernel emulates. Returns `NIXL_IN_PROG`.
#[unsafe(naked)]
pub extern "C" fn pushes(this: u64, handle: u64) -> u32 {
    // SAFETY: restores what it pushes, and returns.
    naked_asm!("push rbp", "mov eax, 1", "pop rbp", "ret")
}

/// The same, for a probe on its return as well.
#[unsafe(naked)]
pub extern "C" fn pushes_and_is_awaited(this: u64, handle: u64) -> u32 {
    // SAFETY: as above. It differs, lest the two be made one.
    naked_asm!("push rbp", "nop", "mov eax, 1", "pop rbp", "ret")
}

/// Starts with `mov`, which the kernel single-steps.
#[unsafe(naked)]
pub extern "C" fn moves(this: u64, handle: u64) -> u32 {
    // SAFETY: returns.
    naked_asm!("mov eax, 1", "ret")
}
