//! The GPUs of this host, by the driver: NVML, or where that library is missing, the files of the kernel module.
//!
//! No driver: no GPUs, and no error.

mod ffi;

use std::collections::HashMap;
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

/// Numbers of this host's GPUs by UUID, which every process sees alike: its own numbers depend on `CUDA_VISIBLE_DEVICES`.
#[derive(Debug, Default)]
pub struct DeviceIds {
    by_uuid: HashMap<String, i32>,
    /// The first number that no GPU has.
    next: i32,
    /// Those that the driver of the host did not tell of: parts of a GPU, or there was no driver to ask.
    added: Gpus,
}

impl DeviceIds {
    /// Those that the driver told of.
    pub fn know(&mut self, gpus: &Gpus) {
        let known = gpus.uuid.iter().zip(&gpus.device_id);
        self.by_uuid.extend(known.filter_map(|(uuid, id)| Some((uuid.clone()?, *id))));
        self.next = gpus.device_id.iter().fold(self.next, |next, id| next.max(id + 1));
    }

    /// The number of a device, by the bytes of its UUID; a new one where none is known.
    pub fn id(&mut self, uuid: [u8; 16]) -> i32 {
        let uuid = text(uuid);
        // Parts of a GPU have another prefix and the same form.
        let known = ["GPU-", "MIG-", ""].iter().find_map(|prefix| self.by_uuid.get(&format!("{prefix}{uuid}")));
        if let Some(known) = known {
            return *known;
        }
        // Of a GPU or of a part of one: that is not known.
        let device_id = self.next;
        self.next += 1;
        self.added.push(Gpu { device_id, name: None, uuid: Some(uuid.clone()), memory_bytes: None });
        self.by_uuid.insert(uuid, device_id);
        device_id
    }

    /// Rows of those that came since the last call.
    pub fn take_added(&mut self) -> Gpus {
        std::mem::take(&mut self.added)
    }
}

/// A UUID as NVML writes it, without its prefix.
fn text(uuid: [u8; 16]) -> String {
    let number = format!("{:032x}", u128::from_be_bytes(uuid));
    [&number[..8], &number[8..12], &number[12..16], &number[16..20], &number[20..]].join("-")
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
    fn a_device_has_one_number_whatever_a_process_calls_it() {
        let mut ids = DeviceIds::default();
        let uuid = *b"\xb5\x79\x61\x42\xda\x82\x98\x15\xa8\x87\x8b\x31\x3c\xb9\x19\x51";
        let mut gpus = Gpus::default();
        for (device_id, uuid) in [(0, "GPU-1"), (1, "GPU-b5796142-da82-9815-a887-8b313cb91951")] {
            gpus.push(Gpu { device_id, name: None, uuid: Some(uuid.to_owned()), memory_bytes: None });
        }
        ids.know(&gpus);
        assert_eq!(ids.id(uuid), 1);
        assert!(ids.take_added().is_empty());
        assert_eq!((ids.id([7; 16]), ids.id([7; 16]), ids.id(uuid)), (2, 2, 1));
        assert_eq!(ids.take_added().uuid, [Some("07070707-0707-0707-0707-070707070707".to_owned())]);
        assert!(ids.take_added().is_empty());
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
