//! A decode worker: says where the stages may push a request's KV blocks, or pulls them, takes a decode step when all are there,
//! and at last compares every byte.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nixl_sys::MemType;

use crate::cli::{Knobs, Op, Worker};
use crate::device::{self, Chunk, ComputeRole, Device, Region};
use crate::ffi::now_ns;
use crate::layout::{self, Layout, Side, registration};
use crate::link::{Hello, Link, LinkMessage, ReceivedMessage, Welcome, heard};
use crate::nixl::{HandoffPlan, Lists, Node, PostedTransfer};
use crate::plan::Plan;
use crate::truth::{ActionInfo, Truth, timed};
use crate::{router, stage};

/// Number of the router's connection; those of stages follow.
const ROUTER: u32 = 0;
const STAGE: u32 = 1;

/// Where a decode worker waits for stages.
pub fn socket(dir: &Path, rank: u32) -> PathBuf {
    dir.join(format!("decode-{rank}.sock"))
}

/// Name of a decode worker's agent.
pub fn agent_name(rank: u32) -> String {
    format!("decode-{rank}")
}

/// Runs it to its end.
///
/// # Errors
/// NIXL or another process fails, or a byte is wrong.
pub fn run(worker: &Worker) -> anyhow::Result<()> {
    let (knobs, rank) = (&worker.knobs, worker.rank);
    let plan = Plan::new(knobs)?;
    let layout = Layout::new(knobs, &plan);
    let mut truth = Truth::create(&worker.dir, &agent_name(rank))?;
    let mut device = device::open(knobs, &plan, ComputeRole::Decode(rank))?;
    let node = Node::new(&agent_name(rank), &mut truth)?;
    let count = knobs.layers_before(knobs.stages) * knobs.planes();
    let regions = (0..count).map(|_| device.region(layout.region_bytes())).collect::<anyhow::Result<Vec<_>>>()?;
    // Registered until the end.
    let registered =
        regions.iter().map(|region| node.register(region, &mut truth)).collect::<anyhow::Result<Vec<_>>>()?;
    let memory = (regions[0].memory, regions[0].device_id);

    // Stages are let in when the regions are there; the name appears at once with a socket that listens.
    let path = socket(&worker.dir, rank);
    let hidden = path.with_extension("new");
    let listener = UnixListener::bind(&hidden).context("own socket")?;
    std::fs::rename(&hidden, &path).context("own socket")?;
    let (inbox, came) = mpsc::channel();
    let mut stages: Vec<Option<Stage>> = (0..knobs.stages).map(|_| None).collect();
    for _ in 0..knobs.stages {
        let mut link = Link::accept(&listener)?;
        let hello: Hello = link.hear()?;
        let name = node.add_peer(&hello.metadata)?;
        let at = hello.rank as usize;
        if at >= stages.len() || name != stage::agent_name(hello.rank) {
            bail!("a stage {at} with agent {name}");
        }
        let own = layout.regions(&(knobs.layers_before(hello.rank)..knobs.layers_before(hello.rank + 1)));
        let bases: Vec<usize> = regions[own].iter().map(|region| region.address).collect();
        let (metadata, pid) = (node.metadata()?, std::process::id());
        link.say(&Welcome { pid, metadata, regions: bases.clone(), device_id: memory.1 })?;
        let there = (memory.0, hello.device_id);
        let lists = Lists {
            local: node.prepare(None, &layout.every(&bases), layout.block_bytes, memory)?,
            remote: node.prepare(Some(&name), &layout.every(&hello.regions), layout.block_bytes, there)?,
        };
        link.read_into(STAGE + hello.rank, inbox.clone())?;
        stages[at] = Some(Stage { link, name, bases: (bases, hello.regions), device_id: hello.device_id, lists });
    }
    let mut router = Link::connect(&router::socket(&worker.dir))?;
    router.read_into(ROUTER, inbox)?;
    router.say(&LinkMessage::Ready(rank))?;
    let stages = stages.into_iter().flatten().collect();
    let mut decode = Decode {
        knobs,
        plan: &plan,
        layout: &layout,
        device,
        regions,
        memory,
        node,
        truth,
        inbox: came,
        router,
        stages,
        active: BTreeMap::new(),
        finished: Vec::new(),
        is_over: false,
    };
    decode.work()?;
    drop(registered);
    Ok(())
}

