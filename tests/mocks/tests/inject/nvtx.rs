//! NVTX arrives with domain, text, payload, thread and depth; without a GPU.

use std::collections::HashSet;

use kvpath_schema::wire::ring::records::payload;
use kvpath_schema::wire::ring::{Kind, State};

use crate::host::{Host, RingContents};

fn texts(read: &RingContents) -> Vec<String> {
    read.pushes.iter().map(|(_, push, inline)| read.text(push.text, inline.as_ref())).collect()
}

#[test]
fn ranges_marks_domains_and_payloads_are_what_the_program_gave() {
    let host = Host::new();
    host.run(&["nvtx:100", "exit"]);
    let read = host.read();
    assert_eq!(read.reader.state(), State::Unused);
    assert_eq!((read.pushes.len(), read.pops.len(), read.starts.len(), read.ends.len()), (300, 300, 100, 100));
    assert_eq!(texts(&read)[..3], ["outer", "inn\u{e9}r", "registered"]);
    let depths: Vec<u32> = read.pushes.iter().take(3).map(|(_, push, _)| push.depth).collect();
    assert_eq!(depths, [0, 1, 0], "each domain has its own");
    let (_, registered, _) = &read.pushes[2 + 3 * 41];
    assert_eq!((registered.payload_kind, registered.payload), (payload::U64, 41));
    assert_eq!((read.name(registered.domain).as_str(), read.pushes[0].1.domain), ("d", 0));
    for (at, ((start, inline), end)) in read.starts.iter().zip(&read.ends).enumerate() {
        assert_eq!(read.text(start.text, inline.as_ref()), format!("step {at}"));
        assert!(start.id == end.id && start.time_ns <= end.time_ns);
    }
    assert_eq!(read.marks.len(), 100);
    assert!(read.losses().is_empty());
}

#[test]
fn threads_have_lanes_of_their_own_and_leave_them_to_others() {
    let host = Host::new();
    host.run(&["threads:200", "together:20", "exit"]);
    let read = host.read();
    let pushed = read.pushes.len() as u64;
    assert_eq!(pushed + lost_pushes(&read), 200 * 3 + 20_000);
    let threads: HashSet<u32> = read.pushes.iter().map(|(tid, ..)| *tid).collect();
    assert!(threads.len() > 20, "{}", threads.len());
}

fn lost_pushes(read: &RingContents) -> u64 {
    read.losses().iter().filter(|((_, kind), _)| *kind == Kind::Push).map(|(_, count)| count).sum()
}

#[test]
fn a_forked_process_has_a_ring_of_its_own_and_old_handles_work_in_it() {
    let host = Host::new();
    host.run(&["nvtx:10", "fork:5", "nvtx:1", "exit"]);
    let rings = host.rings();
    assert_eq!(rings.len(), 2);
    let mut pushes = Vec::new();
    for ring in rings {
        let mut read = RingContents::new(kvpath_ring::file::open(&ring).unwrap());
        read.drain();
        let all = texts(&read);
        assert!(all.iter().all(|text| ["outer", "inn\u{e9}r", "registered"].contains(&text.as_str())), "{all:?}");
        assert!(read.pushes.iter().any(|(_, push, _)| read.name(push.domain) == "d"));
        pushes.push(all.len());
    }
    pushes.sort_unstable();
    assert_eq!(pushes, [15, 33]);
}

#[test]
fn a_program_that_replaces_itself_begins_a_new_ring() {
    let host = Host::new();
    host.run(&["cuda", "nvtx:2", "exec", "cuda", "nvtx:3", "exit"]);
    let rings = host.rings();
    assert_eq!(rings.len(), 2);
    let counts: Vec<usize> = rings
        .iter()
        .map(|ring| {
            let mut read = RingContents::new(kvpath_ring::file::open(ring).unwrap());
            read.drain();
            read.pushes.len()
        })
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 15);
}
