//! Both ends of the ring together: order, overflow, damage, hostility, exclusion.

use std::cell::RefCell;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvpath_ring::{Drained, Medium, Producer, ProducerInfo, ReadError, Reader, file};
use kvpath_schema::wire::ring::records::{End, Kernel, Mark, RingRecord as _};
use kvpath_schema::wire::ring::{
    self as wire, GPU_LANE, Kind, LANE_WORDS, Level, Loss, Shape, State, VERSION, header, lane,
};
use proptest::prelude::*;

const SHAPE: Shape = Shape { lanes: 4, gpu_words: 256, thread_words: 256, names_words: 64 };
const ABOUT: ProducerInfo = ProducerInfo { pid: 7, start_ticks: 8, created_ns: 9 };

/// Memory that a producer and a reader share within a test.
#[derive(Debug, Clone)]
struct Memory(Rc<Vec<AtomicU64>>);

impl Memory {
    fn new(words: usize) -> Self {
        Self(Rc::new((0..words).map(|_| AtomicU64::new(0)).collect()))
    }
}

impl Deref for Memory {
    type Target = [AtomicU64];
    fn deref(&self) -> &[AtomicU64] {
        &self.0
    }
}

impl Medium for Memory {
    fn words(&self) -> io::Result<usize> {
        Ok(self.0.len())
    }
    fn read(&self, at: usize, into: &mut [u64]) -> io::Result<()> {
        let from = self.0.get(at..at + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        for (word, from) in into.iter_mut().zip(from) {
            *word = from.load(Ordering::Acquire);
        }
        Ok(())
    }
    fn write(&self, at: usize, word: u64) -> io::Result<()> {
        self.0.get(at).ok_or(io::ErrorKind::UnexpectedEof)?.store(word, Ordering::Release);
        Ok(())
    }
}

fn ring() -> (Memory, Producer<Memory>, Reader<Memory>) {
    let memory = Memory::new(SHAPE.file_words());
    let producer = Producer::new(memory.clone(), SHAPE, ABOUT).unwrap();
    let reader = Reader::new(memory.clone()).unwrap();
    (memory, producer, reader)
}

fn end(id: u64) -> End {
    End { time_ns: id * 10, id }
}

fn ids(reader: &mut Reader<Memory>) -> (Vec<u64>, Drained) {
    let ids = RefCell::new(Vec::new());
    let drained = reader.drain(1, |record| ids.borrow_mut().push(End::read(record.words).unwrap().id)).unwrap();
    (ids.into_inner(), drained)
}

#[test]
fn records_come_in_order_around_the_end_of_the_lane() {
    let (_, producer, mut reader) = ring();
    let mut expected = 0;
    for round in 0..if cfg!(miri) { 90 } else { 1000u64 } {
        let count = round % 80;
        for id in expected..expected + count {
            assert!(producer.push(1, 5, &end(id), None));
        }
        let (ids, drained) = ids(&mut reader);
        assert_eq!(ids, (expected..expected + count).collect::<Vec<_>>());
        assert_eq!((drained.records, drained.damages), (count, 0));
        expected += count;
    }
}

#[test]
fn what_does_not_fit_is_dropped_and_counted_exactly() {
    let (_, producer, mut reader) = ring();
    let pushed = (0..1000).filter(|id| producer.push(1, 0, &end(*id), None)).count();
    assert_eq!(pushed, 256 / 3);
    let (first, _) = ids(&mut reader);
    assert_eq!(first, (0..85).collect::<Vec<_>>());
    reader.look().unwrap();
    assert_eq!(reader.losses(), [(Loss::Full, Kind::End, 1000 - 85)]);
    assert!(producer.push(1, 0, &end(5000), None), "there is room again");
    assert_eq!(ids(&mut reader).0, [5000]);
}

#[test]
fn texts_and_names_come_back_and_long_ones_are_cut_at_a_character() {
    let (_, producer, mut reader) = ring();
    let mark = Mark { time_ns: 1, ..Mark::default() };
    let long = "é".repeat(2000);
    for text in ["", "a", "exactly8", "nine char"] {
        assert!(producer.push(2, 3, &mark, Some(text.as_bytes())));
    }
    let mut texts = Vec::new();
    reader.drain(1, |record| texts.push(record.text(Mark::WORDS).unwrap())).unwrap();
    assert!(producer.push(2, 3, &mark, Some(long.as_bytes())));
    reader.drain(1, |record| texts.push(record.text(Mark::WORDS).unwrap())).unwrap();
    assert_eq!(texts[..4], ["", "a", "exactly8", "nine char"]);
    assert_eq!(texts[4], "é".repeat(512));

    let id = producer.intern(b"void kernel<int>(int*)");
    assert_eq!(reader.name(id).unwrap().as_deref(), Some("void kernel<int>(int*)"));
    for none in [0, id + 1, 63, 64, u32::MAX] {
        assert_eq!(reader.name(none).unwrap(), None, "{none}");
    }
    while producer.intern(b"filler") != 0 {}
    reader.look().unwrap();
    assert_eq!(reader.losses(), [(Loss::NamesFull, Kind::Other, 1)]);
}

#[test]
fn lanes_go_to_threads_and_come_back_from_dead_ones() {
    let (_, producer, _) = ring();
    let alive = |_| true;
    let one = producer.claim(10, alive).unwrap();
    let two = producer.claim(20, alive).unwrap();
    let three = producer.claim(30, alive).unwrap();
    assert_eq!([one, two, three], [1, 2, 3]);
    assert_eq!(producer.claim(10, alive), Some(one), "its own");
    assert_eq!(producer.claim(40, alive), None, "none is left");
    assert_eq!(producer.claim(40, |tid| tid != 20), Some(two), "that of a thread that has ended");
}

#[test]
fn a_torn_record_is_one_damage_and_reading_goes_on_behind_it() {
    let (memory, producer, mut reader) = ring();
    for id in 0..10 {
        producer.push(1, 0, &end(id), None);
    }
    memory[SHAPE.lane_data(1) + 3 * 4].store(0xdead_beef, Ordering::Relaxed);
    let (first, drained) = ids(&mut reader);
    assert_eq!((first, drained.damages), ((0..4).collect(), 1));
    producer.push(1, 0, &end(10), None);
    assert_eq!(ids(&mut reader).0, [10]);
}

#[test]
fn heads_and_tails_that_lie_are_damage_and_never_loop() {
    for head in [u64::MAX, 1 << 40, 257, 1] {
        let (memory, _, mut reader) = ring();
        memory[SHAPE.lane_header(1) + lane::HEAD].store(head, Ordering::Relaxed);
        assert_eq!(reader.drain(1, |_| panic!("no record is there")).unwrap(), Drained { records: 0, damages: 1 });
    }
    let (memory, producer, _) = ring();
    memory[SHAPE.lane_header(1) + lane::TAIL].store(u64::MAX, Ordering::Relaxed);
    let pushed = (0..200).filter(|id| producer.push(1, 0, &end(*id), None)).count();
    assert_eq!(pushed, 85, "a tail that lies frees nothing");
}

#[test]
fn another_version_is_refused_by_name() {
    let (memory, _, _) = ring();
    memory[header::VERSION].store(99, Ordering::Relaxed);
    let error = Reader::new(memory.clone()).unwrap_err();
    assert!(matches!(error, ReadError::Version { found: 99 }));
    assert!(
        error.to_string().contains("version 99") && error.to_string().contains(&format!("reads version {VERSION}")),
        "{error}"
    );
    memory[header::MAGIC].store(0, Ordering::Relaxed);
    assert!(matches!(Reader::new(memory), Err(ReadError::NotReady)));
}

#[test]
fn a_record_finds_the_devices_that_were_told_before_it() {
    let (_, producer, mut reader) = ring();
    let devices = |reader: &mut Reader<Memory>| {
        let mut found = Vec::new();
        reader.drain_with_names(0, |_, there| found.push(there.devices().unwrap())).unwrap();
        found
    };
    assert!(producer.push(GPU_LANE, 0, &end(1), None));
    assert_eq!(devices(&mut reader), [Vec::<[u8; 16]>::new()]);
    let uuids: Vec<[u8; 16]> =
        (0..40).map(|at| std::array::from_fn(|byte| at * 3 + u8::try_from(byte).unwrap())).collect();
    producer.set_devices(&uuids);
    assert!(producer.push(GPU_LANE, 0, &end(2), None));
    assert_eq!(devices(&mut reader), [uuids[..32].to_vec()], "as many as there is room for");
}

#[test]
fn levels_and_states_go_both_ways() {
    let (_, producer, mut reader) = ring();
    assert_eq!((producer.wanted(), producer.reader_ns()), (None, 0));
    reader.ask_for(Level::Deep).unwrap();
    reader.drain(77, |_| {}).unwrap();
    assert_eq!((producer.wanted(), producer.reader_ns()), (Some(Level::Deep), 77));
    producer.set_level(Level::Deep);
    producer.set_state(State::Aside, 5, 39);
    reader.look().unwrap();
    assert_eq!((reader.level(), reader.state(), reader.word(header::CUPTI_ERROR)), (Level::Deep, State::Aside, 39));
}

#[test]
fn a_reader_that_stops_is_followed_by_another_that_goes_on() {
    let (memory, producer, mut reader) = ring();
    producer.push(1, 0, &end(1), None);
    assert_eq!(ids(&mut reader).0, [1]);
    drop(reader);
    producer.push(1, 0, &end(2), None);
    let mut next = Reader::new(memory).unwrap();
    assert_eq!(ids(&mut next).0, [2]);
}

/// Memory that two threads share, with no more order between its words than a file gives: none.
#[derive(Debug, Clone)]
struct Unordered(Arc<Vec<AtomicU64>>);

impl Deref for Unordered {
    type Target = [AtomicU64];
    fn deref(&self) -> &[AtomicU64] {
        &self.0
    }
}

impl Medium for Unordered {
    fn words(&self) -> io::Result<usize> {
        Ok(self.0.len())
    }
    fn read(&self, at: usize, into: &mut [u64]) -> io::Result<()> {
        for (word, from) in into.iter_mut().zip(&self.0[at..]) {
            *word = from.load(Ordering::Relaxed);
        }
        Ok(())
    }
    fn write(&self, at: usize, word: u64) -> io::Result<()> {
        self.0[at].store(word, Ordering::Relaxed);
        Ok(())
    }
}

/// Under Miri, which lets a thread load old values wherever the orderings permit them, this fails without the reader's fence
/// behind the head. What Miri does not do is delay a load past a later store: the fence before the tail is beyond it.
#[test]
fn a_reader_beside_a_producer_sees_whole_records_in_order_and_names_before_their_ids() {
    let records = if cfg!(miri) { 300 } else { 300_000 };
    let memory = Unordered(Arc::new((0..SHAPE.file_words()).map(|_| AtomicU64::new(0)).collect()));
    let early = memory.clone();
    let producing = std::thread::spawn(move || {
        let producer = Producer::new(memory, SHAPE, ABOUT).unwrap();
        let mut id = 0;
        while id < records {
            let name = if id == records / 2 { producer.intern(b"half") } else { 0 };
            let kernel = Kernel { start_ns: id, end_ns: 3 * id, graph_node: 7 * id, name, ..Kernel::default() };
            if producer.push(GPU_LANE, 0, &kernel, None) {
                id += 1;
            } else {
                std::thread::yield_now();
            }
        }
    });
    let mut reader = loop {
        match Reader::new(early.clone()) {
            Ok(reader) => break reader,
            Err(ReadError::NotReady) => std::thread::yield_now(),
            Err(error) => panic!("half laid out: {error}"),
        }
    };
    let (mut next, mut half) = (0, 0);
    while next < records {
        let drained = reader.drain(1, |record| {
            let kernel = Kernel::read(record.words).unwrap();
            assert_eq!((kernel.start_ns, kernel.end_ns, kernel.graph_node), (next, 3 * next, 7 * next));
            half = half.max(kernel.name);
            next += 1;
        });
        assert_eq!(drained.unwrap().damages, 0);
        if half != 0 {
            assert_eq!(reader.name(half).unwrap().as_deref(), Some("half"));
        }
        std::thread::yield_now();
    }
    producing.join().unwrap();
}

proptest! {
    // Miri is slow, and has no folder to keep failures in.
    #![proptest_config(if cfg!(miri) { ProptestConfig { cases: 1, failure_persistence: None, ..<_>::default() } } else { <_>::default() })]

    /// Whatever lies in a lane, reading it ends and stays inside of it.
    #[test]
    fn any_words_are_read_without_harm(
        words in proptest::collection::vec(any::<u64>(), SHAPE.gpu_words),
        start in 0u64..1 << 40,
        length in 0u64..300,
        real in proptest::collection::vec(0usize..256, 0..40),
    ) {
        let (memory, _, _) = ring();
        for (at, word) in words.iter().enumerate() {
            memory[SHAPE.lane_data(GPU_LANE) + at].store(*word, Ordering::Relaxed);
        }
        for at in real {
            let position = start + at as u64;
            let head = wire::Head { kind: 1, words: u8::try_from(at % 20).unwrap(), tid: 1 };
            let slot = usize::try_from(position % 256).unwrap();
            memory[SHAPE.lane_data(GPU_LANE) + slot].store(head.to_word(position), Ordering::Relaxed);
        }
        memory[SHAPE.lane_header(GPU_LANE) + lane::TAIL].store(start, Ordering::Relaxed);
        memory[SHAPE.lane_header(GPU_LANE) + lane::HEAD].store(start + length, Ordering::Relaxed);
        let mut reader = Reader::new(memory).unwrap();
        let mut seen = 0;
        reader.drain(1, |record| { seen += 1 + record.words.len() as u64; let _ = record.text(0); }).unwrap();
        prop_assert!(seen <= length);
    }

    /// Whatever a header says, it is read or refused.
    #[test]
    fn any_header_is_read_or_refused(changes in proptest::collection::vec((0usize..1100, any::<u64>()), 0..12)) {
        let (memory, _, _) = ring();
        for (at, word) in changes {
            if at != header::MAGIC && at < memory.len() {
                memory[at].store(word, Ordering::Relaxed);
            }
        }
        if let Ok(mut reader) = Reader::new(memory) {
            let _ = reader.drain(1, |_| {});
            let _ = (reader.losses(), reader.state(), reader.level(), reader.name(3));
        }
    }
}

fn producer_in(folder: &Path, created_ns: u64) -> (std::path::PathBuf, Producer<kvpath_ring::Map>) {
    file::create(folder, SHAPE, ProducerInfo { created_ns, ..ABOUT }).unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no mmap of files, no locks and no madvise")]
fn a_file_is_private_has_one_reader_and_goes_when_its_process_has() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (path, producer) = producer_in(folder.path(), 100);
    assert_eq!(path.file_name().unwrap(), "7-100.ring");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(file::list(folder.path()), std::slice::from_ref(&path));

    let name = producer.intern(b"k");
    assert!(producer.push(GPU_LANE, 0, &Kernel { start_ns: 1, end_ns: 2, name, ..Kernel::default() }, None));
    let mut reader = file::open(&path).unwrap();
    assert!(matches!(file::open(&path), Err(file::OpenError::Taken)));
    assert!(file::open_beside(&path).is_ok());
    let mut kernels = Vec::new();
    reader.drain(1, |record| kernels.push(Kernel::read(record.words).unwrap())).unwrap();
    assert_eq!((kernels.len(), reader.name(kernels[0].name).unwrap().as_deref()), (1, Some("k")));

    assert!(file::is_alive(&reader).unwrap());
    drop(reader);
    assert_eq!(file::sweep(folder.path(), 1000, 0), 0, "its process lives");
    drop(producer);
    let reader = file::open(&path).unwrap();
    assert!(!file::is_alive(&reader).unwrap());
    assert_eq!(file::sweep(folder.path(), 1000, 0), 0, "it has a reader");
    drop(reader);
    assert_eq!(file::sweep(folder.path(), 1000, 10_000), 0, "it is young");
    assert_eq!(file::sweep(folder.path(), 1000, 0), 1);
    assert!(file::list(folder.path()).is_empty());
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no mmap of files, no locks and no madvise")]
fn a_file_that_shrinks_is_an_error_for_its_reader() {
    let folder = tempfile::tempdir().unwrap();
    let (path, producer) = producer_in(folder.path(), 1);
    let mut reader = file::open(&path).unwrap();
    producer.push(GPU_LANE, 0, &end(1), None);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    assert!(reader.drain(1, |_| {}).is_err());
    assert!(matches!(file::open_beside(&path), Err(file::OpenError::Ring(ReadError::NotReady))));
    // The producer must not touch its mapping any more: only a hostile one would shrink it.
    std::mem::forget(producer);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no mmap of files, no locks and no madvise")]
fn links_and_strange_names_are_not_rings() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["7-1.txt", "7.ring", "a-1.ring", "-.ring"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("1-1.ring")).unwrap();
    let found = file::list(folder.path());
    assert_eq!(found.len(), 1);
    assert!(matches!(file::open(&found[0]), Err(file::OpenError::Io(_))));
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no mmap of files, no locks and no madvise")]
fn a_forked_page_reads_as_zero_and_its_owner_sees_what_it_wrote() {
    let page = kvpath_ring::Map::wiped_on_fork().unwrap();
    page[0].store(1, Ordering::Relaxed);
    assert_eq!(page[0].load(Ordering::Relaxed), 1);
    assert!(page.len() >= LANE_WORDS);
}
