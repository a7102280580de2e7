//! What CUPTI tells arrives, whole and equal; what does not is counted.

use std::collections::BTreeMap;

use kvpath_schema::wire::ring::{Kind, Level, Loss, State, header};
use mock_cupti::script::{self, Item, NAMES};

use crate::host::{Host, RingContents};

/// Compares all that was read with the script's first `count` items at a level. Buffers may be decoded in another order
/// than they were filled in.
fn check(read: &mut RingContents, count: u64, level: Level) {
    read.kernels.sort_by_key(|kernel| kernel.start_ns);
    read.memcpys.sort_by_key(|copy| copy.start_ns);
    let read = &*read;
    let items: Vec<(u64, Item)> = (0..count).map(|index| (index, script::item(index))).collect();
    let count_of = |wanted: fn(&Item) -> bool| items.iter().filter(|(_, item)| wanted(item)).count();
    let correlation = |index: u64| u32::try_from(index).unwrap();
    let launch = level >= Level::Launch;

    let kernels: Vec<(u64, usize)> = items
        .iter()
        .filter_map(|(index, item)| if let Item::Kernel { name } = item { Some((*index, *name)) } else { None })
        .collect();
    assert_eq!(read.kernels.len(), kernels.len());
    let mut ids = BTreeMap::new();
    for (kernel, (index, name)) in read.kernels.iter().zip(kernels) {
        let start = script::start_ns(index);
        assert_eq!((kernel.start_ns, kernel.end_ns, kernel.correlation), (start, start + 1_000, correlation(index)));
        assert_eq!((kernel.device, kernel.context, kernel.stream, kernel.graph), (2, 1, 7, 5));
        assert_eq!((kernel.graph_node, kernel.grid_x, kernel.grid_y, kernel.block_x), (4_294_967_297, 128, 2, 256));
        assert_eq!(*ids.entry(name).or_insert(kernel.name), kernel.name, "one id a name");
    }
    for (name, id) in ids {
        assert_eq!(read.name(id), NAMES[name]);
    }

    let copies: Vec<(u64, u32, u32, u32)> = items
        .iter()
        .filter_map(|(_, item)| match item {
            Item::Memcpy { bytes } => Some((*bytes, 1, 0, 0)),
            Item::Peer { bytes } => Some((*bytes, 10, 2, 3)),
            _ => None,
        })
        .collect();
    let read_copies: Vec<(u64, u32, u32, u32)> =
        read.memcpys.iter().map(|copy| (copy.bytes, copy.copy_kind, copy.src_device, copy.dst_device)).collect();
    assert_eq!(read_copies, copies, "bytes to the byte, peers with both devices");

    assert_eq!(read.memsets.len(), count_of(|item| matches!(item, Item::Memset)));
    assert!(read.memsets.iter().all(|memset| memset.bytes == 4096));
    assert_eq!(read.overheads.len(), count_of(|item| matches!(item, Item::Overhead)));
    assert!(read.overheads.iter().all(|(tid, overhead)| (*tid, overhead.overhead_kind) == (4242, 1 << 16)));
    let expected = |wanted: fn(&Item) -> bool| if launch { count_of(wanted) } else { 0 };
    assert_eq!(read.syncs.len(), expected(|item| matches!(item, Item::Sync)));
    assert_eq!(read.events.len(), expected(|item| matches!(item, Item::Event)));
    assert_eq!(read.calls.len(), expected(|item| matches!(item, Item::Launch)));
    assert!(read.calls.iter().all(|(tid, call)| (*tid, call.cbid, call.domain) == (4243, 211, 1)));
    assert_eq!(read.damages, 0);

    let bad = count_of(|item| matches!(item, Item::ZeroTime | Item::Backwards)) as u64;
    let unknown = count_of(|item| matches!(item, Item::Unknown)) as u64;
    let losses: BTreeMap<(Loss, Kind), u64> =
        [((Loss::BadTime, Kind::Kernel), bad), ((Loss::UnknownKind, Kind::Other), unknown)].into();
    assert_eq!(read.losses(), losses);
}

#[test]
fn every_record_of_cuda_12_arrives_once_and_what_is_invalid_is_counted() {
    let host = Host::new();
    host.run(&["cuda", "gpu:100000", "exit"]);
    let mut read = host.read();
    check(&mut read, 100_000, Level::Kernel);
    assert_eq!((read.reader.state(), read.reader.level()), (State::Running, Level::Kernel));
    assert_eq!(read.reader.word(header::CUPTI_VERSION), 28);
}

#[test]
fn the_longer_records_of_cuda_13_are_read_by_their_prefix() {
    let host = Host::new().with("MOCK_CUPTI_VERSION", "130500").with("KVPATH_LEVEL", "launch");
    host.run(&["cuda", "gpu:50000", "exit"]);
    let mut read = host.read();
    check(&mut read, 50_000, Level::Launch);
    assert!(read.syncs.iter().all(|sync| (sync.event_sync, sync.event, sync.sync_kind) == (12, 3, 2)));
    assert!(read.events.iter().all(|event| (event.event_sync, event.stream) == (12, 9)));
    assert_eq!(read.reader.word(header::CALLS_REFUSED), 0);
}

