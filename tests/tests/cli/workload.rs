//! A recording of kvpath's own workload on H200s, against the truth that it wrote: 3 prefill stages of 8 layers, 4 requests of 32,768
//! tokens in 4 chunks, each handed over by itself.

use std::collections::BTreeMap;

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

use crate::report;

/// Answers to a query, a row each.
fn ask(query: &str) -> Vec<Value> {
    let mut command = kvpath();
    command.args(["sql", "--format", "json"]).arg(fixture("v1/workload-gpu")).arg(query);
    let out = command.output().expect("kvpath runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

/// Lines of the truth with that word, as fields.
fn truth(what: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(fixture("witness/workload-gpu.tsv")).expect("the truth");
    let lines = text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|fields| fields[3] == what).collect()
}

#[test]
fn every_chunk_of_every_stage_was_handed_over_as_the_truth_says() {
    let rows = ask(
        "SELECT process_id, request, chunk, sender_rank, notif, bytes, status, posted_ns, post_end_ns, done_poll_ns \
                    FROM nixl_transfers",
    );
    let posts = truth("post");
    assert_eq!((rows.len(), posts.len()), (48, 48));
    for post in posts {
        let row =
            rows.iter().find(|row| row["notif"] == *post[11]).unwrap_or_else(|| panic!("no transfer for {post:?}"));
        let number = |at: usize| post[at].parse::<i64>().expect("a number");
        let inside = |value: &Value| value.as_i64().is_some_and(|at| number(4) <= at && at <= number(5));
        assert!(inside(&row["posted_ns"]) && inside(&row["post_end_ns"]), "{row} {post:?}");
        assert_eq!((&row["process_id"], &row["bytes"]), (&number(0).into(), &number(9).into()));
        assert_eq!((row["request"].as_str(), row["status"].as_str()), (Some(&*post[6]), Some("done")));
        let rank: i64 = post[2].strip_prefix("prefill-").and_then(|rank| rank.parse().ok()).expect("a stage");
        let chunk: i64 = post[11].split('_').nth(2).and_then(|chunk| chunk.parse().ok()).expect("a chunk");
        assert_eq!((&row["sender_rank"], &row["chunk"]), (&rank.into(), &chunk.into()));
    }
}

#[test]
fn peer_copies_are_the_hand_offs_and_the_activations() {
    let copied = ask("SELECT sum(bytes) AS bytes FROM memcpys WHERE kind = 'PtoP'");
    let handed: i64 = truth("post").iter().map(|post| post[9].parse::<i64>().expect("bytes")).sum();
    // 16 chunks of 8192 tokens, 4096 wide, 2 bytes each, between stages 0 and 1, and 1 and 2.
    let activations = 2 * 16 * 8192 * 4096 * 2;
    assert_eq!(copied[0]["bytes"], handed + activations);
}

#[test]
fn each_layer_of_each_chunk_wrote_its_blocks_within_the_chunk() {
    let rows = ask(
        "SELECT process_id, start_ns, dur_ns FROM kernels WHERE name = 'write_kv_blocks' ORDER BY process_id, start_ns",
    );
    let mut by_process: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
    for row in &rows {
        let number = |key: &str| row[key].as_i64().expect("a number");
        let kernels = by_process.entry(number("process_id")).or_default();
        kernels.push((number("start_ns"), number("start_ns") + number("dur_ns")));
    }
    assert_eq!(by_process.values().map(Vec::len).collect::<Vec<_>>(), [4 * 4 * 8; 3]);
    for chunk in truth("chunk") {
        let number = |at: usize| chunk[at].parse::<i64>().expect("a number");
        let inside =
            by_process[&number(0)].iter().filter(|(start, end)| number(4) <= *start && *end <= number(5)).count();
        assert_eq!(inside, 8, "{chunk:?}");
    }
}

#[test]
fn passes_are_the_chunks_of_the_truth_and_each_has_its_8_layers() {
    let found = report::of("v1/workload-gpu", &[]);
    for stage in found["stages"].as_array().unwrap() {
        let layers = if stage["role"] == "prefill" { 8 } else { 24 };
        assert_eq!((&stage["layers"], &stage["layers_confidence"]), (&layers.into(), &1.0.into()), "{stage}");
    }
    assert_eq!(found["chunks"].as_array().unwrap().len(), 3 * 4 * 4);
    for chunk in truth("chunk") {
        let number = |at: usize| chunk[at].parse::<i64>().expect("a number");
        let requests = found["requests"].as_array().unwrap();
        let request = requests.iter().position(|row| row["request_id"] == *chunk[6]).expect("the request");
        let stage = report::row(&found, "stages", &[("process_id", number(0))])["stage_id"].as_i64().unwrap();
        let at = chunk[11].strip_prefix("chunk=").and_then(|at| at.parse::<i64>().ok()).expect("a chunk");
        let key = [("request", i64::try_from(request).unwrap()), ("stage_id", stage), ("chunk", at)];
        let pass = report::row(&found, "chunks", &key);
        let start = pass["start_ns"].as_i64().unwrap();
        // The very first chunk of each stage follows the kernels that fill its weights.
        let is_first = chunk[6] == truth("chunk")[0][6] && at == 0;
        // Stage 0 embeds the tokens just before its chunk is said to begin.
        assert!(is_first || start >= number(4) - 10_000, "{pass} {chunk:?}");
        assert!(start + pass["dur_ns"].as_i64().unwrap() <= number(5), "{pass} {chunk:?}");
        let layers = report::rows(&found, "layers", &key);
        assert_eq!(layers.len(), 8, "{chunk:?}");
        assert!(
            layers.iter().all(|layer| layer["layer_resolution"] == "layer" && layer["method"] == "kernel_sequence")
        );
    }
}

#[test]
fn kv_is_what_was_handed_over_and_its_rate_is_that_of_the_copies() {
    let found = report::of("v1/workload-gpu", &[]);
    let posts = truth("post");
    for handoff in found["handoffs"].as_array().unwrap() {
        let at = |column: &str| handoff[column].as_i64().unwrap();
        let request = report::row(&found, "requests", &[("request", at("request"))])["request_id"].clone();
        let process = report::row(&found, "stages", &[("stage_id", at("stage_id"))])["process_id"].clone();
        let own = posts.iter().filter(|post| request == *post[6] && process == post[0].parse::<i64>().unwrap());
        let bytes: i64 = own.map(|post| post[9].parse::<i64>().unwrap()).sum();
        assert_eq!((at("bytes"), at("copies"), at("transfers")), (bytes, 4 * 8, 4));
        // Four chunks of 268 MB over NVLink; the prefill takes half a second, of which the copies ran about 4 ms.
        assert!((3_000_000..6_000_000).contains(&at("span_ns")), "{handoff}");
    }
}
