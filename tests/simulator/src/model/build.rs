//! The operations of a request: arrival, forward passes, hand-off, decode's first step.

use std::collections::VecDeque;

use super::costs::{self, KernelCost};
use super::topology::{BEGIN_NS, StageLanes};
use super::{Arrivals, HandoffMode, Model, Topology};
use crate::distort::Random;
use crate::engine::{Gate, GateKind, Label, NewOp, Ns, OpId, OpKind};
use crate::names;
use crate::record::TransferPlan;
use crate::rig::{Event, Message, Rig};
use crate::truth::Interval;

/// A request whose operations are in the engine.
#[derive(Debug)]
pub(super) struct Request {
    pub number: u32,
    pub arrival: OpId,
    pub admission: OpId,
    /// The operation that makes the first token.
    pub sink: OpId,
    /// The first kernel of decode.
    pub first_decode: Option<OpId>,
    /// First kernel of each stage.
    pub first: Vec<OpId>,
    /// Last kernel of each stage.
    pub last: Vec<OpId>,
    /// `[stage][chunk]`.
    pub intervals: Vec<Vec<Interval>>,
    pub transfers: Vec<TransferPlan>,
    /// Registrations with each stage: the call, and its way.
    pub registrations: Vec<(OpId, OpId)>,
    /// What else must have happened before the request is over.
    pub tail: Vec<OpId>,
}

/// One forward pass, as its hand-off needs it.
pub(super) struct Pass {
    pub last: OpId,
    /// The kernels that write KV, by layer.
    pub kv_writes: Vec<OpId>,
}

/// Builds requests one after another.
#[derive(Debug)]
pub(super) struct Builder {
    pub model: Model,
    pub topology: Topology,
    random: Random,
    /// Events after the last passes of each stage, newest last.
    events: Vec<VecDeque<Event>>,
    /// Operations that free the KV blocks of earlier requests on each stage, oldest first: (request, operations).
    freed: VecDeque<(u32, Vec<OpId>)>,
    /// Time of the last arrival of an open stream of requests, ns.
    clock: Ns,
}

impl Builder {
    pub fn new(model: Model, topology: Topology) -> Self {
        Self {
            random: Random::new(model.seed, Random::MODEL),
            events: vec![VecDeque::new(); model.stages()],
            freed: VecDeque::new(),
            clock: BEGIN_NS,
            model,
            topology,
        }
    }

    /// When the next request arrives, if that does not depend on another one.
    pub fn next_arrival(&mut self) -> Option<Ns> {
        match self.model.arrivals {
            Arrivals::Open { mean_ns } => {
                self.clock += self.random.exponential(mean_ns);
                Some(self.clock)
            }
            Arrivals::Closed { .. } => None,
        }
    }

    /// Adds a request that arrives at `arrival` or, where that is not given, after the first token of `before`, whose
    /// place it takes.
    pub fn request(&mut self, rig: &mut Rig, number: u32, arrival: Option<Ns>, before: Option<OpId>) -> Request {
        let label = Label { request: number, ..Label::of(OpKind::Arrival) };
        let think_ns = match self.model.arrivals {
            Arrivals::Closed { think_ns } => think_ns,
            Arrivals::Open { .. } => 0,
        };
        let lane = self.topology.messages;
        let new = NewOp::new(lane, 0, label);
        let place = before.map(|sink| Gate::after(sink, GateKind::Admitted));
        let arrival = match (arrival, place) {
            (Some(at), _) => rig.engine.add(NewOp { not_before: at, ..new }, &[], &[]),
            (None, Some(place)) => rig.engine.add(new.lead(think_ns), &[place], &[]),
            (None, None) => rig.engine.add(NewOp { not_before: BEGIN_NS, ..new }, &[], &[]),
        };
        let gates: Vec<Gate> = [Some(Gate::after(arrival, GateKind::Arrived)), place].into_iter().flatten().collect();
        let admission = rig.engine.add(NewOp::new(lane, 0, label.doing(OpKind::Admission)), &gates, &[]);
        let stages = self.model.stages();
        let mut request = Request {
            number,
            arrival,
            admission,
            sink: admission,
            first_decode: None,
            first: Vec::with_capacity(stages),
            last: vec![admission; stages],
            intervals: vec![Vec::with_capacity(self.model.chunks()); stages],
            transfers: Vec::new(),
            registrations: Vec::new(),
            tail: Vec::new(),
        };
        let registered = self.register(rig, &mut request);
        let mut handoffs = self.handoffs(&registered);
        for chunk in 0..self.model.chunks() {
            let mut sent = None;
            for (stage, handoff) in handoffs.iter_mut().enumerate() {
                let (pass, leaves) = self.pass(rig, &mut request, stage, chunk, sent);
                sent = leaves;
                request.last[stage] = pass.last;
                self.hand_off(rig, &mut request, stage, chunk, &pass, handoff);
            }
        }
        request.sink = request.last[stages - 1];
        if self.model.handoff.mode != HandoffMode::None {
            self.decode(rig, &mut request, &mut handoffs);
        }
        let freed = handoffs.iter().map(|handoff| handoff.freed_by.unwrap_or(request.admission)).collect();
        self.freed.push_back((number, freed));
        request
    }

