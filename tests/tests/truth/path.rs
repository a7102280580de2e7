//! Critical paths of simulated runs: what the time to first token was spent on, where, and in which layer.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::path::PathSegment;
use kvpath_simulator::distort::{Clock, Distortions};
use kvpath_simulator::model::{BEGIN_NS, Faults, Grain, HandoffMode, Hosts, Model};
use kvpath_simulator::truth::{Category, RequestTruth, Segment};

use crate::walks::{MS, Simulated, WalkedRun, model, undistorted};

/// Share of the time that agrees with the truth where nothing is lost.
const AGREES: f64 = 0.999;

/// Joins below this are guesses.
const SURE: f64 = 0.9;

/// Time in agreement with the truth, and all there is, ns.
#[derive(Debug, Default)]
pub(crate) struct Score {
    pub all: i64,
    /// Of it, of the right category.
    pub category: i64,
    stage: i64,
    compute: i64,
    layer: i64,
    /// Compute that was found on another stage than the one that computed.
    pub wrong_stage: i64,
    /// Of it, what was found for sure, and is of another category or stage.
    pub wrong: i64,
    /// The same, with what was found by a guess.
    pub wrong_or_guessed: i64,
    /// Mean coverage.
    pub explained: f64,
    /// What did not agree: the truth's category and stage, ours, ns.
    apart: BTreeMap<String, i64>,
}

impl Score {
    fn share(part: i64, all: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share of some seconds")]
        let share = if all == 0 { 1.0 } else { part as f64 / all as f64 };
        share
    }

    /// Share of the right category.
    pub(crate) fn category_share(&self) -> f64 {
        Self::share(self.category, self.all)
    }

    /// Share for which a wrong cause was found, for sure, and whether or not.
    pub(crate) fn wrong_shares(&self) -> (f64, f64) {
        (Self::share(self.wrong, self.all), Self::share(self.wrong_or_guessed, self.all))
    }

    /// Share of the right category and stage.
    pub(crate) fn stage_share(&self) -> f64 {
        Self::share(self.stage, self.all)
    }

    fn layer_share(&self) -> f64 {
        Self::share(self.layer, self.compute)
    }
}

/// Plans and polls of an engine are recorded nowhere: all that is known is that nothing of the request ran.
fn plan(category: &str) -> &str {
    match category {
        "queue" | "schedule" | "poll_delay" => "plan",
        other => other,
    }
}

fn name(category: Category) -> String {
    serde_json::to_value(category).expect("a name").as_str().expect("a text").to_owned()
}

/// What a stretch is: its category, and the stage where it has one of its own.
#[derive(Debug, PartialEq)]
struct Kind<'a> {
    category: &'a str,
    stage: Option<i32>,
    chunk: Option<i32>,
    layer: Option<i32>,
    of_request: Option<i32>,
}

impl Kind<'_> {
    /// Whether two stretches are alike in category, and in stage. What lies between processes is at either.
    fn is_like(&self, found: &Self) -> (bool, bool) {
        // What a thread does between its calls is not told apart.
        let is_planned = matches!((self.category, found.category), ("plan", "host") | ("plan" | "host", "waiting"));
        let is_between = matches!(found.category, "plan" | "wire" | "notify" | "ready_wait" | "make" | "post");
        let is_same = self.category == found.category || is_planned;
        (is_same, is_same && (is_between || self.stage == found.stage))
    }

    fn is_layer_of(&self, found: &Self) -> bool {
        let place = |kind: &Self| (kind.chunk, kind.layer, kind.of_request);
        self.is_like(found).1 && place(self) == place(found)
    }
}

fn of_truth<'a>(own: &Segment, name: &'a str) -> Kind<'a> {
    Kind {
        category: plan(name),
        stage: own.stage.map(i32::from),
        chunk: own.chunk,
        layer: own.layer.map(i32::from),
        of_request: i32::try_from(own.request).ok(),
    }
}

