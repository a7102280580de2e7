//! Runs a model: adds requests as they become due, serves links, writes what is over, and forgets it.

use std::collections::VecDeque;
use std::path::Path;

use kvpath_schema::segment::SegmentError;

use super::build::{Builder, Request};
use super::{Model, ModelError, Topology};
use crate::distort::Distortions;
use crate::engine::{Node, Ns, OpId};
use crate::ids;
use crate::record::Recorder;
use crate::rig::Rig;
use crate::truth::{self, BubbleTruth, CLASSES, Class, RequestTruth, RunTruth, Tracker, TruthError, WaitSplit};

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The records.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The truth.
    #[error(transparent)]
    Truth(#[from] TruthError),
}

/// A model as it runs.
#[derive(Debug)]
pub struct Simulation {
    rig: Rig,
    builder: Builder,
    recorder: Recorder,
    trackers: Vec<Tracker>,
    /// Requests that are not over, oldest first.
    live: VecDeque<Request>,
    /// First-token operations of the last requests: as many as are admitted at a time.
    sinks: VecDeque<OpId>,
    next: u32,
    /// Arrival of the next request, of an open stream.
    due: Option<Ns>,
    /// Whether the truth holds paths by operation.
    has_paths: bool,
    /// End of the windows so far, and the time in none of them.
    covered: Option<(Ns, Ns)>,
}

/// Simulates a model, records it below `run` (nowhere if that is `None`), and hands every request's truth over as soon as
/// it is known.
///
/// # Errors
/// A setting that makes no sense, or records or truth that cannot be written.
pub fn simulate(
    model: &Model,
    run: Option<&Path>,
    distort: Distortions,
    has_paths: bool,
    each: &mut dyn FnMut(&RequestTruth) -> Result<(), TruthError>,
) -> Result<RunTruth, RunError> {
    Simulation::new(model, run, distort, has_paths)?.run(each)
}

/// Handles that the events of a process share: at least as many as are recorded (of a receive and of a pass, for each chunk)
/// until a host has caught up with the first of them, because a blocking call waits for what its handle recorded last.
fn event_handles(model: &Model) -> u64 {
    let least = (2 * u64::from(model.host_lead)).saturating_sub(1).max(1);
    if model.handoff.reuses { least } else { least.max(64) }
}

impl Simulation {
    fn new(model: &Model, run: Option<&Path>, distort: Distortions, has_paths: bool) -> Result<Self, RunError> {
        model.check()?;
        let mut rig = Rig::default();
        let topology = Topology::build(model, &mut rig);
        let mut recorder = Recorder::new(run, model.seed, distort);
        recorder = recorder.with_event_handles(event_handles(model));
        topology.record(model, &rig, &mut recorder);
        let mut builder = Builder::new(model.clone(), topology);
        let due = builder.next_arrival();
        let trackers = (0..model.stages()).map(|_| Tracker::default()).collect();
        let (live, sinks) = (VecDeque::new(), VecDeque::new());
        Ok(Self { rig, builder, recorder, trackers, live, sinks, next: 0, due, has_paths, covered: None })
    }

    fn run(mut self, each: &mut dyn FnMut(&RequestTruth) -> Result<(), TruthError>) -> Result<RunTruth, RunError> {
        loop {
            let goes_on = self.advance();
            self.classify();
            self.finish_requests(each)?;
            if !goes_on {
                break;
            }
        }
        assert!(self.live.is_empty(), "operations of the model wait for each other");
        self.retire(Ns::MAX);
        let model = &self.builder.model;
        self.recorder.probes(model.seed);
        let truth = RunTruth {
            format: truth::FORMAT,
            made_by: "model".to_owned(),
            seed: model.seed,
            model: serde_json::to_value(model).ok(),
            clocks: self.recorder.distortions().clocks.clone(),
            lanes: self.rig.lanes.clone(),
            stages: self.builder.topology.truth(model, &self.rig),
            requests: u64::from(self.next),
            no_work_ns: self.covered.map_or(0, |(_, idle)| idle),
            rows: self.recorder.rows(),
            figures: std::collections::BTreeMap::new(),
        };
        self.recorder.finish(&self.rig)?;
        Ok(truth)
    }

