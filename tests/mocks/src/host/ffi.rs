//! Loading libraries as the CUDA driver and NVTX do, calling functions by pointer, fork.
#![expect(unsafe_code, reason = "dlopen, function pointers, fork")]
#![expect(clippy::unused_self, reason = "an `Nvtx` stands for tables that are filled, which are statics as in NVTX")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::mem::transmute;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

fn open(path: &str) -> *mut c_void {
    let name = CString::new(path).expect("no zero inside");
    // SAFETY: a name that ends in zero.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null(), "{path} cannot be loaded");
    handle
}

fn symbol(handle: *mut c_void, name: &CStr) -> *mut c_void {
    // SAFETY: an open library, a name that ends in zero.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    assert!(!found.is_null(), "no {name:?}");
    found
}

/// The mock GPU.
pub struct Cuda {
    gpu: extern "C" fn(u64, bool),
    graph: extern "C" fn(),
    graph_made: extern "C" fn(),
    ahead: extern "C" fn(u64, u64),
    context: extern "C" fn(),
    initialised: extern "C" fn() -> u32,
    other: extern "C" fn(),
    other_leaves: extern "C" fn(bool),
    is_on: extern "C" fn(u32) -> bool,
    enable: extern "C" fn(u32) -> c_uint,
}

impl Cuda {
    /// Does what `cuInit` does with `CUDA_INJECTION64_PATH`.
    pub fn init() -> Self {
        // As the driver: it is in the process before it calls the injection.
        let mock = open(&std::env::var("MOCK_CUPTI").expect("MOCK_CUPTI names the mock"));
        if let Ok(path) = std::env::var("CUDA_INJECTION64_PATH") {
            let found = symbol(open(&path), c"InitializeInjection");
            // SAFETY: the signature that the driver expects.
            let initialise = unsafe { transmute::<*mut c_void, extern "C" fn() -> c_int>(found) };
            assert_eq!(initialise(), 1);
        }
        // SAFETY: the signatures of `mock_cupti::cupti`.
        unsafe {
            Self {
                gpu: transmute::<*mut c_void, extern "C" fn(u64, bool)>(symbol(mock, c"mock_gpu")),
                ahead: transmute::<*mut c_void, extern "C" fn(u64, u64)>(symbol(mock, c"mock_ahead")),
                graph: transmute::<*mut c_void, extern "C" fn()>(symbol(mock, c"mock_graph")),
                graph_made: transmute::<*mut c_void, extern "C" fn()>(symbol(mock, c"mock_graph_made")),
                context: transmute::<*mut c_void, extern "C" fn()>(symbol(mock, c"mock_context")),
                initialised: transmute::<*mut c_void, extern "C" fn() -> u32>(symbol(mock, c"mock_initialised")),
                other: transmute::<*mut c_void, extern "C" fn()>(symbol(mock, c"mock_other_client")),
                other_leaves: transmute::<*mut c_void, extern "C" fn(bool)>(symbol(mock, c"mock_other_leaves")),
                enable: transmute::<*mut c_void, extern "C" fn(u32) -> c_uint>(symbol(mock, c"cuptiActivityEnable")),
                is_on: transmute::<*mut c_void, extern "C" fn(u32) -> bool>(symbol(mock, c"mock_is_on")),
            }
        }
    }

    /// The next items.
    pub fn run(&self, count: u64, real: bool) {
        (self.gpu)(count, real);
    }

    /// Launches that many kernels at once, which take that long each, ns.
    pub fn run_ahead(&self, count: u64, each_ns: u64) {
        (self.ahead)(count, each_ns);
    }

    /// A graph launch.
    pub fn graph(&self) {
        (self.graph)();
    }

    /// A graph is instantiated.
    pub fn make_graph(&self) {
        (self.graph_made)();
    }

    /// The primary context is made.
    pub fn make_context(&self) {
        (self.context)();
    }

    /// What became of CUPTI.
    pub fn initialised(&self) -> &'static str {
        match (self.initialised)() {
            0 => "untouched",
            1 => "after the context",
            _ => "before the context",
        }
    }

    /// The other client leaves; with `all` it turns everything off.
    pub fn other_client_leaves(&self, all: bool) {
        (self.other_leaves)(all);
    }

    /// Another client comes.
    pub fn other_client(&self) {
        (self.other)();
    }

    /// Turns a kind on.
    pub fn force(&self, kind: u32) {
        assert_eq!((self.enable)(kind), 0);
    }

    /// Whether a kind is on.
    pub fn is_on(&self, kind: u32) -> bool {
        (self.is_on)(kind)
    }
}

const SLOTS: usize = 16;
type Slot = AtomicPtr<c_void>;

static CORE: [Slot; SLOTS] = [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS];
static CORE2: [Slot; SLOTS] = [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS];

struct Table([*const Slot; SLOTS]);
// SAFETY: addresses of statics.
unsafe impl Sync for Table {}

static CORE_TABLE: Table = Table(table(&CORE));
static CORE2_TABLE: Table = Table(table(&CORE2));

const fn table(slots: &'static [Slot; SLOTS]) -> [*const Slot; SLOTS] {
    let mut table = [ptr::null(); SLOTS];
    let mut at = 1;
    while at < SLOTS {
        table[at] = &raw const slots[at];
        at += 1;
    }
    table
}

#[repr(C)]
struct Callbacks {
    struct_size: usize,
    table_of: unsafe extern "C" fn(c_int, *mut *const *const Slot, *mut c_uint) -> c_int,
}

static CALLBACKS: Callbacks = Callbacks { struct_size: size_of::<Callbacks>(), table_of };

