//! What slack promises, by a replay forward that knows nothing of it.

use kvpath_simulator::distort::Distortions;
use kvpath_simulator::model::{Arrivals, Grain, HandoffMode, Model, P2p, simulate};
use proptest::prelude::*;

use super::*;
use crate::graph::Transfers;
use crate::graph::pairs::Pairs;
use crate::load::Run;
use crate::model::{Model as RunModel, Recording};
use crate::path::walk::walk;
use crate::settings::Settings;
use crate::timeline::recorded::{Sync, SyncKind};
use crate::timeline::{LaneId, Timeline, Waits};

/// A run ready to be walked.
fn loaded(model: &Model) -> RunModel {
    let folder = tempfile::tempdir().unwrap();
    simulate(model, Some(folder.path()), Distortions::none(&["sim"]), false, &mut |_| Ok(())).unwrap();
    let run = Run::open(folder.path().to_str().unwrap()).unwrap();
    let loaded = RunModel::new(run, Settings::default());
    // What is not read now is gone with the folder.
    loaded.walker().unwrap();
    loaded
}

/// When each node happens if the operation that ends with `longer` takes `by_ns` longer. A node never happens earlier than it
/// did: what else it waited for lies before the source.
fn replay(reach: &ReachableGraph, longer: usize, by_ns: i64) -> Vec<i64> {
    let mut at: Vec<i64> = reach.nodes.iter().map(|(at, _)| *at).collect();
    at[longer] += by_ns;
    let mut has_changed = true;
    while has_changed {
        has_changed = false;
        // From the first node on; those of the same ns in any order, so again until nothing moves.
        for node in (0..at.len()).rev() {
            let after = reach.edges[node].iter().map(|(before, lag)| at[*before] + lag).max();
            if let Some(after) = after.filter(|after| *after > at[node]) {
                at[node] = after;
                has_changed = true;
            }
        }
    }
    at
}

