//! How many records a second one producer writes, and one reader takes, through a ring file in `/dev/shm`.
//!
//! `cargo bench --package kvpath-ring`; the goal is 10 million records a second a producer.

use std::path::Path;
use std::time::{Duration, Instant};

use kvpath_ring::{About, file};
use kvpath_schema::wire::ring::records::{End, Kernel, Record};
use kvpath_schema::wire::ring::{GPU_LANE, Shape};

const SHAPE: Shape = Shape { lanes: 2, gpu_words: 1 << 21, thread_words: 1 << 10, names_words: 1 << 10 };
const ROUNDS: u32 = 200;

fn main() {
    println!("| record | bytes | pushed, M/s | drained, M/s | dropped, M/s |\n|---|---|---|---|---|");
    measure("kernel", &Kernel { start_ns: 1, end_ns: 2, name: 3, grid_x: 4, ..Kernel::default() });
    measure("range end", &End { time_ns: 1, id: 2 });
}

fn measure<R: Record>(name: &str, record: &R) {
    let folder = Path::new("/dev/shm");
    let about = About { pid: std::process::id(), start_ticks: 0, created_ns: 1 };
    let (path, producer) = file::create(folder, SHAPE, about).expect("room in /dev/shm");
    let mut reader = file::open(&path).expect("just made");
    let fits = u32::try_from(SHAPE.gpu_words / (1 + R::WORDS)).expect("few");
    let (mut pushing, mut draining, mut dropping) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut sum = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..fits {
            assert!(producer.push(GPU_LANE, 1, record, None));
        }
        pushing += start.elapsed();
        let start = Instant::now();
        for _ in 0..fits {
            // One may fit into what is left.
            producer.push(GPU_LANE, 1, record, None);
        }
        dropping += start.elapsed();
        let start = Instant::now();
        reader.drain(1, |record| sum += record.words[0]).expect("a whole ring");
        draining += start.elapsed();
    }
    let _ = std::fs::remove_file(&path);
    assert!(sum > 0);
    let rate = |time: Duration| f64::from(fits) * f64::from(ROUNDS) / time.as_secs_f64() / 1e6;
    println!(
        "| {name} | {} | {:.1} | {:.1} | {:.1} |",
        8 * (1 + R::WORDS),
        rate(pushing),
        rate(draining),
        rate(dropping)
    );
}
