//! `kvpath import kineto`, on traces that others recorded and on damaged ones.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kvpath_schema::segment;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::capture::{CaptureInfos, Drops};
use kvpath_schema::tables::gpu::{ApiCalls, CudaEvents, GpuSyncs, Gpus, Kernels, Memcpys, Memsets};
use kvpath_schema::tables::nvtx::NvtxRanges;
use kvpath_schema::tables::process::Processes;
use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

use crate::import::read;

fn trace(name: &str) -> PathBuf {
    fixture(&format!("kineto/{name}.json.gz"))
}

fn command(files: &[&Path], out: &Path) -> Command {
    let mut command = kvpath();
    command.args(["import", "kineto"]).args(files).arg("--out").arg(out);
    command
}

fn import(files: &[&Path], out: &Path) -> Output {
    let done = command(files, out).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done
}

fn json(file: &Path) -> Vec<u8> {
    let mut json = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_end(&mut json).unwrap();
    json
}

/// Start and length of all rows, ordered; start from 1970.
fn times(start: &[i64], dur: impl Iterator<Item = i64>, zero: i64) -> Vec<(i64, i64)> {
    let mut times: Vec<_> = start.iter().map(|start| start + zero).zip(dur).collect();
    times.sort_unstable();
    times
}

#[test]
fn every_event_becomes_a_row_with_its_time_or_is_counted_by_category() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["hta_simple_add", "hta_event_sync_multi_stream", "dlrm_rank0", "dlrm_rank1"] {
        let run = folder.path().join(name);
        import(&[&trace(name)], &run);
        let document: Value = serde_json::from_slice(&json(&trace(name))).unwrap();
        let mut expected: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
        for event in document["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] != "M") {
            let (ts, dur) = (event["ts"].as_i64().unwrap(), event["dur"].as_i64().unwrap_or(0));
            expected.entry(event["cat"].as_str().unwrap_or("(no category)")).or_default().push((ts * 1000, dur * 1000));
        }
        let kernels_file = run.join(format!("node={name}/source=kineto/kernels-000001.parquet"));
        let zero = segment::open(&kernels_file).unwrap().0.wall_at_zero_ns.unwrap();
        let mut check = |category: &str, times: Vec<(i64, i64)>| {
            let mut expected = expected.remove(category).unwrap_or_default();
            expected.sort_unstable();
            assert!(times == expected, "{name}: {category}: {} rows of {} events", times.len(), expected.len());
        };
        let kernels: Kernels = read(&run);
        check("kernel", times(&kernels.start_ns, kernels.dur_ns.iter().copied(), zero));
        let memcpys: Memcpys = read(&run);
        check("gpu_memcpy", times(&memcpys.start_ns, memcpys.dur_ns.iter().copied(), zero));
        let memsets: Memsets = read(&run);
        check("gpu_memset", times(&memsets.start_ns, memsets.dur_ns.iter().copied(), zero));
        let calls: ApiCalls = read(&run);
        check("cuda_runtime", times(&calls.start_ns, calls.dur_ns.iter().copied(), zero));
        let syncs: GpuSyncs = read(&run);
        check("cuda_sync", times(&syncs.start_ns, syncs.dur_ns.iter().copied(), zero));
        let ranges: NvtxRanges = read(&run);
        for domain in ["cpu_op", "user_annotation"] {
            let of_domain = |row: &usize| ranges.domain[*row].as_deref() == Some(domain);
            let rows: Vec<usize> = (0..ranges.len()).filter(of_domain).collect();
            let start: Vec<i64> = rows.iter().map(|row| ranges.start_ns[*row]).collect();
            check(domain, times(&start, rows.iter().map(|row| ranges.dur_ns[*row].unwrap()), zero));
        }
        let info: CaptureInfos = read(&run);
        for (category, events) in expected {
            let said = (0..info.len()).find(|row| info.key[*row].ends_with(&format!(" left out {category}")));
            assert_eq!(said.map(|row| info.value[row].clone()), Some(events.len().to_string()), "{name}: {category}");
        }
        assert!(read::<Drops>(&run).is_empty());
    }
}

