//! Runs of several hosts: clocks that probes or notifications relate, and clocks that nothing does.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kvpath_agent::{ClockSource, Clocking, Context, RecordSource as _, Segments};
use kvpath_schema::segment::RunWriter;
use kvpath_tests::{binary, fixture, kvpath};

fn said(command: &mut Command) -> String {
    let out = command.output().unwrap();
    let (data, errors) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8_lossy(&out.stderr).into_owned());
    assert!(out.status.code().is_some_and(|code| code < 2), "{data}{errors}");
    data
}

fn sql(run: &Path, query: &str) -> String {
    said(kvpath().arg("sql").arg(run).arg(query).args(["--format", "csv"]))
}

fn simulated(run: &Path, probes: &str) {
    let out =
        Command::new(binary("kvpath-sim")).args(["case", "clocks", "--probes", probes, "--out"]).arg(run).output();
    assert!(out.unwrap().status.success());
}

#[test]
fn hosts_that_probe_each_other_are_reported_on_one_clock() {
    let folder = tempfile::tempdir().unwrap();
    simulated(folder.path(), "20");
    let report = said(kvpath().arg("report").arg(folder.path()));
    for line in
        ["prefill-0 is +9.5", "decode is +4.7", " of prefill-1 (", "messages of probes and notifications, 1 window"]
    {
        assert!(report.contains(line), "{line}: {report}");
    }
    assert!(said(kvpath().arg("check").arg(folder.path())).contains("CLOCKS"));
    // 10 ms + 60 ppm and 5 ms + 40 ppm as of 100 s, in the middle of the records, at 92.7 s. Skews of 10 and 5 ms are gone: no hand-off ends before it begins.
    let wrong = "SELECT count(*) AS n FROM handoffs WHERE notif_arrived_ns < posted_ns OR ready_ns > notif_arrived_ns";
    assert_eq!(sql(folder.path(), wrong), "n\n0\n");
    let clocks = sql(
        folder.path(),
        "SELECT host, host_index AS n, reference, method, eps_ns < 40000 AS fine, violations FROM clocks \
         WHERE method NOT IN ('outside', 'gpu_causality') ORDER BY host_index",
    );
    assert_eq!(
        clocks,
        "host,n,reference,method,fine,violations\nprefill-1,0,prefill-1,reference,true,0\n\
         decode,1,prefill-1,probes+messages,true,0\nprefill-0,2,prefill-1,probes,true,0\n"
    );
    let gpu = sql(
        folder.path(),
        "SELECT sum(violations) AS early, min(offset_max_ns) >= 0 AS after, count(*) AS processes, \
         sum(observations) = (SELECT count(*) FROM kernels) AS whole FROM clocks WHERE method = 'gpu_causality'",
    );
    assert_eq!(gpu, "early,after,processes,whole\n0,true,3,true\n");
    let processes = sql(folder.path(), "SELECT process_id / 281474976710656 AS host FROM stages ORDER BY host");
    assert_eq!(processes, "host\n0\n1\n2\n");
}

#[test]
fn notifications_alone_relate_hosts_too_and_the_third_through_decode() {
    let folder = tempfile::tempdir().unwrap();
    simulated(folder.path(), "0");
    let report = said(kvpath().arg("report").arg(folder.path()));
    assert!(report.contains("(40 messages, 1 window"), "{report}");
    assert!(report.contains("through decode"), "{report}");
    let json: serde_json::Value =
        serde_json::from_str(&said(kvpath().arg("report").arg(folder.path()).arg("--json"))).unwrap();
    assert!(json["clocks"].as_array().unwrap().len() >= 3);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn hosts_that_nothing_relates_are_analysed_each_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixture("v1/even"), folder.path());
    copy(&fixture("v1/uneven"), folder.path());
    let report = said(kvpath().arg("report").arg(folder.path()));
    let line = "no message between them was recorded; it stands by itself, on its own clock";
    assert!(report.contains("uneven cannot be related to even: ") && report.contains(line), "{report}");
    let count = |run: &Path, table: &str| -> i64 {
        let text = sql(run, &format!("SELECT count(*) AS n FROM {table}"));
        text.lines().nth(1).unwrap().parse().unwrap()
    };
    for table in ["stages", "requests", "chunks", "handoffs", "layers", "bubbles", "coverage"] {
        let alone = |host: &str| count(&folder.path().join(format!("node={host}")), table);
        assert_eq!(count(folder.path(), table), alone("even") + alone("uneven"), "{table}");
    }
    let crossing = "SELECT count(*) AS n FROM handoffs h JOIN stages s USING (stage_id) \
                    WHERE h.peer_process_id / 281474976710656 <> s.process_id / 281474976710656";
    assert_eq!(sql(folder.path(), crossing), "n\n0\n");
    let clocks =
        sql(folder.path(), "SELECT host, method, eps_ns FROM clocks WHERE host_index = 1 AND process_id IS NULL");
    assert_eq!(clocks, "host,method,eps_ns\nuneven,none,\n");
}

/// Two agents' clock probes, over a real socket, on one machine under two names: their clocks are one and the same.
#[test]
fn probes_of_two_agents_relate_their_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let free = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (at_a, at_b) = (free(), free());
    let start = |listen: SocketAddr, peer: SocketAddr, name: &str| {
        let settings = Clocking { listen, peers: vec![peer.to_string()], key: "unused".into() };
        let source = ClockSource::start(&settings, b"0123456789abcdef".to_vec(), name).unwrap();
        (source, Context::new(0, Segments::new(RunWriter::new(folder.path(), name, "test", None))))
    };
    let mut agents = [start(at_a, at_b, "node-a"), start(at_b, at_a, "node-b")];
    let began = Instant::now();
    let probes = |name: &str| folder.path().join(format!("node={name}/source=clock")).is_dir();
    while !(probes("node-a") && probes("node-b")) {
        assert!(began.elapsed() < Duration::from_secs(60), "no probe came back");
        std::thread::sleep(Duration::from_millis(300));
        for (source, context) in &mut agents {
            source.write(context).unwrap();
        }
    }
    drop(agents);
    let found = sql(
        folder.path(),
        "SELECT host, reference, method, offset_min_ns <= 0 AND offset_max_ns >= 0 AS holds, violations, offset_ns BETWEEN -eps_ns \
         AND eps_ns AS within FROM clocks WHERE host_index = 1 AND method <> 'outside'",
    );
    let (host, reference) = if found.contains("\nnode-b") { ("node-b", "node-a") } else { ("node-a", "node-b") };
    assert_eq!(
        found,
        format!("host,reference,method,holds,violations,within\n{host},{reference},probes,true,0,true\n")
    );
    let ordered = "SELECT count(*) AS n FROM clock_probes WHERE sent_ns > peer_received_ns OR peer_received_ns > peer_sent_ns \
                   OR peer_sent_ns > received_ns";
    assert_eq!(sql(folder.path(), ordered), "n\n0\n");
    assert!(said(kvpath().arg("check").arg(folder.path())).contains(&format!("of {reference} (")));
}
