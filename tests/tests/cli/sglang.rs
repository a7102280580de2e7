//! A recording of SGLang 0.5.17 on H200s, prefill PP=2 and decode PP=2: a transfer for each chunk, and one of metadata in host memory at a
//! request's end; against what the engine was asked for and what its callers of NIXL saw.

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

use crate::report::{of, rows};

const SGLANG: &str = "v1/sglang";
/// Tokens of each request; the first warmed up before the GPU was recorded.
const PROMPTS: [i64; 5] = [1000, 1000, 32_000, 32_000, 65_000];
/// K and V of 18 layers, 8 heads of 128 values of 2 bytes.
const BYTES_A_TOKEN: i64 = 18 * 2 * 8 * 128 * 2;

#[test]
fn chunks_and_bytes_are_those_of_the_prompts() {
    let report = of(SGLANG, &[]);
    for (request, tokens) in (0..).zip(PROMPTS).skip(1) {
        for stage in [0, 1] {
            let found = rows(&report, "handoffs", &[("request", request), ("stage_id", stage)]);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0]["bytes"], tokens * BYTES_A_TOKEN, "request {request}, stage {stage}");
            assert_ne!(found[0]["finding"], "incomplete");
            let bubbles = rows(&report, "bubbles", &[("request", request), ("stage_id", stage)]);
            assert_eq!(bubbles.len(), 1);
        }
        let chunks = rows(&report, "requests", &[("request", request)])[0]["chunks"].as_i64();
        assert_eq!(chunks, Some((tokens + 8191) / 8192));
    }
    // Its copies were not recorded, which is said.
    assert_eq!(rows(&report, "handoffs", &[("request", 0), ("stage_id", 0)])[0]["finding"], "incomplete");
}

#[test]
fn each_chunk_has_18_layers_and_the_rate_is_that_of_the_transfers() {
    let report = of(SGLANG, &[]);
    let chunks = rows(&report, "chunks", &[]);
    assert_eq!(chunks.len(), 2 * (1 + 4 + 4 + 8));
    assert!(chunks.iter().all(|chunk| chunk["layers"] == 18));
    let layers = rows(&report, "layers", &[]);
    // K and V are a region each.
    assert!(layers.len() == 34 * 18 && layers.iter().all(|layer| layer["layer_resolution"] == "layer"));
    for request in 2..5 {
        for stage in [0, 1] {
            let handoff = rows(&report, "handoffs", &[("request", request), ("stage_id", stage)])[0];
            let share =
                handoff["rate_bytes_per_s"].as_f64().unwrap() / handoff["ceiling_bytes_per_s"].as_f64().unwrap();
            assert!((0.3..0.6).contains(&share), "{handoff}");
        }
    }
}

#[test]
fn posts_last_as_long_as_the_witness_says() {
    let query = "SELECT process_id, posted_ns, post_end_ns, sender_rank, chunk, request FROM nixl_transfers";
    let out = kvpath().args(["sql", "--format", "json"]).arg(fixture(SGLANG)).arg(query).output().expect("kvpath runs");
    let transfers: Vec<Value> = String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    let witness = std::fs::read_to_string(fixture("witness/sglang.tsv")).expect("the witness");
    let posts: Vec<Vec<&str>> =
        witness.lines().map(|line| line.split('\t').collect()).filter(|f: &Vec<_>| f[1] == "post").collect();
    assert_eq!((posts.len(), transfers.len()), (46, 46));
    for post in posts {
        let number = |at: usize| post[at].parse::<i64>().expect("a number");
        let inside = |row: &&Value| {
            let at = |key: &str| row[key].as_i64().expect("a time");
            row["process_id"] == number(0) && number(2) <= at("posted_ns") && at("post_end_ns") <= number(3)
        };
        let found: Vec<&Value> = transfers.iter().filter(inside).collect();
        assert_eq!(found.len(), 1, "{post:?}");
        let lasted =
            found[0]["post_end_ns"].as_i64().zip(found[0]["posted_ns"].as_i64()).map(|(end, start)| end - start);
        // The rest is Python's.
        assert!(number(3) - number(2) - lasted.expect("both") < 1_000_000, "{post:?}");
        assert!(found[0]["request"].as_str().is_some_and(|room| room.bytes().all(|byte| byte.is_ascii_digit())));
    }
    let chunks = transfers.iter().filter(|row| !row["chunk"].is_null()).count();
    let ranks: Vec<i64> = transfers.iter().filter_map(|row| row["sender_rank"].as_i64()).collect();
    assert_eq!((chunks, ranks.iter().sum::<i64>()), (36, 18), "1 + 1 + 4 + 4 + 8 chunks of each stage");
}

