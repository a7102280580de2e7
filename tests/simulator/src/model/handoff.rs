//! The hand-off of KV to decode, and decode's first step.

use super::build::{Builder, Pass, Request};
use super::costs::transfer_ns;
use super::topology::{DecodeLanes, local_addr, remote_addr, slots};
use super::{Grain, HandoffMode};
use crate::engine::{Gate, GateKind, Label, NewOp, OpId, OpKind};
use crate::ids;
use crate::names;
use crate::record::{Piece, TransferPlan};
use crate::rig::Rig;

/// A stage's hand-off as it comes about.
#[derive(Debug, Default)]
pub(super) struct HandoffState {
    /// Arrival of decode's registration.
    registered: Option<OpId>,
    /// Transfers so far.
    count: u64,
    /// What tells decode of the transfers.
    arrivals: Vec<OpId>,
    /// The last operation that holds the blocks.
    pub freed_by: Option<OpId>,
}

/// A part of a stage's KV.
#[derive(Clone, Copy)]
struct KvPart {
    stage: usize,
    chunk: Option<usize>,
    layer: Option<i16>,
}

impl Builder {
    /// Decode registers with each stage, if it is to be pushed to; returns the arrivals.
    pub(super) fn register(&mut self, rig: &mut Rig, request: &mut Request) -> Vec<OpId> {
        let Some(decode) = self.topology.decode.filter(|_| self.model.handoff.mode == HandoffMode::Push) else {
            return Vec::new();
        };
        let label = self.decode_label(request);
        let mut first = vec![Gate::after(request.admission, GateKind::Arrived)];
        for _ in 0..self.model.stages() {
            let lead = if first.is_empty() { 0 } else { self.model.handoff.register_ns };
            let new = NewOp::new(decode.nixl, self.model.calls.launch_ns, label.doing(OpKind::Register)).lead(lead);
            let call = rig.engine.add(new, &first, &[]);
            let way =
                NewOp::new(self.topology.messages, self.model.handoff.message_ns, label.doing(OpKind::RegisterMessage));
            let message = rig.engine.add(way, &[Gate::after(call, GateKind::Posted)], &[]);
            request.registrations.push((call, message));
            first.clear();
        }
        request.registrations.iter().map(|(_, message)| *message).collect()
    }

    pub(super) fn handoffs(&self, registered: &[OpId]) -> Vec<HandoffState> {
        (0..self.model.stages())
            .map(|stage| HandoffState { registered: registered.get(stage).copied(), ..HandoffState::default() })
            .collect()
    }

    fn decode_label(&self, request: &Request) -> Label {
        Label { request: request.number, stage: self.topology.decode_stage(), ..Label::of(OpKind::Kernel) }
    }

    /// Pushes what a chunk makes ready.
    pub(super) fn hand_off(
        &mut self,
        rig: &mut Rig,
        request: &mut Request,
        stage: usize,
        chunk: usize,
        pass: &Pass,
        handoff_state: &mut HandoffState,
    ) {
        if self.model.handoff.mode != HandoffMode::Push {
            return;
        }
        match self.model.handoff.grain {
            Grain::Whole if chunk + 1 < self.model.chunks() => {}
            Grain::Whole => {
                self.push(rig, request, KvPart { stage, chunk: None, layer: None }, pass.last, handoff_state);
            }
            Grain::Chunk => {
                self.push(rig, request, KvPart { stage, chunk: Some(chunk), layer: None }, pass.last, handoff_state);
            }
            Grain::Layer => {
                for (layer, written) in pass.kv_writes.iter().enumerate() {
                    let layer = Some(i16::try_from(layer).unwrap_or(i16::MAX));
                    self.push(rig, request, KvPart { stage, chunk: Some(chunk), layer }, *written, handoff_state);
                }
            }
        }
    }

    /// Writes a part into decode as soon as it is written and decode has registered.
    fn push(
        &mut self,
        rig: &mut Rig,
        request: &mut Request,
        part: KvPart,
        written: OpId,
        handoff_state: &mut HandoffState,
    ) {
        let Some(decode) = self.topology.decode else { return };
        let lanes = self.topology.stages[part.stage];
        let label = Self::part_label(request, part);
        let mut gates = vec![Gate::after(written, GateKind::KvWritten)];
        gates.extend(handoff_state.registered.map(|op| Gate::after(op, GateKind::Registered)));
        let wake = label.doing(OpKind::HandoffReady);
        rig.host(lanes.writer, self.model.handoff.wake_ns, wake, &gates);
        let at = i16::try_from(part.stage).unwrap_or(i16::MAX);
        let is_first = handoff_state.count == 0;
        if is_first && self.model.faults.failing.contains(&(request.number, at)) {
            let error = Some("NIXL_ERR_REMOTE_DISCONNECT");
            let mut failed = self.transfer(rig, request, (part, written), (lanes.writer, lanes.process), handoff_state);
            failed.error = error;
            // It breaks off, is seen to have, and is made again.
            rig.host(
                lanes.writer,
                0,
                label.doing(OpKind::HandoffReady),
                &[Gate::after(failed.wire, GateKind::Transferred)],
            );
            request.transfers.push(failed);
        }
        let mut plan = self.transfer(rig, request, (part, written), (lanes.writer, lanes.process), handoff_state);
        plan.peer = (decode.process, decode.listener_tid);
        let way = NewOp::new(self.topology.messages, self.model.handoff.message_ns, label.doing(OpKind::NotifMessage));
        let arrival = rig.engine.add(way, &[Gate::after(plan.wire, GateKind::Transferred)], &[]);
        plan.arrival = Some(arrival);
        handoff_state.arrivals.push(arrival);
        handoff_state.freed_by = Some(plan.wire);
        request.transfers.push(plan);
    }

