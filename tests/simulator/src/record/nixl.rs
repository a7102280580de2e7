//! NIXL: agents, regions, transfers with their polls, descriptors, notifications.

use kvpath_schema::tables::nixl::{
    NixlAgent, NixlDescriptor, NixlNotif, NixlPreparedRow, NixlRegion, NixlTransfer, PreparedForm,
};

use super::Recorder;
use super::cuda::push;
use crate::engine::{Node, Ns, OpId};
use crate::rig::Rig;
use crate::truth::TransferTruth;

/// Descriptors of a post that are recorded, as by the agent.
const DESCRIPTOR_LIMIT: usize = 4096;

/// A registered region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub addr: u64,
    /// Size, bytes.
    pub bytes: i64,
}

/// A descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it lies at the stage.
    pub local: u64,
    /// Where it lies at decode.
    pub remote: u64,
    /// Size, bytes.
    pub bytes: i64,
}

/// A transfer whose operations are in the engine.
#[derive(Debug, Clone)]
pub struct TransferPlan {
    /// Stage whose KV it carries.
    pub stage: i16,
    /// Chunk, if it carries one.
    pub chunk: Option<i32>,
    /// Layer, if it carries one.
    pub layer: Option<i16>,
    /// Process that posts, and the thread it posts from.
    pub poster: (usize, i32),
    /// The other process, and the thread at which the notification arrives.
    pub peer: (usize, i32),
    /// `READ`, not `WRITE`.
    pub is_read: bool,
    /// Address of the handle.
    pub handle: u64,
    /// Descriptors asked for.
    pub made_descriptors: i64,
    /// Descriptors after merging.
    pub pieces: Vec<Piece>,
    /// Text of the notification.
    pub notif: Option<String>,
    /// NIXL's error, if it fails.
    pub error: Option<&'static str>,
    /// What wrote the last of its KV: of the whole pass, where it carries more than a layer.
    pub written: OpId,
    /// Operation of make.
    pub make: OpId,
    /// Operation of post.
    pub post: OpId,
    /// Operation of the wire.
    pub wire: OpId,
    /// Operation of the notification's way.
    pub arrival: Option<OpId>,
    /// The poll of the model that sees it, where one is on the path: (operation, distance of polls). Else the distortion's
    /// polls are recorded.
    pub seen: Option<(OpId, Ns)>,
}

impl Recorder {
    /// Records the making of an agent.
    pub fn agent(&mut self, rig: &Rig, process: usize, at: Ns) {
        let Some(agent) = &rig.processes[process].agent else { return };
        let row = NixlAgent {
            time_ns: self.clock(rig, process, at),
            process_id: rig.processes[process].process_id,
            agent_ptr: agent_ptr(process),
            name: self.words.get(agent),
            library: self.words.get("nixl"),
        };
        // Made once and long before the load: no ring is full then.
        let slot = self.slot();
        self.rows.entry("nixl_agents").or_default().0 += 1;
        let host = &mut self.hosts[rig.processes[process].host];
        host.agents.push(row, slot, (rig.processes[process].host, &self.disk, &mut host.drops, at));
    }

    /// Records the registration of regions by one call.
    pub fn regions(&mut self, rig: &Rig, process: usize, at: Ns, dur_ns: Ns, regions: &[Region]) {
        let of = &rig.processes[process];
        let time_ns = self.clock(rig, process, at);
        for region in regions {
            let agent = of.agent.as_ref().map(|agent| self.words.get(agent));
            let number = self.hosts[of.host].next_region.entry(process).or_default();
            let row = NixlRegion {
                time_ns,
                dur_ns: Some(dur_ns),
                process_id: of.process_id,
                agent_ptr: agent_ptr(process),
                agent,
                region: *number,
                addr: region.addr,
                bytes: region.bytes,
                device_id: i64::from(of.device_id),
                memory: self.words.get("VRAM"),
                library: self.words.get("nixl"),
            };
            *number += 1;
            let slot = self.slot();
            self.rows.entry("nixl_regions").or_default().0 += 1;
            let host = &mut self.hosts[of.host];
            host.regions.push(row, slot, (of.host, &self.disk, &mut host.drops, at));
        }
    }

