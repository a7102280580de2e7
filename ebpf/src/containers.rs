//! Memory of the traced process in bulk: strings and vectors as libstdc++ has them.
#![expect(unsafe_code, reason = "addresses of the process, and records that are being filled in")]

use aya_ebpf::helpers::generated::bpf_probe_read_user as read_user_bytes;
use kvpath_schema::wire::nixl::{TEXT_MAX, Text};

use crate::user::read;

/// Copies `len` bytes, at most `room`, from the process.
#[inline(always)]
pub fn copy(to: *mut u8, len: u64, room: u64, from: u64) -> bool {
    let len = if len < room { len } else { room };
    // SAFETY: callers pass `room` bytes that they own; the helper checks the source.
    len == 0 || unsafe { read_user_bytes(to.cast(), len as u32, from as *const _) } == 0
}

/// The elements of a `std::vector`.
pub struct List {
    /// The first.
    pub begin: u64,
    /// How many.
    pub count: u64,
}

/// A `std::vector` of elements of `element` bytes.
#[inline(always)]
pub fn vector(vector: u64, element: u32) -> Option<List> {
    let begin: u64 = read(vector)?;
    let end: u64 = read(vector + 8)?;
    let count = end.checked_sub(begin)?.checked_div(u64::from(element))?;
    Some(List { begin, count })
}

/// Copies a `std::string`.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
pub unsafe fn text(to: *mut Text, string: u64) {
    let (ptr, len) = (read::<u64>(string), read::<u64>(string + 8));
    // SAFETY: by contract.
    unsafe {
        (*to).len = len.unwrap_or(0);
        (*to).read = match (ptr, len) {
            (Some(ptr), Some(len)) => u64::from(copy((&raw mut (*to).bytes).cast(), len, TEXT_MAX as u64, ptr)),
            _ => 0,
        };
    }
}
