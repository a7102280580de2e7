//! Transfers that hand nothing over, beside some that do: tests/builds/storage.py makes both.

use crate::recorded::Recorded;
use crate::setup::{other_nixl, ready, skipped, text};

#[test]
fn what_goes_to_files_and_to_the_agent_itself_is_no_hand_off() {
    let name = "what_goes_to_files_and_to_the_agent_itself_is_no_hand_off";
    let Some(own) = ready(name).map(|live| live.nixl) else { return };
    for nixl in [own].into_iter().chain(other_nixl().into_iter().filter(|nixl| nixl.is_dir())) {
        let Some(live) = ready(name) else { return };
        let truth = live.recorded_script(&nixl, "storage.py", &[]);
        let recorded = Recorded::read(&live.path("run"));
        recorded.assert_nothing_lost();
        let truth = std::fs::read_to_string(truth).expect("the truth");
        if !truth.contains("file\t") {
            skipped(name, &format!("{} has no POSIX plugin that works here", nixl.display()));
        }
        let sql = |query: &str| -> Vec<String> {
            let mut kvpath = kvpath_tests::kvpath();
            let output =
                kvpath.args(["sql", "--format", "csv"]).arg(live.path("run")).arg(query).output().expect("sql");
            assert!(output.status.success(), "{}", text(&output));
            String::from_utf8_lossy(&output.stdout).lines().skip(1).map(str::to_owned).collect()
        };
        // As the script tells it: what, process, way, bytes.
        let told: Vec<String> = truth.lines().map(|line| line.replace('\t', ",")).collect();
        let found = sql(
            "select case when remote_memory = 'FILE' then 'file' when agent = peer then 'own' else 'hand_off' end, \
                         process_id, op, bytes from nixl_transfers order by posted_ns",
        );
        assert_eq!(found, told, "{}", nixl.display());
        let purposes =
            sql("select j.purpose, j.purpose_method, j.request is null, j.stage_id is null from transfer_joins j \
                            join nixl_transfers t using (transfer_id) order by t.posted_ns");
        let expected: Vec<&str> = truth
            .lines()
            .map(|line| match line.split_once('\t').expect("a word").0 {
                "file" => "storage,memory,true,true",
                "own" => "storage,own_agent,true,true",
                _ => "hand_off,text,false,false",
            })
            .collect();
        assert_eq!(purposes, expected);
        assert_eq!(sql("select role from stages order by stage_id"), ["prefill", "decode"]);
        assert_eq!(sql("select request_id from requests order by request"), ["cmpl-0-0", "cmpl-1-0", "cmpl-2-0"]);
        assert_eq!(sql("select count(*), sum(transfers) from handoffs"), ["3,3"]);
        let report = kvpath_tests::kvpath().arg("report").arg(live.path("run")).output().expect("kvpath report");
        let said = text(&report);
        assert!(
            said.contains("REQUESTS: 3") && said.contains("\nOTHER TRANSFERS (") && said.contains("own_agent"),
            "{said}"
        );
        assert!(said.contains("\nFIRST CONTACTS ("), "{said}");
        let others = sql("select purpose_method, op, transfers, bytes from other_transfers order by first_ns");
        let files = ["memory,WRITE,1,8192", "memory,READ,1,8192"].into_iter().filter(|_| truth.contains("file\t"));
        assert_eq!(others, files.chain(["own_agent,WRITE,1,4096"]).collect::<Vec<_>>());
    }
}
