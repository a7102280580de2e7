//! Nsight Systems' SQLite export (and files in its layout), also compressed with zstd.
//!
//! Read: processes, GPUs, thread names, kernels, copies, memsets, graphs that were recorded as a whole, synchronisations,
//! recordings of events, NVTX ranges and markers, the CUDA API calls of [`api::is_chosen`] (all of them on demand), and what the
//! profiler says that it lost. Versions differ in tables and columns: what a file lacks is null or empty here, what this
//! reader leaves out is counted in `capture_info` and printed.
//!
//! Times are as in the file. Exports count from the start of their session, so the clock is named after it
//! ([`SESSION_CLOCK`]) and is never compared with another recording's. Several reports are put on one axis ([`place`]).

mod api;
mod diagnostics;
mod error;
mod file;
mod place;
mod read;
mod rows;
#[cfg(test)]
mod tests;
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kvpath_schema::segment::{RunWriter, Written};
use kvpath_schema::store::Store;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::capture::{CaptureInfo, CaptureInfos, Drop, Drops};
use kvpath_schema::tables::gpu::Gpus;

use diagnostics::Said;
use place::Placed;
use read::Trace;

pub use api::Calls;
pub(super) use api::without_version;
pub use error::ImportError;

/// The clock of an imported session.
pub const SESSION_CLOCK: &str = "nsys session";

/// Source, and partition, of imported segments.
pub const SOURCE: &str = "nsys";

/// What an import did.
#[derive(Debug, Default)]
pub struct Imported {
    /// Segments written.
    pub segments: Vec<(&'static str, Written)>,
    /// Rows whose times or sizes are none, by table of the file.
    pub rows_left_out: BTreeMap<&'static str, u64>,
    /// API calls left out by the choice of calls.
    pub calls_left_out: u64,
    /// Processes of the host without any record, left out.
    pub processes_left_out: u64,
    /// Launches of graphs that are recorded as a whole.
    pub graphs_as_a_whole: u64,
    /// What was lost, and where reports were put, a line each.
    pub notes: Vec<String>,
}

/// Imports `files`, reports of one recording, into a new run at `out`.
///
/// # Errors
/// Not SQLite (or zstd of it), cut, damaged, without any table that is read, or named twice; of several one that does not say when
/// it began; or `out` exists and is not empty.
pub fn import(files: &[PathBuf], out: &Path, calls: Calls) -> Result<Imported, ImportError> {
    let mut files = files.to_vec();
    files.sort();
    if let Some(twice) = files.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(ImportError::Twice(twice[0].clone()));
    }
    let read = |file: &PathBuf| Ok((file.clone(), read::Trace::read(&file::open(file)?, calls)?));
    let mut traces = files.iter().map(read).collect::<Result<Vec<(PathBuf, Trace)>, ImportError>>()?;
    if out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ImportError::OutNotEmpty { out: out.to_owned() });
    }
    let mut imported = Imported::default();
    let mut hosts: BTreeMap<String, Vec<(PathBuf, Trace)>> = BTreeMap::new();
    let mut wall_ns = traces.first().and_then(|(_, trace)| trace.began.wall_ns);
    if traces.len() == 1 {
        hosts = traces.into_iter().map(|(file, trace)| (host_of(&file), vec![(file, trace)])).collect();
    } else {
        let began: Vec<_> =
            traces.iter().map(|(file, trace)| (file.clone(), host_of(file), trace.began.clone())).collect();
        let (zero, placed) = place::all(&began)?;
        wall_ns = Some(zero);
        for ((file, mut trace), Placed { host, shift_ns, how }) in traces.drain(..).zip(placed) {
            trace.shift(shift_ns);
            let note = format!("{}: host {host}, at +{shift_ns} ns, {how}", name(&file));
            trace.placed = Some(note.clone());
            imported.notes.push(note);
            hosts.entry(host).or_default().push((file, trace));
        }
    }
    for (host, traces) in hosts {
        write_host(out, (&host, wall_ns), traces, &mut imported)?;
    }
    Ok(imported)
}

