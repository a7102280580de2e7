//! Libraries are found wherever they are and whoever maps them.

use std::fs;
use std::path::Path;
use std::process::Command;

use kvpath_schema::table::Columns as _;

use crate::recorded::Recorded;
use crate::setup::{ready, signal, skipped, text, wait_for, walk};
use crate::truth::Truth;

/// How many of the workload's processes have made their agents.
fn workers_with_plugin(pid: u32) -> usize {
    let has_plugin = |child: &u32| {
        fs::read_to_string(format!("/proc/{child}/maps")).is_ok_and(|maps| maps.contains("libplugin_UCX.so"))
    };
    crate::setup::children(pid).iter().filter(|child| has_plugin(child)).count()
}

#[test]
fn a_process_that_runs_already_is_attached_to() {
    let Some(live) = ready("a_process_that_runs_already_is_attached_to") else { return };
    let mut workload = live.workload(&live.nixl, &["--start-delay-ms", "4000"]).spawn().expect("the workload starts");
    let pid = workload.id();
    wait_for("its processes have made their connections", || workers_with_plugin(pid) == 3);
    std::thread::sleep(std::time::Duration::from_millis(1000));
    let agent = live.start_agent(&[]);
    assert!(workload.wait().expect("wait").success());
    signal(agent.id(), "INT");
    let output = agent.wait_with_output().expect("wait");
    assert!(output.status.success(), "{}", text(&output));

    let truth = Truth::read(&live.path("truth.tsv"));
    let recorded = Recorded::read(&live.path("run"));
    recorded.assert_nothing_lost();
    recorded.assert_keys();
    assert_eq!(recorded.transfers.len(), truth.all("post").count());
    for row in recorded.transfer_rows() {
        assert_eq!((row.agent.clone(), row.peer.as_deref(), &*row.status), (None, Some("decode-0"), "done"), "{row:?}");
        assert!(row.made_ns.is_some() && row.posted_ns.is_some() && row.released_ns.is_some(), "{row:?}");
    }
    // Made and registered before the recording.
    assert_eq!((recorded.agents.len(), recorded.regions.len()), (0, 0));
}

#[test]
fn a_copy_of_the_library_is_found_without_being_named() {
    let Some(live) = ready("a_copy_of_the_library_is_found_without_being_named") else { return };
    let copy = live.copy_of_wheel("elsewhere");
    let said = text(&live.record(&copy, &["--requests", "2"]));
    let truth = Truth::read(&live.path("truth.tsv"));
    let recorded = Recorded::read(&live.path("run"));
    recorded.assert_nothing_lost();
    assert_eq!(recorded.transfers.len(), truth.all("post").count());
    // A process that makes its agent the moment it maps the library may be ahead of the probes.
    assert!(recorded.agents.len() <= 3, "{}", recorded.agents.len());
    let fact = recorded.fact(&["library", "elsewhere", "libnixl.so"]).expect("the copy is named");
    assert!(fact.contains("NIXL 1.5.0 or 1.5.1") && fact.contains("attached"), "{fact}");
    let states = recorded.states_of("library", "elsewhere/.nixl_cu12.mesonpy.libs/libnixl.so");
    let [state] = &states[..] else { panic!("{states:?}") };
    assert!(&*state.state == "recording" && state.until_ns > Some(state.since_ns), "{state:?}");
    assert!(said.contains("elsewhere/.nixl_cu12.mesonpy.libs/libnixl.so: attached: NIXL 1.5.0 or 1.5.1"), "{said}");
}

#[test]
fn a_library_that_was_removed_while_mapped_is_attached_to() {
    let Some(live) = ready("a_library_that_was_removed_while_mapped_is_attached_to") else { return };
    let copy = live.copy_of_wheel("removed");
    let mut workload = live.workload(&copy, &["--start-delay-ms", "4000"]).spawn().expect("the workload starts");
    let pid = workload.id();
    wait_for("its processes map the plugin", || workers_with_plugin(pid) == 3);
    std::thread::sleep(std::time::Duration::from_millis(1000));
    fs::remove_dir_all(copy.join(".nixl_cu12.mesonpy.libs")).expect("remove");
    let agent = live.start_agent(&[]);
    assert!(workload.wait().expect("wait").success());
    signal(agent.id(), "TERM");
    let output = agent.wait_with_output().expect("wait");
    assert!(output.status.success(), "{}", text(&output));
    let recorded = Recorded::read(&live.path("run"));
    assert_eq!(recorded.transfers.len(), Truth::read(&live.path("truth.tsv")).all("post").count());
    assert!(recorded.notifs.direction.iter().any(|direction| &**direction == "arrived"));
}

/// Two containers from one image: two overlay mounts of one lower folder, whose files are one inode below.
#[test]
fn containers_that_share_a_layer_are_not_counted_twice() {
    let name = "containers_that_share_a_layer_are_not_counted_twice";
    let Some(live) = ready(name) else { return };
    let lower = live.copy_of_wheel("lower");
    let mounts: Vec<_> = ["a", "b"].iter().filter_map(|which| Overlay::mount(&live.path(which), &lower)).collect();
    if mounts.len() < 2 {
        skipped(name, "overlay mounts are not permitted here");
        return;
    }
    let agent = live.start_agent(&[]);
    let mut posts = 0;
    for mount in &mounts {
        let output = live.workload(&mount.merged, &["--requests", "2"]).output().expect("the workload runs");
        assert!(output.status.success(), "{}", text(&output));
        posts += Truth::read(&live.path("truth.tsv")).all("post").count();
    }
    signal(agent.id(), "INT");
    let output = agent.wait_with_output().expect("wait");
    assert!(output.status.success(), "{}", text(&output));
    let recorded = Recorded::read(&live.path("run"));
    assert_eq!((posts, recorded.transfers.len()), (8, 8), "{:?}", walk(&live.path("run")));
    // A process may be ahead of the probes with its first call, on a busy machine; none is there twice.
    assert!((4..=6).contains(&recorded.agents.len()), "{:?}", recorded.agents);
    recorded.assert_keys();
}

struct Overlay {
    merged: std::path::PathBuf,
}

impl Overlay {
    fn mount(at: &Path, lower: &Path) -> Option<Self> {
        let part = |name: &str| at.join(name);
        for name in ["upper", "work", "merged"] {
            fs::create_dir_all(part(name)).expect("folder");
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            part("upper").display(),
            part("work").display()
        );
        let output =
            Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(part("merged")).output();
        output.is_ok_and(|output| output.status.success()).then(|| Self { merged: part("merged") })
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // A mount that stays is seen when the test's folder cannot be removed.
        let _ = Command::new("umount").arg("-l").arg(&self.merged).status();
    }
}
