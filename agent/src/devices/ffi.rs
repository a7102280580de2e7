//! NVML, the driver's library for its devices, opened at run time: the agent builds and runs without it.
#![expect(unsafe_code, reason = "dlopen, dlsym and calls into NVML")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem;
use std::ptr;

use super::Driver;

/// `NVML_SUCCESS`.
const SUCCESS: c_int = 0;
/// `NVML_DEVICE_NAME_V2_BUFFER_SIZE` and `NVML_DEVICE_UUID_V2_BUFFER_SIZE`.
const TEXT_BYTES: c_uint = 96;

/// `nvmlMemory_t`, bytes.
#[repr(C)]
#[derive(Default)]
struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

type Plain = unsafe extern "C" fn() -> c_int;
type Count = unsafe extern "C" fn(*mut c_uint) -> c_int;
type Handle = unsafe extern "C" fn(c_uint, *mut *mut c_void) -> c_int;
type Text = unsafe extern "C" fn(*mut c_void, *mut c_char, c_uint) -> c_int;
type MemoryInfo = unsafe extern "C" fn(*mut c_void, *mut Memory) -> c_int;

/// NVML, initialised; the functions are those of `nvml.h` since CUDA 4 and 8, unchanged up to 13.
pub struct Nvml {
    library: *mut c_void,
    shutdown: Plain,
    count: Count,
    handle: Handle,
    name: Text,
    uuid: Text,
    memory: MemoryInfo,
}

impl Nvml {
    /// The library of that name or path, if it is there, whole, and finds its driver.
    pub fn open(library: &CStr) -> Option<Self> {
        // SAFETY: the name ends in zero; opening runs the initialisers of the driver's own library.
        let library = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            return None;
        }
        let found = Self::of(library);
        if found.is_none() {
            // SAFETY: open, and nothing of it is in use.
            unsafe { libc::dlclose(library) };
        }
        found
    }

    fn of(library: *mut c_void) -> Option<Self> {
        let symbol = |name: &CStr| {
            // SAFETY: the library is open, the name ends in zero.
            let found = unsafe { libc::dlsym(library, name.as_ptr()) };
            (!found.is_null()).then_some(found)
        };
        let (init, shutdown) = (symbol(c"nvmlInit_v2")?, symbol(c"nvmlShutdown")?);
        let (count, handle) = (symbol(c"nvmlDeviceGetCount_v2")?, symbol(c"nvmlDeviceGetHandleByIndex_v2")?);
        let (name, uuid) = (symbol(c"nvmlDeviceGetName")?, symbol(c"nvmlDeviceGetUUID")?);
        let memory = symbol(c"nvmlDeviceGetMemoryInfo")?;
        // SAFETY: functions of these names have these signatures in every `nvml.h`.
        let (init, nvml) = unsafe {
            let init: Plain = mem::transmute(init);
            let nvml = Self {
                library,
                shutdown: mem::transmute::<*mut c_void, Plain>(shutdown),
                count: mem::transmute::<*mut c_void, Count>(count),
                handle: mem::transmute::<*mut c_void, Handle>(handle),
                name: mem::transmute::<*mut c_void, Text>(name),
                uuid: mem::transmute::<*mut c_void, Text>(uuid),
                memory: mem::transmute::<*mut c_void, MemoryInfo>(memory),
            };
            (init, mem::ManuallyDrop::new(nvml))
        };
        // SAFETY: takes nothing; the library is open.
        let ready = unsafe { init() } == SUCCESS;
        ready.then(|| mem::ManuallyDrop::into_inner(nvml))
    }

    fn device(&self, index: u32) -> Option<*mut c_void> {
        let mut device = ptr::null_mut();
        // SAFETY: initialised; writes one pointer, which is ours.
        let said = unsafe { (self.handle)(index, &raw mut device) };
        (said == SUCCESS).then_some(device)
    }

    fn text(&self, index: u32, ask: Text) -> Option<String> {
        let device = self.device(index)?;
        let mut bytes = [0u8; TEXT_BYTES as usize];
        // SAFETY: a handle that NVML gave; writes at most as many bytes as it is told, into ours.
        let said = unsafe { ask(device, bytes.as_mut_ptr().cast(), TEXT_BYTES) };
        let text = CStr::from_bytes_until_nul(&bytes).ok().filter(|_| said == SUCCESS)?;
        Some(text.to_string_lossy().into_owned())
    }
}

impl Driver for Nvml {
    fn count(&self) -> u32 {
        let mut count = 0;
        // SAFETY: initialised; writes one number, which is ours.
        let said = unsafe { (self.count)(&raw mut count) };
        if said == SUCCESS { count } else { 0 }
    }

    fn name(&self, index: u32) -> Option<String> {
        self.text(index, self.name)
    }

    fn uuid(&self, index: u32) -> Option<String> {
        self.text(index, self.uuid)
    }

    fn memory_bytes(&self, index: u32) -> Option<u64> {
        let device = self.device(index)?;
        let mut memory = Memory::default();
        // SAFETY: a handle that NVML gave; writes one struct, which is ours.
        let said = unsafe { (self.memory)(device, &raw mut memory) };
        (said == SUCCESS).then_some(memory.total)
    }
}

impl Drop for Nvml {
    fn drop(&mut self) {
        // SAFETY: initialised once, and open; nothing of it is used afterwards.
        unsafe {
            (self.shutdown)();
            libc::dlclose(self.library);
        }
    }
}