/// Writes the reports of a host; processes that share a pid get ids of their own.
fn write_host(
    out: &Path,
    (host, wall_ns): (&str, Option<i64>),
    traces: Vec<(PathBuf, Trace)>,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    let writer = concat!("kvpath ", env!("CARGO_PKG_VERSION"), " import nsys");
    let mut run = RunWriter::to(Store::unsynced(out), host, writer, wall_ns).on_clock(SESSION_CLOCK).imported();
    let (mut taken, mut devices) = (BTreeMap::<i64, i64>::new(), BTreeSet::new());
    for (file, mut trace) in traces {
        let before = taken.clone();
        for process in &trace.processes.process_id {
            *taken.entry(*process).or_default() += 1;
        }
        trace.identify(|process| process + (before.get(&process).copied().unwrap_or(0) << 32));
        let mut gpus = Gpus::default();
        for row in (0..trace.gpus.len()).filter(|row| devices.insert(trace.gpus.device_id[*row])) {
            gpus.push(trace.gpus.row(row));
        }
        for (table, rows) in &trace.rows_left_out {
            *imported.rows_left_out.entry(table).or_default() += rows;
        }
        imported.calls_left_out += trace.calls_left_out;
        imported.processes_left_out += trace.processes_left_out;
        imported.graphs_as_a_whole += trace.waits.graphs.len() as u64;
        let drops = drops(&file, &trace);
        let lost = (trace.rows_left_out.len()..drops.len()).map(|row| {
            let table = drops.table_name[row].as_deref().unwrap_or("records");
            format!("lost: {} {table}: {}", drops.count[row], drops.reason[row])
        });
        imported.notes.extend(lost);
        write(&mut run, imported, &trace.processes)?;
        write(&mut run, imported, &trace.threads)?;
        write(&mut run, imported, &gpus)?;
        write(&mut run, imported, &trace.kernels)?;
        write(&mut run, imported, &trace.memcpys)?;
        write(&mut run, imported, &trace.memsets)?;
        write(&mut run, imported, &trace.api_calls)?;
        write(&mut run, imported, &trace.waits.syncs)?;
        write(&mut run, imported, &trace.waits.events)?;
        write(&mut run, imported, &trace.waits.graphs)?;
        write(&mut run, imported, &trace.nvtx)?;
        write(&mut run, imported, &info(&file, &trace))?;
        write(&mut run, imported, &drops)?;
    }
    Ok(())
}

fn write<C: Columns>(run: &mut RunWriter, imported: &mut Imported, columns: &C) -> Result<(), ImportError> {
    let written = run.write(SOURCE, columns, 0)?;
    imported.segments.extend(written.map(|written| (C::DEF.name, written)));
    Ok(())
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
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

/// Rows of the file that are no events, launches whose work it lacks, and what the profiler itself says that it lost.
fn drops(file: &Path, trace: &Trace) -> Drops {
    let mut drops = Drops::default();
    let mut add = |(time_ns, process_id): (i64, Option<i64>), table: Option<&str>, reason: String, count: i64| {
        let (source, table_name) = (SOURCE.into(), table.map(Into::into));
        drops.push(Drop { time_ns, source, table_name, reason: reason.into(), count, process_id });
    };
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    for (table, count) in &trace.rows_left_out {
        add((0, None), None, format!("rows of {table} without times or sizes that can be"), number(*count));
    }
    let file = name(file);
    for (process, launched) in &trace.launched {
        let (kernels, graphs) = (launched.kernels_without_work(), launched.graphs_without_work());
        if kernels > 0 {
            let why = format!("launches in {file} of kernels that are not recorded");
            add((0, Some(*process)), Some("kernels"), why, number(kernels));
        }
        if graphs > 0 {
            let why = format!(
                "graphs that {file} says were launched, and of which no kernel is recorded; more than one each"
            );
            add((0, Some(*process)), Some("kernels"), why, number(graphs));
        }
    }
    for Said { time_ns, text, process, lost } in &trace.said {
        let process = trace.processes.process_id.contains(process).then_some(*process);
        if let Some((table, count)) = lost {
            add((*time_ns, process), *table, format!("{file}: {text}"), *count);
        }
    }
    drops
}

fn info(file: &Path, trace: &Trace) -> CaptureInfos {
    let mut info = CaptureInfos::default();
    let mut say = |key: &str, value: String| {
        info.push(CaptureInfo { source: SOURCE.into(), key: key.to_owned(), value });
    };
    say("file", name(file));
    say("clock", SESSION_CLOCK.to_owned());
    say("api_calls_left_out", trace.calls_left_out.to_string());
    say("processes_left_out", trace.processes_left_out.to_string());
    say("tables_not_read", trace.tables_not_read.join(","));
    if !trace.waits.graphs.is_empty() {
        say("graphs_as_a_whole", trace.waits.graphs.len().to_string());
    }
    if let Some(placed) = &trace.placed {
        say("placed", placed.clone());
    }
    for (number, said) in trace.said.iter().filter(|said| said.lost.is_none()).enumerate() {
        say(&format!("warning {number}"), said.text.clone());
    }
    info
}