    /// Records a list that an agent prepares, of a peer's memory or of its own: regions in blocks of that size.
    pub fn prepared(
        &mut self,
        rig: &Rig,
        (process, peer): (usize, Option<usize>),
        at: Ns,
        block: i64,
        rows: &[Region],
    ) {
        let of = &rig.processes[process];
        let time_ns = self.clock(rig, process, at);
        let next = self.hosts[of.host].next_list.entry(process).or_default();
        let list = *next;
        *next += 1;
        for (number, row) in (0..).zip(rows) {
            let mut name = |process: usize| rig.processes[process].agent.as_ref().map(|agent| self.words.get(agent));
            let row = NixlPreparedRow {
                time_ns,
                process_id: of.process_id,
                agent_ptr: agent_ptr(process),
                agent: name(process),
                list,
                peer: peer.and_then(&mut name),
                form: PreparedForm::Strided.text().into(),
                memory: self.words.get("VRAM"),
                rows: i64::try_from(rows.len()).ok(),
                row: number,
                addr: row.addr,
                bytes: block,
                device_id: i64::from(of.device_id),
                stride: block,
                count: row.bytes / block.max(1),
            };
            let slot = self.slot();
            self.rows.entry("nixl_prepared").or_default().0 += 1;
            let host = &mut self.hosts[of.host];
            host.prepared.push(row, slot, (of.host, &self.disk, &mut host.drops, at));
        }
    }

    /// Records a notification that `genNotif` sends, at its sender.
    pub fn notif_sent(&mut self, rig: &Rig, (process, tid): (usize, i32), at: Ns, peer: usize, message: &[u8]) {
        self.notif(rig, (process, tid), at, ("sent", "genNotif"), peer, message, None);
    }

