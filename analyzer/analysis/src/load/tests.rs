use std::path::Path;
use std::sync::Arc;

use kvpath_schema::segment::RunWriter;
use kvpath_schema::store::Store;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{NixlAgent, NixlAgents, NixlNotif, NixlNotifs};
use object_store::memory::InMemory;

use super::*;
use crate::model::Recording;
use crate::spill::Memory;

fn agents(count: u32) -> NixlAgents {
    let mut agents = NixlAgents::default();
    for at in 0..count {
        let name = format!("agent {at}").as_str().into();
        agents.push(NixlAgent {
            time_ns: i64::from(at),
            process_id: 7,
            agent_ptr: at.into(),
            name,
            library: "nixl".into(),
        });
    }
    agents
}

fn notifs(time_ns: i64) -> NixlNotifs {
    let mut notifs = NixlNotifs::default();
    notifs.push(NixlNotif {
        time_ns,
        process_id: 7,
        tid: 1,
        direction: "sent".into(),
        via: "genNotif".into(),
        peer: None,
        message: "m".to_owned(),
        message_bytes: 1,
        transfer_id: None,
        message_raw: None,
    });
    notifs
}

/// A run of two segments of agents and one of a notification.
fn write(writer: &mut RunWriter) {
    writer.write("nixl", &agents(500), 0).unwrap();
    writer.write("nixl", &agents(20), 0).unwrap();
    writer.write("nixl", &notifs(5), 0).unwrap();
}

fn run() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    write(&mut RunWriter::new(folder.path().join("run"), "h", "test", None));
    let name = folder.path().join("run").to_str().unwrap().to_owned();
    (folder, name)
}

/// Overwrites the data of a segment, and leaves its footer.
fn damage_data(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let length: [u8; 4] = bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap();
    let footer = bytes.len() - 8 - usize::try_from(u32::from_le_bytes(length)).unwrap();
    bytes[4..footer].fill(0xff);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_shows_when_data_is_decoded_costs_that_segment() {
    let (_folder, name) = run();
    let opened = Run::open(&name).unwrap();
    let bad = opened.of_table("nixl_agents").next().unwrap().path.clone();
    damage_data(&bad);
    let mut times = 0;
    let (rest, agents) = opened
        .clone()
        .reading(|run| {
            times += 1;
            run.table::<NixlAgents>()
        })
        .unwrap();
    assert_eq!((agents.len(), times, rest.segments.len()), (20, 2, 2));
    assert!(rest.damaged.len() == 1 && rest.damaged[0].path == bad, "{:?}", rest.damaged);
    let said = rest.damaged[0].to_string();
    assert!(said.contains("damaged data") && said.ends_with("it is left out"), "{said}");
    // Read whole, the same is found.
    let mut verified = opened.clone();
    verified.verify().unwrap();
    assert_eq!(verified.damaged, rest.damaged);
    // Where damage is not accepted, it is the error.
    let mut strict = Run::open_all(&name, true).unwrap();
    let error = strict[0].clone().reading(Run::table::<NixlAgents>).unwrap_err().to_string();
    assert!(error.contains(bad.to_str().unwrap()), "{error}");
    assert!(strict[0].verify().is_err());
}

#[test]
fn values_that_cannot_be_cost_the_segments_that_hold_them() {
    let (_folder, name) = run();
    let mut writer = RunWriter::new(&name, "h", "test", None);
    for time_ns in [i64::MAX, i64::MAX - 1, i64::MIN] {
        writer.write("nixl", &notifs(time_ns), 0).unwrap();
    }
    let read = |run: &Run| Recording::of(run, &Memory::default());
    let (rest, recording) = Run::open(&name).unwrap().reading(read).unwrap();
    assert_eq!((recording.facts.notifs.len(), rest.damaged.len()), (1, 3));
    assert!(rest.damaged[0].error.contains("`time_ns` holds"), "{}", rest.damaged[0]);
}

#[test]
fn a_footer_that_cannot_be_read_costs_that_segment_unless_it_is_the_last() {
    let (_folder, name) = run();
    let paths: Vec<PathBuf> = Run::open(&name).unwrap().segments.iter().map(|segment| segment.path.clone()).collect();
    for (left, path) in [(2, &paths[0]), (1, &paths[2])] {
        std::fs::write(path, b"PAR1").unwrap();
        let opened = Run::open(&name).unwrap();
        assert_eq!((opened.segments.len(), opened.damaged.len()), (left, 3 - left));
        assert!(Run::open_all(&name, true).is_err());
    }
    std::fs::write(&paths[1], b"").unwrap();
    let error = Run::open(&name).unwrap_err().to_string();
    assert!(error.contains("cut short"), "{error}");
}

#[test]
fn runs_are_told_apart_by_their_folders() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b", "a/x"] {
        write(&mut RunWriter::new(folder.path().join(name), "h", "test", None));
    }
    // Of no run that can be read.
    std::fs::create_dir_all(folder.path().join("c/node=h/source=s")).unwrap();
    std::fs::write(folder.path().join("c/node=h/source=s/t-1.parquet"), b"").unwrap();
    let name = folder.path().to_str().unwrap();
    let runs = Run::open_all(name, false).unwrap();
    let labels: Vec<&str> = runs.iter().map(|run| run.label.as_str()).collect();
    assert_eq!(labels, ["a/x", "b"]);
    assert_eq!((runs[0].damaged.len(), runs[1].damaged.len()), (1, 0));
    assert!(runs.iter().all(|run| run.segments.len() == 3 && run.manifests.len() == 1));
    let error = Run::open(name).unwrap_err().to_string();
    assert!(error.contains("2 recordings (a/x, b)") && error.contains("--run"), "{error}");
    assert_eq!(Run::labelled(name, "b", runs.clone()).unwrap().root, folder.path().join("b"));
    assert!(Run::labelled(name, "c", runs).unwrap_err().to_string().contains("no recording `c`"));
}

#[test]
fn a_run_in_any_store_is_read_like_one_in_a_folder() {
    let store = Store::of(Arc::new(InMemory::new()), "memory:///run");
    write(&mut RunWriter::to(store.clone(), "h", "test", Some(3)));
    let stored = Run::of_store(&store).unwrap();
    let (_folder, name) = run();
    let filed = Run::open(&name).unwrap();
    assert_eq!(stored.table::<NixlAgents>().unwrap(), filed.table::<NixlAgents>().unwrap());
    let read = |run: &Run| Recording::of(run, &Memory::default()).unwrap();
    assert_eq!(read(&stored).facts.notifs, read(&filed).facts.notifs);
    assert_eq!((stored.hosts(), stored.manifests[0].wall_at_zero_ns), (vec!["h"], Some(3)));
    assert!(stored.segments[0].path.to_str().unwrap().starts_with("memory:///run/node=h/"));
}

#[test]
fn reads_of_rows_are_counted_and_those_of_footers_are_not() {
    let (_folder, name) = run();
    let run = Run::open(&name).unwrap();
    assert!(run.reads().is_empty());
    run.of_host("h").table::<NixlAgents>().unwrap();
    batches::for_each(&run, NixlNotifs::DEF, &["time_ns"], |_| Ok(())).unwrap();
    run.table::<NixlNotifs>().unwrap();
    assert_eq!(run.reads(), BTreeMap::from([("nixl_agents", 1), ("nixl_notifs", 2)]));
}
