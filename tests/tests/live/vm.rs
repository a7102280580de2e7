//! What `./x vm` recorded in its virtual machine: NIXL over RDMA verbs.

use std::path::PathBuf;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::rdma::RdmaOp;

use crate::recorded::Recorded;
use crate::sched::check_spins;
use crate::transfers::compare;
use crate::truth::Truth;
use crate::ucx;

#[test]
#[ignore = "./x vm makes what it reads"]
fn a_recording_over_rdma_is_what_happened() {
    let share = PathBuf::from(std::env::var_os("KVPATH_VM").expect("the folder that the guest left its files in"));
    for op in ["write", "read"] {
        let folder = share.join(op);
        let said = std::fs::read_to_string(folder.join("said")).expect("what the agent said");
        // How far its times are off says nothing here: the processor is emulated.
        let recorded = Recorded::read(&folder.join("run"));
        compare(&Truth::read(&folder.join("truth.tsv")), &recorded, &said, 256);
        ucx::check(&recorded, if op == "write" { "put" } else { "get" }, "rc_verbs");
        set_up(&recorded);
        // There decode spins.
        if op == "write" {
            assert_eq!(recorded.fact(&["spins"]), Some("recorded"));
            check_spins(&recorded, &said);
        }
    }
}

/// Each side registers what NIXL registers, and connects queue pairs: a reliable connection goes INIT, RTR, RTS.
fn set_up(recorded: &Recorded) {
    let ops: Vec<RdmaOp> = (0..recorded.rdma_ops.len()).map(|i| recorded.rdma_ops.row(i)).collect();
    for op in &ops {
        assert!(op.dur_ns > 0 && recorded.processes.process_id.contains(&op.process_id), "{op:?}");
    }
    for region in (0..recorded.regions.len()).map(|i| recorded.regions.row(i)) {
        let registered = ops.iter().any(|op| {
            let (Some(addr), Some(bytes)) = (op.addr, op.bytes) else { return false };
            let end = |addr: u64, bytes: i64| addr + u64::try_from(bytes).expect("a size");
            op.process_id == region.process_id
                && (&*op.op, &*op.status) == ("reg_mr", "ok")
                && addr <= region.addr
                && end(region.addr, region.bytes) <= end(addr, bytes)
        });
        assert!(registered, "{region:?} in {ops:#?}");
    }
    for process in &recorded.agents.process_id {
        let mine = |what: &str| {
            ops.iter()
                .filter(|op| op.process_id == *process && &*op.op == what && &*op.status == "ok")
                .collect::<Vec<_>>()
        };
        assert!(!mine("create_qp").is_empty() && !mine("create_cq").is_empty(), "{ops:#?}");
        let connected = mine("create_qp").into_iter().any(|qp| {
            let states = mine("modify_qp");
            let states = states.iter().filter(|op| op.object == qp.object).filter_map(|op| op.qp_state.as_deref());
            states.collect::<Vec<_>>().windows(3).any(|states| states == ["INIT", "RTR", "RTS"])
        });
        assert!(connected, "{ops:#?}");
    }
}
