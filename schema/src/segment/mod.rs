//! Segments: Parquet files, one table each, under `RUN/node=HOST/source=SOURCE/TABLE-BOOT_WRITER_NNNNNN.parquet`.
//!
//! Any Parquet tool reads them. The footer says what they are ([`Meta`]). A segment appears under its name only when it
//! is whole: it is written as `.partial` and renamed, so a run that was cut off holds whole segments and at most one
//! `.partial` a table. Of a store that does not wait for the disk ([`crate::store::Store::unsynced`]) that holds as long as the machine runs.
//! No two writers give one name: `BOOT` and `WRITER` are theirs alone. Imports, which can be made again, have neither in theirs.

mod decode;
mod read;
mod write;

use std::path::PathBuf;

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

pub use decode::Batches;
pub use read::{Builder, extent, open, open_at, read_into, read_into_at};
pub use write::{RunWriter, Unpublished, Written};

use crate::table::ReadError;
use crate::version::VersionError;

/// Keys of the Parquet footer.
pub mod keys {
    /// Schema version, decimal.
    pub const SCHEMA_VERSION: &str = "kvpath.schema_version";
    /// Table name.
    pub const TABLE: &str = "kvpath.table";
    /// Clock of every time in the file.
    pub const CLOCK: &str = "kvpath.clock";
    /// Wall clock (ns since 1970) at the zero of that clock; absent if unknown.
    pub const WALL_AT_ZERO_NS: &str = "kvpath.wall_at_zero_ns";
    /// Host that recorded.
    pub const HOST: &str = "kvpath.host";
    /// Source: `nixl`, `cupti`, `nvtx`, `process`, `capture`, `nsys`.
    pub const SOURCE: &str = "kvpath.source";
    /// Program and version that wrote the file.
    pub const WRITER: &str = "kvpath.writer";
    /// Records of this table known to be lost while this segment was filled.
    pub const DROPPED: &str = "kvpath.dropped";
}

/// The clock of every time that kvpath records.
pub const CLOCK_MONOTONIC: &str = "CLOCK_MONOTONIC";

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Table name.
    pub table: String,
    /// Clock.
    pub clock: String,
    /// Wall clock at the clock's zero, ns since 1970.
    pub wall_at_zero_ns: Option<i64>,
    /// Host that recorded.
    pub host: String,
    /// Source.
    pub source: String,
    /// Program and version.
    pub writer: String,
    /// Records lost while the segment was filled.
    pub dropped: u64,
    /// Schema version.
    pub version: u32,
}

/// Why a segment could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The file system said no.
    #[error("{path}: {error}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// Not Parquet, cut short or damaged.
    #[error("{path}: not a whole Parquet file ({error}); it was cut short, damaged, or is something else")]
    Parquet {
        /// File.
        path: PathBuf,
        /// What the Parquet reader said.
        error: ParquetError,
    },
    /// Parquet data that does not decode.
    #[error("{path}: damaged data ({error})")]
    Data {
        /// File.
        path: PathBuf,
        /// What Arrow said.
        error: ArrowError,
    },
    /// Parquet, but not of kvpath.
    #[error("{path}: a Parquet file, but not a kvpath segment (its footer has no valid `{key}`)")]
    Foreign {
        /// File.
        path: PathBuf,
        /// The missing or bad key.
        key: &'static str,
    },
    /// Of a version that cannot be read.
    #[error("{path}: {error}")]
    Version {
        /// File.
        path: PathBuf,
        /// Both versions and the cure.
        error: VersionError,
    },
    /// What should say what a writer did does not.
    #[error("{path}: not a manifest of kvpath ({why})")]
    Manifest {
        /// Object.
        path: PathBuf,
        /// What it lacks.
        why: String,
    },
    /// The columns are not those of the table.
    #[error("{path}: {error}")]
    Columns {
        /// File.
        path: PathBuf,
        /// Which column.
        error: ReadError,
    },
}

/// The name of a host as segments and their partition `node=` show it.
#[must_use]
pub fn host_name(host: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }
    };
    host.chars().map(safe).collect()
}