    /// Adds the next request or serves a link, whichever comes first; `false` when all is done.
    fn advance(&mut self) -> bool {
        let model = &self.builder.model;
        let (requests, concurrency) = (model.requests, model.concurrency as usize);
        if self.next < requests {
            let before = if self.sinks.len() < concurrency { None } else { self.sinks.front().copied() };
            let freed = before.map(|sink| self.rig.engine.time(Node::end(sink)));
            // A request that waits for another is added once that one's end is known: until then a link has work.
            if freed != Some(None) {
                let from = freed.flatten().max(self.due).unwrap_or(Ns::MIN);
                if self.rig.engine.next_ready().is_none_or(|ready| from <= ready) {
                    self.add(before, concurrency);
                    return true;
                }
            }
        }
        self.rig.engine.serve()
    }

    fn add(&mut self, before: Option<OpId>, concurrency: usize) {
        let request = self.builder.request(&mut self.rig, self.next, self.due, before);
        if self.sinks.len() == concurrency {
            self.sinks.pop_front();
        }
        self.sinks.push_back(request.sink);
        self.live.push_back(request);
        self.next += 1;
        self.due = self.builder.next_arrival();
    }

    /// Takes the kernels that have times, stage by stage in order, and finds out what each waited for.
    fn classify(&mut self) {
        while let Some(id) = self.rig.engine.take_settled() {
            let Some(op) = self.rig.engine.get(id) else { continue };
            let (label, stage) = (op.label, usize::try_from(op.label.stage).unwrap_or(0));
            let idle = self.trackers[stage].kernel(&self.rig.engine, label.stage, id, op);
            let Some(request) = self.live.iter_mut().find(|request| request.number == label.request) else { continue };
            if request.first[stage] != id {
                request.intervals[stage][usize::try_from(label.chunk).unwrap_or(0)].idle.add(&idle);
            }
        }
    }

    /// All that happens before this has its times.
    fn horizon(&self) -> Ns {
        let ready = self.rig.engine.next_ready();
        let due = (self.next < self.builder.model.requests).then(|| self.due.unwrap_or(Ns::MIN));
        // A closed stream's next request comes after the end of one that is live.
        let due = due.map(|due| {
            let first = self.sinks.front().filter(|_| self.sinks.len() >= self.builder.model.concurrency as usize);
            let freed = first.map_or(Some(Ns::MIN), |sink| self.rig.engine.time(Node::end(*sink)));
            freed.map_or(Ns::MAX, |freed| freed.max(due))
        });
        ready.unwrap_or(Ns::MAX).min(due.unwrap_or(Ns::MAX))
    }

    fn finish_requests(
        &mut self,
        each: &mut dyn FnMut(&RequestTruth) -> Result<(), TruthError>,
    ) -> Result<(), RunError> {
        let horizon = self.horizon();
        while let Some(request) = self.live.front() {
            let end = |op: &OpId| self.rig.engine.time(Node::end(*op));
            let ends = request.last.iter().chain(&request.tail).chain([&request.sink]).map(end);
            let Some(over) = ends.collect::<Option<Vec<Ns>>>().and_then(|ends| ends.into_iter().max()) else { break };
            if over > horizon {
                break;
            }
            let request = self.live.pop_front().expect("it was there just now");
            let truth = self.truth(&request);
            each(&truth)?;
            // What the next requests may still wait for is kept: all since the oldest one that is live was admitted, and
            // the first token whose request makes room for them.
            let time = |op: OpId| self.rig.engine.time(Node::end(op));
            let live = self.live.front().and_then(|next| time(next.admission)).unwrap_or(truth.admitted_ns);
            let place = self.sinks.front().and_then(|sink| time(*sink)).unwrap_or(Ns::MAX);
            self.retire(live.min(place));
        }
        Ok(())
    }

    fn retire(&mut self, floor: Ns) {
        while let Some((_, op)) = self.rig.engine.retire(floor) {
            self.recorder.op(&self.rig, &op);
        }
        for tracker in &mut self.trackers {
            tracker.forget(floor);
        }
    }