fn of_found(found: &PathSegment) -> Kind<'_> {
    let PathSegment { stage_id, chunk, layer, of_request, .. } = *found;
    Kind { category: plan(&found.category), stage: stage_id, chunk, layer, of_request }
}

/// Holds the segments of a request against its true path. Where clocks are uncertain by `eps_ns`, what was found at a time
/// may be what was true so much earlier or later.
fn compare(truth: &RequestTruth, segments: &[PathSegment], (clock, eps_ns): (&Clock, i64), score: &mut Score) {
    let names: Vec<String> = truth.path.iter().map(|own| name(own.category)).collect();
    let spans: Vec<(i64, i64)> =
        truth.path.iter().map(|own| (clock.read(own.start_ns), clock.read(own.end_ns))).collect();
    let mut at = 0;
    for (own, (start, end)) in spans.iter().copied().enumerate() {
        while at < segments.len() && segments[at].start_ns + segments[at].dur_ns <= start {
            at += 1;
        }
        let is_compute = names[own] == "compute" && truth.path[own].chunk.is_some();
        for found in segments[at..].iter().take_while(|found| found.start_ns < end) {
            let (from, until) = (found.start_ns.max(start), (found.start_ns + found.dur_ns).min(end));
            let near = spans.partition_point(|span| span.1 + eps_ns <= from)
                ..spans.partition_point(|span| span.0 - eps_ns < until);
            let is_sure = found.confidence >= SURE;
            let found = of_found(found);
            let kinds: Vec<Kind> = near.map(|at| of_truth(&truth.path[at], &names[at])).collect();
            let is = |like: &dyn Fn(&Kind) -> bool| if kinds.iter().any(like) { until - from } else { 0 };
            score.category += is(&|kind| kind.is_like(&found).0);
            let there = is(&|kind| kind.is_like(&found).1);
            score.stage += there;
            score.compute += if is_compute { until - from } else { 0 };
            score.layer += if is_compute { is(&|kind| kind.is_layer_of(&found)) } else { 0 };
            if there == 0 {
                score.wrong_stage += if found.category == "compute" { until - from } else { 0 };
                if found.category != "unexplained" {
                    score.wrong += if is_sure { until - from } else { 0 };
                    score.wrong_or_guessed += until - from;
                }
                let truth = of_truth(&truth.path[own], &names[own]);
                let key =
                    format!("{} of {:?} found as {} of {:?}", truth.category, truth.stage, found.category, found.stage);
                *score.apart.entry(key).or_default() += until - from;
            }
        }
        score.all += end - start;
    }
}

/// The id of a request without what the engines of prefill and decode add to it: `chatcmpl-UUID`, `chatcmpl-UUID-00000007`.
fn simulated_id(id: &str) -> &str {
    let end = id.match_indices('-').nth(5).map_or(id.len(), |(at, _)| at);
    &id[..end]
}