    /// A chunk on a stage; returns the send of its activations, which the next stage must receive.
    fn pass(
        &mut self,
        rig: &mut Rig,
        request: &mut Request,
        stage: usize,
        chunk: usize,
        comes: Option<OpId>,
    ) -> (Pass, Option<OpId>) {
        let lanes = self.topology.stages[stage];
        let calls = self.model.calls;
        let label = Label {
            request: request.number,
            stage: i16::try_from(stage).unwrap_or(i16::MAX),
            chunk: i32::try_from(chunk).unwrap_or(i32::MAX),
            ..Label::of(OpKind::Kernel)
        };
        self.step(rig, request, &lanes, label, chunk);
        if let Some(send) = comes {
            let receive = label.doing(OpKind::ReceiveKernel);
            let receive = rig.launch_open(&calls, lanes.main, lanes.receives, (names::SEND_RECEIVE, 0), receive);
            let link = self.topology.stages[stage - 1].link;
            rig.connect(send, receive, link, self.message(stage - 1), label);
            let event = rig.record_event(&calls, lanes.main, lanes.receives, label);
            rig.wait_event(&calls, lanes.main, lanes.compute, event, label);
        }
        let kernels = costs::kernels(&self.model, &mut self.random, stage, chunk);
        request.intervals[stage].push(interval(&kernels));
        let mut pass = Pass { last: request.admission, kv_writes: Vec::new() };
        let mut position = 0;
        for kernel in kernels {
            let label = Label { layer: kernel.layer, ..label };
            let work = (kernel.name, kernel.actual_ns);
            pass.last = rig.launch(&calls, lanes.main, lanes.compute, work, label);
            if request.first.len() == stage {
                request.first.push(pass.last);
            }
            if kernel.layer >= 0 {
                if position == names::KV_WRITE_AT {
                    pass.kv_writes.push(pass.last);
                }
                position = (position + 1) % names::LAYER.len();
            }
        }
        let is_last_stage = stage + 1 == self.model.stages();
        let lead = self.model.host_lead as usize;
        if is_last_stage && lead == 0 {
            return (pass, None);
        }
        let event = rig.record_event(&calls, lanes.main, lanes.compute, label);
        if lead > 0 {
            self.events[stage].push_back(event);
        }
        let leaves = (!is_last_stage).then(|| {
            rig.wait_event(&calls, lanes.main, lanes.sends, event, label);
            let label = label.doing(OpKind::SendKernel);
            rig.launch_open(&calls, lanes.main, lanes.sends, (names::SEND_RECEIVE, 0), label)
        });
        (pass, leaves)
    }

    /// What the host does before it launches a chunk: it lets the GPU catch up, has the step planned, and pauses if asked.
    fn step(&mut self, rig: &mut Rig, request: &Request, lanes: &StageLanes, label: Label, chunk: usize) {
        let stage = usize::try_from(label.stage).unwrap_or(0);
        let lead = self.model.host_lead as usize;
        if lead > 0 && self.events[stage].len() >= lead {
            let event = self.events[stage].pop_front().expect("there are at least `lead` of them");
            rig.sync_event(&self.model.calls, lanes.main, event, label);
        }
        let mut gates = Vec::new();
        if chunk == 0 {
            gates.push(Gate::after(request.admission, GateKind::Arrived));
        }
        gates.extend(self.blocks_freed(request.number, stage, chunk));
        rig.host(lanes.main, self.model.schedule_ns, label.doing(OpKind::Schedule), &gates);
        let pauses = &self.model.faults.host_pauses;
        for (.., ns) in pauses.iter().filter(|(s, c, _)| (*s, *c) == (label.stage, label.chunk)) {
            rig.host(lanes.main, *ns, label.doing(OpKind::Pause), &[]);
        }
    }

    /// The hand-off that must have freed the blocks which this chunk takes.
    fn blocks_freed(&mut self, number: u32, stage: usize, chunk: usize) -> Option<Gate> {
        let pool = u64::from(self.model.handoff.pool_chunks);
        let chunks = self.model.chunks() as u64;
        if pool == 0 || self.model.handoff.mode == HandoffMode::None {
            return None;
        }
        let pass = u64::from(number) * chunks + chunk as u64;
        let owner = u32::try_from(pass.checked_sub(pool)? / chunks).ok()?;
        // Earlier owners are not asked for again: later chunks take the blocks of later requests.
        while self.freed.front().is_some_and(|(r, _)| *r + 1 < owner) {
            self.freed.pop_front();
        }
        let (_, freed) = self.freed.iter().find(|(r, _)| *r == owner)?;
        Some(Gate::after(freed[stage], GateKind::BlocksFreed))
    }

    fn message(&self, from: usize) -> Message {
        let p2p = &self.model.p2p;
        let slow = self.model.faults.slow_links.iter().find(|(s, _)| usize::try_from(*s) == Ok(from));
        let factor = slow.map_or(1000, |(_, factor)| *factor);
        Message {
            work_ns: costs::transfer_ns(p2p.bytes, p2p.bytes_per_s, factor),
            latency_ns: p2p.latency_ns,
            fits_fifo: p2p.bytes <= p2p.fifo_bytes,
        }
    }
}

fn interval(kernels: &[KernelCost]) -> Interval {
    let mut interval = Interval::default();
    for kernel in kernels {
        interval.nominal_ns += kernel.nominal_ns;
        let excess = kernel.actual_ns - kernel.nominal_ns;
        if excess > 0 {
            match interval.excess.last_mut() {
                Some((layer, sum)) if *layer == kernel.layer => *sum += excess,
                _ => interval.excess.push((kernel.layer, excess)),
            }
        }
    }
    interval
}