#[test]
fn kernels_carry_what_the_trace_says_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let done = import(&[&trace("dlrm_rank1")], &run);
    let kernels: Kernels = read(&run);
    let row = kernels.correlation_id.iter().position(|id| *id == 41_180).unwrap();
    assert_eq!((kernels.device_id[row], kernels.context_id[row], kernels.stream_id[row]), (1, 1, 7));
    assert!(kernels.name[row].starts_with("void at::native::vectorized_elementwise_kernel<4,"));
    assert!(kernels.grid_x[row].is_some() && kernels.block_x[row].is_some() && kernels.graph_node_id[row].is_none());
    let copies: Memcpys = read(&run);
    let row = copies.correlation_id.iter().position(|id| *id == 41_656).unwrap();
    assert_eq!((&*copies.kind[row], copies.bytes[row], copies.stream_id[row]), ("HtoD", 832, 22));
    let gpus: Gpus = read(&run);
    assert_eq!((gpus.len(), gpus.name[0].as_deref()), (8, Some("Tesla V100-SXM2-32GB")));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("left out: 853 events ac2g") && said.contains("kept: 64 kernels whose launch"), "{said}");
}

#[test]
fn a_wait_joins_the_recording_that_it_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    import(&[&trace("hta_event_sync_multi_stream")], &run);
    let (syncs, events): (GpuSyncs, CudaEvents) = (read(&run), read(&run));
    let wait = syncs.kind.iter().position(|kind| &**kind == "stream_wait_event").unwrap();
    assert_eq!((syncs.stream_id[wait], syncs.event_id[wait], syncs.correlation_id[wait]), (Some(24), Some(19), 1389));
    let record = events.event_sync_id.iter().position(|id| *id == syncs.event_sync_id[wait]).unwrap();
    assert_eq!((events.stream_id[record], events.event_id[record], events.correlation_id[record]), (20, 19, 1385));
    let calls: ApiCalls = read(&run);
    let call = calls.correlation_id.iter().position(|id| *id == 1385).unwrap();
    assert_eq!(&*calls.name[call], "cudaEventRecord");
    // The first wait was for an event that had not been recorded.
    assert_eq!((syncs.event_id[0], syncs.event_sync_id[0]), (Some(9), None));
    let context = syncs.kind.iter().position(|kind| &**kind == "context").unwrap();
    assert_eq!((syncs.stream_id[context], syncs.event_id[context]), (None, None));
}

fn files_of(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(run).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn ranks_become_processes_of_one_run_in_whatever_order_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let (rank0, rank1) = (trace("dlrm_rank0"), trace("dlrm_rank1"));
    let done = import(&[&rank0, &rank1], &first);
    import(&[&rank1, &rank0], &second);
    assert_eq!(files_of(&first), files_of(&second));
    let processes: Processes = read(&first);
    assert_eq!(processes.name, ["python3 (rank 0 of 8)", "python3 (rank 1 of 8)"]);
    assert_eq!(processes.process_id, [59_811, 59_812]);
    assert_eq!(read::<Kernels>(&first).len(), 245 + 310);
    assert!(String::from_utf8_lossy(&done.stderr).contains("2 traces name no host"));
    for command in ["check", "report"] {
        let out = kvpath().arg(command).arg(&first).output().unwrap();
        assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn ranks_with_one_pid_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("pod2.json.gz");
    std::fs::copy(trace("dlrm_rank0"), &copy).unwrap();
    let run = folder.path().join("run");
    import(&[&trace("dlrm_rank0"), &copy], &run);
    let processes: Processes = read(&run);
    assert_eq!((processes.process_id, processes.pid), (vec![59_811, 59_811 + (1 << 32)], vec![59_811, 59_811]));
    let kernels: Kernels = read(&run);
    let of_second = kernels.process_id.iter().filter(|id| **id > 1 << 32).count();
    assert_eq!((of_second, kernels.len()), (245, 490));
}

#[test]
fn traces_that_name_their_hosts_lie_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = |host: &str| {
        let event = r#"{"ph": "X", "cat": "cpu_op", "name": "a", "pid": 7, "tid": 8, "ts": 1.5, "dur": 0.25}"#;
        let path = folder.path().join(format!("{host}_7.169.pt.trace.json"));
        std::fs::write(&path, format!(r#"{{"baseTimeNanoseconds": 86400000000000, "traceEvents": [{event}]}}"#))
            .unwrap();
        path
    };
    let run = folder.path().join("run");
    import(&[&file("node-a"), &file("node-b")], &run);
    let ranges = |host: &str| {
        let ranges: NvtxRanges = read(&run.join(format!("node={host}")));
        (ranges.process_id[0], ranges.start_ns[0], ranges.dur_ns[0], ranges.text[0].to_string())
    };
    assert_eq!(ranges("node-a"), (7, 1_500, Some(250), "a".to_owned()));
    assert_eq!(ranges("node-b"), (7 + (1 << 32), 1_500, Some(250), "a".to_owned()));
}

#[test]
fn a_trace_that_was_cut_gives_what_is_whole_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let whole = json(&trace("dlrm_rank0"));
    let plain = folder.path().join("plain.json");
    std::fs::write(&plain, &whole[..whole.len() / 2]).unwrap();
    let packed = folder.path().join("packed.json.gz");
    let bytes = std::fs::read(trace("dlrm_rank0")).unwrap();
    std::fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
    for (file, rows) in [(plain, 500..1633), (packed, 100..1633)] {
        let run = file.with_extension("run");
        let done = import(&[&file], &run);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains("cut short after") && said.contains("what came behind is missing"), "{said}");
        assert!(rows.contains(&read::<NvtxRanges>(&run).len()));
        assert_eq!(read::<Drops>(&run).count, [1]);
        assert_eq!(kvpath().arg("check").arg(&run).output().unwrap().status.code(), Some(1));
    }
}

