//! KV that goes through host memory: copies there before a hand-off and back after it.

use kvpath_schema::tables::derived::{Completeness, StagingMethod};

use super::analyse;
use crate::facts::staging::Staging;
use crate::model::Recording;
use crate::synthetic::MS;
use crate::timeline::{LaneId, LaneKind};

const P: i64 = 1;
const D: i64 = 2;
const HALF: i64 = 1 << 19;

/// Two regions each of host memory.
fn run() -> Recording {
    let mut recording = Recording::default();
    for process in [P, D] {
        recording.process(process, "VLLM::EngineCore");
        recording.agent(process, &format!("a-{process}"));
        for region in 0u8..2 {
            recording.region(process, region.into(), 0x100_0000 * u64::from(region), 0x100_0000);
        }
    }
    recording
}

/// A copy of each region, 10 ns long and as far apart.
fn staged(recording: &mut Recording, (process, is_out): (i64, bool), at: i64, bytes: i64, key: i64) {
    let id = LaneId { process, kind: LaneKind::Stream { context: 1, stream: 7 } };
    recording.host_copies.extend((process, is_out), &[bytes; 2], (at, key));
    for copy in 0..2 {
        let (start, kind) = (at + copy * 20, if is_out { "DtoH" } else { "HtoD" });
        recording.timeline.add_copy(id, kind, (start, start + 10, key + copy));
    }
}

/// `reader` reads 1 MiB then, done 10 ms later.
fn read(recording: &mut Recording, posted: i64, request: &str) {
    recording.write(D, "a-2", "a-1", posted, 1 << 20, request);
    *recording.transfers.op.last_mut().unwrap() = "READ".into();
}

fn marked(mut recording: Recording) -> Recording {
    recording.staging = recording.timeline.mark_staging(Staging::of(&recording.facts));
    recording
}

#[test]
fn copies_to_and_from_host_memory_are_of_the_hand_off_and_add_no_bytes() {
    let mut recording = run();
    let first = recording.pass(P, 10 * MS, 4, MS / 10);
    staged(&mut recording, (P, true), first + 100, HALF / 2, 1);
    let second = recording.pass(P, 20 * MS, 4, MS / 10);
    staged(&mut recording, (P, true), second + 100, HALF / 2, 3);
    read(&mut recording, 100 * MS, "req-1");
    staged(&mut recording, (D, false), 112 * MS, HALF, 1);
    recording.kernel(D, 7, "decode", 115 * MS, MS);
    let analysis = analyse(&marked(recording));
    let handoff = kvpath_schema::table::Columns::row(&analysis.handoffs, 0);
    assert_eq!((handoff.bytes, handoff.copies, handoff.completeness), (1 << 20, None, Completeness::Complete));
    assert_eq!(
        (handoff.staging_out_start_ns, handoff.staging_out_ns, handoff.staging_out_bytes),
        (Some(first + 100), Some(60), Some(1 << 20)),
        "what ran between two chunks does not count"
    );
    assert_eq!(
        (handoff.staging_in_start_ns, handoff.staging_in_ns, handoff.staging_in_bytes),
        (Some(112 * MS), Some(30), Some(1 << 20))
    );
    assert_eq!(handoff.staging_method, Some(StagingMethod::Bytes));
    let requests = &analysis.requests;
    assert_eq!((requests.handoff_end_ns[0], requests.decode_start_ns[0]), (Some(112 * MS + 30), Some(115 * MS)));
}

#[test]
fn each_request_has_its_own_series() {
    let mut recording = run();
    for (request, key) in [(0, 1), (1, 3)] {
        let end = recording.pass(P, 10 * MS + request * 10 * MS, 4, MS / 10);
        staged(&mut recording, (P, true), end + 100, HALF, key);
    }
    for (request, id) in [(0, "req-1"), (1, "req-2")] {
        read(&mut recording, (100 + 20 * request) * MS, id);
        staged(&mut recording, (D, false), (112 + 20 * request) * MS, HALF, 1 + 2 * request);
    }
    let analysis = analyse(&marked(recording));
    let handoffs = &analysis.handoffs;
    assert_eq!(handoffs.staging_out_bytes, [Some(1 << 20); 2]);
    assert_eq!(handoffs.staging_in_start_ns, [Some(112 * MS), Some(132 * MS)]);
}

#[test]
fn kv_in_host_memory_lacks_no_peer_copies() {
    // Its worker sends activations by copies.
    let mut recording = run();
    read(&mut recording, 100 * MS, "req-1");
    recording.device_copies.extend(D, (0, 1), [((50 * MS, 1000), 4096)]);
    let analysis = analyse(&recording);
    assert_eq!(analysis.handoffs.completeness, [Completeness::Complete]);
    assert_eq!(analysis.handoffs.copies, [None]);
    assert_eq!(analysis.findings(&kvpath_schema::tables::stuck::Stuck::default()).missing(), [""; 0]);
}
