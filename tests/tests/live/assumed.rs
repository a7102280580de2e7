//! Builds of NIXL that are in no table: recorded by the release that they name, given up where that is not their own, and left alone
//! where it cannot be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kvpath_schema::table::Columns as _;

use crate::recorded::Recorded;
use crate::setup::{Live, libraries, other_nixl, ready, skipped, text};
use crate::transfers::compare;
use crate::truth::Truth;

const LIBRARIES: [&str; 2] = ["libnixl.so", "plugins/libplugin_UCX.so"];
/// The head of the note that holds a Build ID of 20 bytes.
const NOTE: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";

/// Replaces the only place, or all places, of some bytes in a file.
pub fn replace(file: &Path, from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(file).expect("read");
    let places: Vec<usize> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "{} has what is to be replaced", file.display());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    fs::write(file, bytes).expect("write");
}

/// Gives a library a Build ID that no table has.
fn make_unknown(file: &Path) {
    let bytes = fs::read(file).expect("read");
    let at = bytes.windows(NOTE.len()).position(|part| part == NOTE).expect("a Build ID");
    let id = &bytes[at..at + NOTE.len() + 20];
    let mut other = id.to_vec();
    other[NOTE.len()] ^= 0xff;
    replace(file, id, &other);
}

/// A copy of a wheel whose libraries are in no table.
pub fn unknown_copy(live: &Live, nixl: &Path, name: &str) -> PathBuf {
    let copy = live.copy_of(nixl, name);
    for library in LIBRARIES {
        make_unknown(&libraries(&copy).join(library));
    }
    copy
}

/// Lets a copy of one release say that it is another.
pub fn claim(copy: &Path, release: &str, claimed: &str) {
    let (from, to) = (format!("\0{release}\0"), format!("\0{claimed}\0"));
    replace(&libraries(copy).join("libnixl_common.so"), from.as_bytes(), to.as_bytes());
}

/// Records a copy whose libraries are named, so that not even the first call is missed.
pub fn record(live: &Live, copy: &Path, args: &[&str], options: &[&str]) -> Output {
    let mut agent = live.agent(&["record", "--max-overhead", "1000", "--out"]);
    agent.arg(live.path("run")).args(options);
    for library in LIBRARIES {
        agent.arg("--library").arg(libraries(copy).join(library));
    }
    let workload = live.workload(copy, args);
    agent.arg("--").arg(workload.get_program()).args(workload.get_args()).output().expect("the agent starts")
}

/// Compares everything with the truth; each transfer says how its layout is known.
pub fn assert_recorded(live: &Live, output: &Output, descriptors: i64, known: &str) -> Recorded {
    assert!(output.status.success(), "{}", text(output));
    let recorded = Recorded::read(&live.path("run"));
    compare(&Truth::read(&live.path("truth.tsv")), &recorded, &text(output), descriptors);
    for row in recorded.transfer_rows() {
        assert_eq!(row.layout.as_deref(), Some(known), "{row:?}");
    }
    recorded
}

