//! What goes over sockets.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::sockets::Socket;

use crate::recorded::Recorded;
use crate::setup::{ready_to_count, text};

#[test]
fn both_ends_of_a_connection_count_the_same_bytes() {
    let Some(live) = ready_to_count("both_ends_of_a_connection_count_the_same_bytes") else { return };
    let workload = live.workload(&live.nixl, &["--tls", "tcp", "--start-delay-ms", "200"]);
    let mut agent = live.agent(&["record", "--gpu", "off", "--with", "sockets", "--out"]);
    agent.arg(live.path("run")).arg("--").arg(workload.get_program()).args(workload.get_args());
    let output = agent.output().expect("the agent");
    assert!(output.status.success(), "{}", text(&output));
    let recorded = Recorded::read(&live.path("run"));
    recorded.assert_nothing_lost();
    let rows: Vec<Socket> = (0..recorded.sockets.len()).map(|i| recorded.sockets.row(i)).collect();
    assert!(
        rows.iter().all(|row| row.first_ns <= row.last_ns && row.last_ns <= row.start_ns + row.dur_ns),
        "{rows:#?}"
    );
    // By (own end, other end).
    let mut sent: BTreeMap<(String, String), (i64, i64)> = BTreeMap::new();
    for row in rows.iter().filter(|row| &*row.protocol == "tcp") {
        let name = |end: &Option<_>| -> String {
            end.as_ref().map(|end: &kvpath_schema::cell::Name| end.to_string()).expect("an end")
        };
        let both = sent.entry((name(&row.local), name(&row.remote))).or_default();
        both.0 += row.sent_bytes;
        both.1 += row.received_bytes;
    }
    // The first words of a connection may be said before the process at its other end is watched.
    let mut carried = 0;
    for ((local, remote), (bytes, _)) in sent.iter().filter(|(_, (bytes, _))| *bytes > 1_000_000) {
        let (_, received) = sent.get(&(remote.clone(), local.clone())).expect("the other end");
        assert!((0..1_000).contains(&(bytes - received)), "{local} to {remote}: {bytes} sent, {received} received");
        carried += bytes;
    }
    let payload: i64 = recorded.transfers.bytes.iter().flatten().sum();
    assert!(payload <= carried && carried <= payload + payload / 20, "{carried} bytes for {payload}");
}
