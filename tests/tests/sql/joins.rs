//! Joins of recordings of real engines.

use kvpath_tests::fixture;

use crate::run::text;

fn ask(recording: &str, query: &str) -> Vec<String> {
    let folder = fixture(recording).to_str().expect("UTF-8").to_owned();
    text(&["sql", &folder, query, "--format", "csv"]).lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn regions_agree_with_kernels_and_show_which_layers_a_hand_off_carries() {
    let stages = "SELECT layers, kv_regions, regions_per_layer, layers_check FROM stages ORDER BY stage_id";
    // vLLM has K and V of a layer in one region; SGLang has them apart, and ten regions of metadata.
    assert_eq!(ask("v1/vllm-full", stages), ["18,18,1,agree", "18,18,1,agree", "36,36,1,agree"]);
    assert_eq!(ask("v1/sglang", stages), ["18,36,2,agree"; 4]);
    let carried = "SELECT DISTINCT stage_id, layers, layers_method, peer_layers FROM handoffs ORDER BY 1, 2";
    // Of two requests the list of descriptors was cut.
    let expected = ["0,0-17,all,0-17", "0,,,", "1,0-17,all,18-35", "1,,,"];
    assert_eq!(ask("v1/vllm-full", carried), expected);
    let expected = ["0,0-7,all,0-7", "1,0-7,all,8-15", "2,0-7,all,16-23"];
    assert_eq!(ask("v1/workload-gpu", carried), expected);
    // No kernel was recorded: one region may be a layer or half of one.
    let live = "SELECT DISTINCT kv_regions, regions_per_layer, layers_check FROM stages ORDER BY 1";
    assert_eq!(ask("v1/vllm-live", live), ["18,,unknown", "36,,unknown"]);
}

#[test]
fn the_kernel_at_the_seam_is_the_fused_norm() {
    assert_eq!(ask("v1/vllm-full", "SELECT DISTINCT seam_kernels FROM layers"), ["1"]);
    let first = "SELECT DISTINCT name LIKE '%fused_add_rms_norm%' FROM ( \
                 SELECT k.name, row_number() OVER (PARTITION BY l.stage_id, l.layer ORDER BY k.start_ns) AS n \
                 FROM layers l JOIN stages s ON s.stage_id = l.stage_id JOIN kernels k \
                 ON k.process_id = s.process_id AND k.start_ns >= l.start_ns AND k.start_ns < l.start_ns + l.dur_ns \
                 WHERE l.request = 1 AND l.chunk = 1 AND l.layer > 0) WHERE n = 1";
    assert_eq!(ask("v1/vllm-full", first), ["true"]);
}

#[test]
fn a_fused_norm_between_two_layers_is_of_both() {
    let sets = "SELECT DISTINCT layer - layer_from, name LIKE '%fused_add_rms_norm%' FROM critical_path \
                WHERE layer > 0 AND kind = 'work' AND table_name = 'kernels' ORDER BY 1, 2";
    // Another one runs within the layer.
    assert_eq!(ask("v1/vllm-full", sets), ["0,false", "0,true", "1,true"]);
    let first = "SELECT count(*) FROM critical_path WHERE layer = 0 AND layer_from <> 0";
    assert_eq!(ask("v1/vllm-full", first), ["0"]);
}

#[test]
fn shares_add_up_and_transfers_are_known_by_their_ids() {
    let sums = "SELECT count(*) FROM (SELECT process_id, kind, max(rows) AS rows, sum(joined) + max(unknown) AS parts \
                FROM joins GROUP BY process_id, kind) WHERE rows <> parts";
    for recording in ["v1/vllm-full", "v1/sglang", "v1/workload-gpu", "v1/even"] {
        assert_eq!(ask(recording, sums), ["0"], "{recording}");
        let peers = "SELECT DISTINCT method, unknown FROM joins WHERE kind = 'transfer_to_request'";
        let expected: &[&str] = if recording == "v1/even" { &[] } else { &["id,0"] };
        assert_eq!(ask(recording, peers), expected, "{recording}");
    }
    // The agents of the workload were made before the recording: messages show whose their names are.
    let peers = "SELECT DISTINCT method, confidence, unknown FROM joins WHERE kind = 'transfer_to_peer'";
    assert_eq!(ask("v1/workload-gpu", peers), ["count,0.9,0"]);
    assert_eq!(ask("v1/vllm-full", peers), ["id,1.0,0"]);
}

/// Each notification was received in the call that the program itself says took it.
#[test]
fn notifications_were_taken_when_the_program_says() {
    let witness = std::fs::read_to_string(fixture("witness/taken.tsv")).expect("the witness");
    let taken = ask("v1/taken", "nixl.notifs_taken");
    let said: Vec<Vec<&str>> = witness.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    assert_eq!((said.len(), taken.len()), (8, 8));
    for row in &taken {
        let [message, process, _, arrived, waited] = row.split(',').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let at = arrived.parse::<i64>().expect("a time") + waited.parse::<i64>().expect("a length");
        let own = said.iter().find(|said| said[0] == process && said[8] == message).expect("the program says so");
        let call = own[4].parse().expect("a time")..=own[5].parse().expect("a time");
        assert!(call.contains(&at), "{row} {call:?}");
    }
}

/// Decode looks every 50 ms: what lies between is its polling, and what follows until it goes on is short.
#[test]
fn a_notification_that_lies_is_told_from_a_program_that_does_not_go_on() {
    let parts = "SELECT category, kind, min(dur_ns) / 1000000, max(dur_ns) / 1000000 FROM critical_path \
                 WHERE category = 'schedule' OR kind = 'untaken' GROUP BY 1, 2 ORDER BY 1";
    assert_eq!(ask("v1/taken", parts), ["notify,untaken,14,37", "schedule,gap,0,0"]);
    let joined = "SELECT sum(rows), sum(joined) FROM joins WHERE kind = 'arrival_to_taking'";
    assert_eq!(ask("v1/taken", joined), ["8,8"]);
}