fn models() -> impl Strategy<Value = Model> {
    let handed_over =
        vec![(HandoffMode::Push, Grain::Whole), (HandoffMode::Push, Grain::Layer), (HandoffMode::Pull, Grain::Whole)];
    let load = (1u32..4, 1u32..3, 0i64..40_000, 0u64..1_000);
    (prop::sample::select(handed_over), load, 0i64..3_000, 0i64..100_000).prop_map(
        |((mode, grain), (requests, concurrency, noise_ppm, seed), dispatch_ns, message_ns)| {
            let mut model = Model::ideal(&[2, 1, 2], &[200_000, 300_000]);
            model.handoff.mode = mode;
            model.handoff.grain = grain;
            model.handoff.bytes_per_s = 20_000_000_000;
            model.handoff.message_ns = message_ns;
            model.handoff.decode_poll_ns = 50_000;
            model.calls.dispatch_ns = dispatch_ns;
            model.p2p = P2p { bytes: 4 << 20, bytes_per_s: 100_000_000_000, latency_ns: 5_000, fifo_bytes: 0 };
            let arrivals = Arrivals::Closed { think_ns: 1_000 };
            Model { requests, concurrency, noise_ppm, seed, arrivals, host_lead: 1, ..model }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_first_token_is_later_by_what_exceeds_the_slack(model in models(), picks in prop::collection::vec(any::<u32>(), 24)) {
        let loaded = loaded(&model);
        let walker = loaded.walker().unwrap();
        let graph = walker.graph();
        for request in walker.requests() {
            let sink = walker.sink(request).unwrap();
            let reach = ReachableGraph::of(&graph, request, sink.node);
            let slack = reach.slack();
            prop_assert_eq!(reach.nodes[0].1, sink.node);
            prop_assert!(slack.iter().all(|(slack, free)| (0..i64::MAX).contains(slack) && (0..=*slack).contains(free)));
            for pick in &picks {
                let node = *pick as usize % reach.nodes.len();
                let own = slack[node].0;
                prop_assert_eq!(replay(&reach, node, 0)[0], reach.nodes[0].0, "as it was");
                prop_assert_eq!(replay(&reach, node, own)[0], reach.nodes[0].0);
                prop_assert_eq!(replay(&reach, node, own + 7)[0], reach.nodes[0].0 + 7);
                let moved = replay(&reach, node, slack[node].1);
                let others = (0..moved.len()).filter(|other| *other != node);
                prop_assert!(node == 0 || others.into_iter().all(|other| moved[other] == reach.nodes[other].0));
            }
        }
    }

    #[test]
    fn on_the_path_there_is_none(model in models()) {
        let loaded = loaded(&model);
        let walker = loaded.walker().unwrap();
        let graph = walker.graph();
        for request in walker.requests() {
            let sink = walker.sink(request).unwrap();
            let reach = ReachableGraph::of(&graph, request, sink.node);
            let slack = reach.slack();
            let mut met = 0;
            let _ = walk_seeing(&graph, request, sink.node, request.source_ns, |node| {
                let at = reach.nodes.iter().position(|(_, other)| *other == node.node).unwrap();
                assert_eq!(slack[at], (0, 0), "{node:?}");
                met += 1;
            });
            prop_assert!(met > walk(&graph, request, sink.node, request.source_ns).steps.len());
            let table = walker.slack(request.number).unwrap();
            prop_assert!(table.slack_ns.iter().all(|slack| *slack >= 0) && table.len() > met / 4);
            prop_assert!(walker.slack(-1).is_none());
            prop_assert!(table.start_ns.is_sorted());
        }
    }

    /// Of an operation on the path none is left, and the table says so of every segment.
    #[test]
    fn segments_have_none(model in models()) {
        let loaded = loaded(&model);
        let walker = loaded.walker().unwrap();
        for request in walker.requests() {
            let (_, segments) = walker.path(request).unwrap();
            let table = walker.slack(request.number).unwrap();
            for segment in segments.iter().filter(|segment| matches!(&*segment.kind, "work" | "completion")) {
                let key = (segment.process_id, segment.correlation_id, segment.transfer_id, &segment.table_name, &segment.name);
                let is_it = |row: &usize| {
                    let own = (table.process_id[*row], table.correlation_id[*row], table.transfer_id[*row]);
                    (own.0, own.1, own.2, &table.table_name[*row], &table.name[*row]) == key
                        && table.start_ns[*row] + table.dur_ns[*row] == segment.start_ns + segment.dur_ns
                };
                let found: Vec<i64> = (0..table.len()).filter(is_it).map(|row| table.slack_ns[row]).collect();
                prop_assert!(!found.is_empty() && found.iter().all(|slack| *slack == 0), "{segment:?}: {found:?}");
            }
        }
    }

    /// What binds on the path is among the edges, once a node, and what does not bind opened no later.
    #[test]
    fn edges_hold_what_came_second(model in models()) {
        let loaded = loaded(&model);
        let walker = loaded.walker().unwrap();
        let found = walker.paths(|_| true);
        for (path, request) in walker.requests().iter().enumerate() {
            let edges = walker.edges(request.number).unwrap();
            let (mut bound, mut last) = (0, -1);
            for row in 0..edges.len() {
                prop_assert!(edges.node[row] >= last);
                last = edges.node[row];
                prop_assert!(edges.at_ns[row] <= edges.time_ns[row]);
                prop_assert!(edges.margin_ns[row].is_none_or(|margin| margin >= 0));
                prop_assert!(!edges.is_bound[row] || edges.margin_ns[row] == Some(0));
                bound += usize::from(edges.is_bound[row]);
            }
            let own = |row: &usize| found.segments.request[*row] == request.number;
            for row in (0..found.segments.len()).filter(own) {
                let Some(gate) = found.segments.gate[row].clone().filter(|_| &*found.segments.kind[row] == "gap") else {
                    continue;
                };
                let position = Some(found.segments.position[row]);
                let end = found.segments.start_ns[row] + found.segments.dur_ns[row];
                let is_it = |edge: usize| {
                    edges.position[edge] == position && edges.is_bound[edge] && edges.gate[edge] == gate
                        && edges.time_ns[edge] == end && edges.at_ns[edge] <= found.segments.start_ns[row]
                };
                prop_assert!((0..edges.len()).any(is_it), "{:?}", found.segments.row(row));
            }
            prop_assert!(bound > 0 && found.paths.segments[path] > 0);
        }
    }
}

proptest! {
    // Each case is three runs.
    #![proptest_config(ProptestConfig::with_cases(10))]

    /// The simulator knows nothing of slack: a stage that takes a chunk's slack longer makes the first token no later than by a
    /// reaction to what it did not wait for before, and one that takes more than that does.
    #[test]
    fn a_stage_may_take_its_slack_longer_and_no_more(
        costs in prop::collection::vec(prop::collection::vec(100_000i64..400_000, 3), 2..4),
        (is_whole, dispatch_ns, lead) in (any::<bool>(), 0i64..3_000, 0u32..3),
        pick in any::<prop::sample::Index>(),
    ) {
        let mut model = Model::ideal(&vec![2; costs.len()], &[300_000; 3]);
        model.handoff.grain = if is_whole { Grain::Whole } else { Grain::Chunk };
        // Transfers do not queue: for whose bytes the link was busy is told from rates, and only roughly.
        model.handoff.bytes_per_s = 0;
        model.calls.dispatch_ns = dispatch_ns;
        model.host_lead = lead;
        let ttft = |loaded: &RunModel| {
            let walker = loaded.walker().unwrap();
            walker.path(&walker.requests()[0]).unwrap().0.ttft_ns
        };
        let at = pick.index(costs.len() * 3);
        let (stage, chunk) = (at / 3, at % 3);
        model.stage_ns = Some(costs.clone());
        let own = loaded(&model);
        let walker = own.walker().unwrap();
        let table = walker.slack(walker.requests()[0].number).unwrap();
        // So short a run does not show its chunks: each has as many kernels.
        let is_it = |row: &usize| {
            let name = table.name[*row].as_deref().unwrap_or("nccl");
            table.stage_id[*row] == i32::try_from(stage).ok() && table.stream_id[*row].is_some() && !name.contains("nccl")
        };
        let kernels: Vec<usize> = (0..table.len()).filter(is_it).collect();
        let each = kernels.len() / 3;
        let slack = kernels[chunk * each..][..each].iter().map(|row| table.slack_ns[*row]).min().unwrap();
        let with = |more: i64| {
            let mut costs = costs.clone();
            costs[stage][chunk] += more;
            ttft(&loaded(&Model { stage_ns: Some(costs), ..model.clone() }))
        };
        prop_assert!(with(slack) <= ttft(&own) + dispatch_ns, "slack {slack}: {} after {}", with(slack), ttft(&own));
        prop_assert!(with(slack + 50_000) > ttft(&own), "slack {slack}");
    }
}

/// The graph of operations made by hand, from the end of one of them.
fn reach(recording: &Recording, sink: Node) -> ReachableGraph {
    let (transfers, pairs) = (Transfers::default(), Pairs::default());
    let graph = Graph {
        timeline: &recording.timeline,
        transfers: &transfers,
        pairs: &pairs,
        stages: &crate::graph::stages::Stages::default(),
    };
    ReachableGraph::of(&graph, &Request::default(), sink)
}

fn slack_of(reach: &ReachableGraph, node: Node) -> Option<(i64, i64)> {
    let at = reach.nodes.iter().position(|(_, other)| *other == node)?;
    Some(reach.slack()[at])
}

fn thread(timeline: &Timeline) -> u32 {
    timeline.find(LaneId { process: 1, kind: LaneKind::Thread(1) }).unwrap()
}

#[test]
fn what_was_over_before_it_was_waited_for_has_the_slack_until_then() {
    let mut recording = Recording::default();
    recording.timeline.add_call(1, 1, "cudaLaunchKernel", (100, 110, 1));
    recording.kernel(1, 7, "k", 120, 80);
    recording.timeline.lanes[0].1.key = vec![1].into();
    recording.timeline.add_call(1, 1, "cudaStreamSynchronize", (500, 510, 2));
    let sync = Sync {
        process: 1,
        context: 1,
        stream: Some(7),
        event: None,
        recording: None,
        correlation: 2,
        kind: SyncKind::Stream,
    };
    recording.timeline.waits = Waits::by_hand(&[sync], &[], |id| recording.timeline.find(id));
    let kernel = Node::end(op(
        recording.timeline.find(LaneId { process: 1, kind: LaneKind::Stream { context: 1, stream: 7 } }).unwrap(),
        0,
    ));
    let reach = reach(&recording, Node::end(op(thread(&recording.timeline), 1)));
    assert_eq!(slack_of(&reach, kernel), Some((310, 310)), "over at 200, and the call returned at 510");
    assert_eq!(slack_of(&reach, Node::end(op(thread(&recording.timeline), 0))), Some((0, 0)));
}

#[test]
fn a_call_within_another_one_has_no_more_slack_than_that() {
    let mut recording = Recording::default();
    for (name, span_and_key) in [("outer", (100, 200, 1)), ("inner", (120, 150, 2)), ("last", (210, 220, 3))] {
        recording.timeline.add_call(1, 1, name, span_and_key);
    }
    let thread = thread(&recording.timeline);
    let reach = reach(&recording, Node::end(op(thread, 2)));
    assert_eq!(slack_of(&reach, Node::end(op(thread, 1))), Some((0, 0)));
}

#[test]
fn a_kind_of_gate_that_never_bound_reacts_as_its_like_do() {
    let after = |from: i64, gap, kind, is_bound| EdgeBeforeLag {
        from: Node::end(Op::Lane(0, u32::try_from(from).unwrap())),
        to: Node::start(Op::Lane(0, u32::try_from(from + 1).unwrap())),
        gap,
        kind: Some((kind, Reacts::Stream { is_end: false })),
        is_bound,
    };
    let seen = [after(0, 90, GateKind::EventWait, false), after(2, 4, GateKind::StreamOrder, true)];
    let mut nodes = HashMap::new();
    for (edge, at) in seen.iter().zip([1000, 2000]) {
        nodes.extend([(edge.to, at), (edge.from, at - edge.gap)]);
    }
    let lags = |seen: &[EdgeBeforeLag]| {
        let mut lags: Vec<i64> = ReachableGraph::with_lags(seen[0].to, nodes.clone(), seen)
            .edges
            .into_iter()
            .flatten()
            .map(|(_, lag)| lag)
            .collect();
        lags.sort_unstable();
        lags
    };
    assert_eq!(lags(&seen), [4, 4]);
    assert_eq!(lags(&seen[..1]), [0], "nothing is known of it");
}
