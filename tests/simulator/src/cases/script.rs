//! Runs that are written out operation by operation.

use std::collections::BTreeMap;

use super::{CaseSetup, CaseTruth};
use crate::distort::Distortions;
use crate::engine::{Gate, GateKind, Label, LaneId, NewOp, Node, Ns, OpId, OpKind};
use crate::ids;
use crate::model::{BEGIN_NS, RunError};
use crate::record::{Recorder, TransferPlan};
use crate::rig::{CallCosts, LaneKind, Rig};
use crate::truth::{self, RequestTruth, RunTruth, StageTruth};

/// Calls of scripts: a launch takes 5 us, everything else nothing.
pub(super) const CALLS: CallCosts = CallCosts { launch_ns: 5_000, event_ns: 0, dispatch_ns: 0, sync_ns: 0 };

/// Requests of scripts are so far apart that they are told apart by activity.
const APART_NS: Ns = 500_000_000;

/// A request of a script.
#[derive(Debug)]
pub(super) struct OpenRequest {
    pub label: Label,
    arrival: OpId,
    pub admission: OpId,
}

impl OpenRequest {
    /// What the first operation of the request waits for.
    pub fn gate(&self) -> Gate {
        Gate::after(self.admission, GateKind::Arrived)
    }

    /// A label of this request at a stage.
    pub fn at(&self, stage: i16, what: OpKind) -> Label {
        Label { stage, ..self.label.doing(what) }
    }
}

/// A request whose operations are all there.
struct CompleteRequest {
    request: OpenRequest,
    sink: OpId,
    transfers: Vec<TransferPlan>,
    figures: BTreeMap<String, i64>,
}

/// A run as it is written out.
pub(super) struct Script {
    pub rig: Rig,
    pub recorder: Recorder,
    pub messages: LaneId,
    seed: u64,
    stages: Vec<StageTruth>,
    ended: Vec<CompleteRequest>,
    next: u32,
}

impl Script {
    pub fn new(place: &CaseSetup) -> Self {
        let mut rig = Rig::default();
        let messages = rig.wire(LaneKind::Messages, None, "messages");
        let recorder = Recorder::new(place.run, place.seed, Distortions::none(&["sim"]));
        Self { rig, recorder, messages, seed: place.seed, stages: Vec::new(), ended: Vec::new(), next: 0 }
    }

    /// Adds a process with a thread that launches.
    pub fn stage(&mut self, role: &str, title: &str) -> (usize, LaneId) {
        let stage = i16::try_from(self.stages.len()).unwrap_or(i16::MAX);
        let process_id = 2_190 + 16 * i64::from(stage);
        let process = self.rig.process(process_id, title, 0, i32::from(stage));
        self.rig.processes[process].agent = Some(format!("5eed{stage:04}-0000-4000-8000-000000000000"));
        self.stages.push(StageTruth {
            stage,
            role: role.to_owned(),
            process_id,
            host: 0,
            layers: 0,
            first_layer: 0,
            layer_resolution: "none".to_owned(),
        });
        (process, self.rig.thread(process, i32::try_from(process_id).unwrap_or(0), stage, "VLLM::Worker_PP"))
    }

    /// A request arrives.
    pub fn begin(&mut self) -> OpenRequest {
        let label = Label { request: self.next, ..Label::of(OpKind::Arrival) };
        let not_before = BEGIN_NS + APART_NS * Ns::from(self.next);
        self.next += 1;
        let arrival = self.rig.engine.add(NewOp { not_before, ..NewOp::new(self.messages, 0, label) }, &[], &[]);
        let admission = NewOp::new(self.messages, 0, label.doing(OpKind::Admission));
        let admission = self.rig.engine.add(admission, &[Gate::after(arrival, GateKind::Arrived)], &[]);
        OpenRequest { label, arrival, admission }
    }

    /// A thread takes a request up.
    pub fn take_up(&mut self, thread: LaneId, request: &OpenRequest, stage: i16) {
        self.rig.host(thread, 0, request.at(stage, OpKind::Schedule), &[request.gate()]);
    }

    /// Its first token is made by `sink`.
    pub fn end(&mut self, request: OpenRequest, sink: OpId, transfers: Vec<TransferPlan>, figures: &[(&str, i64)]) {
        let figures = figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        self.ended.push(CompleteRequest { request, sink, transfers, figures });
    }

    /// When a node happened.
    pub fn time(&self, node: Node) -> Ns {
        self.rig.engine.time(node).expect("a script's operations are settled as they are added")
    }

    pub fn finish(mut self) -> Result<CaseTruth, RunError> {
        while self.rig.engine.serve() {}
        let mut requests = Vec::new();
        for CompleteRequest { request, sink, transfers, figures } in std::mem::take(&mut self.ended) {
            let path =
                truth::path_of_request(&self.rig, request.label.request, sink, (request.arrival, request.admission));
            let arrival_ns = self.time(Node::end(request.arrival));
            let first_token_ns = self.time(Node::end(sink));
            requests.push(RequestTruth {
                request: request.label.request,
                request_id: ids::external(request.label.request),
                arrival_ns,
                admitted_ns: self.time(Node::end(request.admission)),
                first_token_ns,
                ttft_ns: first_token_ns - arrival_ns,
                sink_op: sink,
                decode_kernel_ns: (!transfers.is_empty()).then(|| self.time(Node::start(sink))),
                window_ns: None,
                path_by_category: truth::by_category(&path),
                path_by_layer: truth::by_layer(&path),
                path,
                bubbles: Vec::new(),
                waits: Vec::new(),
                delays: Vec::new(),
                transfers: transfers.iter().map(|plan| self.recorder.transfer(&self.rig, plan)).collect(),
                figures,
            });
        }
        while let Some((_, op)) = self.rig.engine.retire(Ns::MAX) {
            self.recorder.op(&self.rig, &op);
        }
        let run = RunTruth {
            format: truth::FORMAT,
            made_by: String::new(),
            seed: self.seed,
            model: None,
            clocks: self.recorder.distortions().clocks.clone(),
            lanes: self.rig.lanes.clone(),
            stages: self.stages,
            requests: u64::from(self.next),
            no_work_ns: 0,
            rows: self.recorder.rows(),
            figures: BTreeMap::new(),
        };
        self.recorder.finish(&self.rig)?;
        Ok(CaseTruth { run, requests })
    }
}
