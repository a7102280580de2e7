//! Faults that were planted into runs on H200s are the top items of the difference to the clean run.

use std::path::PathBuf;

use kvpath_tests::{fixture, kvpath};
use serde_json::Value;

fn path(folder: &str, name: &str, against: Option<&str>) -> Value {
    let run = |name: &str| -> PathBuf { fixture(folder).join(name) };
    let mut command = kvpath();
    command.arg("path").arg(run(name)).arg("--json");
    if let Some(clean) = against {
        command.arg("--against").arg(run(clean));
    }
    let out = command.output().expect("kvpath runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("one JSON object")
}

/// The top item of the workload with a fault is of one of these stages and categories, and between `least` and `most` ms longer than in
/// the clean run.
fn is_found(fault: &str, stages: &[&str], category: &str, bounds: (f64, f64)) {
    is_top("v1/faults", fault, stages, category, bounds);
}

fn is_top(folder: &str, fault: &str, stages: &[&str], category: &str, (least, most): (f64, f64)) {
    let found = path(folder, fault, Some("clean"));
    let top = &found["on_path"][0];
    assert!(stages.iter().any(|stage| top["stage"] == *stage) && top["category"] == category, "{fault}: {top}");
    let ms = top["difference_ns"].as_f64().expect("a time") / 1e6;
    assert!((least..most).contains(&ms), "{fault}: {ms} ms");
    let all: i64 =
        found["on_path"].as_array().expect("a list").iter().filter_map(|p| p["difference_ns"].as_i64()).sum();
    assert_eq!(Some(all), found["difference_ns"].as_i64());
}

#[test]
fn a_slow_layer_of_one_stage() {
    // 20 ms in each of two chunks; the first one's wait hides behind the longer second chunk of the stage before.
    is_found("slow-layer", &["prefill 1"], "compute", (18.0, 22.0));
}

#[test]
fn a_host_that_pauses_before_it_launches() {
    is_found("host-pause", &["prefill 0"], "queue", (19.0, 21.0));
}

#[test]
fn a_decode_worker_that_registers_late() {
    is_found("late-registration", &["prefill 0", "prefill 1", "prefill 2"], "ready_wait", (900.0, 1_500.0));
}

#[test]
fn a_decode_worker_that_polls_seldom() {
    is_found("slow-poll", &["prefill 2"], "notify", (25.0, 51.0));
}

#[test]
fn layers_that_are_spread_unevenly() {
    // With twelve layers of 24 the first stage is behind the others in every chunk: the path stays there to the end of its last.
    is_found("uneven", &["prefill 0"], "compute", (50.0, 500.0));
}

// Planted into vLLM (PP=2, push): `PROVENANCE.md` says how.

#[test]
fn vllm_whose_first_stage_sleeps_before_each_forward_pass() {
    // 40 ms before each of two chunks; the scheduler's intervals name the sleep.
    is_top("v1/planted", "sleep0", &["prefill 0"], "waiting", (68.0, 92.0));
    assert_eq!(waits("sleep0", "VLLM::Worker_PP0"), ["clock_nanosleep"]);
}

#[test]
fn vllm_whose_second_stage_sleeps_before_it_receives() {
    is_top("v1/planted", "sleep1", &["prefill 1"], "waiting", (68.0, 92.0));
    assert_eq!(waits("sleep1", "VLLM::Worker_PP1"), ["clock_nanosleep"]);
}

#[test]
fn vllm_whose_scheduler_sleeps_after_each_step_that_it_plans() {
    // 40 ms for each of two chunks; that of the second passes while the first computes. The core of the engine is no stage.
    is_top("v1/planted", "sched", &["other process"], "waiting", (34.0, 46.0));
    assert_eq!(waits("sched", "VLLM::EngineCore"), ["clock_nanosleep"]);
}

#[test]
fn vllm_with_a_slow_layer() {
    // 20 ms in each of two chunks.
    is_top("v1/planted", "layer", &["prefill 0"], "compute", (34.0, 46.0));
}

/// What processes with that title waited for 20 ms or more on the paths of a recording, as far as it is explained.
fn waits(fault: &str, title: &str) -> Vec<String> {
    let sql = format!(
        "SELECT DISTINCT c.name FROM critical_path c JOIN processes p USING (process_id) WHERE c.category = 'waiting' AND c.is_explained \
         AND c.dur_ns > 20000000 AND p.name = '{title}' ORDER BY 1"
    );
    let run = fixture("v1/planted").join(fault);
    let out = kvpath().arg("sql").arg(&run).arg(sql).args(["--format", "json"]).output().expect("kvpath runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("one object a line"));
    rows.filter_map(|row| row["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn vllm_whose_client_asks_decode_late() {
    // 100 ms between prefill's answer and decode's request.
    let found = path("v1/planted", "client", Some("clean"));
    let waits = found["on_path"].as_array().expect("a list").iter().filter(|item| item["category"] == "ready_wait");
    let ms: f64 = waits.filter_map(|item| item["difference_ns"].as_f64()).sum::<f64>() / 1e6;
    assert!((90.0..115.0).contains(&ms) && found["on_path"][0]["category"] == "ready_wait", "{ms} ms: {found}");
}

#[test]
fn vllm_whose_decode_worker_polls_seldom() {
    // Every 50 ms: 25 ms late in the mean.
    is_top("v1/planted", "poll", &["decode (2)"], "notify", (20.0, 51.0));
}

#[test]
fn paths_run_from_the_routers_arrival_to_its_first_token() {
    for fault in ["clean", "slow-layer", "host-pause", "late-registration", "slow-poll", "uneven"] {
        let sql = "SELECT start_ns, start_ns + dur_ns AS end_ns FROM spans WHERE service = 'client' ORDER BY 1";
        let run = fixture("v1/faults").join(fault);
        let out = kvpath().arg("sql").arg(&run).arg(sql).args(["--format", "json"]).output().expect("kvpath runs");
        let told: Vec<Value> = String::from_utf8(out.stdout)
            .expect("UTF-8")
            .lines()
            .map(|line| serde_json::from_str(line).expect("one object a line"))
            .collect();
        let found = path("v1/faults", fault, None);
        let requests = found["requests"].as_array().expect("a list");
        assert_eq!((told.len(), requests.len()), (4, 4), "{fault}");
        for (told, request) in told.iter().zip(requests) {
            assert_eq!((&told["start_ns"], &told["end_ns"]), (&request["source_ns"], &request["end_ns"]), "{fault}");
        }
        // At the first request each process loads code, which is not recorded in all of them; that a host pauses is not recorded either.
        let least = if fault == "host-pause" { 0.9 } else { 0.95 };
        for request in &requests[1..] {
            assert!(request["coverage"].as_f64().is_some_and(|share| share >= least), "{fault}: {request}");
        }
    }
}
