//! Readers come, go, come back, and do not get in each other's way.

use std::time::Duration;

use kvpath_ring::file::{self, OpenError};
use kvpath_ring::{ReadError, Reader};
use kvpath_schema::wire::ring::{Kind, Loss, header};

use crate::host::{Host, RingContents};

#[test]
fn a_reader_that_stops_and_comes_back_goes_on_where_it_was() {
    let host = Host::new().with("KVPATH_RING_MIB", "1");
    let mut running = host.spawn(&[
        "cuda",
        "gpu:100",
        "sleep:300",
        "say:a",
        "wait",
        "gpu:100000",
        "sleep:300",
        "say:b",
        "wait",
        "exit",
    ]);
    assert_eq!(running.line(), "a");
    let ring = host.rings().remove(0);
    let mut first = RingContents::new(file::open(&ring).unwrap());
    first.drain();
    let seen = first.kernels.len();
    drop(first);
    running.go();
    assert_eq!(running.line(), "b");
    let mut second = RingContents::new(file::open(&ring).unwrap());
    second.drain();
    let lost = second.losses()[&(Loss::Full, Kind::Kernel)];
    let of_script = (100..100_100u64)
        .filter(|index| matches!(mock_cupti::script::item(*index), mock_cupti::script::Item::Kernel { .. }))
        .count();
    assert!(seen > 50 && lost > 0);
    assert_eq!(second.kernels.len() + usize::try_from(lost).unwrap(), of_script);
    running.go();
    running.child.wait().unwrap();
}

#[test]
fn the_second_agent_is_told_so_and_takes_over_when_the_first_is_gone() {
    let host = Host::new();
    host.run(&["cuda", "gpu:100", "exit"]);
    let ring = host.rings().remove(0);
    let first = file::open(&ring).unwrap();
    assert!(matches!(file::open(&ring), Err(OpenError::Taken)));
    drop(first);
    assert!(file::open(&ring).is_ok());
}

#[test]
fn a_ring_of_another_version_is_refused_by_name() {
    let host = Host::new();
    host.run(&["nvtx:1", "exit"]);
    let ring = host.rings().remove(0);
    let file = std::fs::OpenOptions::new().write(true).open(&ring).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &7u64.to_ne_bytes(), header::VERSION as u64 * 8).unwrap();
    let error = file::open(&ring).unwrap_err();
    assert!(matches!(error, OpenError::Ring(ReadError::Version { found: 7 })), "{error}");
}

#[test]
fn a_torn_ring_is_read_up_to_the_tear() {
    let host = Host::new();
    host.run(&["cuda", "gpu:1000", "exit"]);
    let ring = host.rings().remove(0);
    let reader: Reader<_> = file::open(&ring).unwrap();
    drop(reader);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&ring).unwrap();
    // The middle of the first lane's data, as far as it is filled: 31 lanes of 256 KiB follow 16 MiB.
    let data = file.metadata().unwrap().len() - 31 * 262_144 - (16 << 20);
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4096], data + 20_000).unwrap();
    drop(file);
    let read = host.read();
    assert_eq!(read.damages, 1);
    assert!((50..1000).contains(&read.kernels.len()), "{}", read.kernels.len());
}

#[test]
fn the_heartbeat_goes_on_and_the_process_shows_as_alive() {
    let host = Host::new();
    let mut running = host.spawn(&["cuda", "say:a", "wait", "exit"]);
    assert_eq!(running.line(), "a");
    let mut reader = file::open(&host.rings()[0]).unwrap();
    std::thread::sleep(Duration::from_millis(250));
    reader.look().unwrap();
    let first = reader.word(header::HEARTBEAT_NS);
    std::thread::sleep(Duration::from_millis(250));
    reader.look().unwrap();
    assert!(first > 0 && reader.word(header::HEARTBEAT_NS) > first);
    assert!(file::is_alive(&reader).unwrap());
    assert_eq!(reader.word(header::PID), u64::from(running.child.id()));
    running.go();
    running.child.wait().unwrap();
    assert!(!file::is_alive(&reader).unwrap());
}
