//! The entry points, each looked up by itself, so that a library that lacks one says which.
#![expect(unsafe_code, reason = "dlsym gives untyped pointers")]

use core::ffi::{CStr, c_char, c_void};

use crate::Status;
use crate::library::Library;
use crate::records::Activity;

/// `CUpti_BuffersCallbackRequestFunc`: (buffer, size, most records).
pub type BufferRequested = unsafe extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
/// `CUpti_BuffersCallbackCompleteFunc`: (context, stream, buffer, size, bytes in use).
pub type BufferCompleted = unsafe extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);
/// `CUpti_TimestampCallbackFunc`.
pub type Timestamp = unsafe extern "C" fn() -> u64;
/// `CUpti_CallbackFunc`: (user data, domain, callback id, data).
pub type Callback = unsafe extern "C" fn(*mut c_void, u32, u32, *const c_void);

/// A function that is needed is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("libcupti has no function {}", .0.to_str().unwrap_or("?"))]
pub struct Missing(pub &'static CStr);

macro_rules! functions {
    (
        needed { $( $(#[doc = $doc:literal])+ $name:ident = $symbol:literal: fn($($arg:ty),*), )+ }
        optional { $( $(#[doc = $o_doc:literal])+ $o_name:ident = $o_symbol:literal: fn($($o_arg:ty),*), )+ }
    ) => {
        /// The entry points of one libcupti.
        #[derive(Debug, Clone, Copy)]
        pub struct Functions {
            $( $(#[doc = $doc])+ pub $name: unsafe extern "C" fn($($arg),*) -> Status, )+
            $( $(#[doc = $o_doc])+ pub $o_name: Option<unsafe extern "C" fn($($o_arg),*) -> Status>, )+
        }

        impl Functions {
            /// Looks them up.
            ///
            /// # Errors
            /// The first function that is needed and not there.
            pub fn of(library: &Library) -> Result<Self, Missing> {
                Ok(Self {
                    $( $name: {
                        let found = library.symbol($symbol).ok_or(Missing($symbol))?;
                        // SAFETY: the symbol of that name has that signature in all versions of CUPTI.
                        unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn($($arg),*) -> Status>(found) }
                    }, )+
                    $( $o_name: library.symbol($o_symbol).map(|found| {
                        // SAFETY: as above.
                        unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn($($o_arg),*) -> Status>(found) }
                    }), )+
                })
            }
        }
    };
}

functions! {
    needed {
        /// `cuptiGetVersion(version)`.
        get_version = c"cuptiGetVersion": fn(*mut u32),
        /// `cuptiActivityRegisterCallbacks(requested, completed)`.
        register_callbacks = c"cuptiActivityRegisterCallbacks": fn(BufferRequested, BufferCompleted),
        /// `cuptiActivityRegisterTimestampCallback(timestamp)`.
        register_timestamp = c"cuptiActivityRegisterTimestampCallback": fn(Timestamp),
        /// `cuptiActivityEnable(kind)`.
        enable = c"cuptiActivityEnable": fn(u32),
        /// `cuptiActivityDisable(kind)`.
        disable = c"cuptiActivityDisable": fn(u32),
        /// `cuptiActivityFlushAll(flag)`.
        flush_all = c"cuptiActivityFlushAll": fn(u32),
        /// `cuptiActivityGetNextRecord(buffer, bytes in use, record)`.
        next_record = c"cuptiActivityGetNextRecord": fn(*mut u8, usize, *mut *mut Activity),
        /// `cuptiActivityGetNumDroppedRecords(context, stream, dropped)`.
        dropped_records = c"cuptiActivityGetNumDroppedRecords": fn(*mut c_void, u32, *mut usize),
        /// `cuptiSubscribe(subscriber, callback, user data)`.
        subscribe = c"cuptiSubscribe": fn(*mut *mut c_void, Callback, *mut c_void),
        /// `cuptiUnsubscribe(subscriber)`.
        unsubscribe = c"cuptiUnsubscribe": fn(*mut c_void),
    }
    optional {
        /// `cuptiActivityEnableDriverApi(cbid, enable)`.
        enable_driver_api = c"cuptiActivityEnableDriverApi": fn(u32, u8),
        /// `cuptiActivityEnableRuntimeApi(cbid, enable)`.
        enable_runtime_api = c"cuptiActivityEnableRuntimeApi": fn(u32, u8),
        /// `cuptiActivityEnableAllSyncRecords(enable)`.
        enable_all_sync = c"cuptiActivityEnableAllSyncRecords": fn(u8),
        /// `cuptiSetThreadIdType(type)`.
        set_thread_id_type = c"cuptiSetThreadIdType": fn(u32),
    }
}

/// Text of a C string of CUPTI's, without its end.
///
/// # Safety
/// `text` is null or points to a string that stays as long as the result is used.
#[must_use]
pub unsafe fn text<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}
