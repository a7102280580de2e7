//! What the mock GPU does, item by item: a pure function of the item's number, so that a test knows what must arrive.

/// One thing that the GPU did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A kernel with one of [`NAMES`].
    Kernel {
        /// Index into [`NAMES`].
        name: usize,
    },
    /// A kernel whose start CUPTI gives as zero.
    ZeroTime,
    /// A kernel that ends before it starts.
    Backwards,
    /// A copy of that many bytes from host to device.
    Memcpy {
        /// Size.
        bytes: u64,
    },
    /// A copy from device 1 to device 2.
    Peer {
        /// Size.
        bytes: u64,
    },
    /// A memset.
    Memset,
    /// A wait for an event.
    Sync,
    /// An event was recorded.
    Event,
    /// CUPTI's own overhead.
    Overhead,
    /// A runtime call: `cudaLaunchKernel`.
    Launch,
    /// A record of a kind that nobody knows.
    Unknown,
}

/// Names of kernels.
pub const NAMES: [&str; 3] = ["_Z6kernelPf", "flash_fwd_kernel", "a name with \u{e9}"];

/// What item `index` is.
#[must_use]
pub fn item(index: u64) -> Item {
    match index % 100 {
        7 => Item::ZeroTime,
        8 => Item::Backwards,
        13 => Item::Unknown,
        20..=29 => Item::Memcpy { bytes: index },
        30..=34 => Item::Peer { bytes: 65_536 + index },
        40 => Item::Memset,
        50 => Item::Sync,
        51 => Item::Event,
        60 => Item::Overhead,
        70..=79 => Item::Launch,
        _ => Item::Kernel { name: usize::try_from(index % 3).unwrap_or(0) },
    }
}

/// Start of an item where times are scripted, ns: long before now, and in order.
#[must_use]
pub fn start_ns(index: u64) -> u64 {
    1_000_000 + index * 2_000
}
