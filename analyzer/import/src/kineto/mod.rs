//! Traces of PyTorch's profiler (Kineto): Chrome trace JSON, also compressed with gzip, one file a process.
//!
//! Kernels, copies, memsets, CUDA API calls, synchronisations, recordings of events and CUPTI's overheads become rows of
//! the tables of the same name; `cpu_op` and `user_annotation` (with `ProfilerStep#N`) become `nvtx_ranges`, with their
//! category as domain. All API calls are kept, also those of XPU, MTIA and other backends: Kineto has left out those that explain nothing. Not imported, and counted
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
mod blocks;
mod category;
mod counts;
mod crew;
mod document;
mod error;
mod event;
mod facts;
mod file;
mod gather;
mod json;
mod kinds;
mod names;
mod rows;
mod run;
mod sink;
mod survey;
mod tables;

use std::collections::BTreeMap;
use std::num::NonZero;
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
/// when it is whole; a machine that stops right after may yet lose some of it, as the disk is not waited for: import again then.
///
/// # Errors
/// A file that is no trace, is damaged, holds no event that is imported, or was named twice; times that cannot be put
/// beside each other; or `out` exists and is not an empty folder.
pub fn import(files: &[PathBuf], out: &Path) -> Result<Imported, ImportError> {
    import_with(files, out, std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN))
}

/// The same with so many threads that compute.
fn import_with(files: &[PathBuf], out: &Path, threads: NonZero<usize>) -> Result<Imported, ImportError> {
    check_out(out)?;
    let mut files = files.to_vec();
    files.sort();
    if let Some(twice) = files.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(ImportError::Twice(twice[0].clone()));
    }
    let io = |error| ImportError::Io { path: out.to_owned(), error };
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for look in [Survey::of, Survey::in_full] {
        let surveys = survey(&files, look, threads)?;
        std::fs::create_dir_all(parent).map_err(io)?;
        let unfinished = tempfile::Builder::new()
            .prefix(".kvpath-import-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .tempdir_in(parent)
            .map_err(io)?;
        if let Some(imported) = run::write(&surveys, unfinished.path(), threads)? {
            std::fs::rename(unfinished.path(), out).map_err(io)?;
            return Ok(imported);
        }
    }
    unreachable!("what was read in full assumes nothing")
}

/// Looks at all files; of what is wrong with several, the first is told.
fn survey(
    files: &[PathBuf],
    look: fn(&Path) -> Result<Survey, ImportError>,
    threads: NonZero<usize>,
) -> Result<Vec<Survey>, ImportError> {
    let each = files.len().div_ceil(threads.get()).max(1);
    let look = move |files: &[PathBuf]| files.iter().map(|file| look(file)).collect::<Result<Vec<_>, _>>();
    std::thread::scope(|scope| {
        let looking: Vec<_> = files.chunks(each).map(|files| scope.spawn(move || look(files))).collect();
        let found = looking.into_iter().map(|thread| thread.join().expect("a look does not panic"));
        Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    })
}

