use std::path::{Path, PathBuf};

use kvpath_analysis::load::Run;
use kvpath_analysis::load::losses::Losses;
use kvpath_schema::tables::gpu::{GraphLaunches, Kernels};
use kvpath_schema::tables::process::Processes;
use rusqlite::Connection;

use super::*;

const SECOND: i64 = 1_000_000_000;
/// `globalPid` and `globalTid` of process 9.
const GLOBAL: i64 = 9 << 24;

/// A report of a host, of a session that began at a time: a kernel, a graph that was recorded as a whole, and one that was not.
fn report(folder: &Path, name: &str, (host, began): (&str, i64)) -> PathBuf {
    let path = folder.join(name);
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "CREATE TABLE StringIds (id INTEGER, value TEXT);
         INSERT INTO StringIds VALUES (1, 'gemm'), (2, 'cudaLaunchKernel_v7000'), (3, 'cudaGraphLaunch_v10000');
         CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, globalPid INTEGER, deviceId INTEGER, streamId INTEGER,
             correlationId INTEGER, demangledName INTEGER);
         INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (200, 300, {GLOBAL}, 0, 7, 5, 1);
         CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER, end INTEGER, globalTid INTEGER, correlationId INTEGER, nameId INTEGER);
         INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (100, 110, {GLOBAL}, 5, 2), (120, 130, {GLOBAL}, 6, 3), (140, 150, {GLOBAL}, 7, 3);
         CREATE TABLE CUPTI_ACTIVITY_KIND_GRAPH_TRACE (start INTEGER, end INTEGER, globalPid INTEGER, deviceId INTEGER, contextId INTEGER,
             streamId INTEGER, correlationId INTEGER, graphId INTEGER, graphExecId INTEGER);
         INSERT INTO CUPTI_ACTIVITY_KIND_GRAPH_TRACE VALUES (400, 500, {GLOBAL}, 0, 1, 7, 6, 1, 2);
         CREATE TABLE TARGET_INFO_SESSION_START_TIME (utcEpochNs INTEGER);
         INSERT INTO TARGET_INFO_SESSION_START_TIME VALUES ({});
         CREATE TABLE ANALYSIS_DETAILS (startTime INTEGER);
         INSERT INTO ANALYSIS_DETAILS VALUES ({began});
         CREATE TABLE TARGET_INFO_SYSTEM_ENV (name TEXT, value TEXT);
         INSERT INTO TARGET_INFO_SYSTEM_ENV VALUES ('Hostname', '{host}');
         CREATE TABLE DIAGNOSTIC_EVENT (timestamp INTEGER, timestampType INTEGER, source INTEGER, severity INTEGER, text TEXT,
             globalPid INTEGER);
         INSERT INTO DIAGNOSTIC_EVENT VALUES (600, 1, 1, 1, 'Number of CUDA events dropped: 0', {GLOBAL}),
             (700, 1, 1, 3, 'Not all CUDA events might have been collected.', {GLOBAL});",
        1_700_000_000 * SECOND + began
    ))
    .unwrap();
    path
}

fn imported(files: &[PathBuf], out: &Path) -> (Imported, Run) {
    let imported = import(files, out, Calls::Chosen).unwrap();
    (imported, Run::open(&out.to_string_lossy()).unwrap())
}

#[test]
fn graphs_as_a_whole_are_rows_and_what_is_not_on_record_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = report(folder.path(), "a.sqlite", ("h", 50 * SECOND));
    let (imported, run) = imported(&[file], &folder.path().join("run"));
    let graphs: GraphLaunches = run.table().unwrap();
    assert_eq!((graphs.len(), graphs.graph_id[0], imported.graphs_as_a_whole), (1, 2, 1));
    let losses = Losses::of(&run).unwrap();
    let reasons: Vec<&str> = losses.drops.iter().map(|drop| &*drop.reason).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("graphs that a.sqlite says were launched"), "{reasons:?}");
    assert_eq!(reasons[1], "a.sqlite: Not all CUDA events might have been collected.");
    assert_eq!((losses.drops[1].time_ns, losses.drops[1].process_id), (700, Some(9)));
    assert_eq!(run.hosts(), ["a"], "alone, a report is named by its file");
}

#[test]
fn reports_of_one_host_are_on_its_clock_and_their_processes_apart() {
    let folder = tempfile::tempdir().unwrap();
    let files = [("b.sqlite", 52 * SECOND), ("a.sqlite", 50 * SECOND)]
        .map(|(name, began)| report(folder.path(), name, ("h", began)));
    let (imported, run) = imported(&files, &folder.path().join("run"));
    let kernels: Kernels = run.table().unwrap();
    let mut starts: Vec<(i64, i64)> =
        kernels.start_ns.iter().copied().zip(kernels.process_id.iter().copied()).collect();
    starts.sort_unstable();
    assert_eq!(starts, [(200, 9), (2 * SECOND + 200, 9 + (1 << 32))]);
    let processes: Processes = run.table().unwrap();
    assert_eq!((processes.len(), run.hosts()), (2, vec!["h"]));
    assert!(imported.notes.iter().any(|note| note.contains("by the host's own clock")), "{:?}", imported.notes);
}

#[test]
fn reports_of_several_hosts_are_hosts_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let files =
        [("a.sqlite", "h"), ("b.sqlite", "i")].map(|(name, host)| report(folder.path(), name, (host, 50 * SECOND)));
    let (imported, run) = imported(&files, &folder.path().join("run"));
    assert_eq!(run.hosts(), ["h", "i"]);
    assert!(imported.notes[0].contains("by the wall clock of its host"), "{:?}", imported.notes);
    let twice = import(&[files[0].clone(), files[0].clone()], &folder.path().join("other"), Calls::Chosen).unwrap_err();
    assert!(twice.to_string().ends_with("named twice"), "{twice}");
}