    fn truth(&mut self, request: &Request) -> RequestTruth {
        let time = |node| self.rig.engine.time(node).expect("a request that is over has all its times");
        let ends = (request.arrival, request.admission);
        let path = truth::path_of_request(&self.rig, request.number, request.sink, ends);
        let (arrival_ns, admitted_ns) = (time(Node::end(ends.0)), time(Node::end(ends.1)));
        let first_token_ns = time(Node::end(request.sink));
        let start = request.first.iter().map(|op| time(Node::start(*op))).min().unwrap_or(admitted_ns);
        let end = request.last.iter().map(|op| time(Node::end(*op))).max().unwrap_or(admitted_ns);
        let causes = truth::root_causes(&request.intervals);
        let bubbles = (0..request.first.len())
            .map(|stage| {
                let own = (time(Node::start(request.first[stage])), time(Node::end(request.last[stage])));
                self.bubbles(request, stage, (start, end), own, causes.splits[stage])
            })
            .collect();
        let decode_kernel_ns = request.first_decode.map(|op| time(Node::start(op)));
        let until = self.covered.map_or(start, |(until, _)| until);
        let no_work = self.covered.map_or(0, |(_, ns)| ns) + (start - until).max(0);
        self.covered = Some((until.max(end), no_work));
        self.record_messages(request);
        let transfers = request.transfers.iter().map(|plan| self.recorder.transfer(&self.rig, plan)).collect();
        RequestTruth {
            request: request.number,
            request_id: ids::external(request.number),
            arrival_ns,
            admitted_ns,
            first_token_ns,
            ttft_ns: first_token_ns - arrival_ns,
            sink_op: request.sink,
            decode_kernel_ns,
            window_ns: Some((start, end)),
            path_by_category: truth::by_category(&path),
            path_by_layer: truth::by_layer(&path),
            path: if self.has_paths { path } else { Vec::new() },
            bubbles,
            waits: causes.waits,
            delays: causes.delays,
            transfers,
            figures: std::collections::BTreeMap::new(),
        }
    }

    fn bubbles(
        &self,
        request: &Request,
        stage: usize,
        (start, end): (Ns, Ns),
        own: (Ns, Ns),
        split: WaitSplit,
    ) -> BubbleTruth {
        let tracker = &self.trackers[stage];
        let mut by_class = [0; CLASSES.len()];
        let mut kernel_gap_ns = 0;
        for interval in &request.intervals[stage] {
            by_class.iter_mut().zip(interval.idle.by_class).for_each(|(sum, ns)| *sum += ns);
            kernel_gap_ns += interval.idle.kernel_gap_ns;
        }
        let of = |class: Class| by_class[class as usize];
        BubbleTruth {
            stage: i16::try_from(stage).unwrap_or(i16::MAX),
            window_ns: end - start,
            busy_ns: end - start - tracker.idle_within(start, end),
            fill_ns: tracker.idle_within(start, own.0),
            drain_ns: tracker.idle_within(own.1, end),
            imbalance_ns: split.imbalance,
            chunk_growth_ns: split.growth,
            propagated_ns: split.propagated,
            p2p_exposed_ns: of(Class::P2pExposed),
            host_ns: of(Class::Host),
            kernel_gap_ns,
            sync_ns: of(Class::Sync),
            handoff_backpressure_ns: of(Class::HandoffBackpressure),
            no_work_ns: of(Class::NoWork),
            unknown_ns: split.unknown,
        }
    }

    /// Decode's registrations, at both ends.
    fn record_messages(&mut self, request: &Request) {
        let Some(decode) = self.builder.topology.decode else { return };
        let id = ids::internal(request.number);
        let message = registration(&id);
        let nixl_tid = self.rig.lanes[usize::from(decode.nixl)].tid.unwrap_or(0);
        for (stage, (call, way)) in request.registrations.iter().enumerate() {
            let lanes = self.builder.topology.stages[stage];
            let time = |node| self.rig.engine.time(node).expect("a request that is over has all its times");
            let (sent, arrived) = (time(Node::start(*call)), time(Node::end(*way)));
            self.recorder.notif_sent(&self.rig, (decode.process, nixl_tid), sent, lanes.process, &message);
            let listener = (lanes.process, lanes.listener_tid);
            self.recorder.notif_arrived(&self.rig, listener, arrived, decode.process, &message);
        }
    }
}

/// As vLLM packs it: a msgpack map of text keys, of which only the id matters here.
fn registration(id: &str) -> Vec<u8> {
    let mut bytes = b"PUSH_REG:\x82".to_vec();
    for text in ["request_id", id, "decode_engine_id", "d0"] {
        match u8::try_from(text.len()) {
            Ok(count @ 0..=31) => bytes.push(0xa0 | count),
            Ok(count) => bytes.extend([0xd9, count]),
            Err(_) => unreachable!("ids of the simulator are short"),
        }
        bytes.extend(text.bytes());
    }
    bytes
}
