//! Hands a stage's KV over to decode workers, beside its computing: what is complete is queued, and goes over once decode has said
//! where to.

use std::collections::VecDeque;

use anyhow::bail;
use nixl_sys::MemType;

use crate::cli::{Knobs, Op};
use crate::ffi::{self, now_ns};
use crate::layout::{self, Layout, Side, registration};
use crate::nixl::{HandoffPlan, Lists, Node, PostedTransfer, TransferHandle};
use crate::plan::Unit;
use crate::truth::{ActionInfo, Truth, timed};

/// A decode worker.
pub struct Peer {
    /// Its agent.
    pub name: String,
    /// Its pid.
    pub pid: u32,
    /// What makes it known.
    pub metadata: Vec<u8>,
    /// Where its regions for this stage lie.
    pub bases: Vec<usize>,
    /// Device of these.
    pub device_id: u64,
    /// All blocks, here and there.
    pub lists: Lists,
}

/// The sending thread of a prefill stage.
pub struct Sender<'a> {
    knobs: &'a Knobs,
    rank: u32,
    layout: &'a Layout,
    bases: &'a [usize],
    memory: (MemType, u64),
    peers: Vec<Peer>,
    queue: VecDeque<(u32, Unit)>,
    flying: Vec<PostedTransfer>,
    /// Texts that tell that decode has pulled.
    pulled: Vec<String>,
    looked_ns: i64,
    /// Whether the transfer that is to fail has failed.
    has_failed: bool,
    has_killed: bool,
}

impl<'a> Sender<'a> {
    /// With nothing to send yet. `bases` and `memory` are the stage's own regions.
    pub fn new(
        knobs: &'a Knobs,
        rank: u32,
        layout: &'a Layout,
        (bases, memory): (&'a [usize], (MemType, u64)),
        peers: Vec<Peer>,
    ) -> Self {
        let (queue, flying, pulled) = (VecDeque::new(), Vec::new(), Vec::new());
        let (looked_ns, has_failed, has_killed) = (0, false, false);
        Self { knobs, rank, layout, bases, memory, peers, queue, flying, pulled, looked_ns, has_failed, has_killed }
    }

    /// Whether all has gone over.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.flying.is_empty() && self.pulled.is_empty()
    }

    /// A unit is complete.
    ///
    /// # Errors
    /// NIXL refuses.
    pub fn push(&mut self, request: u32, unit: Unit, node: &Node, truth: &mut Truth) -> anyhow::Result<()> {
        match self.knobs.op {
            Op::Write => self.queue.push_back((request, unit)),
            Op::Read => {
                let id = layout::request_id(self.knobs, request);
                let peer = &self.peers[(request % self.knobs.decodes) as usize].name;
                node.notify(peer, &id, format!("READY:{id}").as_bytes(), truth)?;
                self.pulled.push(unit.notif);
            }
        }
        Ok(())
    }

    /// Posts what may be posted and looks at what is under way, as often as `--poll-us` says.
    ///
    /// # Errors
    /// NIXL refuses, or a transfer failed that should not.
    pub fn pump(&mut self, node: &mut Node, truth: &mut Truth) -> anyhow::Result<()> {
        let now = now_ns();
        if self.is_idle() || u64::try_from(now - self.looked_ns).unwrap_or(0) < self.knobs.poll_us * 1000 {
            return Ok(());
        }
        self.looked_ns = now;
        node.take_notifs(truth)?;
        self.pulled.retain(|text| node.came(text.as_bytes()) == 0);
        for flying in std::mem::take(&mut self.flying) {
            self.flying.extend(node.poll(flying, truth)?);
        }
        for (request, unit) in std::mem::take(&mut self.queue) {
            let id = layout::request_id(self.knobs, request);
            let is_registered = node.came(&registration(&id)) > 0;
            let must_fail = self.knobs.fail_request == Some(request) && !self.has_failed;
            if !is_registered || must_fail && !self.flying.is_empty() {
                self.queue.push_back((request, unit));
                continue;
            }
            if must_fail {
                self.fail(request, &unit, node, truth)?;
            }
            let made = self.make(request, &unit, node, truth)?;
            self.flying.extend(node.post(made, truth)?);
            // Once, and by one stage: a pid may be another's afterwards.
            if self.knobs.kill_decode == Some(request)
                && self.rank == 0
                && !std::mem::replace(&mut self.has_killed, true)
            {
                self.kill(request, truth)?;
            }
        }
        Ok(())
    }

    fn make(&self, request: u32, unit: &Unit, node: &Node, truth: &mut Truth) -> anyhow::Result<TransferHandle> {
        let id = layout::request_id(self.knobs, request);
        let peer = &self.peers[(request % self.knobs.decodes) as usize];
        let listed = self.layout.listed(request, unit, Side::Prefill, (self.bases, &peer.bases));
        let what = HandoffPlan {
            op: self.knobs.op,
            make: self.knobs.make,
            peer: &peer.name,
            request: &id,
            notif: &unit.notif,
            listed: &listed,
            bytes: self.layout.block_bytes,
            memory: [self.memory, (self.memory.0, peer.device_id)],
            lists: &peer.lists,
        };
        node.make(&what, truth)
    }

    /// A transfer that fails when it is posted: the peer was forgotten meanwhile. Then it is made known again.
    fn fail(&mut self, request: u32, unit: &Unit, node: &Node, truth: &mut Truth) -> anyhow::Result<()> {
        self.has_failed = true;
        let (span, failed) = timed(|| {
            let made = self.make(request, unit, node, truth)?;
            node.forget_peer(&self.peers[(request % self.knobs.decodes) as usize].name)?;
            Ok::<_, anyhow::Error>(node.post(made, truth).is_err())
        });
        if !failed? {
            bail!("a transfer to a peer that is not known was posted");
        }
        let id = layout::request_id(self.knobs, request);
        truth.say("fault", span, &ActionInfo { request: &id, result: "fail_request", ..ActionInfo::default() })?;
        let peer = &mut self.peers[(request % self.knobs.decodes) as usize];
        node.add_peer(&peer.metadata)?;
        let every = self.layout.every(&peer.bases);
        let memory = (self.memory.0, peer.device_id);
        peer.lists.remote = node.prepare(Some(&peer.name), &every, self.layout.block_bytes, memory)?;
        Ok(())
    }

    fn kill(&self, request: u32, truth: &mut Truth) -> anyhow::Result<()> {
        let peer = &self.peers[(request % self.knobs.decodes) as usize];
        let (span, killed) = timed(|| ffi::kill(peer.pid));
        let id = layout::request_id(self.knobs, request);
        truth.say(
            "fault",
            span,
            &ActionInfo { request: &id, peer: &peer.name, result: "kill_decode", ..ActionInfo::default() },
        )?;
        anyhow::ensure!(killed, "{} (pid {}) cannot be killed", peer.name, peer.pid);
        Ok(())
    }
}
