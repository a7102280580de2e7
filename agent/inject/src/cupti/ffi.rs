//! CUPTI behind safe functions, and its callbacks.
#![expect(unsafe_code, reason = "calls of CUPTI, its callbacks, and what lies in its buffers")]

use std::ffi::c_void;
use std::panic::catch_unwind;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

use kvpath_cupti_sys::functions::{Functions, text};
use kvpath_cupti_sys::library::Library;
use kvpath_cupti_sys::records::{
    Activity, Api, CudaEvent, CudaEvent2, GraphTrace, Kernel, Memcpy, MemcpyPtoP, Memset, Overhead, Synchronization,
    Synchronization2,
};
use kvpath_cupti_sys::{EVENT_SYNC_SINCE, MULTIPLE_SUBSCRIBERS, OLDEST, SUCCESS, Status, THREAD_ID_SYSTEM, kind};
use kvpath_schema::wire::calls::{Call, Domain};
use kvpath_schema::wire::ring::{Kind, Loss};

use crate::ffi::now_ns;
use crate::session::Session;

/// Why there is no CUPTI.
pub enum OpenError {
    /// No library that belongs to the process.
    NotFound,
    /// It lacks functions, or is older than what we know.
    Unsuitable,
    /// It would not say its version.
    Refused(Status),
}

/// The process's CUPTI.
pub struct Cupti {
    functions: Functions,
    version: u32,
}

