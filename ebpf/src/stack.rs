//! Arguments that are passed on the stack.
#![expect(unsafe_code, reason = "the kernel's pointer to the registers of the traced thread")]

use aya_ebpf::programs::ProbeContext;

use crate::user::read;

/// Argument `n` (from 0) of those on the stack, above the return address.
#[inline(always)]
pub fn stack_arg(ctx: &ProbeContext, n: u64) -> Option<u64> {
    // SAFETY: the kernel's registers of the traced thread.
    let sp = unsafe { (*ctx.regs).rsp };
    read(sp + 8 + 8 * n)
}
