//! What NVTX hands over: texts and event attributes.
#![expect(unsafe_code, reason = "C strings and structs of the traced program")]

use std::ffi::{CStr, c_char};
use std::slice;

use kvpath_schema::wire::ring::TEXT_MAX;

use super::events::{Event, Text};

/// `NVTX_MESSAGE_TYPE_*`.
mod message {
    pub const ASCII: i32 = 1;
    pub const UNICODE: i32 = 2;
    pub const REGISTERED: i32 = 3;
}

/// `nvtxEventAttributes_v2` of NVTX 3; the payload's and the message's unions as their bits.
#[repr(C)]
pub struct Attributes {
    version: u16,
    size: u16,
    category: u32,
    color_type: i32,
    color: u32,
    payload_type: i32,
    reserved0: i32,
    payload: u64,
    message_type: i32,
    message: *const c_char,
}

const _: () = assert!(size_of::<Attributes>() == 48, "as in nvToolsExt.h of NVTX 3");

/// The bytes of a C string.
///
/// # Safety
/// `text` is null or ends in zero, and stays as long as the result is used.
pub unsafe fn ascii<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return b"";
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// A wide string as UTF-8, in memory of the caller's.
///
/// # Safety
/// `text` is null or ends in zero.
pub unsafe fn wide(text: *const libc::wchar_t, into: &mut [u8; TEXT_MAX]) -> &[u8] {
    let mut used = 0;
    for at in 0.. {
        // SAFETY: the caller's promise: nothing is read behind the zero.
        let unit = if text.is_null() { 0 } else { unsafe { *text.add(at) } };
        if unit == 0 {
            break;
        }
        let char = u32::try_from(unit).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
        let mut bytes = [0; 4];
        let bytes = char.encode_utf8(&mut bytes).as_bytes();
        let Some(room) = into.get_mut(used..used + bytes.len()) else { break };
        room.copy_from_slice(bytes);
        used += bytes.len();
    }
    &into[..used]
}

/// What an event's attributes say; `wide` is memory for its text.
///
/// # Safety
/// `attributes` is null or points to what its own size says, and its text ends in zero.
pub unsafe fn event(attributes: *const Attributes, wide_text: &mut [u8; TEXT_MAX]) -> Event<'_> {
    // SAFETY: the caller's promise; the size is at the start of every version.
    let known = !attributes.is_null() && usize::from(unsafe { (*attributes).size }) >= size_of::<Attributes>();
    if !known {
        return Event::of_text(b"");
    }
    // SAFETY: as long as it says.
    let attributes = unsafe { &*attributes };
    let text = match attributes.message_type {
        // SAFETY: the caller's promise.
        message::ASCII => Text::Inline(unsafe { ascii(attributes.message) }),
        // SAFETY: the caller's promise.
        message::UNICODE => Text::Inline(unsafe { wide(attributes.message.cast(), wide_text) }),
        message::REGISTERED => Text::Registered(attributes.message.addr()),
        _ => Text::Inline(b""),
    };
    Event { text, payload: (attributes.payload_type.unsigned_abs(), attributes.payload) }
}

/// The slots of a function table that NVTX hands over.
///
/// # Safety
/// `table` has that many entries, each null or a place for a function pointer that stays.
pub unsafe fn slots<'a>(table: *const *mut *const (), size: usize) -> &'a [*mut *const ()] {
    // SAFETY: the caller's promise.
    if table.is_null() { &[] } else { unsafe { slice::from_raw_parts(table, size) } }
}
