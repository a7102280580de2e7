//! JSON as traces hold it, read from a window that slides over the file: no tree of the document is built.
//!
//! Laxer than the standard where profilers are known to be: `inf` and `nan`, control characters and bytes that are no
//! UTF-8 in strings, unknown escapes. All else is checked, also in what is skipped: damage must not swallow events.

mod cursor;
mod keys;
mod number;
mod text;
mod window;

pub(super) use cursor::{Cursor, Fault};
pub(super) use keys::{Keys, OPENED};
pub(super) use number::integer;
pub(super) use text::Text;
pub(super) use window::{LONGEST, Window, WindowError};