#[test]
fn a_build_of_no_table_is_recorded_by_the_release_that_it_names() {
    let name = "a_build_of_no_table_is_recorded_by_the_release_that_it_names";
    let Some(live) = ready(name) else { return };
    let copy = unknown_copy(&live, &live.nixl, "unknown");
    let output = record(&live, &copy, &[], &[]);
    let recorded = assert_recorded(&live, &output, 4, "assumed");
    let fact = recorded.fact(&["library", "unknown", "libnixl.so"]).expect("named");
    assert!(
        fact.starts_with("NIXL 1.5.1 (git 1d2a52eb), Build ID 390ac851") && fact.contains("layout assumed"),
        "{fact}"
    );
    let states = recorded.states_of("library", "/libnixl.so");
    assert!(states.iter().all(|state| &*state.state == "recording"), "{states:?}");
    let reason = states.last().and_then(|state| state.reason.as_deref()).expect("a reason");
    // Posts that are drained with the fourth are judged as well.
    let (_, agree) = reason.split_once("its layout is assumed, and ").expect("it is assumed");
    let posts = agree.strip_suffix(" posts agree with it").and_then(|posts| posts.parse::<u64>().ok());
    assert!(posts.is_some_and(|posts| posts >= 4), "{reason}");

    let file = libraries(&copy).join("libnixl.so");
    let doctor = live.agent(&["doctor", "--json", "--library"]).arg(&file).output().expect("doctor");
    let json: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("one JSON object");
    let library = &json["libraries"][0];
    assert_eq!((library["layout"].as_str(), doctor.status.code()), (Some("assumed"), Some(0)), "{library}");
    let doctor = live.agent(&["doctor", "--library"]).arg(&file).output().expect("doctor");
    assert!(text(&doctor).contains("it says that it is NIXL 1.5.1 (git 1d2a52eb)"), "{}", text(&doctor));
}

#[test]
fn other_releases_of_no_table_are_recorded_too() {
    let name = "other_releases_of_no_table_are_recorded_too";
    for nixl in other_nixl().into_iter().filter(|nixl| nixl.is_dir()) {
        for make in ["prepped", "create"] {
            let Some(live) = ready(name) else { return };
            let copy = unknown_copy(&live, &nixl, "unknown");
            let output = record(&live, &copy, &["--requests", "2", "--make", make, "--scatter", "--blocks", "16"], &[]);
            assert_recorded(&live, &output, 64, "assumed");
        }
    }
}

/// Whatever another release a build claims to be, nothing is recorded by a layout that is not its own.
#[test]
fn a_layout_that_is_not_its_own_is_given_up() {
    let name = "a_layout_that_is_not_its_own_is_given_up";
    let wheels: Vec<PathBuf> = other_nixl().into_iter().filter(|nixl| nixl.is_dir()).collect();
    let cases = [("1.5.1", "1.4.1"), ("1.5.1", "1.3.2"), ("1.4.1", "1.3.2"), ("1.3.2", "1.4.1"), ("1.3.2", "1.1.0")];
    for (release, claimed) in cases {
        let Some(nixl) = wheels.iter().find(|nixl| nixl.to_string_lossy().ends_with(release)) else {
            skipped(name, &format!("no wheel of {release} in KVPATH_OTHER_NIXL"));
            continue;
        };
        for op in ["read", "write"] {
            let Some(live) = ready(name) else { return };
            let copy = unknown_copy(&live, nixl, "liar");
            claim(&copy, release, claimed);
            let output = record(&live, &copy, &["--op", op, "--make", "create", "--requests", "3"], &[]);
            let said = text(&output);
            assert_eq!(output.status.code(), Some(1), "{release} as {claimed}: {said}");
            assert!(Truth::read(&live.path("truth.tsv")).all("post").count() >= 6, "the program went on");
            let recorded = Recorded::read(&live.path("run"));
            // Others may use NIXL on this machine meanwhile.
            let wrong = recorded.transfer_rows().into_iter().filter(|row| row.layout.as_deref() != Some("table"));
            assert_eq!(wrong.collect::<Vec<_>>(), [], "{release} as {claimed}: {said}");
            let states = recorded.states_of("library", "/libnixl.so");
            let last = states.last().expect("a state");
            assert!(["contradicted", "unknown_build"].contains(&&*last.state), "{states:?}");
            assert!(last.reason.as_deref().is_some_and(|reason| reason.contains(claimed)), "{last:?}");
            assert!(said.contains("probes off"), "{said}");
            // These have the functions of what they claim to be.
            if ["1.3.2", "1.4.1"].contains(&release) && claimed != "1.1.0" {
                assert_eq!(&*last.state, "contradicted", "{release} as {claimed}");
            }
            if &*last.state == "contradicted" {
                assert!(
                    recorded.drops.table_name.iter().any(|table| table.as_deref() == Some("nixl_transfers")),
                    "{said}"
                );
            }
        }
    }
}

