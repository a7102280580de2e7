//! Which CUDA API calls are worth a row.

/// Which API calls an import keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// Launches, copies, memsets, synchronisation, events, graphs, allocation, IPC.
    Chosen,
    /// Every call.
    All,
}

impl Calls {
    /// How the choice is named.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::All => "all",
        }
    }

    /// What it keeps, for people.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Chosen => "Launches, copies, memsets, synchronisation, events, graphs, allocation, IPC",
            Self::All => "Every call",
        }
    }
}

/// Words of the functions that explain what a GPU waited for. In a recorded hand-off run 81 % of the calls were
/// `cudaGetDevice`, which explains nothing.
const CHOSEN: &[&str] = &[
    "Launch",
    "Memcpy",
    "Memset",
    "Synchronize",
    "EventRecord",
    "EventCreate",
    "StreamWaitEvent",
    "Graph",
    "BeginCapture",
    "EndCapture",
    "Alloc",
    "Malloc",
    "Free",
    "Ipc",
];

/// Whether a call of that function is kept under [`Calls::Chosen`].
pub(super) fn is_chosen(name: &str) -> bool {
    CHOSEN.iter().any(|word| name.contains(word))
}

/// `cudaLaunchKernel_v7000` is `cudaLaunchKernel`: the suffix names the version of the callback, not of the call.
pub(crate) fn without_version(name: &str) -> &str {
    match name.rsplit_once("_v") {
        Some((stem, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_suffixes_go_and_names_stay() {
        assert_eq!(without_version("cudaLaunchKernel_v7000"), "cudaLaunchKernel");
        assert_eq!(without_version("cuMemcpyDtoDAsync_v2"), "cuMemcpyDtoDAsync");
        assert_eq!(without_version("my_vector"), "my_vector");
        assert_eq!(without_version("x_v"), "x_v");
    }

    #[test]
    fn launches_are_chosen_and_get_device_is_not() {
        assert!(is_chosen("cudaLaunchKernelExC") && is_chosen("cuIpcOpenMemHandle_v2"));
        assert!(!is_chosen("cudaGetDevice") && !is_chosen("cudaEventQuery"));
    }
}
