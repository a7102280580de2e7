//! The clock, the thread id, memory, and signals.
#![expect(unsafe_code, reason = "libc calls without a safe form in std, and nixl-sys asks for a raw pointer")]

use nixl_sys::{MemType, MemoryRegion, NixlDescriptor};

use crate::device::Region;

/// `CLOCK_MONOTONIC`, ns.
pub fn now_ns() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec, which is ours; this clock exists on every Linux, so it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// OS id of the calling thread.
pub fn thread_id() -> i32 {
    // SAFETY: takes no pointer.
    unsafe { libc::gettid() }
}

/// Ends the process without its exit handlers: those of libraries that wheels of NIXL bring crash where the system has other
/// copies of them (libnl, once there is a libibverbs).
pub fn end(code: i32) -> ! {
    // SAFETY: nothing of this program waits for an exit handler.
    unsafe { libc::_exit(code) }
}

/// Kills a process, as the kernel does when memory is short; gives whether there was one.
pub fn kill(pid: u32) -> bool {
    // SAFETY: takes numbers. Pids of 0 and below, which mean groups, are no process.
    i32::try_from(pid).is_ok_and(|pid| pid > 0 && unsafe { libc::kill(pid, libc::SIGKILL) } == 0)
}

/// Zeroed memory, all of it touched.
pub fn touched(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0; bytes];
    // A page that was never written is not there yet, and would be made in the middle of a transfer.
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    memory.fill(0);
    memory
}

/// Where a region lies, as nixl-sys wants to be told.
#[derive(Debug, Clone, Copy)]
pub struct MemoryRange {
    address: usize,
    bytes: usize,
    memory: MemType,
    device_id: u64,
}

impl MemoryRange {
    /// That of a region. It does not keep the region.
    pub fn of(region: &Region) -> Self {
        let Region { address, bytes, memory, device_id, .. } = *region;
        Self { address, bytes, memory, device_id }
    }
}

impl MemoryRegion for MemoryRange {
    // SAFETY: NIXL takes the number for a descriptor; nothing is read through it here.
    unsafe fn as_ptr(&self) -> *const u8 {
        std::ptr::without_provenance(self.address)
    }

    fn size(&self) -> usize {
        self.bytes
    }
}

impl NixlDescriptor for MemoryRange {
    fn mem_type(&self) -> MemType {
        self.memory
    }

    fn device_id(&self) -> u64 {
        self.device_id
    }
}
