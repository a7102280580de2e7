//! Why a file could not be imported.

use std::path::PathBuf;

use kvpath_schema::segment::SegmentError;

/// Why a file could not be imported.
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
    #[error("{0}: the file is empty")]
    Empty(PathBuf),
    /// Neither SQLite nor zstd.
    #[error(
        "{0}: not a SQLite database (nor one compressed with zstd); \
         export a report with `nsys export --type sqlite REPORT.nsys-rep`"
    )]
    NotSqlite(PathBuf),
    /// Compressed data that ends early or is damaged.
    #[error("{path}: the zstd data is cut short or damaged ({error})")]
    Zstd {
        /// File.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// SQLite that is cut or damaged.
    #[error("{path}: the database is cut short or damaged ({error})")]
    Damaged {
        /// File.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
    /// A table whose columns are not Nsight Systems'.
    #[error("{path}: table {table} has no column `{column}`, so it is not Nsight Systems' layout")]
    ForeignTable {
        /// File.
        path: PathBuf,
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
    },
    /// SQLite without anything to read.
    #[error(
        "{path}: none of Nsight Systems' tables is in it (looked for {looked_for}; found {found}); \
         was the report recorded with CUDA or NVTX tracing?"
    )]
    NoTables {
        /// File.
        path: PathBuf,
        /// Tables that are read.
        looked_for: String,
        /// Tables there.
        found: String,
    },
    /// A file was named twice.
    #[error("{0}: named twice")]
    Twice(PathBuf),
    /// Times without a known zero cannot stand beside other reports'.
    #[error(
        "{0}: does not say when its session began (TARGET_INFO_SESSION_START_TIME), so its times cannot be put beside those of other \
         reports; import it by itself"
    )]
    NoClock(PathBuf),
    /// The output folder is in use.
    #[error("{out}: exists and is not empty; name a new folder with --out")]
    OutNotEmpty {
        /// Folder.
        out: PathBuf,
    },
    /// A segment could not be written.
    #[error(transparent)]
    Write(#[from] SegmentError),
}
