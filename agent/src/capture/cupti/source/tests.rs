//! Rings of this process, drained as those of others are.

use std::path::Path;

use super::*;
use kvpath_ring::{Map, Producer, ProducerInfo};
use kvpath_schema::segment::{RunWriter, read_into};
use kvpath_schema::tables::capture::Drops;
use kvpath_schema::tables::gpu::Kernels;
use kvpath_schema::wire::ring::records::{Kernel, Push};
use kvpath_schema::wire::ring::{GPU_LANE, Kind, Loss, Shape, State};

use crate::segments::Segments;

const SHAPE: Shape = Shape { lanes: 2, gpu_words: 1024, thread_words: 256, names_words: 64 };

fn ring(folder: &Path, created_ns: u64) -> Producer<Map> {
    let about = ProducerInfo { pid: std::process::id(), start_ticks: 0, created_ns };
    file::create(folder, SHAPE, about).unwrap().1
}

fn context(run: &Path) -> Context {
    Context::new(0, Segments::new(RunWriter::new(run, "h", "test", None)))
}

/// One round at a time.
fn at(now_ns: i64, source: &mut Rings, context: &mut Context) {
    context.now_ns = now_ns;
    source.step(context).unwrap();
}

fn kernels(producer: &Producer<Map>, count: u64) {
    let name = producer.intern(b"kernel");
    for start_ns in 0..count {
        producer.push(GPU_LANE, 0, &Kernel { start_ns, end_ns: start_ns + 3, name, ..Kernel::default() }, None);
    }
}

#[test]
fn a_ring_becomes_segments_with_its_losses_and_goes_with_its_process() {
    let (rings, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let producer = ring(rings.path(), 50);
    let mut context = context(run.path());
    let mut source = Rings::new(Folders::One(rings.path().to_owned()), Some(Level::Deep), 0);

    kernels(&producer, 1000);
    producer.push(1, 5, &Push { time_ns: 5, ..Push::default() }, Some(b"open"));
    at(1_000_000_000, &mut source, &mut context);
    assert!(!source.is_full());
    assert_eq!(producer.wanted(), Some(Level::Deep));
    drop(producer);
    at(2_000_000_000, &mut source, &mut context);
    assert!(file::list(rings.path()).is_empty(), "its process has gone");
    source.finish(&mut context).unwrap();
    assert!(!rings.path().exists(), "no ring is left in its folder");
    source.write(&mut context).unwrap();
    assert_eq!((source.total, context.segments.dropped), (103, 1000 - 102));

    let folder = run.path().join("node=h/source=cupti");
    let find = |table: &str| {
        let mut files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(table)).unwrap()
    };
    let mut back = Kernels::default();
    let meta = read_into(&find("kernels"), &mut back).unwrap();
    assert_eq!((back.len(), &*back.name[0], meta.dropped), (102, "kernel", 898));
    let mut drops = Drops::default();
    read_into(&find("drops"), &mut drops).unwrap();
    assert_eq!(
        (&*drops.reason[0], drops.count[0], drops.table_name[0].as_deref()),
        ("ring full", 898, Some("kernels"))
    );
    assert!(run.path().join("node=h/source=nvtx").is_dir());
}

#[test]
fn what_was_lost_or_recorded_before_the_recording_is_not_of_it() {
    let rings = tempfile::tempdir().unwrap();
    let producer = ring(rings.path(), 50);
    kernels(&producer, 1000);
    let mut context = context(rings.path());
    let mut source = Rings::new(Folders::One(rings.path().to_owned()), None, 5_000);
    at(1_000_000_000, &mut source, &mut context);
    assert_eq!((source.rows.count(), source.losses.total(), producer.wanted()), (0, 0, None));
    producer.lose(Loss::Cupti, Kind::Other, 4);
    context.now_ns = 2_000_000_000;
    source.finish(&mut context).unwrap();
    assert_eq!(source.losses.iter().map(|(cause, count)| (count, cause.table)).collect::<Vec<_>>(), [(4, None)]);
}

#[test]
fn a_process_that_ended_before_the_recording_is_not_of_it() {
    let rings = tempfile::tempdir().unwrap();
    let producer = ring(rings.path(), 50);
    producer.beat(4_000);
    drop(producer);
    let mut context = context(rings.path());
    let mut during = Rings::new(Folders::One(rings.path().to_owned()), None, 3_000);
    during.open(file::list(rings.path()).remove(0), &mut context);
    assert_eq!(during.taps.len(), 1, "it ran during this one");
    drop(during);
    let mut source = Rings::new(Folders::One(rings.path().to_owned()), None, 5_000);
    source.open(file::list(rings.path()).remove(0), &mut context);
    assert!(source.taps.is_empty() && file::list(rings.path()).is_empty(), "it is not of this one, and goes");
}

#[test]
fn a_process_that_records_and_sends_nothing_of_its_gpu_is_said() {
    let rings = tempfile::tempdir().unwrap();
    let producer = ring(rings.path(), 50);
    producer.set_state(State::Running, 1, 0);
    producer.set_level(Level::Kernel);
    producer.push(1, 5, &Push { time_ns: 5, ..Push::default() }, Some(b"forward"));
    let mut context = context(rings.path());
    let mut source = Rings::new(Folders::One(rings.path().to_owned()), None, 0);
    for second in [1, 10, 11] {
        assert!(source.silent.is_empty());
        at(second * 1_000_000_000, &mut source, &mut context);
    }
    assert_eq!(source.silent.len(), 1);
    kernels(&producer, 1);
    at(12_000_000_000, &mut source, &mut context);
    assert!(source.silent.is_empty());
}

#[test]
fn another_agents_ring_is_left_to_it() {
    let rings = tempfile::tempdir().unwrap();
    let _producer = ring(rings.path(), 50);
    let other = file::open(&file::list(rings.path())[0]).unwrap();
    let mut context = context(rings.path());
    let mut source = Rings::new(Folders::One(rings.path().to_owned()), None, 0);
    at(1_000_000_000, &mut source, &mut context);
    let is_said = |context: &Context| context.states.count(|state| state == RecordingState::NotDrained) == 1;
    assert!(source.taps.is_empty() && !is_said(&context), "it may be for a moment");
    at(2_000_000_000, &mut source, &mut context);
    at(3_000_000_000, &mut source, &mut context);
    assert!(source.taps.is_empty() && is_said(&context));
    let states = context.states.rows_if_changed().unwrap();
    assert_eq!((states.len(), &*states.subject[0], &*states.state[0]), (1, "ring", "not_drained"));
    assert_eq!((states.since_ns[0], states.reason[0].as_deref()), (2_000_000_000, Some("another agent reads it")));
    drop(other);
    at(4_000_000_000, &mut source, &mut context);
    assert_eq!(source.taps.len(), 1, "it is free now");
    assert_eq!(context.states.rows_if_changed().unwrap().until_ns[0], Some(4_000_000_000));
}

#[test]
fn silent_processes_are_named() {
    assert_eq!(warning(&BTreeSet::new()), None);
    let said = warning(&BTreeSet::from([12, 7])).unwrap();
    assert!(said.contains("from pid 7, 12, though CUPTI was on"), "{said}");
}
