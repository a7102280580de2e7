//! Lists that agents prepare, and the layers that they tell of one allocation: tests/builds/prepared.py hands KV over as engines do,
//! and says what it did.

use std::path::{Path, PathBuf};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::NixlPreparedRow;

use crate::recorded::Recorded;
use crate::setup::{Live, other_nixl, ready, skipped, text};

const LAYERS: i64 = 8;
const PAGE: i64 = 4096;
const BLOCKS: i64 = 24;

/// What the script did, and what was recorded of it.
struct Done {
    truth: Vec<Vec<String>>,
    recorded: Recorded,
    run: PathBuf,
}

impl Done {
    fn all(&self, what: &str) -> impl Iterator<Item = &[String]> {
        self.truth.iter().filter(move |line| line[0] == what).map(|line| &line[1..])
    }

    fn rows(&self) -> impl Iterator<Item = NixlPreparedRow> {
        (0..self.recorded.prepared.len()).map(|row| self.recorded.prepared.row(row))
    }

    /// What a query gives, cells of a row apart by commas.
    fn sql(&self, query: &str) -> Vec<String> {
        let mut kvpath = kvpath_tests::kvpath();
        let output = kvpath.args(["sql", "--format", "csv"]).arg(&self.run).arg(query).output().expect("kvpath sql");
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout).lines().skip(1).map(str::to_owned).collect()
    }
}

/// Records the script on a wheel.
fn record(live: &Live, nixl: &Path, form: &str, layout: &str) -> Done {
    let truth = live.recorded_script(nixl, "prepared.py", &[form, layout]);
    let lines = std::fs::read_to_string(truth).expect("the truth");
    let recorded = Recorded::read(&live.path("run"));
    recorded.assert_nothing_lost();
    Done {
        truth: lines.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect(),
        recorded,
        run: live.path("run"),
    }
}

/// Asserts that the rows are those that were prepared: process, peer, list, row, address, bytes, stride, count.
fn rows_are_those(done: &Done) {
    let mut told: Vec<String> = done.all("prepared").map(|line| line.join(" ")).collect();
    let mut found: Vec<String> = done
        .rows()
        .map(|row| {
            let peer = row.peer.as_deref().unwrap_or_default();
            let (list, number, addr) = (row.list, row.row, row.addr);
            format!("{} {peer} {list} {number} {addr} {} {} {}", row.process_id, row.bytes, row.stride, row.count)
        })
        .collect();
    told.sort_unstable();
    found.sort_unstable();
    assert!(!told.is_empty());
    assert_eq!(found, told);
    for row in done.rows() {
        let of_list = done.rows().filter(|other| (other.process_id, other.list) == (row.process_id, row.list)).count();
        assert_eq!((row.rows, &*row.memory, row.device_id), (i64::try_from(of_list).ok(), "DRAM", 0));
        assert!(row.agent.is_some(), "{row:?}");
    }
}

/// Asserts that transfers and hand-offs are of the layers that the script sent, or of none that is known.
fn layers_are_those(done: &Done, are_known: bool) {
    let known = |layers: &str| if are_known { layers.to_owned() } else { String::new() };
    let mut told: Vec<String> = done
        .all("post")
        .map(|post| format!("{},{},{},{}", post[0], post[1], known(&post[2]), known(&post[3])))
        .collect();
    told.sort_unstable();
    let query = "select t.process_id, t.notif, j.layers, j.peer_layers from transfer_joins j join nixl_transfers t \
                 using (transfer_id) order by 1, 2";
    let mut found = done.sql(query);
    found.sort_unstable();
    assert_eq!(found, told);
    let method = if are_known { "engine" } else { "" };
    let mut told: Vec<String> =
        done.all("post").map(|post| format!("{},{},{},{method}", post[0], known(&post[2]), known(&post[3]))).collect();
    told.sort_unstable();
    let query = "select s.process_id, h.layers, h.peer_layers, h.layers_method from handoffs h join stages s \
                 on h.stage_id = s.stage_id";
    let mut found = done.sql(query);
    found.sort_unstable();
    assert_eq!(found, told);
}

/// Asserts that each stage met decode and decode each stage, before the first of the transfers between the two.
fn contacts_are_those(done: &Done, stages: usize) {
    let query = "select count(*), count(distinct peer_process_id), sum(failed), count(load_ns), bool_and(c.end_ns <= t.made_ns), \
                 bool_and(t.transfer_id = f.first) from first_contacts c join nixl_transfers t using (transfer_id) join \
                 (select process_id, min(transfer_id) as first from nixl_transfers group by process_id) f \
                 on f.process_id = t.process_id";
    assert_eq!(done.sql(query), [format!("{},{},0,{},true,true", 2 * stages, stages + 1, 2 * stages)]);
}

#[test]
fn a_row_a_layer_tells_the_layers_of_one_region_at_both_ends() {
    for layout in ["layers", "dense", "pages"] {
        let Some(live) = ready("a_row_a_layer_tells_the_layers_of_one_region_at_both_ends") else { return };
        let done = record(&live, &live.nixl, "strided", layout);
        rows_are_those(&done);
        assert_eq!(done.recorded.regions.len(), 3, "one region a process");
        contacts_are_those(&done, 2);
        layers_are_those(&done, true);
    }
}

#[test]
fn blocks_of_all_layers_tell_none() {
    let Some(live) = ready("blocks_of_all_layers_tell_none") else { return };
    let done = record(&live, &live.nixl, "strided", "rows");
    rows_are_those(&done);
    assert_eq!(done.recorded.prepared.len(), 3);
    layers_are_those(&done, false);
}

#[test]
fn buffers_of_k_and_then_of_v_are_rows_in_that_order() {
    let Some(live) = ready("buffers_of_k_and_then_of_v_are_rows_in_that_order") else { return };
    let done = record(&live, &live.nixl, "strided", "buffers");
    rows_are_those(&done);
    // Without kernels nothing tells a row for K and one for V from two layers.
    layers_are_those(&done, false);
}

/// Before NIXL 1.5 a list has a descriptor a block: rows are found in it.
#[test]
fn runs_of_single_blocks_are_rows() {
    let name = "runs_of_single_blocks_are_rows";
    let (there, missing): (Vec<_>, Vec<_>) = other_nixl().into_iter().partition(|nixl| nixl.is_dir());
    if there.is_empty() || !missing.is_empty() {
        skipped(name, &format!("of the wheels in KVPATH_OTHER_NIXL, {} are there, not {missing:?}", there.len()));
    }
    for nixl in there {
        for layout in ["layers", "buffers"] {
            let Some(live) = ready(name) else { return };
            let done = record(&live, &nixl, "blocks", layout);
            rows_are_those(&done);
            assert!(done.rows().all(|row| &*row.form == "blocks"));
            layers_are_those(&done, false);
        }
        let Some(live) = ready(name) else { return };
        let done = record(&live, &nixl, "blocks", "dense");
        let found: Vec<(i32, i64, i64, i64)> =
            done.rows().map(|row| (row.row, row.bytes, row.stride, row.count)).collect();
        // No gap between layers: all are one run.
        let run = |layers: i64| (0, PAGE, PAGE, layers * BLOCKS);
        let all = [run(LAYERS), run(LAYERS / 2)];
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found.iter().all(|row| all.contains(row)), "{found:?}");
        layers_are_those(&done, false);
    }
}
