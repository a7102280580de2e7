//! Clock probes between two real agents, and what the analyzer makes of them. Both run here, so the truth is one clock.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use kvpath_schema::segment::read_into;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::clock::ClockProbes;
use serde_json::Value;

use crate::recorded::Recorded;
use crate::setup::{Live, ready, signal, skipped, text, wait_for_segment, walk};

const NODES: [&str; 2] = ["node-a", "node-b"];

/// Two agents that probe each other for some two seconds, each with the key that is given; says what they printed.
fn record(live: &Live, keys: [&str; 2]) -> [PathBuf; 2] {
    // Held until both are known, so that they are two.
    let sockets = NODES.map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    let ports = sockets.map(|socket| socket.local_addr().expect("bound").to_string());
    let agents: Vec<(Child, PathBuf)> = (0..NODES.len())
        .map(|at| {
            let (key, run) = (live.path(&format!("key-{at}")), live.path("runs").join(NODES[at]));
            std::fs::create_dir_all(live.path("runs")).expect("a folder");
            std::fs::write(&key, keys[at]).expect("a key");
            let mut agent = live.agent(&["record", "--gpu", "off", "--node", NODES[at], "--out"]);
            agent.arg(&run).args(["--clock-listen", &ports[at], "--clock-peer", &ports[1 - at], "--clock-key"]);
            (agent.arg(&key).stderr(Stdio::piped()).spawn().expect("the agent starts"), run)
        })
        .collect();
    for (_, run) in &agents {
        wait_for_segment(run);
    }
    // Forty probes each way: far more than are asked for below, for agents that wait for a CPU.
    sleep(Duration::from_secs(2));
    for (agent, _) in &agents {
        signal(agent.id(), "INT");
    }
    let runs = agents.into_iter().map(|(agent, run)| {
        let output = agent.wait_with_output().expect("the agent");
        assert!(output.status.success(), "{}", text(&output));
        run
    });
    runs.collect::<Vec<_>>().try_into().expect("as many as there are nodes")
}

fn probes(run: &Path) -> ClockProbes {
    let mut probes = ClockProbes::default();
    let is_probes =
        |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("clock_probes"));
    for path in walk(run).iter().filter(is_probes) {
        read_into(path, &mut probes).expect("a whole segment");
    }
    probes
}

/// What the analyzer says of the clocks of both recordings, put into one run; `None` where it is not built.
fn clocks(live: &Live, runs: &[PathBuf; 2]) -> Option<Vec<Value>> {
    let kvpath = live.agent_path().with_file_name("kvpath");
    if !kvpath.exists() {
        return None;
    }
    let query = "SELECT host, offset_min_ns, offset_max_ns, offset_ns, eps_ns, observations, method FROM clocks \
                 WHERE method NOT IN ('outside', 'gpu_causality') ORDER BY host_index";
    let both = live.path("both");
    std::fs::create_dir(&both).expect("a folder");
    for (run, node) in runs.iter().zip(NODES) {
        let folder = format!("node={node}");
        std::fs::rename(run.join(&folder), both.join(&folder)).expect("a recording");
    }
    let mut command = Command::new(kvpath);
    let output = command.arg("sql").arg(both).args([query, "--format", "json"]).output();
    let output = output.expect("the analyzer starts");
    assert!(output.status.success(), "{}", text(&output));
    let rows = String::from_utf8_lossy(&output.stdout);
    Some(rows.lines().map(|row| serde_json::from_str(row).expect("an object a line")).collect())
}

#[test]
fn two_agents_on_one_clock_are_found_on_one() {
    let test = "two_agents_on_one_clock_are_found_on_one";
    let Some(live) = ready(test) else { return };
    let runs = record(&live, ["a key of both nodes", "a key of both nodes"]);
    for (run, peer) in runs.iter().zip([NODES[1], NODES[0]]) {
        let probes = probes(run);
        assert!(probes.len() >= 10, "{} of {peer}", probes.len());
        for row in (0..probes.len()).map(|row| probes.row(row)) {
            assert_eq!(&*row.peer, peer);
            let times = [row.sent_ns, row.peer_received_ns, row.peer_sent_ns, row.received_ns];
            assert!(times.is_sorted(), "{row:?}");
        }
        Recorded::read(run).assert_nothing_lost();
    }
    let Some(rows) = clocks(&live, &runs) else { return skipped(test, "kvpath is not built") };
    let [reference, other] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&reference["method"], &reference["eps_ns"]), (&Value::from("reference"), &Value::from(0)));
    assert_eq!(other["method"], "probes", "{other}");
    let number = |field: &str| other[field].as_i64().unwrap_or_else(|| panic!("{field} of {other}"));
    assert!(number("offset_min_ns") <= 0 && 0 <= number("offset_max_ns"), "{other}");
    assert!(number("offset_ns").abs() <= number("eps_ns"), "{other}");
    // Over loopback a probe takes some 100 us at most, unless both wait for a CPU each time.
    assert!(number("eps_ns") < 10_000_000 && number("observations") >= 10, "{other}");
}

#[test]
fn agents_of_different_keys_learn_nothing_and_say_why() {
    let test = "agents_of_different_keys_learn_nothing_and_say_why";
    let Some(live) = ready(test) else { return };
    let runs = record(&live, ["a key of node a alone", "a key of node b alone"]);
    for run in &runs {
        assert_eq!(probes(run).len(), 0);
        let facts = Recorded::read(run).facts;
        let said: Vec<String> =
            (0..facts.len()).map(|row| format!("{}: {}", facts.key[row], facts.value[row])).collect();
        let dropped = said.iter().find_map(|line| line.strip_prefix("dropped: another key, or altered: "));
        let packets =
            dropped.and_then(|text| text.strip_suffix(" packets")).and_then(|count| count.parse::<u64>().ok());
        assert!(packets.is_some_and(|packets| packets >= 10), "{said:?}");
        let sent = said.iter().find(|line| line.starts_with("probes: "));
        assert!(sent.is_some_and(|line| line.ends_with(" 0 came back, 0 of others answered")), "{said:?}");
    }
    let Some(rows) = clocks(&live, &runs) else { return skipped(test, "kvpath is not built") };
    let [_, other] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&other["method"], &other["offset_ns"]), (&Value::from("none"), &Value::Null), "{other}");
}
