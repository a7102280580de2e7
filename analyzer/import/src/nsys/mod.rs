//! Nsight Systems' SQLite export (and files in its layout), also compressed with zstd.
//!
//! Read: processes, GPUs, thread names, kernels, copies, memsets, NVTX ranges and markers, and the CUDA API calls of
//! [`api::is_chosen`] (all of them on demand). Versions differ in tables and columns: what a file lacks is null or
//! empty here, what this reader leaves out is counted in `capture_info` and printed.
//!
//! Times are as in the file. Exports count from the start of their session, so the clock is named after it
//! ([`SESSION_CLOCK`]) and is never compared with another recording's.

mod api;
mod error;
mod file;
mod read;
mod rows;

use std::path::{Path, PathBuf};

use kvpath_schema::segment::{RunWriter, Written};
use kvpath_schema::store::Store;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::capture::{CaptureInfo, CaptureInfos, Drop, Drops};

pub use api::Calls;
pub(super) use api::without_version;
pub use error::ImportError;

/// The clock of an imported session.
pub const SESSION_CLOCK: &str = "nsys session";

/// Source, and partition, of imported segments.
pub const SOURCE: &str = "nsys";

/// What an import did.
#[derive(Debug)]
pub struct Imported {
    /// Segments written.
    pub segments: Vec<(&'static str, Written)>,
    /// Rows whose times or sizes are none, by table of the file.
    pub rows_left_out: std::collections::BTreeMap<&'static str, u64>,
    /// API calls left out by the choice of calls.
    pub calls_left_out: u64,
    /// Processes of the host without any record, left out.
    pub processes_left_out: u64,
}

/// Imports `file` into a new run at `out`.
///
/// # Errors
/// Not SQLite (or zstd of it), cut, damaged, without any table that is read; or `out` exists and is not empty.
pub fn import(file: &Path, out: &Path, calls: Calls) -> Result<Imported, ImportError> {
    let opened = file::open(file)?;
    let trace = read::Trace::read(&opened, calls)?;
    if out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ImportError::OutNotEmpty { out: out.to_owned() });
    }
    let host = host_of(file);
    let writer = concat!("kvpath ", env!("CARGO_PKG_VERSION"), " import nsys");
    let store = Store::unsynced(out);
    let mut run = RunWriter::to(store, &host, writer, trace.wall_at_zero_ns).on_clock(SESSION_CLOCK).imported();
    let mut imported = Imported {
        segments: Vec::new(),
        rows_left_out: trace.rows_left_out.clone(),
        calls_left_out: trace.calls_left_out,
        processes_left_out: trace.processes_left_out,
    };
    write(&mut run, &mut imported, &trace.processes)?;
    write(&mut run, &mut imported, &trace.threads)?;
    write(&mut run, &mut imported, &trace.gpus)?;
    write(&mut run, &mut imported, &trace.kernels)?;
    write(&mut run, &mut imported, &trace.memcpys)?;
    write(&mut run, &mut imported, &trace.memsets)?;
    write(&mut run, &mut imported, &trace.api_calls)?;
    write(&mut run, &mut imported, &trace.nvtx)?;
    write(&mut run, &mut imported, &info(file, &trace))?;
    write(&mut run, &mut imported, &drops(&trace))?;
    Ok(imported)
}

fn write<C: Columns>(run: &mut RunWriter, imported: &mut Imported, columns: &C) -> Result<(), ImportError> {
    let written = run.write(SOURCE, columns, 0)?;
    imported.segments.extend(written.map(|written| (C::DEF.name, written)));
    Ok(())
}

/// The partition `node=`: an export does not name its host, so the file's name stands for it.
fn host_of(file: &Path) -> String {
    let mut stem = PathBuf::from(file.file_name().unwrap_or_default());
    for ending in ["zst", "sqlite"] {
        if stem.extension().is_some_and(|e| e == ending) {
            stem.set_extension("");
        }
    }
    stem.to_string_lossy().into_owned()
}

/// Rows of the file that are no events, as counted losses.
fn drops(trace: &read::Trace) -> Drops {
    let mut drops = Drops::default();
    for (table, count) in &trace.rows_left_out {
        drops.push(Drop {
            time_ns: 0,
            source: SOURCE.into(),
            table_name: None,
            reason: format!("rows of {table} without times or sizes that can be").into(),
            count: i64::try_from(*count).unwrap_or(i64::MAX),
            process_id: None,
        });
    }
    drops
}

fn info(file: &Path, trace: &read::Trace) -> CaptureInfos {
    let mut info = CaptureInfos::default();
    let mut say = |key: &str, value: String| {
        info.push(CaptureInfo { source: SOURCE.into(), key: key.to_owned(), value });
    };
    say("file", file.file_name().unwrap_or_default().to_string_lossy().into_owned());
    say("clock", SESSION_CLOCK.to_owned());
    say("api_calls_left_out", trace.calls_left_out.to_string());
    say("processes_left_out", trace.processes_left_out.to_string());
    say("tables_not_read", trace.tables_not_read.join(","));
    info
}
