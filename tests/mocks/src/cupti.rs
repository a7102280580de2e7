//! The C functions.
#![expect(unsafe_code, reason = "a C library")]
#![allow(missing_docs, clippy::missing_safety_doc, reason = "as in the headers of CUPTI")]

use std::collections::{HashSet, VecDeque};
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use kvpath_cupti_sys::functions::{BufferCompleted, BufferRequested, Callback, Timestamp};
use kvpath_cupti_sys::records::{
    Activity, Api, CudaEvent, CudaEvent2, GraphTrace, Kernel, Memcpy, MemcpyPtoP, Memset, Overhead, Synchronization,
    Synchronization2,
};
use kvpath_cupti_sys::{
    MAX_LIMIT_REACHED, MULTIPLE_SUBSCRIBERS, OBJECT_THREAD, SUCCESS, Status, graph_trace_at_any_time, kind,
};

use crate::script::{self, Item, NAMES};

/// A kind that no CUPTI has.
const UNKNOWN_KIND: u32 = 9999;
/// `CUPTI_ERROR_INVALID_KIND`.
const INVALID_KIND: Status = 21;
/// `cudaLaunchKernel`.
const LAUNCH_KERNEL: u32 = 211;
/// `cudaGetDevice`, which nobody wants.
const GET_DEVICE: u32 = 17;

/// Who subscribed: CUPTI takes one.
#[derive(Default, PartialEq, Eq)]
enum Subscriber {
    #[default]
    Nobody,
    Tested,
    Other,
}

#[derive(Default)]
struct Mock {
    requested: Option<BufferRequested>,
    completed: Option<BufferCompleted>,
    timestamp: Option<Timestamp>,
    kinds: HashSet<u32>,
    runtime_calls: HashSet<u32>,
    buffer: usize,
    size: usize,
    used: usize,
    dropped: usize,
    /// Kernels that were launched and are not complete: start and end, ns by the client's clock.
    ahead: VecDeque<(u64, u64)>,
    index: u64,
    subscriber: Subscriber,
    /// Whether `cuInit` has returned and the primary context is there.
    context: bool,
    /// Whether a graph was instantiated while graph launches were not traced.
    graph_unseen: bool,
    /// Whether CUPTI was initialised before the context was made; `None` while it is untouched.
    initialised_early: Option<bool>,
}

static MOCK: LazyLock<Mutex<Mock>> = LazyLock::new(|| {
    let subscriber = if std::env::var_os("MOCK_OTHER").is_some() { Subscriber::Other } else { Subscriber::Nobody };
    Mutex::new(Mock { subscriber, ..Mock::default() })
});
static NAME_TEXTS: LazyLock<Vec<CString>> =
    LazyLock::new(|| NAMES.iter().map(|name| CString::new(*name).expect("no zero inside")).collect());

fn mock() -> MutexGuard<'static, Mock> {
    MOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn version() -> u32 {
    std::env::var("MOCK_CUPTI_VERSION").ok().and_then(|text| text.parse().ok()).unwrap_or(28)
}

/// Bytes of a record: those of CUDA 12.9, or longer ones as of 13.5.
fn bytes_of(kind: u32) -> usize {
    let newer = version() >= 130_000;
    match kind {
        kind::CONCURRENT_KERNEL => {
            if newer {
                248
            } else {
                208
            }
        }
        kind::MEMCPY => {
            if newer {
                112
            } else {
                96
            }
        }
        kind::MEMCPY2 => 96,
        kind::MEMSET => {
            if newer {
                104
            } else {
                88
            }
        }
        kind::SYNCHRONIZATION if version() < 26 => 40,
        kind::SYNCHRONIZATION | kind::OVERHEAD | kind::GRAPH_TRACE => 56,
        kind::CUDA_EVENT if version() < 26 => 24,
        kind::CUDA_EVENT => {
            if newer {
                80
            } else {
                56
            }
        }
        kind::RUNTIME => 40,
        _ => 64,
    }
}