    fn part_label(request: &Request, part: KvPart) -> Label {
        let chunk = part.chunk.map_or(-1, |c| i32::try_from(c).unwrap_or(i32::MAX));
        let stage = i16::try_from(part.stage).unwrap_or(i16::MAX);
        let label = Label::of(OpKind::Make);
        Label { request: request.number, stage, chunk, layer: part.layer.unwrap_or(-1), ..label }
    }

    /// Makes and posts a transfer from a thread.
    fn transfer(
        &mut self,
        rig: &mut Rig,
        request: &Request,
        (part, written): (KvPart, OpId),
        (thread, poster): (u16, usize),
        handoff_state: &mut HandoffState,
    ) -> TransferPlan {
        let decode = self.topology.decode.expect("only models with a hand-off make transfers");
        let (model, lanes) = (&self.model, self.topology.stages[part.stage]);
        let handoff = &model.handoff;
        let label = Self::part_label(request, part);
        let (asked, pieces) = self.pieces(request.number, part);
        let merged = i64::try_from(pieces.len()).unwrap_or(i64::MAX);
        let make = rig.host(thread, handoff.make_ns.0 + handoff.make_ns.1 * asked, label, &[]);
        let post_ns = handoff.post_ns.0 + handoff.post_ns.1 * merged;
        let post = rig.host(thread, post_ns, label.doing(OpKind::Post), &[]);
        let slow = model.faults.slow_handoffs.iter().find(|(s, _)| usize::try_from(*s) == Ok(part.stage));
        let bytes = pieces.iter().map(|piece| piece.bytes).sum();
        let wire_ns = transfer_ns(bytes, handoff.bytes_per_s, slow.map_or(1000, |(_, factor)| *factor));
        let wire = NewOp::new(decode.nic, wire_ns, label.doing(OpKind::Wire)).lead(handoff.latency_ns);
        let wire = rig.engine.add(wire, &[Gate::after(post, GateKind::Posted)], &[]);
        // Twice the transfers of a request, because they may fail; used again once they must be over: when so many more
        // requests were admitted.
        let of_request = self.transfers_per_stage() * 2;
        let handles = if handoff.reuses { 1 } else { of_request * (u64::from(model.concurrency) + 2) };
        let handle = handoff_state.count + u64::from(request.number) * of_request;
        let is_read = poster == decode.process;
        let text = format!("{}:1", ids::internal(request.number));
        handoff_state.count += 1;
        TransferPlan {
            stage: label.stage,
            chunk: part.chunk.and_then(|chunk| i32::try_from(chunk).ok()),
            layer: part.layer,
            poster: (poster, rig.lanes[usize::from(thread)].tid.unwrap_or(0)),
            peer: if is_read { (lanes.process, lanes.listener_tid) } else { (decode.process, decode.listener_tid) },
            is_read,
            handle: 0x7fd4_3c00_0000 + handle % handles * 0x240,
            made_descriptors: asked,
            pieces,
            notif: Some(text),
            error: None,
            written,
            make,
            post,
            wire,
            arrival: None,
            seen: None,
        }
    }

    fn transfers_per_stage(&self) -> u64 {
        let chunks = self.model.chunks() as u64;
        match self.model.handoff.grain {
            Grain::Whole => 1,
            Grain::Chunk => chunks,
            Grain::Layer => chunks * u64::from(self.model.layers.iter().max().copied().unwrap_or(1).unsigned_abs()),
        }
    }