/// Scores a run, after checking what holds of every path: without holes, in order, none empty, summing up to what the client
/// measured, to the ns.
fn score(simulated: &Simulated, walked: &WalkedRun) -> Score {
    let (paths, segments) = (&walked.found.paths, &walked.found.segments);
    assert_eq!(paths.len(), simulated.truth.len(), "a path for every request");
    let mut score = Score::default();
    let clock = &walked.reference;
    let rows: BTreeMap<&str, usize> =
        (0..paths.len()).filter_map(|row| Some((simulated_id(paths.request_id[row].as_deref()?), row))).collect();
    let mut own: BTreeMap<i32, Vec<PathSegment>> = BTreeMap::new();
    for row in 0..segments.len() {
        own.entry(segments.request[row]).or_default().push(segments.row(row));
    }
    for truth in &simulated.truth {
        let row = rows.get(truth.request_id.as_str()).copied();
        let path = paths.row(row.unwrap_or_else(|| panic!("no path of {}", truth.request_id)));
        let own = own.remove(&path.request).unwrap_or_default();
        let (arrival, first_token) = (clock.read(truth.arrival_ns), clock.read(truth.first_token_ns));
        assert_eq!((path.source_ns, path.end_ns, path.ttft_ns), (arrival, first_token, first_token - arrival));
        let mut at = arrival;
        for (position, segment) in own.iter().enumerate() {
            assert_eq!(segment.position, i32::try_from(position).expect("few"), "{segment:?}");
            assert!(segment.start_ns == at && segment.dur_ns > 0, "at {at}: {segment:?}");
            at += segment.dur_ns;
        }
        assert_eq!(at, first_token, "{}", truth.request_id);
        assert_eq!(usize::try_from(path.segments), Ok(own.len()));
        score.explained += path.coverage;
        compare(truth, &own, (clock, walked.eps_ns), &mut score);
    }
    #[expect(clippy::cast_precision_loss, reason = "a few requests")]
    let requests = simulated.truth.len() as f64;
    score.explained /= requests;
    score
}

/// Scores a run, and says how.
pub(crate) fn scored(name: &str, simulated: &Simulated, walked: &WalkedRun) -> Score {
    let score = score(simulated, walked);
    println!(
        "{name}: category {:.5}, stage {:.5}, layer {:.5}, explained {:.5}, wrong {:.5} and by guess {:.5}; {:?}",
        score.category_share(),
        score.stage_share(),
        score.layer_share(),
        score.explained,
        score.wrong_shares().0,
        score.wrong_shares().1,
        score.apart
    );
    score
}

/// Nearly all of the time agrees with the truth: in category, in stage, and of compute in request, chunk and layer.
pub(crate) fn assert_agrees(name: &str, score: &Score) {
    assert!(score.category_share() >= AGREES, "{name}: category {:.5}: {:?}", score.category_share(), score.apart);
    assert!(score.stage_share() >= AGREES, "{name}: stage {:.5}: {:?}", score.stage_share(), score.apart);
    assert!(score.layer_share() >= AGREES, "{name}: layer {:.5}", score.layer_share());
    assert_eq!(score.wrong_stage, 0, "{name}: {:?}", score.apart);
}

/// Walks a run, and scores it.
fn walked(name: &str, simulated: &Simulated) -> Score {
    scored(name, simulated, &simulated.walk())
}

fn model_agrees(name: &str, model: &Model) {
    assert_agrees(name, &walked(name, &Simulated::of_model(model, undistorted(model))));
}

fn whole() -> Model {
    model(1, HandoffMode::Push, Grain::Whole)
}

#[test]
fn the_exact_cases_have_their_paths() {
    for number in (1..=13).filter(|number| *number != 8) {
        let name = format!("case {number}");
        assert_agrees(&name, &walked(&name, &Simulated::of_case(number)));
    }
}

/// Two ranks without a hand-off: nothing recorded tells on which of two streams that end together the first token came.
#[test]
fn late_senders_and_receivers_have_their_categories() {
    let score = walked("case 8", &Simulated::of_case(8));
    assert!(score.category == score.all && score.stage_share() > 0.96, "{score:?}");
}

#[test]
fn paths_are_found_whatever_is_handed_over_and_how_many_run_at_a_time() {
    for concurrency in [1, 4] {
        for grain in [Grain::Whole, Grain::Chunk, Grain::Layer] {
            let name = format!("push {grain:?}, {concurrency} at a time");
            model_agrees(&name, &model(concurrency, HandoffMode::Push, grain));
        }
        let name = format!("pull, {concurrency} at a time");
        model_agrees(&name, &model(concurrency, HandoffMode::Pull, Grain::Whole));
    }
}

