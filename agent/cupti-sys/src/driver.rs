//! What the CUDA driver says without CUPTI: whether this process has a context.
#![expect(unsafe_code, reason = "calls of the driver")]

use core::ffi::{c_int, c_uint, c_void};

use crate::library::Library;

type GetCount = unsafe extern "C" fn(*mut c_int) -> c_int;
type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
type GetUuid = unsafe extern "C" fn(*mut [u8; 16], c_int) -> c_int;
type GetState = unsafe extern "C" fn(c_int, *mut c_uint, *mut c_int) -> c_int;

/// The driver that is in the process. Its functions fail, and do nothing else, while `cuInit` has not returned.
#[derive(Debug, Clone, Copy)]
pub struct Driver {
    get_count: GetCount,
    get: Get,
    get_state: GetState,
    /// Not in drivers of before CUDA 9.2.
    get_uuid: Option<GetUuid>,
}

impl Driver {
    /// The driver, if the process has loaded it.
    #[must_use]
    pub fn of_process() -> Option<Self> {
        let driver = Library::loaded("libcuda.so.1")?;
        // That of a part of a GPU (MIG) is told from CUDA 11.4 on.
        let get_uuid = driver.symbol(c"cuDeviceGetUuid_v2").or_else(|| driver.symbol(c"cuDeviceGetUuid"));
        // SAFETY: these functions have had these signatures since CUDA 2.2, 7.0 and 9.2.
        unsafe {
            Some(Self {
                get_count: core::mem::transmute::<*mut c_void, GetCount>(driver.symbol(c"cuDeviceGetCount")?),
                get: core::mem::transmute::<*mut c_void, Get>(driver.symbol(c"cuDeviceGet")?),
                get_state: core::mem::transmute::<*mut c_void, GetState>(driver.symbol(c"cuDevicePrimaryCtxGetState")?),
                get_uuid: get_uuid.map(|symbol| core::mem::transmute::<*mut c_void, GetUuid>(symbol)),
            })
        }
    }

    /// The UUIDs of all devices that the process sees, in the order of its own numbers; `None` while `cuInit` has not returned, or
    /// where the driver does not tell them.
    #[must_use]
    pub fn uuids(&self) -> Option<Vec<[u8; 16]>> {
        let (get_uuid, mut count) = (self.get_uuid?, 0);
        // SAFETY: writes one int.
        if unsafe { (self.get_count)(&raw mut count) } != 0 {
            return None;
        }
        let uuid = |ordinal| {
            let (mut device, mut uuid) = (0, [0; 16]);
            // SAFETY: write one int, and the 16 bytes of a `CUuuid`.
            let told = unsafe { (self.get)(&raw mut device, ordinal) == 0 && get_uuid(&raw mut uuid, device) == 0 };
            told.then_some(uuid)
        };
        (0..count).map(uuid).collect()
    }

    /// Whether a device has its primary context, the one of the CUDA runtime; `None` while `cuInit` has not returned. Waits
    /// while a context is in the making.
    #[must_use]
    pub fn has_context(&self) -> Option<bool> {
        let mut count = 0;
        // SAFETY: writes one int.
        if unsafe { (self.get_count)(&raw mut count) } != 0 {
            return None;
        }
        let has = (0..count).any(|ordinal| {
            let (mut device, mut flags, mut active) = (0, 0, 0);
            // SAFETY: write one int each, and flags.
            unsafe {
                (self.get)(&raw mut device, ordinal) == 0
                    && (self.get_state)(device, &raw mut flags, &raw mut active) == 0
                    && active != 0
            }
        });
        Some(has)
    }
}