fn check_out(out: &Path) -> Result<(), ImportError> {
    let free = match out.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if free { Ok(()) } else { Err(ImportError::OutNotEmpty { out: out.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvpath_analysis::load::Run;
    use kvpath_analysis::model::Recording;
    use kvpath_analysis::spill::Memory;
    use proptest::prelude::*;

    const TRACE: &str = r#"{"schemaVersion": 1, "deviceProperties": [{"id": 0, "name": "H200"}],
        "distributedInfo": {"rank": 1, "world_size": 2}, "baseTimeNanoseconds": 1711964646000000000, "traceEvents": [
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 7, "tid": 8, "ts": 10.5, "dur": 20.25},
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 7, "tid": 8, "ts": 11, "dur": 2,
         "args": {"correlation": 5}},
        {"ph": "X", "cat": "kernel", "name": "k\u00e9", "pid": 0, "tid": 7, "ts": 13.001, "dur": 9,
         "args": {"device": 0, "context": 1, "stream": 7, "correlation": 5, "grid": [1, 2, 3], "block": [4, 5, 6]}},
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy PtoP (Device -> Device)", "pid": 0, "tid": 7, "ts": 23, "dur": 1,
         "args": {"fromDevice": 0, "inDevice": 0, "toDevice": 1, "stream": 7, "correlation": 6, "bytes": 64}},
        {"ph": "X", "cat": "cuda_event", "name": "cudaEvent", "pid": 0, "tid": 7, "ts": 24, "dur": 0.001,
         "args": {"event_id": 3, "stream": 7, "correlation": 9, "context": 1}},
        {"ph": "X", "cat": "cuda_sync", "name": "Event Sync", "pid": 0, "tid": -1, "ts": 25, "dur": 1,
         "args": {"wait_on_stream": 7, "wait_on_cuda_event_record_corr_id": 9, "wait_on_cuda_event_id": 3, "stream": -1}},
        {"ph": "X", "cat": "overhead", "name": "Buffer Flush", "pid": -1, "tid": 0, "ts": 26, "dur": 1},
        {"ph": "s", "id": 5, "pid": 7, "tid": 8, "ts": 11, "cat": "ac2g", "name": "ac2g"},
        {"ph": "M", "name": "process_name", "pid": 7, "tid": 0, "args": {"name": "python3"}}
        ], "traceName": "x"}"#;

    fn imported(json: &[u8]) -> (tempfile::TempDir, Result<Imported, ImportError>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace.json");
        std::fs::write(&file, json).unwrap();
        let imported = import(&[file], &folder.path().join("run"));
        (folder, imported)
    }

    #[test]
    fn each_category_finds_its_table() {
        let (_folder, imported) = imported(TRACE.as_bytes());
        let imported = imported.unwrap();
        let rows: Vec<(&str, usize)> = imported.tables.iter().map(|(table, written)| (*table, written.rows)).collect();
        let expected = [
            ("api_calls", 1),
            ("capture_info", 5),
            ("cuda_events", 1),
            ("cupti_overheads", 1),
            ("gpu_syncs", 1),
            ("gpus", 1),
            ("kernels", 1),
            ("memcpys", 1),
            ("nvtx_ranges", 1),
            ("processes", 1),
            ("threads", 1),
        ];
        assert_eq!(rows, expected);
        assert_eq!((imported.events, imported.kernels_without_launch, imported.waits_without_recording), (8, 0, 0));
        assert_eq!(imported.left_out, BTreeMap::from([("ac2g".to_owned(), 1)]));
    }

    #[test]
    fn a_zero_that_only_seems_to_be_named_at_the_end_is_none() {
        const HOUR: i64 = 3_600_000_000_000;
        let event = r#"{"ph": "X", "cat": "cpu_op", "name": "a", "pid": 7, "tid": 8, "ts": 10, "dur": 5}"#;
        let clock = |behind: &str| {
            let (folder, imported) = imported(format!(r#"{{"traceEvents": [{event}], {behind}}}"#).as_bytes());
            assert_eq!(imported.unwrap().events, 1);
            let run = Run::open(&folder.path().join("run").to_string_lossy()).unwrap();
            (run.segments[0].meta.clock.clone(), run.segments[0].meta.wall_at_zero_ns)
        };
        assert_eq!(clock(&format!("\"baseTimeNanoseconds\": {HOUR}")), (WALL_CLOCK.to_owned(), Some(0)));
        let within = format!("\"x\": {{\"baseTimeNanoseconds\": {HOUR}}}");
        assert_eq!(clock(&within), (SESSION_CLOCK.to_owned(), None));
    }

    #[test]
    fn a_host_that_is_named_behind_the_events_is_the_traces_own() {
        let event = r#"{"ph": "X", "cat": "cpu_op", "name": "a", "pid": 7, "tid": 8, "ts": 10, "dur": 5}"#;
        let behind = r#""baseTimeNanoseconds": 3600000000000, "host_name": "b""#;
        let (folder, imported) = imported(format!(r#"{{"traceEvents": [{event}], {behind}}}"#).as_bytes());
        assert_eq!(imported.unwrap().events, 1);
        let run = Run::open(&folder.path().join("run").to_string_lossy()).unwrap();
        assert_eq!(run.hosts(), ["b"]);
    }

    #[test]
    fn launches_whose_work_is_not_recorded_are_losses() {
        let call = |name: &str, correlation: u32| {
            format!(
                r#"{{"ph": "X", "cat": "cuda_runtime", "name": "{name}", "pid": 7, "tid": 8, "ts": {correlation}, "dur": 1,
                   "args": {{"correlation": {correlation}}}}}"#
            )
        };
        let kernel = r#"{"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 30, "dur": 9,
            "args": {"device": 0, "context": 1, "stream": 7, "correlation": 10}}"#;
        // One that ran, one that was captured, one that is not recorded, and two replays of which nothing is.
        let calls = [
            call("cudaLaunchKernel", 10),
            call("cudaStreamBeginCapture", 11),
            call("cudaLaunchKernel", 12),
            call("cudaStreamEndCapture", 13),
            call("cudaLaunchKernel", 14),
            call("cudaGraphLaunch", 15),
            call("cudaGraphLaunch", 16),
        ];
        let json = format!(r#"{{"traceEvents": [{kernel}, {}], "baseTimeNanoseconds": 1000}}"#, calls.join(", "));
        let (folder, imported) = imported(json.as_bytes());
        let notes = imported.unwrap().notes;
        assert!(notes[0].starts_with("lost: 1 kernels: launches in trace.json"), "{notes:?}");
        assert!(notes[1].starts_with("lost: 2 kernels: graphs that trace.json"), "{notes:?}");
        let run = Run::open(&folder.path().join("run").to_string_lossy()).unwrap();
        let losses = kvpath_analysis::load::losses::Losses::of(&run).unwrap();
        assert_eq!(losses.drops.iter().map(|drop| drop.count).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn calls_of_other_backends_are_kept() {
        let events = ["xpu_runtime", "mtia_runtime", "privateuse1_runtime", "privateuse1_driver"].map(|category| {
            format!(
                r#"{{"ph": "X", "cat": "{category}", "name": "launchKernel", "pid": 7, "tid": 8, "ts": 1, "dur": 1,
                   "args": {{"correlation": 3}}}}"#
            )
        });
        let json = format!(r#"{{"traceEvents": [{}], "baseTimeNanoseconds": 1000}}"#, events.join(", "));
        let (_folder, imported) = imported(json.as_bytes());
        let imported = imported.unwrap();
        assert_eq!((imported.tables["api_calls"].rows, imported.left_out.len(), imported.notes.len()), (4, 0, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn a_mutated_trace_gives_a_run_that_can_be_read_or_an_error_with_its_name(
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 1..6)
        ) {
            let mut json = TRACE.as_bytes().to_vec();
            for (at, kind, byte) in changes {
                let at = at.index(json.len());
                match kind {
                    0 => json[at] = byte,
                    1 => json[at] = b"\"{}[],:9-e\\"[usize::from(byte) % 11],
                    2 => json.insert(at, byte),
                    _ => drop(json.remove(at)),
                }
            }
            let (folder, imported) = imported(&json);
            match imported {
                Ok(_) => {
                    let run = Run::open(&folder.path().join("run").to_string_lossy());
                    prop_assert!(Recording::of(&run.unwrap(), &Memory::default()).is_ok());
                }
                Err(error) => {
                    prop_assert!(error.to_string().contains("trace.json"), "{}", error);
                    prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
                }
            }
        }
    }
}
