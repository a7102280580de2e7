//! Where registered memory is: as the caller says, or, where it leaves that open, as the process's memory map tells.

use crate::discover::maps;

/// Kind of memory, as `nixl_regions` calls it, and device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// `DRAM`, `VRAM` or `unknown`.
    pub memory: &'static str,
    /// Device; 0 for DRAM, and where it is not known.
    pub device: i64,
}

/// Where nothing tells.
pub const UNKNOWN: Place = Place { memory: "unknown", device: 0 };

/// By the text of a `location`: `cpu:0`, `cuda:3`; `None` where it leaves it open.
pub fn said(location: &str) -> Option<Place> {
    let (kind, number) = location.split_once(':').unwrap_or((location, ""));
    match kind {
        "cpu" => Some(Place { memory: "DRAM", device: 0 }),
        "cuda" | "gpu" => Some(Place { memory: "VRAM", device: number.parse().unwrap_or(0) }),
        _ => None,
    }
}

/// By the text of a `maps` file: a GPU's memory has addresses that the driver has set aside, which the CPU may not read. Which
/// device it is of does not show.
pub fn mapped(maps: &str, address: u64) -> Place {
    match maps::is_readable(maps, address) {
        Some(true) => Place { memory: "DRAM", device: 0 },
        Some(false) => Place { memory: "VRAM", device: 0 },
        // It was given back before the map was read.
        None => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_where_they_say_something() {
        assert_eq!(said("cpu:1"), Some(Place { memory: "DRAM", device: 0 }));
        assert_eq!(said("cuda:3"), Some(Place { memory: "VRAM", device: 3 }));
        assert_eq!((said("*"), said(""), said("npu:0")), (None, None, None));
    }

    #[test]
    fn what_the_cpu_may_not_read_is_a_gpus() {
        let maps = "\
200000000-300200000 ---p 00000000 00:00 0 
7f0000000000-7f0000002000 rw-p 00000000 00:00 0 
7f0000002000-7f0000003000 rw-s 00000000 00:05 7  /dev/nvidia0
";
        assert_eq!(mapped(maps, 0x2_0000_1000).memory, "VRAM");
        assert_eq!(mapped(maps, 0x7f00_0000_1000).memory, "DRAM");
        assert_eq!(mapped(maps, 0x7f00_0000_3000), UNKNOWN);
    }
}
