//! How fast traces of PyTorch's profiler become runs: JSON bytes a second, on as many cores as may be used. The goal is 300 MB
//! a second and core: `taskset -c 0` measures one.
//!
//! The trace: `KVPATH_BENCH_TRACE` names one (plain JSON, as one long file); without it the bundled one of a training
//! step, its events repeated to 200 MB.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kvpath_import::kineto;

const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/kineto/dlrm_rank0.json.gz");
const BYTES: u64 = 200_000_000;

fn all(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder for the trace");
    let source = std::env::var_os("KVPATH_BENCH_TRACE").map_or(PathBuf::from(BUNDLED), PathBuf::from);
    let trace = folder.path().join("trace.json");
    let events = repeated(&source, &trace);
    let bytes = std::fs::metadata(&trace).expect("just written").len();
    let mut group = criterion.benchmark_group("kineto");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    for (name, throughput) in [("bytes", Throughput::Bytes(bytes)), ("events", Throughput::Elements(events))] {
        group.throughput(throughput);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| once(&trace, folder.path())).sum());
        });
    }
    group.finish();
}

fn once(trace: &Path, folder: &Path) -> Duration {
    let run = folder.join("run");
    let start = Instant::now();
    kineto::import(&[trace.to_owned()], &run).expect("a whole trace");
    let took = start.elapsed();
    std::fs::remove_dir_all(&run).expect("just written");
    took
}

/// Writes the trace with its events over and over, and returns how many they are.
fn repeated(source: &Path, trace: &Path) -> u64 {
    use std::io::{Read as _, Write as _};
    let mut json = Vec::new();
    let mut file = std::fs::File::open(source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    if source.extension().is_some_and(|ending| ending == "gz") {
        flate2::read::GzDecoder::new(file).read_to_end(&mut json).expect("whole gzip data");
    } else {
        file.read_to_end(&mut json).expect("a readable file");
    }
    let json = String::from_utf8(json).expect("a trace in UTF-8");
    let opening = "\"traceEvents\": [";
    let begin = json.find(opening).expect("Kineto's own way of writing") + opening.len();
    let end = json.rfind("\n  ],").expect("Kineto's own way of writing");
    let events = &json[begin..end];
    let mut out = std::io::BufWriter::new(std::fs::File::create(trace).expect("room for the trace"));
    let times = BYTES.div_ceil(events.len() as u64).max(1);
    let mut write = |text: &str| out.write_all(text.as_bytes()).expect("room for the trace");
    write(&json[..begin]);
    for time in 0..times {
        write(if time == 0 { "" } else { "," });
        write(events);
    }
    write(&json[end..]);
    times * events.matches("\"ph\":").count() as u64
}

criterion_group!(benches, all);
criterion_main!(benches);
