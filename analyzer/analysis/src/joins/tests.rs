//! Counts of runs whose joins are known.

use std::collections::BTreeMap;

use kvpath_schema::segment::RunWriter;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::joins::{Join, TransferJoin};
use kvpath_schema::tables::rdma::{RdmaOp, RdmaOps};
use kvpath_schema::tables::ucx::{UcxOp, UcxOps};
use kvpath_simulator::distort::Distortions;
use kvpath_simulator::model::{Decode, Grain, HandoffMode, Model, simulate};
use kvpath_simulator::truth::TransferTruth;

use super::*;
use crate::load::Run;
use crate::model::Model as RunModel;
use crate::settings::Settings;

const MS: i64 = 1_000_000;

fn joined(folder: &std::path::Path) -> Joined {
    let run = Run::open(folder.to_str().unwrap()).unwrap();
    let model = RunModel::new(run, Settings::default());
    model.joined().unwrap().clone()
}

fn model(mode: HandoffMode, grain: Grain) -> Model {
    let mut model = Model::ideal(&[4, 3, 5], &[MS, MS, MS]);
    model.handoff.mode = mode;
    model.handoff.grain = grain;
    Model { requests: 3, decode: Decode { layers: 12, kernel_ns: 1_000 }, ..model }
}

fn simulated(model: &Model) -> (Joined, Vec<TransferTruth>) {
    let folder = tempfile::tempdir().unwrap();
    let mut transfers = Vec::new();
    let mut keep = |request: &kvpath_simulator::truth::RequestTruth| {
        transfers.extend(request.transfers.iter().cloned());
        Ok(())
    };
    simulate(model, Some(folder.path()), Distortions::none(&["sim"]), false, &mut keep).unwrap();
    (joined(folder.path()), transfers)
}

fn by_id(joined: &Joined) -> BTreeMap<i64, TransferJoin> {
    let table = &joined.transfers;
    (0..table.len()).map(|row| (table.transfer_id[row], table.row(row))).collect()
}

fn of_kind(joined: &Joined, kind: &str) -> Vec<Join> {
    (0..joined.joins.len()).map(|row| joined.joins.row(row)).filter(|join| &*join.kind == kind).collect()
}

/// Layers before each stage.
const FIRST: [i16; 3] = [0, 4, 7];
const COUNT: [i16; 3] = [4, 3, 5];

#[test]
fn each_transfer_has_the_layers_that_it_carries() {
    let cases = [
        (HandoffMode::Push, Grain::Layer, "one_each"),
        (HandoffMode::Push, Grain::Chunk, "all"),
        (HandoffMode::Pull, Grain::Whole, "all"),
    ];
    for (mode, grain, method) in cases {
        let (joined, truth) = simulated(&model(mode, grain));
        let found = by_id(&joined);
        assert_eq!(found.len(), truth.len());
        for transfer in &truth {
            let row = &found[&transfer.transfer_id];
            let stage = usize::try_from(transfer.stage).unwrap();
            let last = COUNT[stage] - 1;
            let (from, to) = transfer.layer.map_or((0, last), |layer| (layer, layer));
            let text = |from: i16, to: i16| if from == to { from.to_string() } else { format!("{from}-{to}") };
            assert_eq!(row.layers, Some(text(from, to)), "{grain:?} {transfer:?}");
            assert_eq!(row.peer_layers, Some(text(FIRST[stage] + from, FIRST[stage] + to)), "{grain:?} {transfer:?}");
            assert_eq!((row.layers_method.as_deref(), row.stage_id), (Some(method), Some(i32::from(transfer.stage))));
            assert_eq!(row.notif_arrived_ns, transfer.notif_arrived_ns);
            assert_eq!((row.request_method.as_deref(), row.request_confidence), (Some("id"), Some(1.0)));
        }
    }
}

#[test]
fn a_region_of_all_layers_and_lost_descriptors_are_unknown() {
    let mut model = model(HandoffMode::Push, Grain::Whole);
    model.handoff.is_cross_layer = true;
    let (joined, _) = simulated(&model);
    assert!(joined.transfers.layers.iter().all(Option::is_none), "{:?}", joined.transfers.layers);
    let unknown = of_kind(&joined, "transfer_to_layers");
    assert!(!unknown.is_empty() && unknown.iter().all(|join| join.unknown == join.rows && &*join.method == "none"));
}

