//! Raw bindings to the part of CUPTI that kvpath uses: activity records, their buffers, timestamps, the choice of API
//! calls. Opened at run time, never linked: a process uses the libcupti that belongs to it, of CUDA 12 or 13.
//!
//! * [`records`]: what lies in activity buffers, as the prefix that all versions from 12.0 on share;
//! * [`functions`]: the entry points, each looked up by itself;
//! * [`library`]: which libcupti belongs to the process;
//! * [`driver`]: what the CUDA driver says without CUPTI.
//!
//! Sources: the headers of the wheels `nvidia-cuda-cupti-cu12` 12.9.79 and `nvidia-cuda-cupti` 13.5.25. They are not kept
//! here; `layout/print.sh` fetches them and prints the offsets that the tests of [`records`] compare.

pub mod driver;
pub mod functions;
pub mod library;
pub mod records;

/// `CUptiResult`: 0 is success.
pub type Status = u32;
/// `CUPTI_SUCCESS`.
pub const SUCCESS: Status = 0;
/// `CUPTI_ERROR_MAX_LIMIT_REACHED`: no further record in this buffer.
pub const MAX_LIMIT_REACHED: Status = 12;
/// `CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED`: there is another client.
pub const MULTIPLE_SUBSCRIBERS: Status = 39;

/// `CUpti_ActivityKind`.
pub mod kind {
    /// Copies.
    pub const MEMCPY: u32 = 1;
    /// Memsets.
    pub const MEMSET: u32 = 2;
    /// Kernels, serialised by CUPTI: never asked for.
    pub const KERNEL: u32 = 3;
    /// Driver API calls.
    pub const DRIVER: u32 = 4;
    /// Runtime API calls.
    pub const RUNTIME: u32 = 5;
    /// Kernels.
    pub const CONCURRENT_KERNEL: u32 = 10;
    /// CUPTI's own overhead.
    pub const OVERHEAD: u32 = 17;
    /// Peer copies.
    pub const MEMCPY2: u32 = 22;
    /// Event records.
    pub const CUDA_EVENT: u32 = 36;
    /// Synchronisation.
    pub const SYNCHRONIZATION: u32 = 38;
    /// Graph launches as a whole.
    pub const GRAPH_TRACE: u32 = 51;
}

/// `CUPTI_ACTIVITY_THREAD_ID_TYPE_SYSTEM`: thread ids are those of the system.
pub const THREAD_ID_SYSTEM: u32 = 1;
/// `CUpti_ActivityObjectKind`: a thread.
pub const OBJECT_THREAD: u32 = 2;
/// The first `CUPTI_API_VERSION` whose synchronisation and event records carry a `cudaEventSyncId`: CUDA 12.8.
pub const EVENT_SYNC_SINCE: u32 = 26;
/// The first version whose calls can be chosen one by one, should its functions be there: CUDA 12.0.
pub const OLDEST: u32 = 19;
/// Whether that version lets `CUPTI_ACTIVITY_KIND_GRAPH_TRACE` be turned on where graphs are instantiated already. In others
/// the next launch of such a graph ends the process inside CUPTI. Tried on an H200, driver 580: 12.9.79, 13.0.85 and 13.1.115
/// crash; 12.4.127, 13.2.23 and 13.5.25 do not. What does not lie between two that were tried counts as crashing.
#[must_use]
pub const fn graph_trace_at_any_time(version: u32) -> bool {
    matches!(version, 22 | 130_200..=130_500)
}