/// Without hand-offs nothing recorded tells requests apart, so no chunk or layer is a request's.
#[test]
fn without_a_hand_off_the_client_alone_tells_of_requests() {
    for concurrency in [1, 4] {
        let model = model(concurrency, HandoffMode::None, Grain::Whole);
        let score = walked("none", &Simulated::of_model(&model, undistorted(&model)));
        assert!(score.category_share() >= AGREES && score.stage_share() >= AGREES, "{score:?}");
    }
}

#[test]
fn hand_offs_late_slow_scattered_or_seen_late_are_on_the_path() {
    let with = |change: &dyn Fn(&mut Model)| {
        let mut model = whole();
        change(&mut model);
        model
    };
    for late in [30 * MS, 90 * MS, 500 * MS] {
        model_agrees(&format!("registered {} ms late", late / MS), &with(&|model| model.handoff.register_ns = late));
    }
    model_agrees("scattered", &with(&|model| model.handoff.is_scattered = true));
    model_agrees("cross-layer", &with(&|model| model.handoff.is_cross_layer = true));
    model_agrees("slow poll", &with(&|model| model.handoff.decode_poll_ns = 30 * MS));
    model_agrees("eager messages", &with(&|model| model.p2p.fifo_bytes = 256 << 20));
    model_agrees("no overheads", &with(&|model| model.calls = Model::ideal(&[1], &[1]).calls));
}

#[test]
fn faults_are_on_the_path_where_they_are() {
    for (name, faults) in [
        ("slow layer", Faults { slow_layers: vec![(1, 3, 3000)], ..Faults::default() }),
        ("host pause", Faults { host_pauses: vec![(1, 2, 20 * MS)], ..Faults::default() }),
        ("slow link", Faults { slow_links: vec![(0, 4000)], ..Faults::default() }),
        ("slow hand-off", Faults { slow_handoffs: vec![(1, 4000)], ..Faults::default() }),
        ("failing transfers", Faults { failing: vec![(1, 0), (3, 2)], ..Faults::default() }),
    ] {
        model_agrees(name, &Model { faults, ..whole() });
    }
}

/// Boundaries between hosts may be off by the error of their clocks, and by no more.
#[test]
fn hosts_whose_clocks_are_apart_have_one_path() {
    for (name, hosts) in [("two hosts", Hosts::Split), ("four hosts", Hosts::Each)] {
        let model = Model { hosts, ..whole() };
        let mut distort = Distortions { probe_hz: 50, ..undistorted(&model) };
        for (at, clock) in (0i64..).zip(&mut distort.clocks) {
            *clock = Clock { offset_ns: 3 * MS * at, drift_ppb: 20_000 * at, zero_ns: BEGIN_NS, ..clock.clone() };
        }
        assert_agrees(name, &walked(name, &Simulated::of_model(&model, distort)));
    }
}

/// What is lost is not explained, and nothing else is put in its place.
#[test]
fn lost_records_leave_time_unexplained_and_blame_no_stage() {
    let chunks = model(4, HandoffMode::Push, Grain::Chunk);
    for (name, model) in [("whole", whole()), ("by chunk, 4 at a time", chunks)] {
        let lossy = |loss_ppm| {
            let distort = Distortions { loss_ppm, ..undistorted(&model) };
            walked(&format!("{name}, {loss_ppm} ppm lost"), &Simulated::of_model(&model, distort))
        };
        let (all, most, less) = (lossy(0), lossy(1_000), lossy(10_000));
        assert!(all.explained > most.explained && most.explained > less.explained, "{name}");
        assert_eq!((all.wrong_stage, most.wrong_stage, less.wrong_stage), (0, 0, 0), "{name}");
        assert!(most.wrong_shares().1 < 0.0005 && less.wrong_shares().1 < 0.005, "{name}: {most:?}, {less:?}");
        assert!(most.category_share() > 0.99 && less.category_share() > 0.98, "{name}");
    }
    let case = walked("case 14", &Simulated::of_case(14));
    assert!(case.wrong_stage == 0 && case.explained < 1.0 && case.category_share() > 0.99, "{case:?}");
}
