//! What UCX makes of transfers, down to its transports.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::ucx::UcxOp;

use crate::recorded::Recorded;
use crate::setup::{Live, libraries, ready, text};

/// Records a workload with scattered blocks over these transports, and gives the run.
fn record(live: &Live, tls: &str, more: &[&str]) -> Recorded {
    let workload = live.workload(&live.nixl, &[&["--scatter", "--tls", tls], more].concat());
    // Transports' functions may be single-stepped, which is dear in a virtual machine; nothing is to be shed for that here.
    let mut agent = live.agent(&["record", "--gpu", "off", "--with", "ucx", "--max-overhead", "1000", "--out"]);
    agent.arg(live.path("run"));
    for library in ["libnixl.so", "plugins/libplugin_UCX.so"] {
        agent.arg("--library").arg(libraries(&live.nixl).join(library));
    }
    let output = agent.arg("--").arg(workload.get_program()).args(workload.get_args()).output().expect("the agent");
    assert!(output.status.success(), "{}", text(&output));
    let recorded = Recorded::read(&live.path("run"));
    recorded.assert_nothing_lost();
    recorded
}

/// Every descriptor of a transfer is an op of its size to its address, in the post of its thread.
pub fn check(recorded: &Recorded, verb: &str, transport: &str) {
    let ops: Vec<UcxOp> = (0..recorded.ucx_ops.len()).map(|i| recorded.ucx_ops.row(i)).collect();
    let rows = recorded.transfer_rows();
    assert!(!rows.is_empty());
    for row in &rows {
        let (posted, end) = (row.posted_ns.expect("posted"), row.post_end_ns.expect("post_end"));
        let own = |op: &&UcxOp| {
            (op.process_id, op.tid) == (row.process_id, row.tid)
                && posted <= op.start_ns
                && op.start_ns + op.dur_ns <= end
        };
        let mine: Vec<&UcxOp> = ops.iter().filter(own).filter(|op| &*op.op == verb).collect();
        let table = &recorded.descriptors;
        let mut wanted: Vec<_> = (0..table.len())
            .map(|i| table.row(i))
            .filter(|descriptor| descriptor.transfer_id == row.transfer_id)
            .map(|descriptor| (descriptor.remote_addr, Some(descriptor.bytes)))
            .collect();
        let mut found: Vec<_> = mine.iter().map(|op| (op.remote_addr, op.bytes)).collect();
        wanted.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, wanted);
        for op in &mine {
            assert!(matches!(&*op.status, "ended" | "done"), "{op:?}");
            assert!(op.ended_by_ns.is_some_and(|by| by >= op.start_ns + op.dur_ns), "{op:?}");
            assert_eq!(op.transport.as_deref(), Some(transport), "{op:?}");
        }
        // The end of the last is known before, or as, NIXL says that the transfer is done.
        let last = mine.iter().filter_map(|op| op.ended_by_ns).max().expect("ops");
        assert!(last <= row.released_ns.expect("released"), "{row:?}");
        assert!(ops.iter().filter(own).any(|op| &*op.op == "flush"), "{row:?}");
    }
    let calls = recorded.ucx_calls.transport.iter().zip(&recorded.ucx_calls.calls);
    let calls: i64 = calls.filter(|(name, _)| ***name == *transport).map(|(_, calls)| *calls).sum();
    assert!(calls >= i64::try_from(ops.iter().filter(|op| &*op.op == verb).count()).expect("few"), "{calls}");
}

#[test]
fn descriptors_are_puts_over_tcp() {
    let Some(live) = ready("descriptors_are_puts_over_tcp") else { return };
    let recorded = record(&live, "tcp", &[]);
    check(&recorded, "put", "tcp");
}

#[test]
fn descriptors_are_puts_over_shared_memory() {
    let Some(live) = ready("descriptors_are_puts_over_shared_memory") else { return };
    let recorded = record(&live, "sm,tcp", &[]);
    check(&recorded, "put", "scopy");
}

#[test]
fn pulled_descriptors_are_gets() {
    let Some(live) = ready("pulled_descriptors_are_gets") else { return };
    let recorded = record(&live, "sm,tcp", &["--op", "read"]);
    check(&recorded, "get", "scopy");
}
