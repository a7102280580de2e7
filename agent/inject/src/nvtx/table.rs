//! The functions that NVTX calls, and how it gets to know them.
#![expect(unsafe_code, reason = "functions for C callers; tables of function pointers")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use kvpath_schema::wire::ring::TEXT_MAX;

use super::events::{self, Event, NO_TRACKING};
use super::ffi::{Attributes, ascii, event, slots, wide};
use super::registry;
use crate::session::Session;

/// `NVTX_ETID_CALLBACKS`.
const CALLBACKS: u32 = 1;
/// `NVTX_CB_MODULE_CORE`.
const CORE: c_int = 1;
/// `NVTX_CB_MODULE_CORE2`.
const CORE2: c_int = 5;

/// `NvtxExportTableCallbacks`.
#[repr(C)]
struct Callbacks {
    struct_size: usize,
    table_of: Option<unsafe extern "C" fn(c_int, *mut *const *mut *const (), *mut c_uint) -> c_int>,
}

/// Puts our functions into the tables of the NVTX that asks; `false` if it has none. What we do not take stays empty, and
/// NVTX turns it off.
///
/// # Safety
/// `export` is NVTX's function of that purpose.
pub unsafe fn fill(export: unsafe extern "C" fn(u32) -> *const c_void) -> bool {
    // SAFETY: the caller's promise; the result is null or NVTX's static struct.
    let callbacks = unsafe { export(CALLBACKS).cast::<Callbacks>().as_ref() };
    let Some(callbacks) = callbacks.filter(|callbacks| callbacks.struct_size >= size_of::<Callbacks>()) else {
        return false;
    };
    let Some(table_of) = callbacks.table_of else { return false };
    let mut filled = false;
    for (module, functions) in [(CORE, CORE_FUNCTIONS), (CORE2, CORE2_FUNCTIONS)] {
        let (mut table, mut size) = (ptr::null(), 0);
        // SAFETY: writes both variables if it gives anything but 0.
        if unsafe { table_of(module, &raw mut table, &raw mut size) } == 0 {
            continue;
        }
        // SAFETY: NVTX's table of that module, with that many entries.
        let slots = unsafe { slots(table, size as usize) };
        for (id, function) in functions {
            if let Some(slot) = slots.get(*id).filter(|slot| !slot.is_null()) {
                // SAFETY: a place for a function of that module and number, whose signature ours has.
                unsafe { slot.write(function.0) };
                filled = true;
            }
        }
    }
    filled
}

/// A function as NVTX keeps it.
#[derive(Clone, Copy)]
struct Function(*const ());

// SAFETY: the address of a function.
unsafe impl Sync for Function {}

type Functions = &'static [(usize, Function)];

/// By `NvtxCallbackIdCore`.
static CORE_FUNCTIONS: Functions = &[
    (1, Function(mark_ex as *const ())),
    (2, Function(mark_a as *const ())),
    (3, Function(mark_w as *const ())),
    (4, Function(start_ex as *const ())),
    (5, Function(start_a as *const ())),
    (6, Function(start_w as *const ())),
    (7, Function(end as *const ())),
    (8, Function(push_ex as *const ())),
    (9, Function(push_a as *const ())),
    (10, Function(push_w as *const ())),
    (11, Function(pop as *const ())),
    (14, Function(name_thread_a as *const ())),
    (15, Function(name_thread_w as *const ())),
];

/// By `NvtxCallbackIdCore2`.
static CORE2_FUNCTIONS: Functions = &[
    (1, Function(domain_mark_ex as *const ())),
    (2, Function(domain_start_ex as *const ())),
    (3, Function(domain_end as *const ())),
    (4, Function(domain_push_ex as *const ())),
    (5, Function(domain_pop as *const ())),
    (10, Function(register_a as *const ())),
    (11, Function(register_w as *const ())),
    (12, Function(create_a as *const ())),
    (13, Function(create_w as *const ())),
];