#[test]
fn a_build_that_names_no_known_release_is_left_alone_and_named() {
    let Some(live) = ready("a_build_that_names_no_known_release_is_left_alone_and_named") else { return };
    let copy = unknown_copy(&live, &live.nixl, "unknown");
    claim(&copy, "1.5.1", "9.5.1");
    let file = libraries(&copy).join("libnixl.so");

    let output = record(&live, &copy, &["--requests", "2"], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let cure = "nothing of it will be recorded: `kvpath-agent learn PID|FILE`";
    assert!(text(&output).contains("Build ID 390ac851") && text(&output).contains(cure), "{}", text(&output));
    assert!(text(&output).contains("2 libraries, processes or rings were not recorded"), "{}", text(&output));
    let recorded = Recorded::read(&live.path("run"));
    assert_eq!((recorded.transfers.len(), recorded.agents.len(), recorded.regions.len()), (0, 0, 0));
    let fact = recorded.fact(&["library", "unknown", "libnixl.so"]).expect("named");
    assert!(
        fact.starts_with("probes off: Build ID 390ac851") && fact.contains("NIXL 9.5.1") && fact.ends_with("1.5.1"),
        "{fact}"
    );
    let states = recorded.states_of("library", "libnixl.so");
    assert_eq!(states.iter().map(|state| &*state.state).collect::<Vec<_>>(), ["unknown_build"]);
    let check = kvpath_tests::kvpath().arg("check").arg(live.path("run")).output().expect("kvpath check");
    assert_eq!(check.status.code(), Some(1), "{}", text(&check));
    assert!(text(&check).contains("libnixl.so: unknown_build from "), "{}", text(&check));

    let doctor = live.agent(&["doctor", "--library"]).arg(&file).output().expect("doctor");
    let page = text(&doctor);
    assert!(page.contains("unknown build: probes off (known: NIXL 0.10.0, ") && page.contains(cure), "{page}");
    assert_eq!(doctor.status.code(), Some(1), "{page}");
    let json = live.agent(&["doctor", "--json", "--library"]).arg(&file).output().expect("doctor");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one JSON object");
    let library = &json["libraries"][0];
    assert_eq!((library["nixl"].is_null(), library["probes"].as_array().map(Vec::len)), (true, Some(0)), "{library}");
}

/// `strip` leaves what is exported; what is not there any more leaves the library alone.
#[test]
fn a_stripped_build_is_recorded_as_long_as_its_functions_are_named() {
    let name = "a_stripped_build_is_recorded_as_long_as_its_functions_are_named";
    let Some(live) = ready(name) else { return };
    let copy = unknown_copy(&live, &live.nixl, "stripped");
    let files = LIBRARIES.map(|library| libraries(&copy).join(library));
    if !Command::new("strip").args(&files).status().is_ok_and(|status| status.success()) {
        skipped(name, "no strip");
        return;
    }
    let output = record(&live, &copy, &["--requests", "2"], &[]);
    assert_recorded(&live, &output, 4, "assumed");
    drop(live);

    let Some(live) = ready(name) else { return };
    let copy = unknown_copy(&live, &live.nixl, "nameless");
    let file = libraries(&copy).join("libnixl.so");
    replace(&file, b"_ZNK9nixlAgent13getXferStatusEP12nixlXferReqH", b"_ZNK9nixlAgent13getXferStatusEP12nixlXferReqG");
    let mut agent = live.agent(&["record", "--for", "1s", "--out"]);
    let output = agent.arg(live.path("run")).arg("--library").arg(&file).output().expect("the agent starts");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("does not look like that: status _ZNK9nixlAgent13getXferStatusE"),
        "{}",
        text(&output)
    );
    assert_eq!(Recorded::read(&live.path("run")).states_of("library", "libnixl.so")[0].state.as_ref(), "unknown_build");
}