impl Mock {
    fn initialise(&mut self) {
        self.initialised_early.get_or_insert(!self.context);
    }

    /// Appends a record of that kind, of which `record` is the beginning.
    fn append<T>(&mut self, kind: u32, record: &T) {
        let bytes = bytes_of(kind);
        if self.buffer != 0 && self.used + bytes > self.size {
            self.complete();
        }
        if self.buffer == 0 {
            let (mut buffer, mut size, mut most) = (ptr::null_mut(), 0, 0);
            if let Some(requested) = self.requested {
                // SAFETY: the client's callback.
                unsafe { requested(&raw mut buffer, &raw mut size, &raw mut most) };
            }
            (self.buffer, self.size, self.used) = (buffer.expose_provenance(), size, 0);
        }
        if self.buffer == 0 || self.size < bytes {
            self.dropped += 1;
            return;
        }
        let at: *mut u8 = ptr::with_exposed_provenance_mut(self.buffer + self.used);
        // SAFETY: the client's buffer has room for `bytes`, of which the prefix is at most as long.
        unsafe {
            ptr::write_bytes(at, 0xee, bytes);
            ptr::copy_nonoverlapping(ptr::from_ref(record).cast::<u8>(), at, size_of::<T>().min(bytes));
        }
        self.used += bytes;
    }

    fn complete(&mut self) {
        if self.buffer == 0 {
            return;
        }
        let buffer = ptr::with_exposed_provenance_mut(std::mem::take(&mut self.buffer));
        if let Some(completed) = self.completed {
            // SAFETY: the client's callback, and its own buffer.
            unsafe { completed(ptr::null_mut(), 0, buffer, self.size, self.used) };
        }
    }

    /// Appends the kernels that are complete by now: as in the real one, a record comes into a buffer at its end.
    fn end_kernels(&mut self) {
        let Some(timestamp) = self.timestamp else { return };
        // SAFETY: the client's callback.
        let now = unsafe { timestamp() };
        while let Some((start, end)) = self.ahead.pop_front_if(|(_, end)| *end <= now) {
            if self.kinds.contains(&kind::CONCURRENT_KERNEL) {
                self.append(kind::CONCURRENT_KERNEL, &kernel(start, end, 1, 0));
            }
        }
    }

    fn emit(&mut self, index: u64, start: u64, end: u64) {
        let correlation_id = u32::try_from(index & 0xffff_ffff).unwrap_or(0);
        let item = script::item(index);
        let kind = match item {
            Item::Kernel { .. } | Item::ZeroTime | Item::Backwards | Item::Unknown => kind::CONCURRENT_KERNEL,
            Item::Memcpy { .. } => kind::MEMCPY,
            Item::Peer { .. } => kind::MEMCPY2,
            Item::Memset => kind::MEMSET,
            Item::Sync => kind::SYNCHRONIZATION,
            Item::Event => kind::CUDA_EVENT,
            Item::Overhead => kind::OVERHEAD,
            Item::Launch => kind::RUNTIME,
        };
        let chosen = kind == kind::RUNTIME && self.runtime_calls.contains(&LAUNCH_KERNEL);
        if !self.kinds.contains(&kind) && !chosen {
            return;
        }
        match item {
            Item::Kernel { name } => self.append(kind, &kernel(start, end, correlation_id, name)),
            Item::ZeroTime => self.append(kind, &kernel(0, end, correlation_id, 0)),
            Item::Backwards => self.append(kind, &kernel(end, start, correlation_id, 0)),
            Item::Unknown => self.append(UNKNOWN_KIND, &Activity { kind: UNKNOWN_KIND }),
            Item::Memcpy { bytes } => self.append(kind, &memcpy(start, end, correlation_id, bytes)),
            Item::Peer { bytes } => self.append(kind, &peer(start, end, correlation_id, bytes)),
            Item::Memset => self.append(kind, &memset(start, end, correlation_id)),
            Item::Sync => self.append(kind, &sync(start, end, correlation_id)),
            Item::Event => self.append(kind, &event(correlation_id)),
            Item::Overhead => self.append(kind, &overhead(start, end)),
            Item::Launch => {
                self.append(kind, &launch(LAUNCH_KERNEL, start, end, correlation_id));
                if self.kinds.contains(&kind::RUNTIME) {
                    self.append(kind, &launch(GET_DEVICE, start, end, correlation_id));
                }
            }
        }
    }

