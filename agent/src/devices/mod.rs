//! The GPUs of this host, by the driver: NVML, or where that library is missing, the files of the kernel module.
//!
//! No driver: no GPUs, and no error.

mod ffi;

use std::fs;
use std::path::Path;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{Gpu, Gpus};

/// What tells of devices; they are numbered in the order of their PCI bus ids.
trait Driver {
    /// How many there are.
    fn count(&self) -> u32;
    /// Product name.
    fn name(&self, index: u32) -> Option<String>;
    /// UUID.
    fn uuid(&self, index: u32) -> Option<String>;
    /// Device memory, bytes.
    fn memory_bytes(&self, index: u32) -> Option<u64>;
}

/// The GPUs, and who told of them.
pub fn all() -> (Gpus, &'static str) {
    if let Some(nvml) = ffi::Nvml::open(c"libnvidia-ml.so.1") {
        return (of_driver(&nvml), "NVML");
    }
    let gpus = of_files(Path::new("/proc/driver/nvidia/gpus"));
    let told = if gpus.is_empty() { "no NVIDIA driver" } else { "/proc/driver/nvidia, for NVML cannot be used" };
    (gpus, told)
}

fn of_driver(driver: &impl Driver) -> Gpus {
    let mut gpus = Gpus::default();
    for (index, device_id) in (0..driver.count()).zip(0..) {
        let memory_bytes = driver.memory_bytes(index).and_then(|bytes| i64::try_from(bytes).ok());
        gpus.push(Gpu { device_id, name: driver.name(index), uuid: driver.uuid(index), memory_bytes });
    }
    gpus
}

/// One folder a device, named after its PCI bus id.
fn of_files(folder: &Path) -> Gpus {
    let mut devices: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    devices.sort();
    let mut gpus = Gpus::default();
    for (device, device_id) in devices.iter().zip(0..) {
        let text = fs::read_to_string(device.join("information")).unwrap_or_default();
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?.trim();
            // The driver prints question marks for what it does not know yet.
            (!line.is_empty() && !line.contains('?')).then(|| line.to_owned())
        };
        let bus = device.file_name().map(|name| name.to_string_lossy().into_owned());
        gpus.push(Gpu { device_id, name: value("Model"), uuid: value("GPU UUID").or(bus), memory_bytes: None });
    }
    gpus
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two devices; the second one has fallen off the bus.
    struct Fake;

    impl Driver for Fake {
        fn count(&self) -> u32 {
            2
        }
        fn name(&self, index: u32) -> Option<String> {
            (index == 0).then(|| "NVIDIA H200".to_owned())
        }
        fn uuid(&self, index: u32) -> Option<String> {
            (index == 0).then(|| "GPU-1".to_owned())
        }
        fn memory_bytes(&self, index: u32) -> Option<u64> {
            (index == 0).then_some(150_754_820_096)
        }
    }

    #[test]
    fn every_device_is_a_row_and_what_it_does_not_tell_is_null() {
        let gpus = of_driver(&Fake);
        assert_eq!(gpus.device_id, [0, 1]);
        assert_eq!(gpus.name, [Some("NVIDIA H200".to_owned()), None]);
        assert_eq!(gpus.uuid, [Some("GPU-1".to_owned()), None]);
        assert_eq!(gpus.memory_bytes, [Some(150_754_820_096), None]);
    }

    #[test]
    fn the_files_of_the_driver_serve_where_nvml_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        for (bus, text) in [
            ("0000:66:00.0", "Model: \t\t NVIDIA H200\nIRQ:   \t\t 9\nGPU UUID: \t GPU-????????-????\n"),
            ("0000:19:00.0", "Model: \t\t NVIDIA H100\nGPU UUID: \t GPU-2\nBus Location: \t 0000:19:00.0\n"),
        ] {
            fs::create_dir(folder.path().join(bus)).unwrap();
            fs::write(folder.path().join(bus).join("information"), text).unwrap();
        }
        let gpus = of_files(folder.path());
        assert_eq!(gpus.name, [Some("NVIDIA H100".to_owned()), Some("NVIDIA H200".to_owned())]);
        assert_eq!(gpus.uuid, [Some("GPU-2".to_owned()), Some("0000:66:00.0".to_owned())]);
        assert!(of_files(&folder.path().join("none")).is_empty());
    }

    #[test]
    fn a_library_that_is_missing_or_another_is_no_driver() {
        assert!(ffi::Nvml::open(c"libkvpath-no-such.so").is_none());
        assert!(ffi::Nvml::open(c"libc.so.6").is_none(), "it opens, and lacks NVML's functions");
    }

    #[test]
    fn the_devices_of_this_host_have_names_or_are_none() {
        let (gpus, told) = all();
        println!("{told}: {gpus:?}");
        let has_driver = told == "NVML" || Path::new("/proc/driver/nvidia/gpus").is_dir();
        assert!(has_driver || gpus.is_empty());
    }
}
