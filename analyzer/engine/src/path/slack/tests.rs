//! What slack promises, by a replay forward that knows nothing of it.

use kvpath_simulator::distort::Distortions;
use kvpath_simulator::model::{Arrivals, Grain, HandoffMode, Model, P2p, simulate};
use proptest::prelude::*;

use super::*;
use crate::analysis::Settings;
use crate::load::Run;
use crate::path::walk::walk;

/// A run ready to be walked.
fn walker(model: &Model) -> Walker {
    let folder = tempfile::tempdir().unwrap();
    simulate(model, Some(folder.path()), Distortions::none(&["sim"]), false, &mut |_| Ok(())).unwrap();
    let run = Run::open(folder.path().to_str().unwrap()).unwrap();
    Walker::of(&run, &Settings::default()).unwrap()
}

/// When each node happens if the operation that ends with `longer` takes `by_ns` longer. A node never happens earlier than it
/// did: what else it waited for lies before the source.
fn replay(reach: &Reach, longer: usize, by_ns: i64) -> Vec<i64> {
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
        let walker = walker(&model);
        let graph = walker.graph();
        for request in walker.requests() {
            let sink = walker.sink(request).unwrap();
            let reach = Reach::of(&graph, request, sink.node);
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
        let walker = walker(&model);
        let graph = walker.graph();
        for request in walker.requests() {
            let sink = walker.sink(request).unwrap();
            let reach = Reach::of(&graph, request, sink.node);
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

    /// What binds on the path is among the edges, once a node, and what does not bind opened no later.
    #[test]
    fn edges_hold_what_came_second(model in models()) {
        let walker = walker(&model);
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
