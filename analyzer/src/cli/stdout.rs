//! Data goes to standard output; a reader that has seen enough is no error.

use std::io::{ErrorKind, Result, Write as _};

/// Prints `text`.
///
/// # Errors
/// Standard output cannot be written, other than because nobody reads it any more.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
