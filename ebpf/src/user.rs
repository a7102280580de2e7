//! Memory of the traced process.
#![expect(unsafe_code, reason = "addresses of the process")]

use aya_ebpf::helpers::bpf_probe_read_user;

/// Reads a value.
#[inline(always)]
pub fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and reports a fault.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}
