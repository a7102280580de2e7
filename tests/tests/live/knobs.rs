//! The workload's knobs move its truth by their size, and what is recorded follows.

use std::process::Output;

use crate::recorded::Recorded;
use crate::setup::{Live, ready, text};
use crate::truth::{Action, Truth};

const MS: i64 = 1_000_000;

/// Runs the workload by itself; its truth.
fn run(live: &Live, args: &[&str]) -> (Output, Truth) {
    let output = live.workload(&live.nixl, args).output().expect("the workload");
    (output, Truth::read(&live.path("truth.tsv")))
}

fn right(live: &Live, args: &[&str]) -> Truth {
    let (output, truth) = run(live, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    truth
}

fn lasts(action: &Action) -> i64 {
    action.end_ns - action.start_ns
}

/// Shortest time to first token: what else the machine does only adds.
fn ttft(truth: &Truth) -> i64 {
    truth.all("ttft").map(lasts).min().expect("requests")
}

fn verified(truth: &Truth) -> i64 {
    truth.all("verified").filter_map(|action| action.bytes).sum()
}

#[test]
fn faults_of_computing_take_their_time_where_they_were_planted() {
    let Some(live) = ready("faults_of_computing_take_their_time_where_they_were_planted") else { return };
    let truth = right(&live, &["--slow-layer", "1:2:15000"]);
    let (slow, other): (Vec<&Action>, Vec<&Action>) =
        truth.all("layer").partition(|layer| layer.result == "slow_layer");
    // 3 requests of 4 chunks.
    assert_eq!((slow.len(), other.len()), (12, 84));
    assert!(slow.iter().all(|layer| layer.agent == "prefill-1" && layer.detail.ends_with("layer=2")));
    assert!(slow.iter().all(|layer| lasts(layer) >= 15 * MS), "{slow:?}");
    assert!(ttft(&truth) >= 4 * 15 * MS);

    let truth = right(&live, &["--host-pause", "0:15000"]);
    let pauses: Vec<&Action> = truth.all("fault").collect();
    assert_eq!(pauses.len(), 12);
    assert!(pauses.iter().all(|pause| pause.agent == "prefill-0" && lasts(pause) >= 15 * MS), "{pauses:?}");
    assert!(ttft(&truth) >= 4 * 15 * MS);

    let truth = right(&live, &["--layers", "6,2", "--chunking", "dynamic", "--blocks", "256"]);
    let count = |agent: &str| truth.all("layer").filter(|layer| layer.agent == agent).count();
    assert_eq!((count("prefill-0"), count("prefill-1")), (3 * 4 * 6, 3 * 4 * 2));
}

#[test]
fn faults_of_the_hand_off_take_their_time_in_it() {
    let Some(live) = ready("faults_of_the_hand_off_take_their_time_in_it") else { return };
    let truth = right(&live, &["--late-registration-ms", "40"]);
    for request in truth.all("ttft") {
        let sent = truth.all("notif_sent").filter(|sent| sent.request == request.request).map(|sent| sent.start_ns);
        assert!(sent.min().expect("a registration") >= request.start_ns + 40 * MS, "{request:?}");
    }
    let truth = right(&live, &["--poll-us", "30000"]);
    // A transfer is posted in one round and looked at in the next, which begins 30 ms after that began.
    let dones: Vec<&Action> = truth.all("poll_done").collect();
    assert!(!dones.is_empty(), "no transfer was looked at");
    for done in dones {
        let post = truth.beside("post", done).expect("its post");
        assert!(done.start_ns - post.start_ns >= 20 * MS, "{post:?} {done:?}");
    }
    // 8 MiB a request at 200 Mbit/s take 335 ms, but for a burst of 256 kB.
    let truth = right(&live, &["--link-mbit", "200", "--requests", "2"]);
    assert!(ttft(&truth) >= 320 * MS, "{}", ttft(&truth));
}

#[test]
fn a_transfer_fails_once_and_is_made_again() {
    let Some(live) = ready("a_transfer_fails_once_and_is_made_again") else { return };
    live.record(&live.nixl, &["--fail-request", "1"]);
    let truth = Truth::read(&live.path("truth.tsv"));
    let failed: Vec<&Action> = truth.all("post").filter(|post| post.result == "failed").collect();
    assert_eq!(failed.len(), 2, "one of each stage");
    assert_eq!(verified(&truth), 24 << 20);
    let recorded = Recorded::read(&live.path("run"));
    let rows = recorded.transfer_rows();
    assert_eq!(rows.len(), 8);
    for post in failed {
        let row =
            rows.iter().find(|row| row.posted_ns.is_some_and(|posted| post.holds(posted))).expect("the failed one");
        assert!(row.status.starts_with("NIXL_ERR_"), "{row:?}");
    }
    assert_eq!(rows.iter().filter(|row| &*row.status == "done").count(), 6);
}

#[test]
fn a_decode_worker_dies_in_the_middle_of_a_transfer() {
    let Some(live) = ready("a_decode_worker_dies_in_the_middle_of_a_transfer") else { return };
    let (output, truth) = run(&live, &["--kill-decode", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let killed: Vec<&Action> = truth.all("fault").collect();
    assert!(!killed.is_empty() && killed.iter().all(|fault| fault.result == "kill_decode"), "{killed:?}");
    assert_eq!(truth.all("ttft").count(), 1, "the first request had ended");
}

#[test]
fn clocks_can_be_apart() {
    let Some(live) = ready("clocks_can_be_apart") else { return };
    let truth = right(&live, &["--skew", "stage-1:1000"]);
    let first = |agent: &str| truth.all("chunk").find(|chunk| chunk.agent == agent).expect("a chunk").start_ns;
    let apart = first("prefill-1") - first("prefill-0");
    assert!((1_000_000 * MS..1_010_000 * MS).contains(&apart), "{apart}");
}

#[test]
fn chunks_and_layers_go_over_by_themselves() {
    let Some(live) = ready("chunks_and_layers_go_over_by_themselves") else { return };
    for (each, units) in [("chunk", 2 * 3 * 4), ("layer", 2 * 3 * 4 * 4)] {
        let _ = std::fs::remove_dir_all(live.path("run"));
        live.record(&live.nixl, &["--handoff", each, "--kv", "split"]);
        let truth = Truth::read(&live.path("truth.tsv"));
        let recorded = Recorded::read(&live.path("run"));
        recorded.assert_nothing_lost();
        assert_eq!(verified(&truth), 24 << 20);
        let rows = recorded.transfer_rows();
        assert_eq!((rows.len(), truth.all("post").count()), (units, units));
        for post in truth.all("post") {
            let row = rows.iter().find(|row| row.notif.as_deref() == Some(&post.detail)).expect("a transfer");
            assert!(post.holds(row.posted_ns.expect("posted")), "{post:?} {row:?}");
            assert_eq!((row.bytes, row.request.as_deref()), (post.bytes, Some(post.request.as_str())));
            let rank = post.agent.strip_prefix("prefill-").and_then(|rank| rank.parse().ok());
            let chunk = post.detail.split('_').nth(2).and_then(|chunk| chunk.parse().ok());
            assert_eq!((row.sender_rank, row.chunk), (rank, chunk), "{row:?}");
        }
    }
}

#[test]
fn requests_come_when_the_trace_says_and_several_at_once() {
    let Some(live) = ready("requests_come_when_the_trace_says_and_several_at_once") else { return };
    let trace = live.path("trace.jsonl");
    let entry =
        |ms: u32, tokens: u32| format!("{{\"timestamp\": {ms}, \"input_length\": {tokens}, \"output_length\": 1}}\n");
    std::fs::write(&trace, [entry(0, 1600), entry(1000, 160), entry(1000, 320)].concat()).expect("a trace");
    let truth = right(&live, &["--trace", trace.to_str().expect("UTF-8"), "--speed", "10"]);
    let mut requests: Vec<(i64, &str)> = truth.all("ttft").map(|r| (r.start_ns, r.detail.as_str())).collect();
    requests.sort_unstable();
    assert_eq!(requests.iter().map(|r| r.1).collect::<Vec<_>>(), ["tokens=1600", "tokens=160", "tokens=320"]);
    // A second of the trace, ten times as fast; a busy machine may add to it.
    assert!((99 * MS..900 * MS).contains(&(requests[1].0 - requests[0].0)), "{requests:?}");

    let truth = right(&live, &["--requests", "6", "--concurrency", "3", "--decodes", "2"]);
    let spans: Vec<(i64, i64)> = truth.all("ttft").map(|r| (r.start_ns, r.end_ns)).collect();
    let most = spans.iter().map(|at| spans.iter().filter(|other| other.0 <= at.0 && at.0 < other.1).count()).max();
    assert_eq!(most, Some(3), "{spans:?}");
}

#[test]
fn stages_talk_to_both_neighbours_at_once() {
    let Some(live) = ready("stages_talk_to_both_neighbours_at_once") else { return };
    // What the next stage says comes between the words and the activations of the one before.
    for _ in 0..5 {
        let load = ["--stages", "4", "--requests", "12", "--concurrency", "6", "--decodes", "2", "--chunks", "8"];
        assert_eq!(verified(&right(&live, &load)), 12 * 4 * 4 * 64 * 16 * 1024);
    }
}
