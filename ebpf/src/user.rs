//! Memory of the traced process.
#![expect(unsafe_code, reason = "addresses of the process, and the kernel's pointer to its registers")]

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::programs::ProbeContext;

/// Reads a value.
#[inline(always)]
pub fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and reports a fault.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// Argument `n` (from 0) of those on the stack, above the return address.
#[inline(always)]
pub fn stack_arg(ctx: &ProbeContext, n: u64) -> Option<u64> {
    // SAFETY: the kernel's registers of the traced thread.
    let sp = unsafe { (*ctx.regs).rsp };
    read(sp + 8 + 8 * n)
}
