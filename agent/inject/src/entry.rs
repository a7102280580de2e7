//! The functions that CUDA and NVTX call first.
#![expect(unsafe_code, reason = "exported names, and tables of function pointers that NVTX hands over")]

use std::ffi::{c_int, c_void};
use std::panic::catch_unwind;

use crate::session::Session;
use crate::{cupti, nvtx};

/// Called by the CUDA driver, within `cuInit`, for the library that `CUDA_INJECTION64_PATH` names. 1 is success; always
/// given, for the program must run whether or not we can record.
#[unsafe(no_mangle)]
pub extern "C" fn InitializeInjection() -> c_int {
    let _ = catch_unwind(|| {
        if let Some(session) = Session::of_process() {
            cupti::start(session);
        }
    });
    1
}

/// Called by NVTX for the library that `NVTX_INJECTION64_PATH` names: once for each program or library that has NVTX
/// compiled in. 1 is success; 0 has NVTX turn its functions off.
///
/// # Safety
/// `export` is NVTX's function, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn InitializeInjectionNvtx2(export: Option<unsafe extern "C" fn(u32) -> *const c_void>) -> c_int {
    catch_unwind(|| {
        let (Some(export), Some(_)) = (export, Session::of_process()) else { return 0 };
        // SAFETY: the caller's promise.
        c_int::from(unsafe { nvtx::table::fill(export) })
    })
    .unwrap_or(0)
}
