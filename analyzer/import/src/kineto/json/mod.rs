//! JSON as traces hold it, read from a window that slides over the file: no tree of the document is built.
//!
//! Stricter and laxer than the standard on purpose: what is read is checked, what is skipped is followed by its brackets
//! and strings alone, and what profilers are known to write against the standard (`inf`, `nan`, control characters and
//! bytes that are no UTF-8 in names) is taken.

mod cursor;
mod number;
mod text;
mod window;

pub(super) use cursor::{Cursor, Fault};
pub(super) use number::{integer, nanoseconds};
pub(super) use text::Text;
pub(super) use window::{Window, WindowError};
