//! CUDA driver, NVRTC and cuBLAS behind safe functions: memory, streams, events, kernels, graphs, memory of other processes.
//!
//! Opened at run time; without them there is an error that says what is missing. Device addresses are numbers here: a
//! wrong one is the device's error (illegal address), which a later call reports, and touches no memory of this process.

#![expect(unsafe_code, reason = "CUDA's interfaces are C")]

mod blas;
mod kernel;
mod memory;
mod queue;

use std::ffi::c_int;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cudarc::driver::{result, sys};

pub use blas::{Blas, Matrix, Product};
pub use kernel::{Kernel, Module};
pub use memory::{Buffer, Opened, Pinned};
pub use queue::{Event, Graph, Stream};

/// Oldest driver that has what is called here: `cuFuncGetParamInfo`, 12.4.
const OLDEST_DRIVER: c_int = 12040;

/// Visible GPUs.
///
/// # Errors
/// There is no driver, or it finds no GPU.
pub fn devices() -> anyhow::Result<usize> {
    // SAFETY: opens and closes libraries by name; the driver's run nothing of ours.
    let present = unsafe { sys::is_culib_present() };
    ensure!(present, "no CUDA driver: libcuda.so.1 is not there");
    result::init().context("the CUDA driver does not start")?;
    let mut version = 0;
    // SAFETY: writes one int.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().context("no driver version")?;
    ensure!(
        version >= OLDEST_DRIVER,
        "the driver is for CUDA {}.{}; 12.4 is needed",
        version / 1000,
        version % 1000 / 10
    );
    let count = result::device::get_count().context("no count of GPUs")?;
    Ok(usize::try_from(count)?)
}

/// A GPU's primary context, which UCX and NIXL use too.
pub struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
}

// SAFETY: a context may be made current on any thread, and on many at a time; its handle does not change.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Opens the GPU with this index among the visible ones, and makes its context current on this thread.
    ///
    /// # Errors
    /// No driver, no such GPU, or no cuBLAS or NVRTC.
    pub fn open(index: usize) -> anyhow::Result<Arc<Self>> {
        let count = devices()?;
        ensure!(index < count, "there is no GPU {index}: {count} are visible");
        // SAFETY: opens and closes libraries by name.
        let (blas, nvrtc) =
            unsafe { (cudarc::cublas::sys::is_culib_present(), cudarc::nvrtc::sys::is_culib_present()) };
        ensure!(blas, "libcublas.so is not found; LD_LIBRARY_PATH names its folder");
        ensure!(nvrtc, "libnvrtc.so is not found; LD_LIBRARY_PATH names its folder");
        let device = result::device::get(c_int::try_from(index)?).context("no GPU")?;
        // SAFETY: the device is the driver's.
        let raw = unsafe { result::primary_ctx::retain(device) }.context("no context on the GPU")?;
        let context = Arc::new(Self { device, raw });
        context.enter()?;
        Ok(context)
    }

    /// Makes the context current on this thread.
    ///
    /// # Errors
    /// The device has failed.
    pub fn enter(&self) -> anyhow::Result<()> {
        // SAFETY: retained until `self` is dropped.
        unsafe { result::ctx::set_current(self.raw) }.context("no current context")
    }

    /// Compute capability times ten: 90 is Hopper.
    fn capability(&self) -> anyhow::Result<i32> {
        use sys::CUdevice_attribute as Attribute;
        let of = |attribute| {
            // SAFETY: the device is the driver's.
            unsafe { result::device::get_attribute(self.device, attribute) }.context("no compute capability")
        };
        let major = of(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        Ok(major * 10 + of(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once by `open`; all that lives in it holds it.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}