/// A stage as decode knows it.
struct Stage {
    link: Link,
    name: String,
    /// Where the regions of its layers lie, here and there.
    bases: (Vec<usize>, Vec<usize>),
    device_id: u64,
    lists: Lists,
}

/// A request that is not here yet.
struct AwaitedRequest {
    id: String,
    /// When it is registered, or looked at.
    due_ns: i64,
    is_registered: bool,
    /// Texts that tell that its blocks are here, and how many of each.
    notifs: Vec<(String, usize)>,
    /// What is being pulled; `None` until then.
    pulled: Option<Vec<PostedTransfer>>,
}

struct Decode<'a> {
    knobs: &'a Knobs,
    plan: &'a Plan,
    layout: &'a Layout,
    device: Box<dyn Device>,
    regions: Vec<Region>,
    memory: (MemType, u64),
    /// Their lists must go before the agent.
    stages: Vec<Stage>,
    node: Node,
    truth: Truth,
    inbox: Receiver<ReceivedMessage>,
    router: Link,
    active: BTreeMap<u32, AwaitedRequest>,
    finished: Vec<u32>,
    is_over: bool,
}

impl Decode<'_> {
    fn work(&mut self) -> anyhow::Result<()> {
        while !self.is_over || !self.active.is_empty() {
            let patience = if self.active.is_empty() { 10_000 } else { self.knobs.poll_us };
            match self.next_message(Duration::from_micros(patience)) {
                Ok(came) => self.hear(&came)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("all other processes are gone"),
            }
            self.round()?;
        }
        for request in std::mem::take(&mut self.finished) {
            self.verify(request)?;
        }
        std::thread::sleep(Duration::from_millis(self.knobs.end_delay_ms));
        self.stages.iter_mut().try_for_each(|stage| stage.link.say(&LinkMessage::End))
    }

    /// Waits for a message; with `--spin` as engines do whose next step may come at any time.
    fn next_message(&self, patience: Duration) -> Result<ReceivedMessage, RecvTimeoutError> {
        if !self.knobs.spin {
            return self.inbox.recv_timeout(patience);
        }
        let began = Instant::now();
        while began.elapsed() < patience {
            match self.inbox.try_recv() {
                Ok(came) => return Ok(came),
                Err(TryRecvError::Empty) => std::thread::yield_now(),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            }
        }
        Err(RecvTimeoutError::Timeout)
    }

    fn hear(&mut self, ReceivedMessage { from, time_ns, message }: &ReceivedMessage) -> anyhow::Result<()> {
        let Some(message) = message else { bail!("connection {from} is gone") };
        match (*from, heard::<LinkMessage>(message)?) {
            (ROUTER, LinkMessage::Request(request)) => {
                let late = i64::try_from(self.knobs.late_registration_ms * 1_000_000)?;
                let awaited = AwaitedRequest {
                    id: layout::request_id(self.knobs, request),
                    due_ns: time_ns + late,
                    is_registered: false,
                    notifs: self.plan.notifs(self.knobs, request),
                    pulled: None,
                };
                self.active.insert(request, awaited);
            }
            (ROUTER, LinkMessage::End) => self.is_over = true,
            (from, word) => bail!("connection {from} says {word:?}"),
        }
        Ok(())
    }

    /// One look at everything.
    fn round(&mut self) -> anyhow::Result<()> {
        let now = now_ns();
        for awaited in self.active.values_mut().filter(|awaited| !awaited.is_registered && awaited.due_ns <= now) {
            awaited.is_registered = true;
            if self.knobs.op == Op::Write {
                for stage in &self.stages {
                    self.node.notify(&stage.name, &awaited.id, &registration(&awaited.id), &mut self.truth)?;
                }
            }
        }
        if self.active.is_empty() {
            return Ok(());
        }
        self.node.take_notifs(&mut self.truth)?;
        let active: Vec<u32> = self.active.keys().copied().collect();
        for request in active {
            let is_here = match self.knobs.op {
                Op::Write => {
                    self.active[&request].notifs.iter().all(|(text, count)| self.node.came(text.as_bytes()) >= *count)
                }
                Op::Read => self.pull(request)?,
            };
            if is_here {
                self.step(request)?;
            }
        }
        Ok(())
    }

    /// Pulls a request from every stage once all are ready; gives whether it is here.
    fn pull(&mut self, request: u32) -> anyhow::Result<bool> {
        let Some(awaited) = self.active.get_mut(&request) else { return Ok(false) };
        let Some(flying) = awaited.pulled.take() else {
            let ready = self.node.came(format!("READY:{}", awaited.id).as_bytes());
            if awaited.is_registered && ready >= self.stages.len() {
                let posted = self.post_pulls(request)?;
                self.active.entry(request).and_modify(|awaited| awaited.pulled = Some(posted));
            }
            return Ok(false);
        };
        let mut left = Vec::new();
        for flying in flying {
            left.extend(self.node.poll(flying, &mut self.truth)?);
        }
        let is_here = left.is_empty();
        awaited.pulled = Some(left);
        Ok(is_here)
    }

    fn post_pulls(&mut self, request: u32) -> anyhow::Result<Vec<PostedTransfer>> {
        let id = layout::request_id(self.knobs, request);
        let mut all = Vec::new();
        for (rank, stage) in (0..).zip(&self.stages) {
            for part in self.plan.parts(self.knobs, request) {
                for unit in self.plan.units(self.knobs, request, &part, rank) {
                    let bases = (&*stage.bases.0, &*stage.bases.1);
                    let what = HandoffPlan {
                        op: self.knobs.op,
                        make: self.knobs.make,
                        peer: &stage.name,
                        request: &id,
                        notif: &unit.notif,
                        listed: &self.layout.listed(request, &unit, Side::Decode, bases),
                        bytes: self.layout.block_bytes,
                        memory: [self.memory, (self.memory.0, stage.device_id)],
                        lists: &stage.lists,
                    };
                    let made = self.node.make(&what, &mut self.truth)?;
                    all.extend(self.node.post(made, &mut self.truth)?);
                }
            }
        }
        Ok(all)
    }

    /// The first decode step of a request, and its first token.
    fn step(&mut self, request: u32) -> anyhow::Result<()> {
        let Some(awaited) = self.active.remove(&request) else { return Ok(()) };
        let prefix = self.plan.requests[request as usize].blocks * self.knobs.block_tokens;
        let chunk = Chunk { index: 0, prefix, tokens: 1 };
        let (span, stepped) = timed(|| {
            self.device.embed(request, &chunk)?;
            (0..self.knobs.layers_before(self.knobs.stages)).try_for_each(|layer| self.device.layer(layer, &chunk))?;
            self.device.finish()
        });
        stepped?;
        self.truth.say("decode_step", span, &ActionInfo { request: &awaited.id, ..ActionInfo::default() })?;
        self.finished.push(request);
        self.router.say(&LinkMessage::FirstToken(request))
    }

    fn verify(&mut self, request: u32) -> anyhow::Result<()> {
        let id = layout::request_id(self.knobs, request);
        let blocks = 0..self.plan.requests[request as usize].blocks;
        let (span, compared) = timed(|| {
            let (mut bytes, mut wrong) = (0, 0);
            for rank in 0..self.knobs.stages {
                let own = self.layout.regions(&(self.knobs.layers_before(rank)..self.knobs.layers_before(rank + 1)));
                for (region, at) in own.enumerate() {
                    let filled = self.layout.filled(rank, region, request, &blocks, Side::Decode);
                    bytes += filled.iter().map(|block| block.bytes as u64).sum::<u64>();
                    wrong += self.device.wrong_bytes(&self.regions[at], &filled)?;
                }
            }
            Ok::<_, anyhow::Error>((bytes, wrong))
        });
        let (bytes, wrong) = compared?;
        self.truth.say(
            "verified",
            span,
            &ActionInfo { request: &id, bytes: Some(bytes - wrong), ..ActionInfo::default() },
        )?;
        if wrong > 0 {
            bail!("request {id}: {wrong} of {bytes} bytes are wrong");
        }
        Ok(())
    }
}