unsafe extern "C" fn table_of(module: c_int, table: *mut *const *const Slot, size: *mut c_uint) -> c_int {
    let found = match module {
        1 => &CORE_TABLE,
        5 => &CORE2_TABLE,
        _ => return 0,
    };
    // SAFETY: the caller's variables.
    unsafe {
        *table = found.0.as_ptr();
        *size = 16;
    }
    1
}

unsafe extern "C" fn export(id: u32) -> *const c_void {
    if id == 1 { (&raw const CALLBACKS).cast() } else { ptr::null() }
}

#[repr(C)]
struct Attributes {
    version: u16,
    size: u16,
    category: u32,
    color_type: i32,
    color: u32,
    payload_type: i32,
    reserved0: i32,
    payload: u64,
    message_type: i32,
    message: *const c_void,
}

impl Attributes {
    fn new(message_type: i32, message: *const c_void) -> Self {
        Self {
            version: 3,
            size: 48,
            category: 0,
            color_type: 0,
            color: 0,
            payload_type: 0,
            reserved0: 0,
            payload: 0,
            message_type,
            message,
        }
    }
}

/// A domain's handle.
pub struct Domain(*mut c_void);

/// NVTX as a program has it compiled in; without an injection its functions do nothing.
pub struct Nvtx;

macro_rules! call {
    ($slots:ident[$at:literal] as fn($($arg:ty),*) -> $result:ty, $none:expr, $($value:expr),*) => {{
        let function = $slots[$at].load(Ordering::Relaxed);
        if function.is_null() {
            $none
        } else {
            // SAFETY: the signature that NVTX gives the function of that number.
            let function = unsafe { transmute::<*mut c_void, unsafe extern "C" fn($($arg),*) -> $result>(function) };
            // SAFETY: whole arguments.
            unsafe { function($($value),*) }
        }
    }};
}

impl Nvtx {
    /// Does what NVTX does with `NVTX_INJECTION64_PATH`.
    pub fn load() -> Self {
        if let Ok(path) = std::env::var("NVTX_INJECTION64_PATH") {
            type Export = unsafe extern "C" fn(u32) -> *const c_void;
            let found = symbol(open(&path), c"InitializeInjectionNvtx2");
            // SAFETY: the signature that NVTX expects.
            let initialise = unsafe { transmute::<*mut c_void, unsafe extern "C" fn(Export) -> c_int>(found) };
            // SAFETY: as NVTX calls it.
            unsafe { initialise(export) };
        }
        Self
    }

    /// `nvtxDomainCreateA`.
    pub fn domain(&self, name: &CStr) -> Domain {
        Domain(call!(CORE2[12] as fn(*const c_char) -> *mut c_void, ptr::null_mut(), name.as_ptr()))
    }

    /// `nvtxDomainRegisterStringA`.
    pub fn register(&self, domain: &Domain, text: &CStr) -> usize {
        let handle =
            call!(CORE2[10] as fn(*mut c_void, *const c_char) -> *mut c_void, ptr::null_mut(), domain.0, text.as_ptr());
        handle.addr()
    }

    /// `nvtxRangePushA`.
    pub fn push_plain(&self, text: &CStr) {
        call!(CORE[9] as fn(*const c_char) -> c_int, -2, text.as_ptr());
    }

    /// `nvtxRangePushW`.
    pub fn push_wide(&self, text: &str) {
        let wide: Vec<u32> = text.chars().map(u32::from).chain([0]).collect();
        call!(CORE[10] as fn(*const u32) -> c_int, -2, wide.as_ptr());
    }

    /// `nvtxRangePop`.
    pub fn pop_plain(&self) {
        call!(CORE[11] as fn() -> c_int, -2,);
    }

    /// `nvtxMarkA`.
    pub fn mark(&self, text: &CStr) {
        call!(CORE[2] as fn(*const c_char) -> (), (), text.as_ptr());
    }

    /// `nvtxDomainRangePushEx` with a registered string and a payload.
    pub fn push_registered(&self, domain: &Domain, text: usize, payload: u64) {
        let mut attributes = Attributes::new(3, ptr::without_provenance(text));
        (attributes.payload_type, attributes.payload) = (1, payload);
        self.push_attributes(domain, &attributes);
    }

    /// `nvtxDomainRangePushEx`.
    pub fn push(&self, domain: &Domain, text: &CStr) {
        self.push_attributes(domain, &Attributes::new(1, text.as_ptr().cast()));
    }

    fn push_attributes(&self, domain: &Domain, attributes: &Attributes) {
        call!(CORE2[4] as fn(*mut c_void, *const Attributes) -> c_int, -2, domain.0, attributes);
    }

    /// `nvtxDomainRangePop`.
    pub fn pop(&self, domain: &Domain) {
        call!(CORE2[5] as fn(*mut c_void) -> c_int, -2, domain.0);
    }

    /// `nvtxDomainRangeStartEx`.
    pub fn start(&self, domain: &Domain, text: &CStr) -> u64 {
        let attributes = Attributes::new(1, text.as_ptr().cast());
        call!(CORE2[2] as fn(*mut c_void, *const Attributes) -> u64, 0, domain.0, &raw const attributes)
    }

    /// `nvtxDomainRangeEnd`.
    pub fn end(&self, domain: &Domain, id: u64) {
        call!(CORE2[3] as fn(*mut c_void, u64) -> (), (), domain.0, id);
    }
}

/// Runs `body` in a forked process and waits for its end.
pub fn in_fork(body: impl FnOnce()) {
    // SAFETY: the child runs code that takes no lock of another thread, and leaves by `_exit`.
    match unsafe { libc::fork() } {
        0 => {
            body();
            exit_now();
        }
        child => {
            let mut status = 0;
            // SAFETY: our own child.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0, "the forked process failed");
        }
    }
}

/// `_exit(0)`.
pub fn exit_now() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}
