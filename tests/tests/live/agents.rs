//! Two agents at once: a ring has one reader, and the other agent says what it does not get.

use std::path::PathBuf;

use kvpath_ring::ProducerInfo;
use kvpath_ring::file;
use kvpath_schema::wire::ring::Shape;

use crate::setup::{ready, signal, text};

/// A folder where agents look for rings, which goes with the test.
struct Rings(PathBuf);

impl Drop for Rings {
    fn drop(&mut self) {
        // Gone already if an agent has emptied it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_another_agent_reads_is_said_counted_and_no_whole_run() {
    let Some(live) = ready("what_another_agent_reads_is_said_counted_and_no_whole_run") else { return };
    let rings = Rings(PathBuf::from(format!("/dev/shm/kvpath-test-{}", std::process::id())));
    std::fs::create_dir(&rings.0).expect("a folder");
    let shape = Shape { lanes: 2, gpu_words: 1024, thread_words: 256, names_words: 64 };
    let about = ProducerInfo { pid: std::process::id(), start_ticks: 0, created_ns: 1 };
    let (path, ring) = file::create(&rings.0, shape, about).expect("a ring");

    let first = live.start_agent(&[]);
    crate::setup::wait_for("the first agent reads it", || matches!(file::open(&path), Err(file::OpenError::Taken)));
    let second = live.agent(&["record", "--for", "1s", "--out"]).arg(live.path("second")).output().expect("runs");
    let said = text(&second);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{}: not drained: another agent reads it", path.display())), "{said}");
    assert!(
        said.contains("no record lost, but 1 library, process or ring was not recorded (`kvpath check`)"),
        "{said}"
    );
    let check = kvpath_tests::kvpath().arg("check").arg(live.path("second")).output().expect("kvpath check");
    assert_eq!(check.status.code(), Some(1), "{}", text(&check));
    assert!(text(&check).contains("cupti ring ") && text(&check).contains(": not_drained from "), "{}", text(&check));

    drop(ring);
    signal(first.id(), "INT");
    let first = first.wait_with_output().expect("wait");
    assert!(first.status.success() && text(&first).contains("nothing lost"), "{}", text(&first));
    assert!(!rings.0.exists(), "an empty folder stays behind");
}
