//! A library of NIXL in this process: its functions, and what lies in memory. This process was started for nothing else, holds nothing
//! of worth, and is confined: what the library breaks is this process alone.
#![expect(unsafe_code, reason = "functions of a library that was opened by name, and addresses that it gave")]

use std::ffi::{CStr, CString, c_int, c_void};

/// Most arguments of a call.
const ARGS: usize = 10;

/// An open library. It stays open.
pub struct Library {
    handle: *mut c_void,
}

impl Library {
    /// Opens it by its path.
    ///
    /// # Errors
    /// What the loader says.
    pub fn open(path: &str) -> Result<Self, String> {
        let path = CString::new(path).map_err(|error| error.to_string())?;
        // SAFETY: a path with its end; what the library does as it is loaded is what this process is for.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if handle.is_null() { Err(loader_error()) } else { Ok(Self { handle }) }
    }

    /// Whether it, or a library that it needs, has a function of that name.
    pub fn has(&self, name: &str) -> bool {
        self.symbol(name).is_some()
    }

    /// Calls a function with integers and addresses, in the order of its parameters, and gives its `int`.
    ///
    /// # Errors
    /// There is no such function.
    pub fn call(&self, name: &str, args: &[u64]) -> Result<c_int, String> {
        type Function = extern "C" fn(u64, u64, u64, u64, u64, u64, u64, u64, u64, u64) -> c_int;
        let symbol = self.symbol(name).ok_or_else(|| format!("it has no {name}"))?;
        let mut all = [0; ARGS];
        all[..args.len()].copy_from_slice(args);
        // SAFETY: by the x86-64 convention integers are passed alike whatever their width, and what a function does not take it does
        // not look at.
        let function: Function = unsafe { std::mem::transmute(symbol) };
        Ok(function(all[0], all[1], all[2], all[3], all[4], all[5], all[6], all[7], all[8], all[9]))
    }

    fn symbol(&self, name: &str) -> Option<*mut c_void> {
        let name = CString::new(name).ok()?;
        // SAFETY: an open library and a name with its end.
        let symbol = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        (!symbol.is_null()).then_some(symbol)
    }
}

fn loader_error() -> String {
    // SAFETY: gives a text of this thread, or none.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "it cannot be loaded".to_owned();
    }
    // SAFETY: it is one, until the next call of the loader.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Bytes of this process; `None` where they are not all there. A wild address is an answer and not a crash.
pub fn read(address: u64, count: usize) -> Option<Vec<u8>> {
    let mut into = vec![0u8; count];
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: count };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: count };
    // SAFETY: `into` has that room; the kernel looks at the other address.
    let copied = unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    (usize::try_from(copied) == Ok(count)).then_some(into)
}

/// Overwrites memory that was made for it.
pub fn write(memory: &Region, bytes: &[u8]) {
    let count = bytes.len().min(memory.size);
    // SAFETY: the region is that long and is never given back; the library's threads may look at it meanwhile, as with any transfer.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.address as *mut u8, count) };
}

/// The size of an object that was allocated.
pub fn allocated(address: u64) -> usize {
    // SAFETY: the library says that it has allocated this.
    unsafe { libc::malloc_usable_size(address as *mut c_void) }
}

/// Memory for transfers, which is never given back.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    /// First byte.
    pub address: u64,
    /// Size, bytes.
    pub size: usize,
}

impl Region {
    /// New memory.
    pub fn new(size: usize) -> Self {
        let memory = Box::leak(vec![0u8; size].into_boxed_slice());
        Self { address: memory.as_mut_ptr() as u64, size }
    }

    /// Memory with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let region = Self::new(bytes.len().max(1));
        write(&region, bytes);
        region
    }
}

/// Ends this process without the exit handlers of its libraries.
pub fn leave(code: c_int) -> ! {
    // SAFETY: has no conditions.
    unsafe { libc::_exit(code) }
}
