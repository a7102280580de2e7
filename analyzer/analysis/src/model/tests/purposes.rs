//! What hands nothing over changes no stage, request or hand-off.

use kvpath_schema::table::Columns as _;

use super::super::Recording;
use super::{analyse, live};
use crate::serving::purposes;
use crate::synthetic::MS;

/// Two stages push two requests to decode.
fn pushed() -> Recording {
    let mut recording = live();
    for (request, at) in [("req-1", 100 * MS), ("req-2", 200 * MS)] {
        for (process, agent) in [(1, "a-0"), (2, "a-1")] {
            recording.write(process, agent, "d-0", at + process * MS, 4 << 20, request);
        }
    }
    recording
}

#[test]
fn storage_beside_hand_offs_changes_none_of_their_tables() {
    let alone = analyse(&pushed());
    let mut recording = pushed();
    for at in [90, 150, 205, 400] {
        // Decode offloads to a file and to its own host memory, with texts that look like those of requests.
        recording.write(3, "d-0", "d-0", at * MS, 1 << 20, "block-7");
        *recording.transfers.remote_memory.last_mut().unwrap() = Some("FILE".into());
        recording.write(3, "d-0", "d-0", (at + 1) * MS, 1 << 20, "block-8");
    }
    // Taken for what they look like, they would make decode a stage, and requests.
    let mistaken = analyse(&recording);
    assert_eq!((mistaken.requests.len(), mistaken.stages.role[2].text()), (4, "prefill"));
    purposes::set_apart(&mut recording.facts);
    let found = analyse(&recording);
    assert_eq!(found.stages, alone.stages);
    assert_eq!(found.requests, alone.requests);
    assert_eq!(found.handoffs, alone.handoffs);
    assert_eq!(found.others.transfers, [4, 4]);
    let rows = |process: i64| {
        let is_own = |row: &usize| {
            found.coverage.process_id[*row] == process && &*found.coverage.table_name[*row] == "nixl_transfers"
        };
        (0..found.coverage.len()).filter(is_own).map(|row| found.coverage.rows[row]).sum::<i64>()
    };
    assert_eq!((rows(1), rows(3)), (2, 8), "all are recorded");
}

/// vLLM's `bidirectional_kv_xfer`: before the next turn prefill reads what decode holds of the last one.
#[test]
fn what_prefill_reads_back_makes_decode_no_stage() {
    let pull = |recording: &mut Recording, (process, agent): (i64, &str), peer: &str, at: i64, request: &str| {
        recording.write(process, agent, peer, at * MS, 4 << 20, request);
        *recording.transfers.op.last_mut().unwrap() = "READ".into();
    };
    let turns = |is_read_back: bool| {
        let mut recording = live();
        pull(&mut recording, (3, "d-0"), "a-0", 100, "turn-1");
        if is_read_back {
            pull(&mut recording, (1, "a-0"), "d-0", 200, "turn-1");
        }
        pull(&mut recording, (3, "d-0"), "a-0", 300, "turn-2");
        purposes::set_apart(&mut recording.facts);
        analyse(&recording)
    };
    let (alone, found) = (turns(false), turns(true));
    assert_eq!((&found.stages, &found.requests), (&alone.stages, &alone.requests));
    assert_eq!((found.requests.len(), found.others.purpose[0].text()), (2, "read_back"));
}
