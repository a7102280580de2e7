//! Which libcupti belongs to the process: never one that merely lies around, for several versions do.
#![expect(unsafe_code, reason = "dlopen and dlsym")]

use core::ffi::{CStr, c_char, c_int, c_void};
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// Major versions that are known, newest first.
const MAJORS: [u32; 2] = [13, 12];

/// An open libcupti. It is never closed: CUPTI calls back into its clients until the process ends.
#[derive(Debug)]
pub struct Library {
    handle: *mut c_void,
    /// How it was found, for diagnostics.
    pub name: String,
}

impl Library {
    /// Opens the libcupti at `named` if that is given; else the one that is in the process already; else the one beside
    /// the process's libcudart; else the one that the dynamic linker finds. CUDA's major version is that of the libcudart
    /// in the process, or that of the driver.
    #[must_use]
    pub fn of_process(named: Option<&Path>) -> Option<Self> {
        if let Some(path) = named {
            return open(path.to_str()?, false);
        }
        let runtimes = runtimes(&std::fs::read_to_string("/proc/self/maps").unwrap_or_default());
        let majors = order(runtimes.first().map(|runtime| runtime.0).or_else(driver_major));
        let soname = |major: u32| format!("libcupti.so.{major}");
        if let Some(loaded) = majors.iter().find_map(|major| open(&soname(*major), true)) {
            return Some(loaded);
        }
        let beside = runtimes.iter().flat_map(|(major, path)| {
            let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
            ["", "../../cuda_cupti/lib", "../extras/CUPTI/lib64"].map(|way| folder.join(way).join(soname(*major)))
        });
        for path in beside {
            if let Some(library) = path.is_file().then(|| open(path.to_str()?, false)).flatten() {
                return Some(library);
            }
        }
        majors.iter().find_map(|major| open(&soname(*major), false))
    }

    /// The library of that name, if the process has it already.
    #[must_use]
    pub fn loaded(name: &str) -> Option<Self> {
        open(name, true)
    }

    /// The address of a symbol.
    #[must_use]
    pub fn symbol(&self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: the handle is open, the name ends in zero.
        let found = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    }
}

fn open(name: &str, only_loaded: bool) -> Option<Library> {
    let flags = libc::RTLD_LAZY | libc::RTLD_LOCAL | if only_loaded { libc::RTLD_NOLOAD } else { 0 };
    let c_name = CString::new(name).ok()?;
    // SAFETY: the name ends in zero. Opening runs the initialisers of a library that the process's owner chose.
    let handle = unsafe { libc::dlopen(c_name.as_ptr().cast::<c_char>(), flags) };
    (!handle.is_null()).then(|| Library { handle, name: name.to_owned() })
}

/// The CUDA runtimes among the mappings: major version and file.
fn runtimes(maps: &str) -> Vec<(u32, PathBuf)> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for line in maps.lines() {
        let Some(path) = line.find('/').map(|at| Path::new(&line[at..])) else { continue };
        let version = path.file_name().and_then(|name| name.to_str()?.strip_prefix("libcudart.so."));
        let major = version.and_then(|version| version.split('.').next()?.parse().ok());
        if let Some(major) = major
            && !found.iter().any(|(_, known)| known == path)
        {
            found.push((major, path.to_owned()));
        }
    }
    found
}

/// The versions to look for: one of another major version than the process's would record nothing.
fn order(known: Option<u32>) -> Vec<u32> {
    known.map_or_else(|| MAJORS.to_vec(), |major| vec![major])
}

fn driver_major() -> Option<u32> {
    let driver = Library::loaded("libcuda.so.1")?;
    let found = driver.symbol(c"cuDriverGetVersion")?;
    // SAFETY: that function has had this signature since CUDA 2.2.
    let get = unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_int) -> c_int>(found) };
    let mut version = 0;
    // SAFETY: writes one int.
    let status = unsafe { get(&raw mut version) };
    (status == 0).then(|| u32::try_from(version / 1000).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_in_the_process_decides_the_version() {
        let maps = "\
7f00-7f01 r-xp 00000000 fe:00 1 /venv/nvidia/cuda_runtime/lib/libcudart.so.12
7f01-7f02 r--p 00000000 fe:00 1 /venv/nvidia/cuda_runtime/lib/libcudart.so.12
7f02-7f03 r-xp 00000000 00:00 0 [vdso]
7f04-7f05 r-xp 00000000 fe:00 2 /opt/cu da/lib64/libcudart.so.13.0.96
7f06-7f07 r-xp 00000000 fe:00 3 /opt/libcudart_static.so
";
        let found = runtimes(maps);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], (12, "/venv/nvidia/cuda_runtime/lib/libcudart.so.12".into()));
        assert_eq!(found[1], (13, "/opt/cu da/lib64/libcudart.so.13.0.96".into()));
        assert_eq!(order(Some(12)), [12]);
        assert_eq!(order(None), [13, 12]);
    }

    #[test]
    fn a_file_that_is_not_there_is_none() {
        assert!(Library::of_process(Some(Path::new("/nonexistent/libcupti.so"))).is_none());
    }

    #[test]
    fn an_open_library_knows_its_symbols() {
        let libc = open("libc.so.6", true).expect("every process has it");
        assert!(libc.symbol(c"getpid").is_some());
        assert!(libc.symbol(c"cuptiGetVersion").is_none());
    }
}
