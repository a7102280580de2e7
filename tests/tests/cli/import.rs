//! `kvpath import nsys`.

use std::path::Path;

use kvpath_schema::segment;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::gpu::{ApiCalls, CudaEvents, GpuSyncs, Gpus, GraphLaunches, Kernels, Memcpys};
use kvpath_schema::tables::process::Processes;
use kvpath_tests::{fixture, kvpath};

fn import(file: &str, out: &Path, more: &[&str]) {
    let done = kvpath().args(["import", "nsys"]).arg(fixture(file)).arg("--out").arg(out).args(more).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// All rows of a table of a run.
pub fn read<C: Columns>(run: &Path) -> C {
    let mut columns = C::default();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.rsplit_once('-').is_some_and(|(table, _)| table == C::DEF.name) {
                segment::read_into(&path, &mut columns).unwrap();
            }
        }
    }
    columns
}

#[test]
fn a_recording_in_nsys_layout_keeps_every_row_that_the_file_holds() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    import("nsys/slice.sqlite.zst", &run, &["--api-calls", "all"]);
    // Counted in the file with sqlite3.
    assert_eq!(read::<Kernels>(&run).len(), 12_046);
    assert_eq!(read::<Memcpys>(&run).len(), 2_513);
    assert_eq!(read::<ApiCalls>(&run).len(), 10_371);
    let copies = read::<Memcpys>(&run);
    let peer: i64 = (0..copies.len()).filter(|i| &*copies.kind[*i] == "PtoP").map(|i| copies.bytes[i]).sum();
    assert_eq!(peer, 2 * (74_317_824 + 2_359_296_000));
    assert!(copies.start_ns.is_sorted());
}

#[test]
fn by_default_only_calls_that_explain_waiting_are_kept_and_the_rest_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    import("nsys/slice.sqlite.zst", &run, &[]);
    let calls = read::<ApiCalls>(&run);
    assert!(calls.name.iter().all(|name| &**name != "cudaGetDevice") && !calls.is_empty());
    let info: kvpath_schema::tables::capture::CaptureInfos = read(&run);
    let left_out = info.key.iter().position(|key| key == "api_calls_left_out").map(|row| info.value[row].clone());
    assert_eq!(left_out, Some((10_371 - calls.len()).to_string()));
}

#[test]
fn a_foreign_export_of_nsight_systems_2025_5_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    import("nsys/nsight-2025.5.2.sqlite.zst", &run, &[]);
    let kernels = read::<Kernels>(&run);
    assert_eq!((kernels.len(), kernels.grid_x[0], kernels.block_x[0]), (3, Some(4), Some(256)));
    assert_eq!((kernels.start_ns[0], kernels.dur_ns[0]), (339_316_740, 1_440));
    let gpus = read::<Gpus>(&run);
    assert_eq!(gpus.name[0].as_deref(), Some("NVIDIA GeForce RTX 3060"));
    assert_eq!(read::<Processes>(&run).len(), 1, "only the process with records, not all 529 of the host");
}

#[test]
fn waits_and_graphs_of_nsight_systems_are_read_and_a_captured_launch_is_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    import("nsys/nsight-2025.5.2.sqlite.zst", &run, &[]);
    let syncs = read::<GpuSyncs>(&run);
    assert_eq!(syncs.kind.iter().map(|kind| &**kind).collect::<Vec<_>>(), ["stream", "stream"]);
    assert_eq!((syncs.stream_id[0], syncs.event_id[0]), (Some(13), None));
    let graphs = read::<GraphLaunches>(&run);
    assert_eq!((graphs.len(), graphs.start_ns[0], graphs.dur_ns[0], graphs.graph_id[0]), (2, 339_410_404, 1_728, 2));
    assert_eq!(read::<CudaEvents>(&run).event_id, [1, 2]);
    // A launch that a stream captured began nothing, and no warning of the profiler tells of a loss.
    let done = kvpath().arg("check").arg(&run).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stdout));
}

#[test]
fn a_kernel_takes_at_most_12_bytes_on_disk() {
    let file = fixture("v1/even/node=even/source=nsys/kernels-000004.parquet");
    let mut kernels = Kernels::default();
    segment::read_into(&file, &mut kernels).unwrap();
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert_eq!(kernels.len(), 74_830);
    assert!(bytes <= 12 * 74_830, "{bytes} bytes");
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine"), "x").unwrap();
    let file = fixture("nsys/slice.sqlite.zst");
    let out = kvpath().args(["import", "nsys"]).arg(file).arg("--out").arg(folder.path()).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("not empty"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");
}
