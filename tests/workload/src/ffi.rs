//! The clock, the thread id, and memory that NIXL may write.
#![expect(unsafe_code, reason = "libc calls without a safe form in std, and nixl-sys asks for a raw pointer")]

use nixl_sys::{MemType, MemoryRegion, NixlDescriptor};

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

/// One layer's KV cache.
#[derive(Debug)]
pub struct Region(Vec<u8>);

impl Region {
    /// Zeroed memory, all of it touched.
    pub fn new(bytes: usize) -> Self {
        let mut memory = vec![0; bytes];
        // A page that was never written is not there yet, and would be made in the middle of a transfer.
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        memory.fill(0);
        Self(memory)
    }

    /// Where it lies.
    pub fn address(&self) -> usize {
        self.0.as_ptr() as usize
    }

    /// One block.
    pub fn block(&self, slot: u32, bytes: usize) -> &[u8] {
        let start = slot as usize * bytes;
        &self.0[start..start + bytes]
    }

    /// One block, to write.
    pub fn block_mut(&mut self, slot: u32, bytes: usize) -> &mut [u8] {
        let start = slot as usize * bytes;
        &mut self.0[start..start + bytes]
    }
}

impl MemoryRegion for Region {
    // SAFETY: the vector is never grown, so the pointer is good as long as the region lives.
    unsafe fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn size(&self) -> usize {
        self.0.len()
    }
}

impl NixlDescriptor for Region {
    fn mem_type(&self) -> MemType {
        MemType::Dram
    }

    fn device_id(&self) -> u64 {
        0
    }
}
