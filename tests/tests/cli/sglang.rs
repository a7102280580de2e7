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
