//! The query of joins.

use kvpath_analysis::joins::Joined;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::joins::Join;

use super::ask;

/// Eight kernels of a process, two of them without a call, one of these with a neighbour; waits that are not known of any.
pub(super) fn joined() -> Joined {
    let mut found = Joined::default();
    let rows = [
        (None, "wait_to_event", "gpu_syncs", "none", 0.0, (3, 0, 3)),
        (Some(1), "kernel_to_launch", "kernels", "id", 1.0, (8, 6, 1)),
        (Some(1), "kernel_to_launch", "kernels", "neighbour", 0.6, (8, 1, 1)),
        (Some(2), "transfer_to_request", "nixl_transfers", "id", 1.0, (4, 4, 0)),
    ];
    for (process_id, kind, table_name, method, confidence, (rows, joined, unknown)) in rows {
        found.joins.push(Join {
            process_id,
            process: process_id.map(|process: i64| format!("PP{}", process - 1)),
            kind: kind.into(),
            table_name: table_name.into(),
            method: method.into(),
            confidence,
            rows,
            joined,
            unknown,
        });
    }
    found
}

#[test]
fn what_is_least_known_comes_first() {
    let rows = ask("capture.joins", &[]);
    let expected = [
        ",,wait_to_event,gpu_syncs,none,0.0,3,0,3,0.0,1.0",
        "1,PP0,kernel_to_launch,kernels,id,1.0,8,6,1,0.75,0.125",
        "1,PP0,kernel_to_launch,kernels,neighbour,0.6,8,1,1,0.125,0.125",
        "2,PP1,transfer_to_request,nixl_transfers,id,1.0,4,4,0,1.0,0.0",
    ];
    assert_eq!(rows, expected);
    assert_eq!(ask("capture.joins", &[("sure", "0.9")]), [expected[0], expected[2]]);
}