    /// Blocks asked for, and the pieces that they merge to.
    fn pieces(&self, request: u32, part: KvPart) -> (i64, Vec<Piece>) {
        let model = &self.model;
        let handoff = &model.handoff;
        let chunks = i64::try_from(model.chunks()).unwrap_or(1);
        let layers = match part.layer {
            Some(layer) => layer..layer + 1,
            None => 0..model.layers[part.stage],
        };
        let first_layer: i16 = model.layers[..part.stage].iter().sum();
        let (first, count) = part.chunk.map_or((0, chunks), |chunk| (i64::try_from(chunk).unwrap_or(0), 1));
        let slots = if handoff.reuses { 1 } else { slots(model) };
        let slot = i64::from(request) % slots * chunks + first;
        let in_piece = if handoff.is_cross_layer { i64::from(layers.end - layers.start) } else { 1 };
        let bytes = handoff.layer_chunk_bytes * count * in_piece;
        let layers = if handoff.is_cross_layer { 0..1 } else { layers };
        let blocks = (handoff.blocks * count).max(1);
        let made = blocks * i64::from(layers.end - layers.start);
        let mut pieces = Vec::new();
        for layer in layers {
            let (local, remote) = (local_addr(model, part.stage, layer), remote_addr(model, first_layer + layer));
            // Blocks that are scattered lie twice as far apart as they are long.
            let (number, spread) = if handoff.is_scattered { (blocks, 2) } else { (1, 1) };
            for piece in 0..number {
                let (from, to) = (bytes * piece / number, bytes * (piece + 1) / number);
                let offset = (handoff.layer_chunk_bytes * in_piece * slot * 2 + from * spread).unsigned_abs();
                pieces.push(Piece { local: local + offset, remote: remote + offset, bytes: to - from });
            }
        }
        (made, pieces)
    }

    /// Decode reads if it pulls, waits until all KV is there, and makes the first token.
    pub(super) fn decode(&mut self, rig: &mut Rig, request: &mut Request, handoffs: &mut [HandoffState]) {
        let Some(decode) = self.topology.decode else { return };
        let label = self.decode_label(request);
        let every = self.model.handoff.decode_poll_ns;
        let seen: Vec<Gate> = if self.model.handoff.mode == HandoffMode::Pull {
            self.pull(rig, request, &decode, handoffs);
            request.transfers.iter().map(|plan| Gate::after(plan.wire, GateKind::Transferred)).collect()
        } else {
            handoffs.iter().flat_map(|h| &h.arrivals).map(|op| Gate::after(*op, GateKind::Notified)).collect()
        };
        let poll = NewOp { poll_ns: every, ..NewOp::new(decode.main, 0, label.doing(OpKind::DecodePoll)) };
        let admitted = Gate::after(request.admission, GateKind::Arrived);
        let poll = rig.engine.add(poll, &[admitted], &seen);
        if self.model.handoff.mode == HandoffMode::Pull {
            for plan in &mut request.transfers {
                plan.seen = Some((poll, every));
            }
        }
        rig.host(decode.main, self.model.handoff.decode_schedule_ns, label.doing(OpKind::Schedule), &[]);
        let calls = self.model.calls;
        let mut launch = |name, layer| {
            let label = Label { layer, ..label };
            rig.launch(&calls, decode.main, decode.stream, (name, self.model.decode.kernel_ns), label)
        };
        for name in names::PROLOGUE {
            let kernel = launch(name, -1);
            request.first_decode.get_or_insert(kernel);
        }
        for layer in 0..self.model.decode.layers {
            for name in names::DECODE_LAYER {
                launch(name, layer);
            }
        }
        request.sink = launch(names::SAMPLE, -1);
    }

    /// Decode is told when the last stage has computed all, and reads every stage's KV.
    fn pull(&mut self, rig: &mut Rig, request: &mut Request, decode: &DecodeLanes, handoffs: &mut [HandoffState]) {
        let label = self.decode_label(request);
        let way = NewOp::new(self.topology.messages, self.model.handoff.message_ns, label.doing(OpKind::ReadyMessage));
        let gates: Vec<Gate> = request.last.iter().map(|op| Gate::after(*op, GateKind::KvWritten)).collect();
        let ready = rig.engine.add(way, &gates, &[]);
        let told = [Gate::after(ready, GateKind::Registered)];
        rig.host(decode.nixl, self.model.handoff.wake_ns, label.doing(OpKind::HandoffReady), &told);
        for (stage, handoff_state) in handoffs.iter_mut().enumerate() {
            let part = KvPart { stage, chunk: None, layer: None };
            let written = request.last[stage];
            let mut plan = self.transfer(rig, request, (part, written), (decode.nixl, decode.process), handoff_state);
            let label = Self::part_label(request, part).doing(OpKind::NotifMessage);
            let way = NewOp::new(self.topology.messages, self.model.handoff.message_ns, label);
            let arrival = rig.engine.add(way, &[Gate::after(plan.wire, GateKind::Transferred)], &[]);
            plan.arrival = Some(arrival);
            request.tail.push(arrival);
            handoff_state.freed_by = Some(arrival);
            request.transfers.push(plan);
        }
    }
}