    fn graph(&mut self, start: u64, end: u64) {
        if self.kinds.contains(&kind::GRAPH_TRACE) {
            // As CUPTI 12.9 to 13.1.
            if self.graph_unseen && !graph_trace_at_any_time(version()) {
                std::process::abort();
            }
            self.append(
                kind::GRAPH_TRACE,
                &GraphTrace {
                    kind: kind::GRAPH_TRACE,
                    correlation_id: 1,
                    start,
                    end,
                    device_id: 0,
                    graph_id: 77,
                    context_id: 1,
                    stream_id: 7,
                },
            );
        }
    }
}

fn kernel(start: u64, end: u64, correlation_id: u32, name: usize) -> Kernel {
    Kernel {
        kind: kind::CONCURRENT_KERNEL,
        cache_config: 0,
        shared_memory_config: 0,
        registers_per_thread: 32,
        partitioned_requested: 0,
        partitioned_executed: 0,
        start,
        end,
        completed: 0,
        device_id: 2,
        context_id: 1,
        stream_id: 7,
        grid_x: 128,
        grid_y: 2,
        grid_z: 1,
        block_x: 256,
        block_y: 1,
        block_z: 1,
        static_shared_memory: 0,
        dynamic_shared_memory: 0,
        local_memory_per_thread: 0,
        local_memory_total: 0,
        correlation_id,
        grid_id: 1,
        name: NAME_TEXTS[name].as_ptr().cast::<c_char>(),
        reserved0: ptr::null(),
        queued: 0,
        submitted: 0,
        launch_type: 0,
        carveout_requested: 0,
        carveout: 0,
        padding: 0,
        shared_memory_executed: 0,
        graph_node_id: 4_294_967_297,
        shmem_limit_config: 0,
        graph_id: 5,
    }
}

fn memcpy(start: u64, end: u64, correlation_id: u32, bytes: u64) -> Memcpy {
    Memcpy {
        kind: kind::MEMCPY,
        copy_kind: 1,
        src_kind: 1,
        dst_kind: 3,
        flags: 0,
        bytes,
        start,
        end,
        device_id: 2,
        context_id: 1,
        stream_id: 7,
        correlation_id,
        runtime_correlation_id: 0,
        pad: 0,
        reserved0: ptr::null(),
        graph_node_id: 0,
    }
}

fn peer(start: u64, end: u64, correlation_id: u32, bytes: u64) -> MemcpyPtoP {
    MemcpyPtoP {
        kind: kind::MEMCPY2,
        copy_kind: 10,
        src_kind: 3,
        dst_kind: 3,
        flags: 0,
        bytes,
        start,
        end,
        device_id: 1,
        context_id: 1,
        stream_id: 9,
        src_device_id: 1,
        src_context_id: 1,
        dst_device_id: 2,
        dst_context_id: 2,
        correlation_id,
        reserved0: ptr::null(),
        graph_node_id: 0,
    }
}

fn memset(start: u64, end: u64, correlation_id: u32) -> Memset {
    Memset {
        kind: kind::MEMSET,
        value: 0,
        bytes: 4096,
        start,
        end,
        device_id: 2,
        context_id: 1,
        stream_id: 7,
        correlation_id,
    }
}

