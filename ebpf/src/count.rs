//! Counters in map values.
#![expect(unsafe_code, reason = "map values are reached by pointers")]

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// Adds to a live, aligned map value; atomic because the program can be preempted on its CPU. (`AtomicU64` has no
/// `fetch_add` for this target.)
#[inline(always)]
pub fn add(slot: Option<*mut u64>, count: u64) {
    if let Some(slot) = slot {
        // SAFETY: a live map value, aligned.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(slot, count) };
    }
}

/// Adds one to a slot of a map value of `N` (a power of two) counters.
#[inline(always)]
pub fn count<const N: usize>(counters: Option<*mut [u64; N]>, slot: u32) {
    // The compiler may know that this is in range; the verifier has to be shown.
    let slot = core::hint::black_box(slot as usize) % N;
    // SAFETY: within the live map value.
    add(counters.map(|counters| unsafe { counters.cast::<u64>().add(slot) }), 1);
}
