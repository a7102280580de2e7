//! Other releases of NIXL are recorded like the one that the other tests run: a wheel of each layout in the agent's table.

use std::path::{Path, PathBuf};

use crate::recorded::Recorded;
use crate::setup::{libraries, other_nixl, ready, skipped, text};
use crate::transfers::check;

/// The wheels that are there; says so if some are missing.
fn wheels(test: &str) -> Vec<PathBuf> {
    let (wheels, missing): (Vec<_>, Vec<_>) = other_nixl().into_iter().partition(|nixl| nixl.is_dir());
    if wheels.is_empty() || !missing.is_empty() {
        skipped(test, &format!("of the wheels in KVPATH_OTHER_NIXL, {} are there, not {missing:?}", wheels.len()));
    }
    wheels
}

#[test]
fn other_releases_are_recorded_too() {
    let name = "other_releases_are_recorded_too";
    for nixl in wheels(name) {
        for make in ["prepped", "create"] {
            let Some(live) = ready(name) else { return };
            check(&live, &nixl, &["--requests", "2", "--make", make, "--scatter", "--blocks", "16"], 64);
            let facts = Recorded::read(&live.path("run"));
            for library in ["libnixl.so", "libplugin_UCX.so"] {
                let folder = libraries(&nixl);
                let fact = facts.fact(&["library", &folder.to_string_lossy(), library]).expect("the library is named");
                let release = nixl.to_str().and_then(|path| path.rsplit_once('-')).expect("PACKAGE-RELEASE").1;
                let known = fact.split_once(", Build ID").expect("release, Build ID, points").0;
                assert!(known.split([' ', ',']).any(|word| word == release), "{release}: {fact}");
                assert!(fact.ends_with("attached"), "{fact}");
            }
            let off = facts.facts.value.iter().find(|value| value.starts_with("off:"));
            assert_eq!(off, None, "a probe of {}", nixl.display());
        }
    }
}

/// Engines with a progress thread and without, and arrivals that the thread finds or a poll: tests/builds/notifs.py.
#[test]
fn an_arrival_is_counted_once_whichever_way_it_takes() {
    let name = "an_arrival_is_counted_once_whichever_way_it_takes";
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("builds/notifs.py");
    for nixl in wheels(name) {
        for thread in ["thread", "plain"] {
            let Some(live) = ready(name) else { return };
            let folder = libraries(&nixl);
            let mut agent = live.agent(&["record", "--out"]);
            agent.arg(live.path("run"));
            for library in ["libnixl.so", "plugins/libplugin_UCX.so"] {
                agent.arg("--library").arg(folder.join(library));
            }
            agent.env("PYTHONDONTWRITEBYTECODE", "1").args(["--", "python3"]).arg(&script).arg(&folder).arg(thread);
            let output = agent.output().expect("the agent starts");
            let said = text(&output);
            assert!(output.status.success() && said.contains("50 sent, 50 taken"), "{said}");
            let recorded = Recorded::read(&live.path("run"));
            recorded.assert_nothing_lost();
            let arrived = recorded.notifs.direction.iter().filter(|direction| &***direction == "arrived").count();
            let mut texts = recorded.notifs.message.clone();
            texts.sort_unstable();
            texts.dedup();
            assert_eq!((arrived, texts.len()), (50, 50), "{} {thread}", nixl.display());
        }
    }
}
