//! The truth of every case, and a check sum of every byte of it, against `golden/`. After a change that is meant:
//! `INSTA_UPDATE=always cargo test --profile ci -p kvpath-simulator --test golden`, and read what changed.

use kvpath_simulator::cases::CASES;
use kvpath_simulator::truth::RequestTruth;

/// FNV-1a: what changes at all shows; small enough to stand here.
fn check_sum(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// Without what fills pages: paths and waits are there as their number.
fn shortened(request: &RequestTruth) -> serde_json::Value {
    let mut value = serde_json::to_value(request).unwrap();
    let (segments, waits) = (request.path.len(), request.waits.len());
    for (key, short) in [
        ("path", serde_json::json!(format!("{segments} segments"))),
        ("path_by_layer", serde_json::json!(format!("{} stretches", request.path_by_layer.len()))),
        (
            "waits",
            serde_json::json!(format!("{waits} waits, {} ns", request.waits.iter().map(|w| w.wait_ns).sum::<i64>())),
        ),
    ] {
        value[key] = short;
    }
    value
}

#[test]
fn the_truth_of_every_case_is_as_it_was() {
    for case in CASES {
        let found = case.make(None, 1).unwrap();
        let text = serde_json::to_vec(&(&found.run, &found.requests)).unwrap();
        // The first three say all; later ones differ in their times alone.
        let requests: Vec<_> = found.requests.iter().take(3).map(shortened).collect();
        let digest = serde_json::json!({
            "case": case.number,
            "requests": found.requests.len(),
            "rows": found.run.rows,
            "no_work_ns": found.run.no_work_ns,
            "check_sum": check_sum(&text),
            "first_requests": requests,
        });
        insta::with_settings!({ snapshot_path => "../golden", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_json_snapshot!(format!("{:02}-{}", case.number, case.name), digest);
        });
    }
}
