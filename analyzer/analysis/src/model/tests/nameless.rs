//! Requests that no text names, on tables made by hand.

use kvpath_schema::table::Columns;
use kvpath_schema::tables::spans::Span;

use super::super::Recording;
use super::{analyse, live};
use crate::model::Analysis;
use crate::synthetic::MS;

/// Forgets what texts tell.
fn forget(recording: &mut Recording) {
    recording.transfers.request.fill(None);
    recording.transfers.notif.fill(None);
    recording.transfers.chunk.fill(None);
}

fn say(recording: &mut Recording, id: &str, sent: i64, token: i64) {
    recording.spans.push(Span {
        start_ns: sent,
        dur_ns: Some(token - sent),
        service: "client".into(),
        name: "request".into(),
        request: Some(id.to_owned()),
    });
}

fn ids(analysis: &Analysis) -> Vec<&str> {
    analysis.requests.request_id.iter().map(|id| id.as_deref().unwrap_or("-")).collect()
}

#[test]
fn the_nth_of_every_pair_of_ranks_is_of_one_request_though_they_follow_without_pause() {
    let mut recording = live();
    let mut ends = [0, 0];
    for number in 0..3 {
        ends[0] = recording.pass(1, ends[0], 12, MS / 10);
        ends[1] = recording.pass(2, ends[0].max(ends[1]), 12, MS / 10);
        for (process, agent, end) in [(1, "a-0", ends[0]), (2, "a-1", ends[1])] {
            recording.write(process, agent, "d-0", end + 4 * MS, (number + 1) << 20, "x");
        }
    }
    forget(&mut recording);
    let analysis = analyse(&recording);
    assert_eq!(analysis.requests.chunks, [Some(1); 3]);
    assert_eq!(analysis.requests.handoff_bytes, [Some(2 << 20), Some(4 << 20), Some(6 << 20)]);
}

#[test]
fn where_records_are_missing_bytes_and_times_tell_which_belong_together() {
    let mut recording = live();
    for number in 0..4 {
        for (process, agent) in [(1, "a-0"), (2, "a-1")] {
            if (process, number) != (2, 1) {
                recording.write(process, agent, "d-0", (100 + 50 * number + process) * MS, (number + 1) << 20, "x");
            }
        }
    }
    forget(&mut recording);
    let analysis = analyse(&recording);
    assert_eq!(analysis.requests.handoffs, [2, 1, 2, 2]);
    assert_eq!(analysis.requests.handoff_bytes, [2, 2, 6, 8].map(|mib| Some(mib << 20)));
}

#[test]
fn a_replica_that_receives_has_requests_of_its_own_and_a_rank_has_not() {
    for (titles, requests) in
        [(["VLLM::Worker_TP0", "VLLM::Worker_TP1"], 2), (["VLLM::EngineCore_DP0", "VLLM::EngineCore_DP1"], 4)]
    {
        let mut recording = Recording::default();
        recording.process(1, "VLLM::EngineCore");
        recording.agent(1, "a");
        for (process, title) in [3, 4].into_iter().zip(titles) {
            recording.process(process, title);
            recording.agent(process, &format!("d-{process}"));
        }
        for number in 0..4 {
            let process = 3 + number % 2;
            recording.write(process, &format!("d-{process}"), "a", (100 + 10 * number) * MS, 1 << 20, "x");
        }
        recording.transfers.op.fill("READ".into());
        forget(&mut recording);
        assert_eq!(analyse(&recording).requests.len(), requests, "{titles:?}");
    }
}

/// Two chunks of each of two requests, back to back, by an engine that hands over chunks.
fn in_chunks(metadata: bool) -> Recording {
    let mut recording = Recording::default();
    recording.process(1, "prefill");
    recording.process(3, "decode");
    recording.agent(1, "a");
    recording.agent(3, "d");
    let mut end = 0;
    for chunk in [0, 1, 0, 1] {
        end = recording.pass(1, end, 12, MS / 10 * (2 + chunk));
        recording.write(1, "a", "d", end + MS / 100, 4 << 20, "x");
        let row = recording.transfers.len() - 1;
        recording.transfers.made_ns[row] = Some(end + MS / 100);
        recording.transfers.local_memory[row] = Some("VRAM".into());
        if metadata && chunk == 1 {
            recording.write(1, "a", "d", end + MS / 50, 1600, "x");
        }
    }
    forget(&mut recording);
    recording
}

#[test]
fn chunks_are_of_a_prompt_as_long_as_passes_grow_and_metadata_ends_it() {
    for (metadata, transfers) in [(false, [2, 2]), (true, [3, 3])] {
        let analysis = analyse(&in_chunks(metadata));
        assert_eq!(analysis.handoffs.transfers, transfers);
        assert_eq!(analysis.requests.chunks, [Some(2), Some(2)]);
    }
}

#[test]
fn a_client_names_requests_by_order_and_time_though_it_tells_of_more() {
    let mut recording = live();
    for at in [1_000, 2_000, 3_000] {
        recording.write(1, "a-0", "d-0", at * MS, 1 << 20, "x");
    }
    forget(&mut recording);
    for (id, sent, token) in
        [("before", 10, 500), ("a", 900, 1_100), ("b", 1_900, 2_100), ("c", 2_900, 3_100), ("after", 9_000, 9_100)]
    {
        say(&mut recording, id, sent * MS, token * MS);
    }
    assert_eq!(ids(&analyse(&recording)), ["a", "b", "c"], "others are not of the recording");
    // One that may be either.
    say(&mut recording, "d", 1_950 * MS, 2_110 * MS);
    assert_eq!(ids(&analyse(&recording)), ["a", "-", "c"]);
}

#[test]
fn requests_that_are_but_prefilled_have_the_passes_between_their_sending_and_the_next() {
    let mut recording = live();
    for at in [0, 1_000, 2_000] {
        let end = recording.pass(1, at * MS, 12, MS / 10);
        recording.pass(2, end, 12, MS / 10);
    }
    recording.write(1, "a-0", "d-0", 2_050 * MS, 1 << 20, "c");
    for (id, sent) in [("a", -5), ("b", 995), ("c", 1_995)] {
        say(&mut recording, id, sent * MS, (sent + 100) * MS);
    }
    let analysis = analyse(&recording);
    assert_eq!(ids(&analysis), ["a", "b", "c"]);
    assert_eq!(analysis.requests.start_ns, [0, 1_000 * MS, 2_000 * MS]);
    assert_eq!(analysis.requests.chunks, [Some(1); 3]);
    assert_eq!(analysis.requests.handoffs, [0, 0, 1]);
}
