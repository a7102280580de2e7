//! Critical paths of runs of 10^5 to 10^8 records: how long and how much memory, stage by stage, each size in a process of its own.
//!
//!     ./x bench --bench path                    # 10^5, 10^6 and 10^7 records
//!     ./x bench --bench path -- 100000000       # sizes of one's own
//!
//! Runs are simulated: 4 stages of 20 layers, 8 chunks a request, two requests at a time, decode of 80 layers. `KVPATH_BENCH_RUNS`
//! names a folder where they are kept for the next time, `KVPATH_BENCH_MEMORY` the memory limit in bytes (else there is none).
//! With `KVPATH_BENCH_BESIDE` each call has beside it what real recordings hold as often: an NVTX range (as of `PyTorch`'s operators),
//! a copy to another device, a recorded event and a wait for it (as of a transport).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use kvpath_analysis::load::Run;
use kvpath_analysis::model::Model as RunModel;
use kvpath_analysis::settings::Settings;
use kvpath_analysis::spill::Memory;
use kvpath_schema::segment::{self, RunWriter};
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{ApiCalls, CudaEvents, GpuSyncs, Memcpys};
use kvpath_schema::tables::nvtx::NvtxRanges;
use kvpath_simulator::distort::Distortions;
use kvpath_simulator::model::{Arrivals, Decode, Handoff, Model, P2p, simulate};
use kvpath_simulator::rig::CallCosts;

/// Beyond the correlation ids of the model.
const UNRECORDED: i64 = 1 << 40;

/// Records that a request of the model makes.
const RECORDS: u64 = 19_036;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [what, run] = &words[..]
        && what == "one"
    {
        one(Path::new(run));
        return;
    }
    let kept = std::env::var_os("KVPATH_BENCH_RUNS").map(PathBuf::from);
    let folder = tempfile::tempdir().expect("a folder for the runs");
    let root = kept.as_deref().unwrap_or(folder.path());
    let mut sizes: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000, 10_000_000];
    }
    println!(
        "| records | requests | load, s | analysis, s | paths, s | segments | peak RSS, MB | in files, MB |\n|---|---|---|---|---|---|---|---|"
    );
    for size in sizes {
        let is_beside = std::env::var_os("KVPATH_BENCH_BESIDE").is_some();
        let run = root.join(if is_beside { format!("{size}-beside") } else { size.to_string() });
        if !run.is_dir() {
            make(&run, size);
            if is_beside {
                beside(&run);
            }
        }
        let own = std::env::current_exe().expect("a program has a path");
        let done = Command::new(own).arg("one").arg(&run).status().expect("starts");
        assert!(done.success(), "{}: {done}", run.display());
    }
}

fn make(run: &Path, records: u64) {
    let ideal = Model::ideal(&[20; 4], &(0..8).map(|chunk| 1_000_000 + chunk * 142_857).collect::<Vec<i64>>());
    let model = Model {
        seed: 1,
        requests: u32::try_from((records / RECORDS).max(1)).unwrap_or(u32::MAX),
        concurrency: 2,
        arrivals: Arrivals::Closed { think_ns: 10_000_000 },
        noise_ppm: 10_000,
        prologue_ns: 3_000,
        calls: CallCosts { launch_ns: 3_000, event_ns: 1_000, dispatch_ns: 1_200, sync_ns: 5_000 },
        schedule_ns: 300_000,
        host_lead: 2,
        p2p: P2p { bytes: 128 << 20, bytes_per_s: 300_000_000_000, latency_ns: 10_000, fifo_bytes: 4 << 20 },
        handoff: Handoff {
            layer_chunk_bytes: 32 << 20,
            blocks: 64,
            bytes_per_s: 50_000_000_000,
            latency_ns: 5_000,
            make_ns: (20_000, 30),
            post_ns: (50_000, 500),
            wake_ns: 30_000,
            message_ns: 20_000,
            decode_poll_ns: 200_000,
            decode_schedule_ns: 500_000,
            ..ideal.handoff
        },
        decode: Decode { layers: 80, kernel_ns: 15_000 },
        ..ideal
    };
    let names = model.hosts.names(model.stages(), true);
    let plain = Distortions::none(&names.iter().map(String::as_str).collect::<Vec<_>>());
    simulate(&model, Some(run), plain, false, &mut |_| Ok(())).expect("it can be written");
}

