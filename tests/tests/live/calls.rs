//! Calls that set peers and memory up: tests/builds/calls.py makes them, well and wrongly, and says what it did and when.

use std::path::Path;

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::NixlCall;

use crate::recorded::Recorded;
use crate::setup::{other_nixl, ready, skipped};

/// A call as the script tells it.
struct Told {
    /// Function, agent, peer, outcome.
    what: [String; 4],
    before_ns: i64,
    after_ns: i64,
}

fn told(path: &Path) -> Vec<Told> {
    let lines = std::fs::read_to_string(path).expect("the truth");
    let of_line = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let ns = |at: usize| cells[at].parse().expect("a time");
        let what = [0, 1, 2, 3].map(|at: usize| cells[at].to_owned());
        Told { what, before_ns: ns(4), after_ns: ns(5) }
    };
    lines.lines().map(of_line).collect()
}

fn found(row: &NixlCall) -> [String; 4] {
    let is_ok = row.status.as_deref() == Some("NIXL_SUCCESS");
    assert!(is_ok || row.status.as_deref().is_some_and(|status| status.starts_with("NIXL_ERR_")), "{row:?}");
    let text = |name: &Option<Name>| name.as_deref().unwrap_or_default().to_owned();
    [row.call.to_string(), text(&row.agent), text(&row.peer), if is_ok { "ok" } else { "failed" }.to_owned()]
}

#[test]
fn calls_are_recorded_with_their_times_and_what_they_returned() {
    let name = "calls_are_recorded_with_their_times_and_what_they_returned";
    let Some(own) = ready(name).map(|live| live.nixl) else { return };
    let (others, missing): (Vec<_>, Vec<_>) = other_nixl().into_iter().partition(|nixl| nixl.is_dir());
    if others.is_empty() || !missing.is_empty() {
        skipped(name, &format!("of the wheels in KVPATH_OTHER_NIXL, {} are there, not {missing:?}", others.len()));
    }
    for nixl in [own].into_iter().chain(others) {
        let Some(live) = ready(name) else { return };
        let truth = live.recorded_script(&nixl, "calls.py", &[]);
        let recorded = Recorded::read(&live.path("run"));
        recorded.assert_nothing_lost();
        let mut rows: Vec<NixlCall> = (0..recorded.calls.len()).map(|row| recorded.calls.row(row)).collect();
        rows.sort_by_key(|row| row.start_ns);
        let told = told(&truth);
        let all: Vec<[String; 4]> = rows.iter().map(found).collect();
        assert_eq!(all, told.iter().map(|told| told.what.clone()).collect::<Vec<_>>(), "{}", nixl.display());
        for (row, told) in rows.iter().zip(&told) {
            let end_ns = row.end_ns.expect("it returned");
            assert!(told.before_ns <= row.start_ns && row.start_ns < end_ns && end_ns <= told.after_ns, "{row:?}");
            assert_eq!(row.transfer_id, None, "nothing was refused: {row:?}");
        }
        // What succeeded has rows of its own.
        assert_eq!((recorded.transfers.len(), recorded.regions.len()), (1, 2));
        assert!(recorded.transfers.released_ns[0].is_some() && &*recorded.transfers.status[0] == "done");
        let lists = |peer: Option<&str>| recorded.prepared.peer.iter().filter(|name| name.as_deref() == peer).count();
        assert_eq!([lists(None), lists(Some("calls-other")), lists(Some("nobody"))], [1, 1, 1], "as asked for");
        for row in 0..recorded.prepared.len() {
            let at = recorded.prepared.time_ns[row];
            assert!(rows.iter().any(|call| &*call.call == "prepXferDlist" && call.start_ns == at), "{at}");
        }
    }
}