#[test]
fn every_row_is_joined_by_one_method_or_by_none() {
    let (joined, truth) = simulated(&model(HandoffMode::Push, Grain::Layer));
    let mut sums: BTreeMap<(Option<i64>, String), (i64, i64, i64)> = BTreeMap::new();
    for row in 0..joined.joins.len() {
        let join = joined.joins.row(row);
        let sum = sums.entry((join.process_id, join.kind.to_string())).or_insert((join.rows, join.unknown, 0));
        assert_eq!((sum.0, sum.1), (join.rows, join.unknown));
        sum.2 += join.joined;
    }
    assert!(sums.values().all(|(rows, unknown, joined)| *rows == unknown + joined), "{sums:?}");
    let count = |kind: &str| {
        let all = of_kind(&joined, kind);
        (all.iter().map(|join| join.joined).sum::<i64>(), all.iter().map(|join| join.unknown).sum::<i64>())
    };
    let transfers = i64::try_from(truth.len()).unwrap();
    for kind in ["transfer_to_peer", "transfer_to_request", "transfer_to_layers"] {
        assert_eq!(count(kind), (transfers, 0), "{kind}");
    }
    // Every kernel has its launch; of both ends of a message each is a row.
    assert_eq!(count("kernel_to_launch").1, 0);
    assert_eq!(count("send_to_receive"), (2 * 2 * 3 * 3, 0), "two hops, three chunks, three requests");
    assert_eq!(count("region_to_layer"), (12 + 12, 0));
    // Those of transfers, and decode's registrations with three stages.
    assert_eq!(count("notif_to_arrival"), (transfers + 3 * 3, 0));
    assert_eq!(count("descriptor_to_region").1, 0);
    assert!(of_kind(&joined, "ucx_op_to_transfer").is_empty(), "nothing of it was recorded");
    assert!(joined.transfers.ucx_ops.iter().all(Option::is_none));
}

/// Calls of UCX and RDMA at those times on a thread.
fn calls(folder: &std::path::Path, process_id: i64, at: &[(i64, i32)]) {
    let (mut ucx, mut rdma) = (UcxOps::default(), RdmaOps::default());
    for (start_ns, tid) in at.iter().copied() {
        let ep = 1;
        ucx.push(UcxOp {
            start_ns,
            dur_ns: 1,
            process_id,
            tid,
            op: "put".into(),
            bytes: None,
            ep,
            remote_addr: None,
            status: "done".into(),
            ended_by_ns: None,
            transport: None,
            function: None,
        });
        rdma.push(RdmaOp {
            start_ns,
            dur_ns: 1,
            process_id,
            tid,
            op: "reg_mr".into(),
            bytes: None,
            addr: None,
            qp_state: None,
            object: None,
            status: "ok".into(),
        });
    }
    let mut writer = RunWriter::new(folder, "host", "test 0", None);
    writer.write("ucx", &ucx, 0).unwrap();
    writer.write("rdma", &rdma, 0).unwrap();
}

#[test]
fn calls_belong_to_the_nixl_call_of_their_thread() {
    let mut facts = Facts::default();
    facts.process(1, "VLLM::Worker_PP0");
    // Made [8, 9] ms, posted [10, 11]; and 20 ms later.
    facts.write(1, "p", "d", 10 * MS, 1 << 20, "r-0");
    facts.write(1, "p", "d", 30 * MS, 1 << 20, "r-1");
    let at = [(8 * MS, 1), (10 * MS, 1), (11 * MS, 1), (11 * MS + 1, 1), (10 * MS, 2), (30 * MS + 5, 1), (0, 1)];
    let run = |at: &[(i64, i32)]| {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = RunWriter::new(folder.path(), "host", "test 0", None);
        writer.write("process", &facts.processes, 0).unwrap();
        writer.write("nixl", &facts.transfers, 0).unwrap();
        calls(folder.path(), 1, at);
        joined(folder.path())
    };
    let found = run(&at);
    assert_eq!(found.transfers.ucx_ops, [Some(2), Some(1)]);
    assert_eq!(found.transfers.rdma_ops, [Some(3), Some(1)], "made with a registration");
    let counts = |kind: &str| {
        of_kind(&found, kind)
            .iter()
            .map(|join| (join.method.to_string(), join.joined, join.unknown))
            .collect::<Vec<_>>()
    };
    assert_eq!(counts("ucx_op_to_transfer"), [("order".to_owned(), 3, 4)]);
    assert_eq!(counts("rdma_op_to_transfer"), [("order".to_owned(), 4, 3)]);
    assert_eq!(counts("transfer_to_ucx_ops"), [("order".to_owned(), 2, 0)]);
    assert_eq!(counts("transfer_to_peer"), [("none".to_owned(), 0, 2)]);
    let backward: Vec<(i64, i32)> = at.iter().rev().copied().collect();
    let again = run(&backward);
    assert_eq!((again.joins, again.transfers), (found.joins, found.transfers));
}

#[test]
fn a_text_that_was_sent_twice_arrives_in_order_and_none_before_it_left() {
    let mut facts = Facts::default();
    facts.agent(1, "p");
    facts.agent(9, "d");
    let mut notif = |process, direction: &str, peer: &str, time| {
        facts.notif(process, direction, peer, time, "m");
        let via = if direction == "sent" { "genNotif" } else { "unknown" };
        *facts.notifs.via.last_mut().unwrap() = via.into();
    };
    notif(1, "sent", "d", 10);
    notif(1, "sent", "d", 20);
    notif(1, "sent", "d", 30);
    notif(9, "arrived", "p", 5);
    notif(9, "arrived", "p", 15);
    notif(9, "arrived", "p", 25);
    notif(1, "sent", "nobody", 40);
    let mut tally = Tally::default();
    notifs::count(&facts, &mut tally);
    let table = tally.table();
    assert_eq!((table.rows.clone(), table.joined.clone(), table.unknown.clone()), (vec![4], vec![2], vec![2]));
    assert_eq!((table.process_id[0], &*table.kind[0], &*table.method[0]), (Some(1), "notif_to_arrival", "count"));
}
