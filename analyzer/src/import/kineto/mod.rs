//! Traces of PyTorch's profiler (Kineto): Chrome trace JSON, also compressed with gzip, one file a process.
//!
//! Kernels, copies, memsets, CUDA API calls, synchronisations, recordings of events and CUPTI's overheads become rows of
//! the tables of the same name; `cpu_op` and `user_annotation` (with `ProfilerStep#N`) become `nvtx_ranges`, with their
//! category as domain. All API calls are kept: Kineto has left out those that explain nothing. Not imported, and counted
//! in `capture_info` by category: arrows (`ac2g`, `fwdbwd`), which correlation ids say as well; `gpu_user_annotation`,
//! which Kineto works out from them; Python functions, memory events and all else.
//!
//! Times are exact, on the wall clock; the run's zero is the midnight (UTC) before its first event. Where a trace does not
//! name the zero of its times they stay as they are, and it can only be imported by itself. Traces that share a pid get
//! `process_id`s of their own.
//!
//! A wait names the call that recorded what it waits for, by correlation id, not the recording: `event_sync_id` holds
//! that id in `gpu_syncs` and in `cuda_events`, which knows recordings that were waited for and, since Kineto of
//! 2025, all of them.

mod actors;
mod category;
mod counts;
mod document;
mod error;
mod event;
mod facts;
mod file;
mod json;
mod kinds;
mod launches;
mod names;
mod rows;
mod run;
mod sink;
mod survey;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use error::ImportError;
pub use run::stem;
pub use sink::{Totals, Written};

use survey::Survey;

/// The clock of imported traces: Kineto converts all times to the host's wall clock.
pub const WALL_CLOCK: &str = "CLOCK_REALTIME, by Kineto";

/// The clock of a trace that does not name the zero of its times.
pub const SESSION_CLOCK: &str = "kineto session";

/// Source, and partition, of imported segments.
pub const SOURCE: &str = "kineto";

/// What an import did.
#[derive(Debug, Default)]
pub struct Imported {
    /// Rows and bytes written, by table.
    pub tables: Totals,
    /// Events in the traces, descriptions of processes and threads left aside.
    pub events: u64,
    /// Events of which nothing is imported, by category.
    pub left_out: BTreeMap<String, u64>,
    /// Kernels that are imported though no trace holds their launch.
    pub kernels_without_launch: u64,
    /// Waits for events of which no trace says which call recorded them.
    pub waits_without_recording: u64,
    /// What was lost or taken for granted, a line each.
    pub notes: Vec<String>,
}

/// Imports `files` into a new run at `out`; the order of the files does not matter. The run appears under its name only
/// when it is whole.
///
/// # Errors
/// A file that is no trace, is damaged, holds no event that is imported, or was named twice; times that cannot be put
/// beside each other; or `out` exists and is not an empty folder.
pub fn import(files: &[PathBuf], out: &Path) -> Result<Imported, ImportError> {
    check_out(out)?;
    let mut files = files.to_vec();
    files.sort();
    if let Some(twice) = files.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(ImportError::Twice(twice[0].clone()));
    }
    let surveys = files.iter().map(|file| Survey::of(file)).collect::<Result<Vec<_>, _>>()?;
    let io = |error| ImportError::Io { path: out.to_owned(), error };
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(io)?;
    let unfinished = tempfile::Builder::new()
        .prefix(".kvpath-import-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .tempdir_in(parent)
        .map_err(io)?;
    let imported = run::write(&surveys, unfinished.path())?;
    std::fs::rename(unfinished.path(), out).map_err(io)?;
    Ok(imported)
}

fn check_out(out: &Path) -> Result<(), ImportError> {
    let free = match out.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if free { Ok(()) } else { Err(ImportError::OutNotEmpty { out: out.to_owned() }) }
}