fn sync(start: u64, end: u64, correlation_id: u32) -> Synchronization2 {
    let base = Synchronization {
        kind: kind::SYNCHRONIZATION,
        sync_kind: 2,
        start,
        end,
        correlation_id,
        context_id: 1,
        stream_id: 7,
        cuda_event_id: 3,
    };
    Synchronization2 { base, cuda_event_sync_id: 12 }
}

fn event(correlation_id: u32) -> CudaEvent2 {
    let base = CudaEvent { kind: kind::CUDA_EVENT, correlation_id, context_id: 1, stream_id: 9, event_id: 3 };
    CudaEvent2 {
        base,
        pad: 0,
        device_id: 2,
        pad2: 0,
        reserved0: ptr::null(),
        device_timestamp: 0,
        cuda_event_sync_id: 12,
    }
}

fn overhead(start: u64, end: u64) -> Overhead {
    Overhead {
        kind: kind::OVERHEAD,
        overhead_kind: 1 << 16,
        object_kind: OBJECT_THREAD,
        object_process: 1,
        object_thread: 4242,
        object_rest: 0,
        start,
        end,
    }
}

fn launch(cbid: u32, start: u64, end: u64, correlation_id: u32) -> Api {
    Api { kind: kind::RUNTIME, cbid, start, end, process_id: 1, thread_id: 4243, correlation_id, return_value: 0 }
}

/// The next `count` items happen. With `real` their times are now by the client's clock, else as [`script`] says.
#[unsafe(no_mangle)]
pub extern "C" fn mock_gpu(count: u64, real: bool) {
    let mut mock = mock();
    for _ in 0..count {
        let index = mock.index;
        mock.index += 1;
        let start = match mock.timestamp {
            // SAFETY: the client's callback.
            Some(timestamp) if real => unsafe { timestamp() },
            _ => script::start_ns(index),
        };
        mock.emit(index, start, start + 1_000);
    }
}

/// Launches `count` kernels at once, which take `each_ns` each, one after another.
#[unsafe(no_mangle)]
pub extern "C" fn mock_ahead(count: u64, each_ns: u64) {
    let mut mock = mock();
    let Some(timestamp) = mock.timestamp else { return };
    // SAFETY: the client's callback.
    let now = unsafe { timestamp() };
    mock.ahead.extend((0..count).map(|at| (now + at * each_ns, now + (at + 1) * each_ns)));
}

/// A graph is launched.
#[unsafe(no_mangle)]
pub extern "C" fn mock_graph() {
    mock().graph(100, 200);
}

/// A graph is instantiated.
#[unsafe(no_mangle)]
pub extern "C" fn mock_graph_made() {
    let mut mock = mock();
    mock.graph_unseen |= !mock.kinds.contains(&kind::GRAPH_TRACE);
}

/// The context is made.
#[unsafe(no_mangle)]
pub extern "C" fn mock_context() {
    mock().context = true;
}

/// Whether CUPTI was initialised (1), and that before the context (2).
#[unsafe(no_mangle)]
pub extern "C" fn mock_initialised() -> u32 {
    mock().initialised_early.map_or(0, |early| 1 + u32::from(early))
}

