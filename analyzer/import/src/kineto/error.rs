//! Why traces could not be imported.

use std::path::{Path, PathBuf};

use kvpath_schema::segment::SegmentError;

use super::document::Unreadable;
use super::json::WindowError;

/// Why traces could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Cannot be opened or read.
    #[error("{path}: {error}")]
    Io {
        /// File.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Not a byte in it.
    #[error("{0}: the file is empty; was the profiler stopped before it wrote?")]
    Empty(PathBuf),
    /// Compressed data that is damaged.
    #[error("{path}: the gzip data is damaged ({error}); copy the file anew")]
    Gzip {
        /// File.
        path: PathBuf,
        /// What the decompressor said.
        error: std::io::Error,
    },
    /// Not JSON of a trace.
    #[error(
        "{0}: not a Kineto trace (JSON with `traceEvents`, nor such JSON compressed with gzip); \
         PyTorch's profiler writes one with export_chrome_trace"
    )]
    NotATrace(PathBuf),
    /// Ends before the first event.
    #[error("{path}: the trace is cut short before its first event, at byte {at}; copy it anew or record again")]
    CutBeforeEvents {
        /// File.
        path: PathBuf,
        /// Bytes of JSON that are whole.
        at: u64,
    },
    /// JSON that is damaged.
    #[error("{path}: the JSON is damaged at byte {at} ({why}); copy the file anew or record again")]
    Damaged {
        /// File.
        path: PathBuf,
        /// Where in the JSON, bytes.
        at: u64,
        /// What was expected there.
        why: &'static str,
    },
    /// A value that is not held in memory.
    #[error("{path}: at byte {at} a value of more than 64 MiB begins, which no profiler writes; is it another file?")]
    TooLong {
        /// File.
        path: PathBuf,
        /// Where in the JSON, bytes.
        at: u64,
    },
    /// A trace of something else, or an empty one.
    #[error(
        "{path}: none of its {events} events is one that is imported (found: {found}); \
         was it recorded by PyTorch's profiler with ProfilerActivity.CUDA or CPU?"
    )]
    Foreign {
        /// File.
        path: PathBuf,
        /// Events in it.
        events: u64,
        /// Their categories.
        found: String,
    },
    /// A file was named twice.
    #[error("{0}: named twice")]
    Twice(PathBuf),
    /// Times without a known zero cannot stand beside other traces'.
    #[error(
        "{0}: its times count from a zero that it does not name (no `baseTimeNanoseconds`), \
         so they cannot be put beside those of other traces; import it by itself"
    )]
    NoClock(PathBuf),
    /// The output folder is in use.
    #[error("{out}: exists and is not an empty folder; name a new folder with --out")]
    OutNotEmpty {
        /// Folder.
        out: PathBuf,
    },
    /// A segment could not be written.
    #[error(transparent)]
    Write(#[from] SegmentError),
}

impl ImportError {
    /// The error about the file at `path`; `offset` is where the window began.
    pub(super) fn of(path: &Path, offset: u64, unreadable: Unreadable<Self>) -> Self {
        let path = path.to_owned();
        match unreadable {
            Unreadable::Window(WindowError::Io(error)) if is_damage(&error) => Self::Gzip { path, error },
            Unreadable::Window(WindowError::Io(error)) => Self::Io { path, error },
            Unreadable::Window(WindowError::TooLong) => Self::TooLong { path, at: offset },
            Unreadable::Json(at, why) => Self::Damaged { path, at, why },
            Unreadable::NoEvents => Self::NotATrace(path),
            Unreadable::Visitor(error) => error,
        }
    }
}

/// Whether the decompressor complains, not the file system.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData)
}
