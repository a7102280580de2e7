//! What `./x vm` recorded in its virtual machine: NIXL over RDMA verbs.

use std::path::PathBuf;

use crate::recorded::Recorded;
use crate::transfers::compare;
use crate::truth::Truth;

#[test]
#[ignore = "./x vm makes what it reads"]
fn a_recording_over_rdma_is_what_happened() {
    let share = PathBuf::from(std::env::var_os("KVPATH_VM").expect("the folder that the guest left its files in"));
    for op in ["write", "read"] {
        let folder = share.join(op);
        let said = std::fs::read_to_string(folder.join("said")).expect("what the agent said");
        // How far its times are off says nothing here: the processor is emulated.
        compare(&Truth::read(&folder.join("truth.tsv")), &Recorded::read(&folder.join("run")), &said, 256);
    }
}