/// A mixture of experts, PP=2 to PP=2, one, three and eight requests at once: what the engine ran is what the witness in its forward pass logged.
#[test]
fn batches_of_a_mixture_of_experts_are_the_engines() {
    const PROMPTS: [(&str, i64); 16] = [
        ("1776630401191380941", 2_000),
        ("2624989531201712629", 8_000),
        ("3980389215148878195", 20_000),
        ("2733073800989720573", 32_000),
        ("1178032213966879813", 12_000),
        ("1398717875470837207", 16_000),
        ("2646278175089776126", 6_000),
        ("4371257431375131704", 8_000),
        ("2827956119220495982", 8_000),
        ("150272094868304083", 2_500),
        ("1708223226054272307", 3_000),
        ("1240520259454990046", 6_000),
        ("1340883164516475259", 3_000),
        ("3992531588042663277", 4_000),
        ("2840238616055717237", 2_000),
        ("963751727194577916", 5_000),
    ];
    let report = of("v1/sglang-moe", &[]);
    let requests = rows(&report, "requests", &[]);
    assert_eq!(requests.len(), PROMPTS.len());
    for (id, tokens) in PROMPTS {
        let own: Vec<_> = requests.iter().filter(|row| row["request_id"] == id).collect();
        assert_eq!(own.len(), 1, "{id}");
        let request = own[0]["request"].as_i64().expect("a number");
        for stage in [0, 1] {
            let found = rows(&report, "handoffs", &[("request", request), ("stage_id", stage)]);
            let bytes: i64 = found.iter().filter_map(|row| row["bytes"].as_i64()).sum();
            // K and V of 8 layers, 4 heads of 128 values of 2 bytes.
            assert_eq!(bytes, tokens * 8 * 2 * 4 * 128 * 2, "{id}, stage {stage}");
        }
    }
    let chunks = rows(&report, "chunks", &[]);
    assert!(chunks.iter().all(|chunk| chunk["layers"] == 8));
    let witness = std::fs::read_to_string(fixture("witness/sglang-moe.tsv")).expect("the witness");
    let passes: Vec<Vec<&str>> = witness.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    for (stage, process) in [(0, "7793"), (1, "7794")] {
        let own = passes.iter().filter(|pass| pass[0] == process);
        let batches: Vec<usize> = own.map(|pass| pass[3].split(',').count()).collect();
        let mut found: std::collections::BTreeMap<i64, usize> = std::collections::BTreeMap::new();
        for chunk in chunks.iter().filter(|chunk| chunk["stage_id"] == stage) {
            *found.entry(chunk["start_ns"].as_i64().expect("a time")).or_default() += 1;
        }
        assert_eq!(found.into_values().collect::<Vec<_>>(), batches, "requests in each forward pass of stage {stage}");
    }
}

/// SGLang over Mooncake: a batch for each chunk, and one of the metadata's rows, 1,600 bytes, at the end of a request. Only the last chunk and
/// those rows name it; the others go on in decode's memory where the one before ended, with other requests' between them.
#[test]
fn over_mooncake_bytes_are_those_of_the_prompts_and_paths_are_on_the_stages() {
    const RUN: &str = "v1/sglang-mooncake";
    // K and V of 24 layers, 8 heads of 128 values of 2 bytes.
    const BYTES_A_TOKEN: i64 = 24 * 2 * 8 * 128 * 2;
    let client = std::fs::read_to_string(fixture("witness/sglang-mooncake-client.jsonl")).expect("the client's log");
    let asked: Vec<Value> = client.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let asked: Vec<(&str, i64)> =
        asked.iter().filter_map(|line| Some((line["request"].as_str()?, line["tokens"].as_i64()?))).collect();
    assert_eq!(asked.len(), 11);
    let report = of(RUN, &[]);
    let requests = rows(&report, "requests", &[]);
    let bytes = |row: &&Value| row["handoff_bytes"].as_i64().expect("bytes");
    let rows_of_stages = 2 * 1600;
    let total: i64 = requests.iter().map(bytes).sum();
    assert_eq!(total, asked.iter().map(|(_, tokens)| tokens * BYTES_A_TOKEN + rows_of_stages).sum::<i64>());
    assert_eq!(requests.len(), asked.len());
    for (id, tokens) in &asked {
        let own: Vec<i64> = requests.iter().filter(|row| row["request_id"] == *id).map(bytes).collect();
        assert_eq!(own, [tokens * BYTES_A_TOKEN + rows_of_stages], "{id}");
    }
    let query = "SELECT sum(agreement * judged_ns) / sum(judged_ns) AS share FROM paths WHERE judged_ns > 0";
    let out = kvpath().args(["sql", "--format", "json"]).arg(fixture(RUN)).arg(query).output().expect("kvpath runs");
    let share: Value = serde_json::from_slice(&out.stdout).expect("an object");
    assert!(share["share"].as_f64().is_some_and(|share| share > 0.98), "{share}");
}