/// Adds to a run what lies beside its calls.
fn beside(folder: &Path) {
    let run = Run::open(folder.to_str().expect("UTF-8")).expect("a run");
    for segment in run.of_table(ApiCalls::DEF.name) {
        let mut calls = ApiCalls::default();
        segment::read_into(&segment.path, &mut calls).expect("its calls");
        let source = "beside";
        let mut writer = RunWriter::new(folder, &segment.meta.host, "bench 0", None);
        writer.write(source, &ranges(&calls), 0).expect("ranges");
        writer.write(source, &copies(&calls), 0).expect("copies");
        let (events, waits) = events(&calls);
        writer.write(source, &events, 0).expect("events");
        writer.write(source, &waits, 0).expect("waits");
    }
}

fn ranges(calls: &ApiCalls) -> NvtxRanges {
    let rows = 0..calls.len();
    NvtxRanges {
        start_ns: calls.start_ns.clone(),
        dur_ns: calls.dur_ns.iter().copied().map(Some).collect(),
        process_id: calls.process_id.clone(),
        tid: calls.tid.clone(),
        kind: rows.clone().map(|_| "range".into()).collect(),
        domain: rows.clone().map(|_| None).collect(),
        text: rows.clone().map(|row| format!("aten::operator_{}", row % 200).into()).collect(),
        payload: rows.map(|_| None).collect(),
    }
}

/// On a stream of their own, to a device that is no stage's.
fn copies(calls: &ApiCalls) -> Memcpys {
    let rows = 0..calls.len();
    let all = |value: i32| rows.clone().map(move |_| value);
    Memcpys {
        start_ns: calls.start_ns.clone(),
        dur_ns: calls.dur_ns.clone(),
        process_id: calls.process_id.clone(),
        device_id: all(0).collect(),
        context_id: all(1).collect(),
        stream_id: all(99).collect(),
        correlation_id: rows.clone().map(|_| 0).collect(),
        bytes: rows.clone().map(|_| 65_536).collect(),
        kind: rows.clone().map(|_| "PtoP".into()).collect(),
        src_device_id: all(0).map(Some).collect(),
        dst_device_id: all(99).map(Some).collect(),
        graph_node_id: rows.clone().map(|_| None).collect(),
    }
}

/// Events, and the waits for them by calls that were not recorded.
fn events(calls: &ApiCalls) -> (CudaEvents, GpuSyncs) {
    let rows = 0..calls.len();
    let numbers = |first: i64| rows.clone().map(move |row| first + i64::try_from(row).unwrap_or(0));
    let all = |value: i32| rows.clone().map(move |_| value);
    let events = CudaEvents {
        process_id: calls.process_id.clone(),
        context_id: all(1).collect(),
        stream_id: all(99).collect(),
        event_id: all(5).collect(),
        event_sync_id: numbers(UNRECORDED).map(Some).collect(),
        correlation_id: numbers(UNRECORDED).collect(),
    };
    let waits = GpuSyncs {
        start_ns: calls.start_ns.clone(),
        dur_ns: calls.dur_ns.clone(),
        process_id: calls.process_id.clone(),
        kind: rows.clone().map(|_| "event".into()).collect(),
        context_id: all(1).collect(),
        stream_id: rows.clone().map(|_| None).collect(),
        event_id: all(5).map(Some).collect(),
        event_sync_id: numbers(UNRECORDED).map(Some).collect(),
        correlation_id: numbers(UNRECORDED).collect(),
    };
    (events, waits)
}

fn one(run: &Path) {
    let at = Instant::now();
    let run = Run::open(run.to_str().expect("UTF-8")).expect("a run");
    let limit = std::env::var("KVPATH_BENCH_MEMORY").ok().map(|bytes| bytes.parse().expect("bytes"));
    let settings = Settings { memory: limit.map_or_else(Memory::default, Memory::of), ..Settings::default() };
    let model = RunModel::new(run, settings.clone());
    model.recording().expect("it loads");
    let loaded = at.elapsed();
    let at = Instant::now();
    model.analysis().expect("it is analysed");
    let analysed = at.elapsed();
    let at = Instant::now();
    let walker = model.walker().expect("it joins");
    let (mut requests, mut segments) = (0usize, 0usize);
    walker.each(
        |_| true,
        |path, rows| {
            let sum: i64 = rows.iter().map(|row| row.dur_ns).sum();
            assert_eq!(sum, path.ttft_ns, "request {}", path.request);
            requests += 1;
            segments += rows.len();
        },
    );
    let elapsed = at.elapsed();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|rest| rest.split_whitespace().next());
    let mb = peak.and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024;
    let (load, analysis, walk) = (loaded.as_secs_f64(), analysed.as_secs_f64(), elapsed.as_secs_f64());
    println!(
        "| {} | {requests} | {load:.2} | {analysis:.2} | {walk:.2} | {segments} | {mb} | {} |",
        model.run().segments.iter().map(|s| s.rows).sum::<i64>(),
        settings.memory.spilled() >> 20
    );
}
