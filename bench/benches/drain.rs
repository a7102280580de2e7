//! How fast the agent drains a ring of GPU records into Parquet segments on disk, on one core: read, decode, sort, encode,
//! compress, write, sync. The goal is 3 million records a second.
//!
//! Kernels have the names, times, streams and correlation ids of the bundled H200 recording, in the order in which they
//! ended, as CUPTI hands them over. The recording holds no grids and no graphs: those are made up here.

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kvpath_agent::{Context, Folders, RecordSource as _, Rings, Segments};
use kvpath_ring::{Map, Producer, ProducerInfo, file};
use kvpath_schema::segment::{self, RunWriter};
use kvpath_schema::tables::gpu::Kernels;
use kvpath_schema::wire::ring::records::{Call, Kernel, Memcpy};
use kvpath_schema::wire::ring::{GPU_LANE, Shape};

/// As `libkvpath_inject.so` makes it: 16 MiB for GPU records.
const SHAPE: Shape = Shape { lanes: 2, gpu_words: 1 << 21, thread_words: 1 << 12, names_words: 1 << 17 };
/// Records between two drainings: what 3 million a second make in 20 ms.
const DRAINED: usize = 1 << 16;
/// Drainings a segment: as many as make the agent write one before its time.
const DRAININGS: usize = 4;
/// Of a hundred records, how many are copies and calls; the rest are kernels.
const COPIES: usize = 3;
const CALLS: usize = 2;
/// Nodes of the graph that decode replays.
const NODES: u64 = 700;
/// Pid of the decode worker in the recording; its kernels run in a graph here.
const DECODE: i64 = 1876;

/// The kernels of the recording, over and over, each time later.
struct Feed {
    kernels: Vec<Kernel>,
    span_ns: u64,
    sent: usize,
}

impl Feed {
    fn new(producer: &Producer<Map>) -> Self {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fixtures/v1/even/node=even/source=nsys/kernels-000004.parquet");
        let mut rows = Kernels::default();
        segment::read_into(&fixture, &mut rows).expect("the bundled recording is whole");
        let mut ids = std::collections::HashMap::new();
        let mut kernels: Vec<Kernel> = (0..rows.start_ns.len())
            .map(|row| {
                // Two of each, so that there are about 200 names.
                let name = format!("{}{}", rows.name[row], if row % 2 == 0 { "" } else { "_v2" });
                let id = *ids.entry(name).or_insert_with_key(|name| producer.intern(name.as_bytes()));
                let start_ns = rows.start_ns[row].cast_unsigned();
                let in_graph = rows.process_id[row] == DECODE;
                Kernel {
                    start_ns,
                    end_ns: start_ns + rows.dur_ns[row].cast_unsigned(),
                    graph_node: if in_graph { 1 + row as u64 % NODES } else { 0 },
                    name: id,
                    correlation: u32::try_from(rows.correlation_id[row]).expect("CUPTI's are 32 bits"),
                    device: rows.device_id[row].cast_unsigned(),
                    context: rows.context_id[row].cast_unsigned(),
                    stream: rows.stream_id[row].cast_unsigned(),
                    grid_x: 1 + id % 97 + u32::from(!in_graph) * u32::try_from(start_ns % 3).expect("below 3"),
                    grid_y: 1 + id % 5,
                    grid_z: 1,
                    block_x: 128 << (id % 3),
                    block_y: 1,
                    block_z: 1,
                    ..Kernel::default()
                }
            })
            .collect();
        assert!((150..300).contains(&ids.len()) && ids.values().all(|id| *id > 0));
        kernels.sort_by_key(|kernel| kernel.end_ns);
        let first = kernels.iter().map(|kernel| kernel.start_ns).min().expect("not empty");
        let span_ns = kernels.last().expect("not empty").end_ns - first;
        Self { kernels, span_ns, sent: 0 }
    }

    fn push(&mut self, producer: &Producer<Map>, count: usize) {
        for _ in 0..count {
            let kernel = self.kernels[self.sent % self.kernels.len()];
            let later = (self.sent / self.kernels.len()) as u64 * self.span_ns;
            let (start_ns, end_ns) = (kernel.start_ns + later, kernel.end_ns + later);
            let Kernel { correlation, device, context, stream, graph_node, .. } = kernel;
            let done = match self.sent % 100 {
                at if at < COPIES => {
                    let copy = Memcpy {
                        start_ns,
                        end_ns,
                        bytes: 65_536,
                        graph_node,
                        device,
                        context,
                        stream,
                        correlation,
                        copy_kind: 10,
                        src_device: 1,
                        dst_device: 3,
                    };
                    producer.push(GPU_LANE, 0, &copy, None)
                }
                at if at < COPIES + CALLS => {
                    let call = Call { start_ns, end_ns, correlation, cbid: 211, domain: 1, ..Call::default() };
                    producer.push(GPU_LANE, 77, &call, None)
                }
                _ => producer.push(GPU_LANE, 0, &Kernel { start_ns, end_ns, ..kernel }, None),
            };
            assert!(done, "the ring is as large as a draining");
            self.sent += 1;
        }
    }
}

fn drain(criterion: &mut Criterion) {
    let rings = tempfile::tempdir_in("/dev/shm").expect("room in /dev/shm");
    let about = ProducerInfo { pid: std::process::id(), start_ticks: 0, created_ns: 1 };
    let (_, producer) = file::create(rings.path(), SHAPE, about).expect("room in /dev/shm");
    let mut feed = Feed::new(&producer);
    let mut source = Rings::new(Folders::One(rings.path().to_owned()), None, 0);
    let mut now_ns = 1_000_000_000;
    let mut stored = (0, 0);
    // In the target folder, which lies on a disk; `/tmp` may not.
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut segment = || {
        let folder = tempfile::tempdir_in(disk).expect("a folder for a run");
        let mut context = Context::new(now_ns, Segments::new(RunWriter::new(folder.path(), "host", "bench", None)));
        let (mut draining, before) = (Duration::ZERO, source.total);
        for _ in 0..DRAININGS {
            feed.push(&producer, DRAINED);
            now_ns += 20_000_000;
            context.now_ns = now_ns;
            let start = Instant::now();
            source.step(&mut context).expect("no kernel is asked");
            draining += start.elapsed();
        }
        let start = Instant::now();
        source.write(&mut context).expect("room on the disk");
        let writing = start.elapsed();
        assert_eq!((source.total - before, context.segments.dropped), ((DRAINED * DRAININGS) as u64, 0));
        let written = |table: &str| -> u64 {
            let files = std::fs::read_dir(folder.path().join("node=host/source=cupti")).expect("segments");
            let files = files.map(|file| file.expect("a segment"));
            let files = files.filter(|file| file.file_name().to_string_lossy().starts_with(table));
            files.map(|file| file.metadata().expect("a segment").len()).sum()
        };
        let kernels = DRAINED * DRAININGS * (100 - COPIES - CALLS) / 100;
        stored = (stored.0 + written("kernels"), stored.1 + kernels);
        [draining, writing, draining + writing]
    };
    let mut group = criterion.benchmark_group("agent drain");
    group.throughput(Throughput::Elements((DRAINED * DRAININGS) as u64)).sample_size(20);
    for (at, what) in ["ring to rows", "rows to segments", "whole"].into_iter().enumerate() {
        group.bench_function(what, |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| segment()[at]).sum());
        });
    }
    group.finish();
    let (bytes, kernels) = stored;
    #[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
    let each = bytes as f64 / kernels as f64;
    println!("{each:.2} bytes a kernel on disk");
}

criterion_group!(benches, drain);
criterion_main!(benches);
