//! How fast one producer writes, and one reader takes, records through a ring file in `/dev/shm`. The goal is 10 million
//! records a second a producer.

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use kvpath_ring::{ProducerInfo, file};
use kvpath_schema::wire::ring::records::{End, Kernel, RingRecord};
use kvpath_schema::wire::ring::{GPU_LANE, Shape};

const SHAPE: Shape = Shape { lanes: 2, gpu_words: 1 << 21, thread_words: 1 << 10, names_words: 1 << 10 };

fn all(criterion: &mut Criterion) {
    measure(criterion, "kernel", &Kernel { start_ns: 1, end_ns: 2, name: 3, grid_x: 4, ..Kernel::default() });
    measure(criterion, "range end", &End { time_ns: 1, id: 2 });
}

/// Fills and empties a whole ring, and times one of the two, or pushing into the full one.
fn measure<R: RingRecord>(criterion: &mut Criterion, name: &str, record: &R) {
    let about = ProducerInfo { pid: std::process::id(), start_ticks: 0, created_ns: 1 };
    let (path, producer) = file::create(Path::new("/dev/shm"), SHAPE, about).expect("room in /dev/shm");
    let mut reader = file::open(&path).expect("just made");
    let fits = SHAPE.gpu_words / (1 + R::WORDS);
    let mut round = || {
        let start = Instant::now();
        for _ in 0..fits {
            assert!(producer.push(GPU_LANE, 1, record, None));
        }
        let pushing = start.elapsed();
        // One may fit into what is left.
        producer.push(GPU_LANE, 1, record, None);
        let start = Instant::now();
        for _ in 0..fits {
            assert!(!producer.push(GPU_LANE, 1, record, None));
        }
        let dropping = start.elapsed();
        let mut sum = 0;
        let start = Instant::now();
        reader.drain(1, |record| sum += record.words[0]).expect("a whole ring");
        let draining = start.elapsed();
        assert!(sum > 0);
        [pushing, draining, dropping]
    };
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(fits as u64)).sample_size(20);
    for (at, what) in ["push", "drain", "drop"].into_iter().enumerate() {
        time(&mut group, what, || round()[at]);
    }
    group.finish();
    let _ = std::fs::remove_file(&path);
}

fn time(group: &mut BenchmarkGroup<'_, WallTime>, what: &str, mut round: impl FnMut() -> Duration) {
    group.bench_function(what, |bencher| bencher.iter_custom(|rounds| (0..rounds).map(|_| round()).sum()));
}

criterion_group!(benches, all);
criterion_main!(benches);