/// The other client has gone; with `all` it has left nothing on.
#[unsafe(no_mangle)]
pub extern "C" fn mock_other_leaves(all: bool) {
    let mut mock = mock();
    mock.subscriber = Subscriber::Nobody;
    if all {
        mock.kinds.clear();
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    // SAFETY: the caller's variable.
    unsafe { *count = 2 };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> c_int {
    // SAFETY: the caller's variable.
    unsafe { *device = ordinal };
    0
}

/// All bytes of a UUID are the device's number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) -> c_int {
    // SAFETY: the caller's variable.
    unsafe { *uuid = [u8::try_from(device).unwrap_or(u8::MAX); 16] };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxGetState(device: c_int, flags: *mut c_uint, active: *mut c_int) -> c_int {
    // SAFETY: the caller's variables. The program uses the second device.
    unsafe {
        *flags = 0;
        *active = c_int::from(mock().context && device == 1);
    }
    0
}

/// Another client subscribes and takes the buffers over.
#[unsafe(no_mangle)]
pub extern "C" fn mock_other_client() {
    let mut mock = mock();
    mock.complete();
    (mock.subscriber, mock.requested, mock.completed) = (Subscriber::Other, None, None);
}

/// Whether that kind is on.
#[unsafe(no_mangle)]
pub extern "C" fn mock_is_on(kind: u32) -> bool {
    mock().kinds.contains(&kind)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiGetVersion(into: *mut u32) -> Status {
    // SAFETY: the client's variable.
    unsafe { *into = version() };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityRegisterCallbacks(requested: BufferRequested, completed: BufferCompleted) -> Status {
    let mut mock = mock();
    mock.initialise();
    (mock.requested, mock.completed) = (Some(requested), Some(completed));
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityRegisterTimestampCallback(timestamp: Timestamp) -> Status {
    let mut mock = mock();
    mock.initialise();
    // As the real one: what is on already keeps its clock.
    if mock.kinds.is_empty() {
        mock.timestamp = Some(timestamp);
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityEnable(kind: u32) -> Status {
    if std::env::var("MOCK_REFUSE").is_ok_and(|refused| refused == kind.to_string()) {
        return INVALID_KIND;
    }
    mock().kinds.insert(kind);
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityDisable(kind: u32) -> Status {
    mock().kinds.remove(&kind);
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityFlushAll(_: u32) -> Status {
    let mut mock = mock();
    mock.end_kernels();
    mock.complete();
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiActivityGetNextRecord(
    buffer: *mut u8,
    bytes: usize,
    record: *mut *mut Activity,
) -> Status {
    // SAFETY: the client's variable; null, or a record that this mock wrote.
    let next = unsafe {
        let last = *record;
        if last.is_null() { buffer } else { last.cast::<u8>().add(bytes_of((*last).kind)) }
    };
    if next.addr() >= buffer.addr() + bytes {
        return MAX_LIMIT_REACHED;
    }
    // SAFETY: as above.
    unsafe { *record = next.cast() };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiActivityGetNumDroppedRecords(_: *mut c_void, _: u32, dropped: *mut usize) -> Status {
    // SAFETY: the client's variable.
    unsafe { *dropped = std::mem::take(&mut mock().dropped) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiSubscribe(subscriber: *mut *mut c_void, _: Callback, _: *mut c_void) -> Status {
    // The first call of all: the real one starts CUPTI, which takes its time.
    if let Some(ms) = std::env::var("MOCK_SLOW_MS").ok().and_then(|text| text.parse().ok()) {
        std::thread::sleep(std::time::Duration::from_millis(ms));
    }
    let mut mock = mock();
    mock.initialise();
    if mock.subscriber != Subscriber::Nobody {
        return MULTIPLE_SUBSCRIBERS;
    }
    mock.subscriber = Subscriber::Tested;
    // SAFETY: the client's variable.
    unsafe { *subscriber = ptr::without_provenance_mut(1) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiUnsubscribe(_: *mut c_void) -> Status {
    mock().subscriber = Subscriber::Nobody;
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityEnableDriverApi(_: u32, _: u8) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityEnableRuntimeApi(cbid: u32, on: u8) -> Status {
    let mut mock = mock();
    // As the real one: accepted at any time, heeded before the context only.
    if on == 1 && !mock.context {
        mock.runtime_calls.insert(cbid);
    } else {
        mock.runtime_calls.remove(&cbid);
    }
    // As older versions: calls of later ones are not known.
    if cbid < 490 || version() >= 130_000 { SUCCESS } else { 1 }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityEnableAllSyncRecords(_: u8) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiSetThreadIdType(_: u32) -> Status {
    SUCCESS
}
