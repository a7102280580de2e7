//! Kernels: compiled here, for the GPU that is here.

use std::ffi::{CStr, CString};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use cudarc::driver::{result, sys};
use cudarc::nvrtc::{result as nvrtc, sys as nvrtc_sys};

use super::Context;

/// Kernels, compiled for one GPU.
pub struct Module {
    raw: sys::CUmodule,
    context: Arc<Context>,
}

/// A kernel with `N` parameters of 8 bytes.
pub struct Kernel<const N: usize> {
    pub(super) name: &'static str,
    pub(super) raw: sys::CUfunction,
    _module: Rc<Module>,
}

impl Module {
    /// Compiles CUDA C++ and loads it.
    ///
    /// # Errors
    /// The compiler's, with its words.
    pub fn compile(context: &Arc<Context>, source: &CStr) -> anyhow::Result<Rc<Self>> {
        context.enter()?;
        let image = compiled(source, context.capability()?)?;
        // SAFETY: a whole image, of the compiler that belongs to the driver's interface.
        let raw = unsafe { result::module::load_data(image.as_ptr().cast()) }.context("the kernels do not load")?;
        Ok(Rc::new(Self { raw, context: Arc::clone(context) }))
    }

    /// Finds a kernel.
    ///
    /// # Errors
    /// There is none of that name, or its parameters are others.
    pub fn kernel<const N: usize>(self: &Rc<Self>, name: &'static str) -> anyhow::Result<Kernel<N>> {
        // SAFETY: the module is loaded.
        let raw = unsafe { result::module::get_function(self.raw, CString::new(name)?) }
            .with_context(|| format!("no kernel {name}"))?;
        let size_of = |index| {
            let (mut offset, mut size) = (0, 0);
            // SAFETY: writes two numbers; an index beyond the last is an error.
            let found = unsafe { sys::cuFuncGetParamInfo(raw, index, &raw mut offset, &raw mut size) };
            found.result().ok().map(|()| size)
        };
        ensure!((0..N).all(|index| size_of(index) == Some(8)) && size_of(N).is_none(), "parameters of kernel {name}");
        Ok(Kernel { name, raw, _module: Rc::clone(self) })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: loaded once, unloaded once; its kernels hold it.
        let _ = self.context.enter().map(|()| unsafe { result::module::unload(self.raw) });
    }
}

/// Machine code of `source` for a compute capability (times ten). Needs no GPU.
fn compiled(source: &CStr, capability: i32) -> anyhow::Result<Vec<i8>> {
    let program = nvrtc::create_program(source, Some(c"kernels.cu")).context("NVRTC does not start")?;
    let options = [format!("--gpu-architecture=sm_{capability}")];
    // SAFETY: the program lives until it is destroyed below; `log` and `image` are as long as NVRTC says.
    unsafe {
        let outcome = nvrtc::compile_program(program, &options);
        let log = nvrtc::get_program_log(program).unwrap_or_default();
        let mut image = Vec::new();
        let read = outcome.and_then(|()| {
            let mut size = 0;
            nvrtc_sys::nvrtcGetCUBINSize(program, &raw mut size).result()?;
            image.resize(size, 0);
            nvrtc_sys::nvrtcGetCUBIN(program, image.as_mut_ptr()).result()
        });
        let _ = nvrtc::destroy_program(program);
        if let Err(error) = read {
            let log: Vec<u8> = log.iter().map(|c| c.cast_unsigned()).filter(|c| *c != 0).collect();
            bail!("the kernels do not compile: {error:?}\n{}", String::from_utf8_lossy(&log));
        }
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_compile() {
        // SAFETY: opens and closes libraries by name.
        if !unsafe { nvrtc_sys::is_culib_present() } {
            eprintln!("skipped: no NVRTC");
            return;
        }
        let image = compiled(crate::device::cuda::KERNELS, 90).unwrap();
        assert!(image.starts_with(&b"\x7fELF".map(u8::cast_signed)));
    }
}