/// A CUPTI activity record, by kind.
pub enum ActivityRecord<'a> {
    /// A kernel with its name.
    Kernel(&'a Kernel, &'a [u8]),
    /// A copy within a device, or between host and device.
    Memcpy(&'a Memcpy),
    /// A peer copy.
    MemcpyPtoP(&'a MemcpyPtoP),
    /// A memset.
    Memset(&'a Memset),
    /// A synchronisation, with the recording of the event.
    Sync(&'a Synchronization, u64),
    /// An event record, with its number.
    Event(&'a CudaEvent, u64),
    /// Overhead.
    Overhead(&'a Overhead),
    /// A graph launch.
    Graph(&'a GraphTrace),
    /// An API call.
    Api(Domain, &'a Api),
    /// A kind that was not asked for.
    Unknown,
}

fn check(status: Status) -> Result<(), Status> {
    if status == SUCCESS { Ok(()) } else { Err(status) }
}

impl Cupti {
    /// Opens the one at `named`, or the process's own.
    ///
    /// # Errors
    /// There is none that can be used.
    pub fn open(named: Option<&Path>) -> Result<Self, OpenError> {
        let library = Library::of_process(named).ok_or(OpenError::NotFound)?;
        let functions = Functions::of(&library).map_err(|_| OpenError::Unsuitable)?;
        let mut version = 0;
        // SAFETY: writes one u32.
        check(unsafe { (functions.get_version)(&raw mut version) }).map_err(OpenError::Refused)?;
        if version < OLDEST { Err(OpenError::Unsuitable) } else { Ok(Self { functions, version }) }
    }

    /// `CUPTI_API_VERSION`.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether there is no other client: a try to subscribe, undone at once.
    pub fn is_alone(&self) -> bool {
        let mut subscriber = ptr::null_mut();
        // SAFETY: the callback does nothing, and no callback is turned on.
        let status = unsafe { (self.functions.subscribe)(&raw mut subscriber, ignore, ptr::null_mut()) };
        if status == SUCCESS {
            // SAFETY: the subscriber just made.
            unsafe { (self.functions.unsubscribe)(subscriber) };
        }
        status != MULTIPLE_SUBSCRIBERS
    }

    /// Registers clock and buffers; nothing is recorded yet. The clock comes first, for records that are made before it is
    /// there have another.
    ///
    /// # Errors
    /// CUPTI refuses.
    pub fn begin(&self) -> Result<(), Status> {
        if let Some(set) = self.functions.set_thread_id_type {
            // SAFETY: takes a number. Older versions refuse; then threads are CUPTI's numbers.
            unsafe { set(THREAD_ID_SYSTEM) };
        }
        // SAFETY: the callbacks are functions of this library, which stays.
        check(unsafe { (self.functions.register_timestamp)(timestamp) })?;
        // SAFETY: as above.
        check(unsafe { (self.functions.register_callbacks)(requested, completed) })
    }

    /// Turns a kind on or off.
    ///
    /// # Errors
    /// CUPTI refuses.
    pub fn turn(&self, kind: u32, on: bool) -> Result<(), Status> {
        // SAFETY: takes a number.
        check(unsafe { if on { (self.functions.enable)(kind) } else { (self.functions.disable)(kind) } })
    }

    /// Turns a call on or off; `false` if CUPTI does not know it or cannot choose.
    pub fn turn_call(&self, call: &Call, on: bool) -> bool {
        let function = match call.domain {
            Domain::Driver => self.functions.enable_driver_api,
            Domain::Runtime => self.functions.enable_runtime_api,
        };
        // SAFETY: takes numbers.
        function.is_some_and(|function| unsafe { function(call.cbid, u8::from(on)) } == SUCCESS)
    }

    /// Whether queries that found work unfinished are recorded too.
    pub fn turn_pending_queries(&self, on: bool) {
        if let Some(function) = self.functions.enable_all_sync {
            // SAFETY: takes a number.
            unsafe { function(u8::from(on)) };
        }
    }

    /// Has complete buffers given back.
    pub fn flush(&self) {
        // SAFETY: takes a number: 0, so that it neither waits for the GPU nor gives up incomplete records.
        unsafe { (self.functions.flush_all)(0) };
    }

    /// Records that CUPTI dropped since the last call.
    pub fn dropped(&self) -> u64 {
        let mut dropped = 0;
        // SAFETY: writes one size.
        let status = unsafe { (self.functions.dropped_records)(ptr::null_mut(), 0, &raw mut dropped) };
        if status == SUCCESS { dropped as u64 } else { 0 }
    }

    /// Gives each record of a buffer that CUPTI gave back with `bytes` bytes in use.
    pub fn records(&self, buffer: *mut u8, bytes: usize, mut visit: impl FnMut(ActivityRecord<'_>)) {
        let mut record: *mut Activity = ptr::null_mut();
        loop {
            // SAFETY: a buffer of ours that CUPTI filled and gave back.
            if unsafe { (self.functions.next_record)(buffer, bytes, &raw mut record) } != SUCCESS || record.is_null() {
                return;
            }
            // SAFETY: a whole record in that buffer, of the kind that its start says.
            visit(unsafe { self.seen(record) });
        }
    }

    /// # Safety
    /// `record` is a whole record of this CUPTI.
    unsafe fn seen<'a>(&self, record: *mut Activity) -> ActivityRecord<'a> {
        // SAFETY: the prefix of each struct is that of every version that `open` lets pass, and records are aligned to 8
        // bytes; the longer prefixes are read from the version on that has them.
        unsafe {
            match (*record).kind {
                kind::CONCURRENT_KERNEL | kind::KERNEL => {
                    let kernel = &*record.cast::<Kernel>();
                    ActivityRecord::Kernel(kernel, text(kernel.name))
                }
                kind::MEMCPY => ActivityRecord::Memcpy(&*record.cast()),
                kind::MEMCPY2 => ActivityRecord::MemcpyPtoP(&*record.cast()),
                kind::MEMSET => ActivityRecord::Memset(&*record.cast()),
                kind::SYNCHRONIZATION if self.version >= EVENT_SYNC_SINCE => {
                    let sync = &*record.cast::<Synchronization2>();
                    ActivityRecord::Sync(&sync.base, sync.cuda_event_sync_id)
                }
                kind::SYNCHRONIZATION => ActivityRecord::Sync(&*record.cast(), 0),
                kind::CUDA_EVENT if self.version >= EVENT_SYNC_SINCE => {
                    let event = &*record.cast::<CudaEvent2>();
                    ActivityRecord::Event(&event.base, event.cuda_event_sync_id)
                }
                kind::CUDA_EVENT => ActivityRecord::Event(&*record.cast(), 0),
                kind::OVERHEAD => ActivityRecord::Overhead(&*record.cast()),
                kind::GRAPH_TRACE => ActivityRecord::Graph(&*record.cast()),
                kind::DRIVER => ActivityRecord::Api(Domain::Driver, &*record.cast()),
                kind::RUNTIME => ActivityRecord::Api(Domain::Runtime, &*record.cast()),
                _ => ActivityRecord::Unknown,
            }
        }
    }
}

extern "C" fn timestamp() -> u64 {
    now_ns()
}

unsafe extern "C" fn ignore(_: *mut c_void, _: u32, _: u32, _: *const c_void) {}

unsafe extern "C" fn requested(buffer: *mut *mut u8, size: *mut usize, most_records: *mut usize) {
    let taken = catch_unwind(|| {
        let gpu = &Session::current()?.gpu;
        gpu.stirred_ns.store(now_ns(), Ordering::Relaxed);
        gpu.buffers.get()?.take()
    })
    .unwrap_or(None);
    // SAFETY: CUPTI's variables. Without a buffer it drops records, and counts them itself.
    unsafe {
        (*buffer, *size) = taken.unwrap_or((ptr::null_mut(), 0));
        // As many records as fit.
        *most_records = 0;
    }
}

unsafe extern "C" fn completed(_: *mut c_void, _: u32, buffer: *mut u8, _: usize, bytes: usize) {
    let _ = catch_unwind(|| {
        let Some(session) = Session::current() else { return };
        session.gpu.stirred_ns.store(now_ns(), Ordering::Relaxed);
        match session.gpu.buffers.get().and_then(|buffers| buffers.give_back(buffer, bytes)) {
            Some(true) => session.gpu.wake.raise(),
            None if bytes > 0 => session.ring.lose(Loss::UnknownKind, Kind::Other, 1),
            Some(false) | None => {}
        }
    });
}

/// Memory for buffers: never given back, absent from processes that are forked off.
pub struct Memory {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: only addresses of it are handed out.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Reserves that much; pages come into being when they are written.
    pub fn new(bytes: usize) -> Option<Self> {
        // SAFETY: a fresh mapping at an address of the system's choice.
        let base = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the mapping just made.
        unsafe { libc::madvise(base, bytes, libc::MADV_DONTFORK) };
        Some(Self { base: NonNull::new(base.cast())?, bytes })
    }

    /// Its address at an offset.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.bytes);
        // SAFETY: within the mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// The offset of an address; `None` if it lies elsewhere.
    pub fn offset_of(&self, address: *mut u8) -> Option<usize> {
        address.addr().checked_sub(self.base.addr().get()).filter(|offset| *offset < self.bytes)
    }
}
