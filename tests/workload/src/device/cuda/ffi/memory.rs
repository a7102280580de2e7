//! Memory: of the device, of another process's device, page-locked of the host.

use std::ffi::c_uint;
use std::sync::Arc;

use anyhow::Context as _;
use cudarc::driver::{result, sys};

use super::Context;

/// Device memory that other processes can open: neither of a pool nor virtual.
pub struct Buffer {
    /// Where it is on the device.
    pub address: u64,
    /// Size, bytes.
    pub bytes: usize,
    context: Arc<Context>,
}

impl Buffer {
    /// Takes memory; what is in it is undefined.
    ///
    /// # Errors
    /// There is not as much.
    pub fn new(context: &Arc<Context>, bytes: usize) -> anyhow::Result<Self> {
        context.enter()?;
        // SAFETY: a context is current.
        let address =
            unsafe { result::malloc_sync(bytes) }.with_context(|| format!("no {bytes} bytes of GPU memory"))?;
        Ok(Self { address, bytes, context: Arc::clone(context) })
    }

    /// What another process opens it by.
    ///
    /// # Errors
    /// This machine has no such sharing.
    pub fn share(&self) -> anyhow::Result<[u8; 64]> {
        let mut handle = sys::CUipcMemHandle { reserved: [0; 64] };
        // SAFETY: the address is the start of an allocation.
        unsafe { sys::cuIpcGetMemHandle(&raw mut handle, self.address) }
            .result()
            .context("GPU memory is not shared")?;
        Ok(handle.reserved.map(i8::cast_unsigned))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, freed once; the driver waits for work that uses it.
        let _ = self.context.enter().map(|()| unsafe { result::free_sync(self.address) });
    }
}

/// Another process's [`Buffer`].
pub struct Opened {
    /// Where it is for this process's device.
    pub address: u64,
    context: Arc<Context>,
}

impl Opened {
    /// Opens what [`Buffer::share`] gave; also that of another GPU, if this one reaches it.
    ///
    /// # Errors
    /// The process has ended or is this one, or that GPU is out of reach or not visible.
    pub fn new(context: &Arc<Context>, handle: [u8; 64]) -> anyhow::Result<Self> {
        context.enter()?;
        let handle = sys::CUipcMemHandle { reserved: handle.map(u8::cast_signed) };
        let flags = sys::CUipcMem_flags::CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS as c_uint;
        let mut address = 0;
        // SAFETY: writes one address; the driver judges the handle.
        unsafe { sys::cuIpcOpenMemHandle_v2(&raw mut address, handle, flags) }
            .result()
            .context("another process's GPU memory does not open")?;
        Ok(Self { address, context: Arc::clone(context) })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: opened by `new`, closed once.
        let _ = self.context.enter().map(|()| unsafe { sys::cuIpcCloseMemHandle(self.address) });
    }
}

/// Page-locked host memory, words of 8 bytes.
pub struct Pinned {
    start: *mut u64,
    words: usize,
    context: Arc<Context>,
}

impl Pinned {
    /// Takes memory, zeroed.
    ///
    /// # Errors
    /// There is not as much.
    pub fn new(context: &Arc<Context>, words: usize) -> anyhow::Result<Self> {
        context.enter()?;
        // SAFETY: a context is current.
        let start = unsafe { result::malloc_host(words * 8, 0) }.context("no page-locked memory")?.cast::<u64>();
        // SAFETY: just allocated, so many words, page-aligned.
        unsafe { start.write_bytes(0, words) };
        Ok(Self { start, words, context: Arc::clone(context) })
    }

    /// How many words it holds.
    pub fn words(&self) -> usize {
        self.words
    }

    /// The words. No copy from or to it may be under way.
    pub fn as_mut(&mut self) -> &mut [u64] {
        // SAFETY: allocated and initialised by `new`, borrowed from `self`.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.words) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, freed once; the driver waits for copies that use it.
        let _ = self.context.enter().map(|()| unsafe { result::free_host(self.start.cast()) });
    }
}