#[test]
fn events_that_cannot_be_are_lost_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("odd.json");
    let event = |ts: &str, dur: &str| {
        format!(r#"{{"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":{ts},"dur":{dur},"args":{{}}}}"#)
    };
    let events = [event("1e300", "1"), event("1", "-1"), event("\"x\"", "1"), event("1", "1e30"), event("5", "0.001")];
    std::fs::write(&file, format!("[{}]", events.join(","))).unwrap();
    let run = folder.path().join("run");
    let done = import(&[&file], &run);
    assert!(String::from_utf8_lossy(&done.stderr).contains("lost: 4 kernels: events of odd.json without times"));
    let (drops, kernels): (Drops, Kernels) = (read(&run), read(&run));
    assert_eq!((drops.count, kernels.start_ns, kernels.dur_ns), (vec![4], vec![5_000], vec![1]));
}

/// Expects exit code 2, one line on standard error that holds all `words`, and nothing written.
fn refused(files: &[&Path], words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let out = command(files, &folder.path().join("run")).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert!(out.stdout.is_empty());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was left behind");
}

#[test]
fn files_that_are_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let gzip = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    refused(&[&folder.path().join("absent.json")], &["absent.json", "No such file"]);
    refused(&[folder.path()], &["directory"]);
    refused(&[&file("empty.json", b"")], &["empty.json", "empty"]);
    refused(&[&file("empty.gz", &gzip(b""))], &["cut short before its first event"]);
    refused(&[&file("text.json", b"hello\n")], &["not a Kineto trace", "export_chrome_trace"]);
    refused(&[&file("text.gz", &gzip(b"hello\n"))], &["not a Kineto trace"]);
    refused(&[&file("other.json", br#"{"people": [1, 2]}"#)], &["not a Kineto trace"]);
    refused(&[&file("none.json", br#"{"traceEvents": []}"#)], &["none of its 0 events", "found: nothing"]);
    let foreign = br#"[{"ph": "X", "cat": "v8", "name": "GC", "pid": 1, "tid": 1, "ts": 1, "dur": 1}]"#;
    refused(&[&file("chrome.json", foreign)], &["none of its 1 events", "found: v8"]);
    let whole = json(&trace("hta_event_sync_multi_stream"));
    refused(&[&file("cut.json", &whole[..900])], &["cut.json", "cut short before its first event"]);
    let mut damaged = whole.clone();
    damaged[20_000..20_100].fill(0);
    refused(&[&file("damaged.json", &damaged)], &["damaged.json", "damaged at byte 19", "copy the file anew"]);
    let mut packed = std::fs::read(trace("dlrm_rank0")).unwrap();
    let middle = packed.len() / 2;
    packed[middle..middle + 500].fill(0xff);
    refused(&[&file("flipped.json.gz", &packed)], &["flipped.json.gz", "damaged"]);
    let deep = format!(r#"[{{"ph": "X", "args": {}"#, "[".repeat(100_000));
    refused(&[&file("deep.json", deep.as_bytes())], &["deep.json", "128 deep"]);
}

#[test]
fn traces_that_cannot_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let unplaced = folder.path().join("unplaced.json");
    std::fs::write(&unplaced, r#"[{"ph": "X", "cat": "cpu_op", "name": "a", "pid": 7, "tid": 8, "ts": 1, "dur": 1}]"#)
        .unwrap();
    let rank0 = trace("dlrm_rank0");
    refused(&[&rank0, &unplaced], &["unplaced.json", "baseTimeNanoseconds", "by itself"]);
    refused(&[&rank0, &rank0], &["dlrm_rank0.json.gz", "named twice"]);
    import(&[&unplaced], &folder.path().join("run"));
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine"), "x").unwrap();
    let out = command(&[&trace("dlrm_rank0")], folder.path()).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("not an empty folder"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    import(&[&trace("dlrm_rank0")], &empty);
}
