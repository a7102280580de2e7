//! Ranks of one stage: what is said of each, and what of the stage.

use kvpath_schema::table::Columns as _;

use super::analyse;
use crate::model::{Analysis, Recording};
use crate::synthetic::MS;

/// Processes with their titles, each with an agent `a-ID`.
fn run(titles: &[(i64, &str)]) -> Recording {
    let mut recording = Recording::default();
    for (process, title) in titles {
        recording.process(*process, title);
        recording.agent(*process, &format!("a-{process}"));
    }
    recording
}

/// `reader` reads the KV of `owner`: posted then, done 10 ms later.
fn read(recording: &mut Recording, (reader, owner): (i64, i64), posted: i64, request: &str) {
    recording.write(reader, &format!("a-{reader}"), &format!("a-{owner}"), posted, 1 << 20, request);
    *recording.transfers.op.last_mut().unwrap() = "READ".into();
}

/// Process, role and stage of each row.
fn stages(analysis: &Analysis) -> Vec<(i64, &str, i32)> {
    let stages = &analysis.stages;
    (0..stages.len()).map(|row| (stages.process_id[row], stages.role[row].text(), stages.stage[row])).collect()
}

const TP2_DECODES: [(i64, &str); 3] = [(1, "VLLM::EngineCore"), (2, "VLLM::Worker_TP0"), (3, "VLLM::Worker_TP1")];

#[test]
fn each_rank_that_reads_has_its_hand_off_and_decode_begins_with_all() {
    let mut recording = run(&TP2_DECODES);
    read(&mut recording, (2, 1), 100 * MS, "req-1");
    read(&mut recording, (3, 1), 103 * MS, "req-1");
    recording.kernel(2, 7, "decode", 121 * MS, MS);
    recording.kernel(3, 7, "decode", 120 * MS, MS);
    let analysis = analyse(&recording);
    assert_eq!(stages(&analysis), [(1, "prefill", 0), (2, "decode", 1), (3, "decode", 1)]);
    let handoffs = &analysis.handoffs;
    assert_eq!(handoffs.peer_process_id, [Some(2), Some(3)]);
    assert_eq!(handoffs.done_by_ns, [Some(110 * MS), Some(113 * MS)]);
    assert_eq!(handoffs.way.iter().map(|way| way.text()).collect::<Vec<_>>(), ["pull", "pull"]);
    let requests = &analysis.requests;
    assert_eq!((requests.handoffs[0], requests.handoff_bytes[0]), (1, Some(2 << 20)));
    assert_eq!((requests.handoff_end_ns[0], requests.decode_start_ns[0]), (Some(113 * MS), Some(120 * MS)));
}

#[test]
fn a_prefill_rank_that_is_only_told_is_no_decode_worker() {
    let titles = [(1, "VLLM::Worker_TP0"), (2, "VLLM::Worker_TP1"), (3, "VLLM::EngineCore")];
    // Of KV that every rank holds whole decode reads one rank's, and tells the others.
    let mut pulled = run(&titles);
    read(&mut pulled, (3, 1), 100 * MS, "req-1");
    pulled.notif(2, "arrived", "a-3", 111 * MS, "req-1-0123abcd:1");
    let expected = [(1, "prefill", 0), (2, "prefill", 0), (3, "decode", 2)];
    assert_eq!(stages(&analyse(&pulled)), expected);
    // Or one rank writes, and decode registers with each.
    let mut pushed = run(&titles);
    pushed.write(1, "a-1", "a-3", 100 * MS, 1 << 20, "req-1");
    pushed.notif(2, "arrived", "a-3", 90 * MS, "PUSH_REG:req-1-0123abcd");
    assert_eq!(stages(&analyse(&pushed)), expected);
}

#[test]
fn a_decode_rank_that_only_tells_is_one() {
    let mut recording = run(&TP2_DECODES);
    read(&mut recording, (2, 1), 100 * MS, "req-1");
    recording.notif(3, "sent", "a-1", 111 * MS, "req-1-0123abcd:2");
    assert_eq!(stages(&analyse(&recording)), [(1, "prefill", 0), (2, "decode", 1), (3, "decode", 1)]);
}

#[test]
fn what_brings_received_kv_into_decodes_layout_is_of_the_hand_off() {
    let mut recording = run(&[(1, "VLLM::EngineCore"), (2, "VLLM::EngineCore")]);
    read(&mut recording, (2, 1), 100 * MS, "req-1");
    for layer in 0..2 {
        let at = 112 * MS + layer * MS;
        recording.kernel(2, 7, "at::native::vectorized_gather_kernel", at, MS / 4);
        recording.kernel(2, 7, "at::native::index_copy_kernel_impl", at + MS / 2, MS / 4);
    }
    recording.kernel(2, 7, "decode", 115 * MS, MS);
    recording.timeline.mark_relayouts();
    let analysis = analyse(&recording);
    let end = 113 * MS + MS / 2 + MS / 4;
    let handoffs = &analysis.handoffs;
    assert_eq!((handoffs.relayout_start_ns[0], handoffs.relayout_ns[0]), (Some(112 * MS), Some(end - 112 * MS)));
    let requests = &analysis.requests;
    assert_eq!((requests.handoff_end_ns[0], requests.decode_start_ns[0]), (Some(end), Some(115 * MS)));
}
