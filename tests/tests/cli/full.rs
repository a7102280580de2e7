//! The `vllm-full` recording: eBPF, CUPTI and NVTX together, by kvpath itself.

use crate::report::{of, row, rows};
use kvpath_tests::{fixture, kvpath};

const FULL: &str = "v1/vllm-full";

#[test]
fn every_byte_that_nixl_posted_is_a_byte_that_a_peer_copy_moved() {
    let report = of(FULL, &[]);
    let handoffs = rows(&report, "handoffs", &[]);
    assert_eq!(handoffs.len(), 12);
    for handoff in &handoffs {
        assert!(handoff["copies"].as_i64().unwrap() > 0 && handoff["request"].is_i64(), "{handoff}");
    }
    let bytes = |query: &str| {
        let out = kvpath().arg("sql").arg(fixture(FULL)).arg(query).args(["--format", "csv"]).output().unwrap();
        String::from_utf8(out.stdout).unwrap().lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let posted = bytes("SELECT process_id, sum(bytes) FROM nixl_transfers GROUP BY process_id ORDER BY process_id");
    let moved =
        bytes("SELECT process_id, sum(bytes) FROM memcpys WHERE kind = 'PtoP' GROUP BY process_id ORDER BY process_id");
    assert_eq!(posted, ["2190,14304411648", "2191,14304411648"]);
    assert_eq!(moved, posted);
}

#[test]
fn requests_carry_vllms_ids_and_stages_their_layers() {
    let report = of(FULL, &[]);
    let layers: Vec<_> = report["stages"].as_array().unwrap().iter().map(|stage| stage["layers"].as_i64()).collect();
    assert_eq!(layers, [Some(18), Some(18), Some(36)]);
    for (number, tokens) in [1000, 32000, 32000, 65000, 32000, 32000].into_iter().enumerate() {
        let request = row(&report, "requests", &[("request", i64::try_from(number).unwrap())]);
        assert_eq!(request["request_id"], format!("cmpl-req-{number}-{tokens}-0"));
    }
}

#[test]
fn kernels_have_launches_as_far_as_the_runtime_made_them() {
    let query = "SELECT count(*) FILTER (WHERE a.correlation_id IS NOT NULL) * 100 / count(*) FROM kernels k \
                 LEFT JOIN (SELECT DISTINCT process_id, correlation_id FROM api_calls) a \
                 ON a.process_id = k.process_id AND a.correlation_id = k.correlation_id";
    let out = kvpath().arg("sql").arg(fixture(FULL)).arg(query).args(["--format", "csv"]).output().unwrap();
    let share: i64 = String::from_utf8(out.stdout).unwrap().lines().nth(1).unwrap().parse().unwrap();
    // Triton launches by the driver API, which is not recorded where the level was asked for late.
    assert!((60..100).contains(&share), "{share} %");
}