/// Runs `body` with the session; `none` if there is none or it panics.
fn with<T: Copy>(none: T, body: impl FnOnce(&'static Session) -> T) -> T {
    // What a panic leaves behind is atomics and cells, each whole in itself.
    catch_unwind(AssertUnwindSafe(|| Session::current().map_or(none, body))).unwrap_or(none)
}

type Wide = *const libc::wchar_t;

macro_rules! with_attributes {
    ($attributes:ident, $none:expr, |$session:ident, $event:ident| $body:expr) => {
        with($none, |$session| {
            let mut text = [0; TEXT_MAX];
            // SAFETY: NVTX's callers promise whole attributes with a text that ends.
            let $event = &unsafe { event($attributes, &mut text) };
            $body
        })
    };
}

macro_rules! with_ascii {
    ($text:ident, $none:expr, |$session:ident, $bytes:ident| $body:expr) => {
        with($none, |$session| {
            // SAFETY: NVTX's callers promise a text that ends.
            let $bytes = unsafe { ascii($text) };
            $body
        })
    };
}

macro_rules! with_wide {
    ($text:ident, $none:expr, |$session:ident, $bytes:ident| $body:expr) => {
        with($none, |$session| {
            let mut text = [0; TEXT_MAX];
            // SAFETY: NVTX's callers promise a text that ends.
            let $bytes = unsafe { wide($text, &mut text) };
            $body
        })
    };
}

unsafe extern "C" fn mark_ex(attributes: *const Attributes) {
    with_attributes!(attributes, (), |session, event| events::mark(session, 0, event));
}

unsafe extern "C" fn mark_a(text: *const c_char) {
    with_ascii!(text, (), |session, bytes| events::mark(session, 0, &Event::of_text(bytes)));
}

unsafe extern "C" fn mark_w(text: Wide) {
    with_wide!(text, (), |session, bytes| events::mark(session, 0, &Event::of_text(bytes)));
}

unsafe extern "C" fn start_ex(attributes: *const Attributes) -> u64 {
    with_attributes!(attributes, 0, |session, event| events::start(session, 0, event))
}

unsafe extern "C" fn start_a(text: *const c_char) -> u64 {
    with_ascii!(text, 0, |session, bytes| events::start(session, 0, &Event::of_text(bytes)))
}

unsafe extern "C" fn start_w(text: Wide) -> u64 {
    with_wide!(text, 0, |session, bytes| events::start(session, 0, &Event::of_text(bytes)))
}

unsafe extern "C" fn end(id: u64) {
    with((), |session| events::end(session, id));
}

unsafe extern "C" fn push_ex(attributes: *const Attributes) -> c_int {
    with_attributes!(attributes, NO_TRACKING, |session, event| events::push(session, 0, event))
}

unsafe extern "C" fn push_a(text: *const c_char) -> c_int {
    with_ascii!(text, NO_TRACKING, |session, bytes| events::push(session, 0, &Event::of_text(bytes)))
}

unsafe extern "C" fn push_w(text: Wide) -> c_int {
    with_wide!(text, NO_TRACKING, |session, bytes| events::push(session, 0, &Event::of_text(bytes)))
}

unsafe extern "C" fn pop() -> c_int {
    with(NO_TRACKING, |session| events::pop(session, 0))
}

unsafe extern "C" fn name_thread_a(tid: u32, text: *const c_char) {
    with_ascii!(text, (), |session, bytes| events::name_thread(session, tid, bytes));
}

unsafe extern "C" fn name_thread_w(tid: u32, text: Wide) {
    with_wide!(text, (), |session, bytes| events::name_thread(session, tid, bytes));
}

unsafe extern "C" fn domain_mark_ex(domain: *mut c_void, attributes: *const Attributes) {
    with_attributes!(attributes, (), |session, event| events::mark(session, domain.addr(), event));
}

unsafe extern "C" fn domain_start_ex(domain: *mut c_void, attributes: *const Attributes) -> u64 {
    with_attributes!(attributes, 0, |session, event| events::start(session, domain.addr(), event))
}

unsafe extern "C" fn domain_end(_: *mut c_void, id: u64) {
    with((), |session| events::end(session, id));
}

unsafe extern "C" fn domain_push_ex(domain: *mut c_void, attributes: *const Attributes) -> c_int {
    with_attributes!(attributes, NO_TRACKING, |session, event| events::push(session, domain.addr(), event))
}

unsafe extern "C" fn domain_pop(domain: *mut c_void) -> c_int {
    with(NO_TRACKING, |session| events::pop(session, domain.addr()))
}

unsafe extern "C" fn register_a(_: *mut c_void, text: *const c_char) -> *mut c_void {
    with_ascii!(text, ptr::null_mut(), |session, bytes| handle(registry::string(session, bytes)))
}

unsafe extern "C" fn register_w(_: *mut c_void, text: Wide) -> *mut c_void {
    with_wide!(text, ptr::null_mut(), |session, bytes| handle(registry::string(session, bytes)))
}

unsafe extern "C" fn create_a(name: *const c_char) -> *mut c_void {
    with_ascii!(name, ptr::null_mut(), |session, bytes| handle(registry::domain(session, bytes)))
}

unsafe extern "C" fn create_w(name: Wide) -> *mut c_void {
    with_wide!(name, ptr::null_mut(), |session, bytes| handle(registry::domain(session, bytes)))
}

fn handle(number: usize) -> *mut c_void {
    ptr::without_provenance_mut(number)
}