    /// Records the arrival of a notification.
    pub fn notif_arrived(&mut self, rig: &Rig, (process, tid): (usize, i32), at: Ns, peer: usize, message: &[u8]) {
        self.notif(rig, (process, tid), at, ("arrived", "unknown"), peer, message, None);
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of the table")]
    fn notif(
        &mut self,
        rig: &Rig,
        (process, tid): (usize, i32),
        at: Ns,
        (direction, via): (&str, &str),
        peer: usize,
        message: &[u8],
        transfer_id: Option<i64>,
    ) {
        let row = NixlNotif {
            time_ns: self.clock(rig, process, at),
            process_id: rig.processes[process].process_id,
            tid,
            direction: self.words.get(direction),
            via: self.words.get(via),
            peer: rig.processes[peer].agent.as_ref().map(|agent| self.words.get(agent)),
            message: String::from_utf8_lossy(message).into_owned(),
            message_raw: std::str::from_utf8(message).is_err().then(|| message.into()),
            message_bytes: i64::try_from(message.len()).unwrap_or(i64::MAX),
            transfer_id,
        };
        push!(self, rig, process, notifs, "nixl_notifs", row);
    }

    /// Records a transfer with its descriptors and notifications; returns its truth.
    ///
    /// # Panics
    /// If one of its operations has no times yet.
    pub fn transfer(&mut self, rig: &Rig, plan: &TransferPlan) -> TransferTruth {
        let (process, tid) = plan.poster;
        let of = &rig.processes[process];
        let op = |id| rig.engine.get(id).expect("operations of a transfer are kept until its request has finished");
        let (written, make, post, wire) = (op(plan.written), op(plan.make), op(plan.post), op(plan.wire));
        let bytes = plan.pieces.iter().map(|piece| piece.bytes).sum();
        let notif_arrived_ns = plan.arrival.and_then(|id| rig.engine.time(Node::end(id)));
        let transfer_id = self.hosts[of.host].next_transfer;
        self.hosts[of.host].next_transfer += 1;
        let truth = TransferTruth {
            transfer_id,
            host: of.host,
            stage: plan.stage,
            chunk: plan.chunk,
            layer: plan.layer,
            op: if plan.is_read { "READ" } else { "WRITE" }.to_owned(),
            bytes,
            make_op: plan.make,
            post_op: plan.post,
            wire_op: plan.wire,
            notif_op: plan.arrival,
            written_ns: written.end,
            made_ns: make.start,
            make_end_ns: make.end,
            posted_ns: post.start,
            post_end_ns: post.end,
            wire_start_ns: wire.start,
            completed_ns: wire.end,
            notif_arrived_ns,
            status: plan.error.unwrap_or("done").to_owned(),
        };
        self.transfer_row(rig, plan, &truth);
        let recorded = plan.pieces.len().min(DESCRIPTOR_LIMIT);
        for (position, piece) in plan.pieces[..recorded].iter().enumerate() {
            // Who reads has decode's memory.
            let (local, remote) = if plan.is_read { (piece.remote, piece.local) } else { (piece.local, piece.remote) };
            let row = NixlDescriptor {
                transfer_id,
                position: i32::try_from(position).unwrap_or(i32::MAX),
                local_addr: local,
                remote_addr: Some(remote),
                bytes: piece.bytes,
                device_id: i64::from(of.device_id),
            };
            push!(self, rig, process, descriptors, "nixl_descriptors", row);
        }
        if let Some(notif) = &plan.notif {
            let (peer, peer_tid) = plan.peer;
            let sent = ("sent", "transfer");
            self.notif(rig, (process, tid), truth.posted_ns, sent, peer, notif.as_bytes(), Some(transfer_id));
            if let Some(at) = notif_arrived_ns {
                self.notif(rig, (peer, peer_tid), at, ("arrived", "unknown"), process, notif.as_bytes(), None);
            }
        }
        truth
    }

    fn transfer_row(&mut self, rig: &Rig, plan: &TransferPlan, truth: &TransferTruth) {
        let (process, tid) = plan.poster;
        let of = &rig.processes[process];
        let (pending, done) = match plan.seen {
            Some((poll, every)) => {
                let poll = rig.engine.get(poll).expect("the poll is kept until its request has finished");
                seen_by(poll.start, every, truth)
            }
            None => self.distort.polls(truth.post_end_ns, truth.completed_ns),
        };
        let pending_polls = match (plan.seen, pending) {
            (None, Some(at)) => Some((at - truth.post_end_ns) / self.distort.poll_ns.max(1)),
            (None, None) => Some(0),
            (Some(_), _) => None,
        };
        let epoch = self.hosts[of.host].epochs.entry((process, plan.handle)).or_default();
        let this_epoch = *epoch;
        *epoch += 1;
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let clock = |recorder: &mut Self, t| recorder.clock(rig, process, t);
        let made_ns = clock(self, truth.made_ns);
        let make = rig.engine.time(Node::end(plan.make)).unwrap_or(truth.made_ns);
        let row = NixlTransfer {
            transfer_id: truth.transfer_id,
            process_id: of.process_id,
            tid,
            handle: plan.handle,
            epoch: this_epoch,
            agent_ptr: agent_ptr(process),
            agent: of.agent.as_ref().map(|agent| self.words.get(agent)),
            peer: rig.processes[plan.peer.0].agent.as_ref().map(|agent| self.words.get(agent)),
            op: self.words.get(&truth.op),
            made_ns: Some(made_ns),
            make_dur_ns: Some(clock(self, make) - made_ns),
            made_descriptors: Some(plan.made_descriptors),
            posted_ns: Some(clock(self, truth.posted_ns)),
            post_end_ns: Some(clock(self, truth.post_end_ns)),
            last_pending_poll_ns: pending.map(|at| clock(self, at)),
            done_poll_ns: Some(clock(self, done)),
            pending_polls,
            released_ns: Some(clock(self, done + RELEASE_AFTER_NS)),
            status: self.words.get(&truth.status),
            bytes: Some(truth.bytes),
            descriptors: Some(count(plan.pieces.len())),
            local_memory: Some(self.words.get("VRAM")),
            remote_memory: Some(self.words.get("VRAM")),
            notif: plan.notif.clone(),
            notif_bytes: plan.notif.as_ref().map(|text| count(text.len())),
            // As the agent leaves them: the analyzer reads the text.
            request: None,
            chunk: None,
            sender_rank: None,
            library: self.words.get("nixl"),
            layout: None,
        };
        push!(self, rig, process, transfers, "nixl_transfers", row);
    }
}

/// The last poll that still said in progress, if any, and the one that said done, of a poll every so often since `from` that
/// looks at every transfer by itself: it sees one done while it goes on for the others.
fn seen_by(from: Ns, every: Ns, truth: &TransferTruth) -> (Option<Ns>, Ns) {
    if every <= 0 {
        return (None, truth.completed_ns.max(from));
    }
    let polls = ((truth.completed_ns - from).max(0) + every - 1) / every;
    let done = from + polls * every;
    (Some(done - every).filter(|at| *at >= truth.post_end_ns.max(from)), done)
}

/// A handle is released so long after the poll that saw its end.
const RELEASE_AFTER_NS: Ns = 50_000;

/// Address of a process's agent object.
fn agent_ptr(process: usize) -> u64 {
    0x2f10_0000 + 0x1_0000 * process as u64
}
