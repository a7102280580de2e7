//! What can go wrong with a run, and by whom it is to be mended.

use std::path::PathBuf;

use kvpath_schema::segment::SegmentError;

/// Why a run could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nothing there.
    #[error("{0}: no such file or folder")]
    Missing(String),
    /// A glob that is none.
    #[error("{pattern}: not a valid glob: {error}")]
    Glob {
        /// As given.
        pattern: String,
        /// Why.
        error: glob::PatternError,
    },
    /// A folder that cannot be listed.
    #[error("{path}: {error}")]
    Io {
        /// Folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// No segments.
    #[error(
        "{0}: no kvpath segments there (a run is a folder with node=…/source=…/TABLE-….parquet); record one with \
         `kvpath-agent record --out RUN -- COMMAND`, or make one of another tool's trace with `kvpath import`"
    )]
    Empty(String),
    /// A trace of another tool.
    #[error("{file}: {what}, not a run; make a run of it with {cure}")]
    NeedsImport {
        /// The file.
        file: PathBuf,
        /// What it is.
        what: &'static str,
        /// The command that makes a run of it.
        cure: String,
    },
    /// A segment that cannot be read.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// Damage that is not accepted, or beside which nothing is left to read.
    #[error("{0}")]
    Damaged(String),
    /// More than one recording.
    #[error("{run}: holds {count} recordings ({names}); name one of them with --run")]
    SeveralRuns {
        /// As named.
        run: String,
        /// How many.
        count: usize,
        /// What tells them apart.
        names: String,
    },
    /// No recording of that name among several.
    #[error("{run}: holds no recording `{label}`; it has {names}")]
    NoSuchRun {
        /// As named.
        run: String,
        /// As asked for.
        label: String,
        /// What tells those that it has apart.
        names: String,
    },
    /// No room for what the memory limit leaves no memory for.
    #[error(
        "{mib} MiB of the run go beyond the memory limit, and {folder} has no room for them: {error}; set TMPDIR to a folder on a \
         larger disk, or give a larger --memory-limit"
    )]
    Spill {
        /// Size.
        mib: usize,
        /// Folder of temporary files.
        folder: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A value that no recorder writes.
    #[error("table {table}: `{column}` holds {value}, which cannot be; the recording is damaged or not kvpath's")]
    Implausible {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// The value.
        value: i64,
    },
}