#[test]
fn the_shorter_records_of_older_versions_are_not_read_beyond_their_end() {
    let host = Host::new().with("MOCK_CUPTI_VERSION", "24").with("KVPATH_LEVEL", "deep");
    host.run(&["cuda", "gpu:20000", "exit"]);
    let mut read = host.read();
    check(&mut read, 20_000, Level::Deep);
    assert!(read.syncs.iter().all(|sync| sync.event_sync == 0));
    assert!(read.events.iter().all(|event| event.event_sync == 0));
    assert!(read.reader.word(header::CALLS_REFUSED) > 0, "calls that this version does not know are counted");
}

#[test]
fn millions_of_records_overflow_and_every_one_is_accounted_for() {
    let host = Host::new().with("KVPATH_RING_MIB", "1");
    let count = 3_000_000;
    // The end of the process waits 20 ms at most, which is too short for so much at once.
    host.run(&["cuda", &format!("gpu:{count}"), "sleep:500", "exit"]);
    let read = host.read();
    let arrived = (read.kernels.len() + read.memcpys.len() + read.memsets.len() + read.overheads.len()) as u64;
    let lost: u64 = read.losses().values().sum();
    let silent = (0..count).filter(|index| matches!(script::item(*index), Item::Sync | Item::Event | Item::Launch));
    assert_eq!(arrived + lost, count - silent.count() as u64);
    assert!(arrived > 10_000 && read.losses()[&(Loss::Full, Kind::Kernel)] > 100_000, "{:?}", read.losses());
}

#[test]
fn levels_change_while_the_program_runs() {
    let host = Host::new().with("MOCK_CUPTI_VERSION", "130200");
    let mut running = host.spawn(&[
        "cuda",
        "gpu:1000",
        "say:one",
        "wait",
        "gpu:1000",
        "graph",
        "say:two",
        "wait",
        "gpu:1000",
        "say:three",
        "wait",
        "exit",
    ]);
    assert_eq!(running.line(), "one");
    let rings = host.rings();
    let mut read = RingContents::new(kvpath_ring::file::open(&rings[0]).unwrap());
    let mut steps = [Level::Graph, Level::Off, Level::Kernel].into_iter();
    let mut change = |read: &mut RingContents| {
        let level = steps.next().unwrap();
        read.reader.ask_for(level).unwrap();
        for _ in 0..200 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            read.drain();
            if read.reader.level() == level {
                return;
            }
        }
        panic!("{level:?} did not come into force");
    };
    change(&mut read);
    let first = read.kernels.len();
    assert!(first > 600 && read.graphs.is_empty());
    running.go();
    assert_eq!(running.line(), "two");
    change(&mut read);
    let second = read.kernels.len();
    assert_eq!(second, 2 * first);
    assert_eq!(read.graphs.iter().map(|graph| graph.graph).collect::<Vec<_>>(), [77]);
    running.go();
    assert_eq!(running.line(), "three");
    change(&mut read);
    assert_eq!(read.kernels.len(), second, "off is off");
    running.go();
    running.child.wait().unwrap();
}

#[test]
fn another_client_is_left_alone() {
    let host = Host::new().with("KVPATH_LEVEL", "graph");
    let mut running = host.spawn(&["cuda", "gpu:1000", "other", "sleep:1500", "off:51", "off:10", "gpu:1000", "exit"]);
    assert_eq!((running.line().as_str(), running.line().as_str()), ("off", "on"), "kernels stay on for the other");
    assert!(running.child.wait().unwrap().success());
    let read = host.read();
    assert_eq!((read.reader.state(), read.reader.level()), (State::Aside, Level::Off));
    assert_eq!(read.reader.word(header::CUPTI_ERROR), 39);
    assert!(read.reader.word(header::STATE_NS) > 0);
}

#[test]
fn a_library_that_is_not_cupti_or_not_there_is_said_and_the_program_goes_on() {
    for (library, state) in [("libc.so.6", State::Unsuitable), ("/nonexistent.so", State::NotFound)] {
        let host = Host::new().with("KVPATH_CUPTI", library);
        host.run(&["cuda", "gpu:1000", "exit"]);
        let read = host.read();
        assert_eq!((read.reader.state(), read.kernels.len()), (state, 0));
    }
}

#[test]
fn without_room_for_a_ring_the_program_goes_on() {
    let host = Host::new().with("KVPATH_RING_DIR", "/proc/kvpath");
    host.run(&["cuda", "gpu:1000", "nvtx:10", "exit"]);
    assert!(host.rings().is_empty());
}
