//! A prefill stage: computes its layers on each chunk, keeps the KV blocks, and pushes them to decode or lets decode pull them.

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::cli::{HandoffEach, Knobs, Worker};
use crate::device::{self, BUFFERS, ComputeRole, Device, Region};
use crate::layout::{self, Layout, Side};
use crate::link::{Hello, Link, LinkMessage, ReceivedMessage, Welcome, heard};
use crate::nixl::{Lists, Node};
use crate::plan::{ComputedPart, Plan};
use crate::sender::{Peer, Sender};
use crate::truth::{ActionInfo, Truth, timed};
use crate::{decode, router};

/// Numbers of connections; those of decode workers follow.
const PREVIOUS: u32 = 0;
const NEXT: u32 = 1;
const ROUTER: u32 = 2;
const DECODE: u32 = 3;

/// Where a stage waits for the activations of the one before it.
fn socket(dir: &Path, rank: u32) -> PathBuf {
    dir.join(format!("stage-{rank}.sock"))
}

/// Name of a stage's agent.
pub fn agent_name(rank: u32) -> String {
    format!("prefill-{rank}")
}

/// Runs the stage to its end.
///
/// # Errors
/// NIXL or another process fails.
pub fn run(worker: &Worker) -> anyhow::Result<()> {
    let (knobs, rank) = (&worker.knobs, worker.rank);
    let plan = Plan::new(knobs)?;
    let layout = Layout::new(knobs, &plan);
    let mut truth = Truth::create(&worker.dir, &agent_name(rank))?;
    let listener =
        if rank > 0 { Some(UnixListener::bind(socket(&worker.dir, rank)).context("own socket")?) } else { None };

    let mut device = device::open(knobs, &plan, ComputeRole::Stage(rank))?;
    let node = Node::new(&agent_name(rank), &mut truth)?;
    let count = knobs.layers_of(rank) * knobs.planes();
    let regions = (0..count).map(|_| device.region(layout.region_bytes())).collect::<anyhow::Result<Vec<_>>>()?;
    // Registered until the end.
    let registered =
        regions.iter().map(|region| node.register(region, &mut truth)).collect::<anyhow::Result<Vec<_>>>()?;
    let bases: Vec<usize> = regions.iter().map(|region| region.address).collect();
    let memory = (regions[0].memory, regions[0].device_id);

    let (inbox, came) = mpsc::channel();
    let mut peers = Vec::new();
    for decode in 0..knobs.decodes {
        let mut link = Link::connect(&decode::socket(&worker.dir, decode))?;
        link.say(&Hello { rank, metadata: node.metadata()?, regions: bases.clone(), device_id: memory.1 })?;
        let welcome: Welcome = link.hear()?;
        let name = node.add_peer(&welcome.metadata)?;
        let there = (memory.0, welcome.device_id);
        let lists = Lists {
            local: node.prepare(None, &layout.every(&bases), layout.block_bytes, memory)?,
            remote: node.prepare(Some(&name), &layout.every(&welcome.regions), layout.block_bytes, there)?,
        };
        let Welcome { pid, metadata, regions, device_id } = welcome;
        peers.push(Peer { name, pid, metadata, bases: regions, device_id, lists });
        link.read_into(DECODE + decode, inbox.clone())?;
    }
    let previous = listener.as_ref().map(Link::accept).transpose()?;
    let next = if rank + 1 < knobs.stages { Some(Link::connect(&socket(&worker.dir, rank + 1))?) } else { None };
    for (link, number) in [(&previous, PREVIOUS), (&next, NEXT)] {
        link.as_ref().map_or(Ok(()), |link| link.read_into(number, inbox.clone()))?;
    }
    if rank == 0 {
        let mut router = Link::connect(&router::socket(&worker.dir))?;
        router.read_into(ROUTER, inbox.clone())?;
        router.say(&LinkMessage::Ready(router::STAGE))?;
    }
    let mut stage = Stage {
        knobs,
        rank,
        plan: &plan,
        layout: &layout,
        device,
        regions,
        sender: Sender::new(knobs, rank, &layout, (&bases, memory), peers),
        node,
        truth,
        inbox: came,
        previous,
        next,
        waiting: VecDeque::new(),
        announced: None,
        given: 0,
        farewells: BTreeSet::new(),
        is_over: false,
    };
    stage.work()?;
    drop(registered);
    Ok(())
}

/// A part of a request that can be computed, with the activations that came for it.
struct Task {
    request: u32,
    part: u32,
    activations: Option<Vec<u8>>,
}

struct Stage<'a> {
    knobs: &'a Knobs,
    rank: u32,
    plan: &'a Plan,
    layout: &'a Layout,
    device: Box<dyn Device>,
    regions: Vec<Region>,
    /// Its lists must go before the agent.
    sender: Sender<'a>,
    node: Node,
    truth: Truth,
    inbox: Receiver<ReceivedMessage>,
    previous: Option<Link>,
    next: Option<Link>,
    waiting: VecDeque<Task>,
    /// What the activations are for that come next.
    announced: Option<(u32, u32)>,
    /// Activations that the next stage has not taken yet.
    given: usize,
    /// Decode workers that have said that all is verified.
    farewells: BTreeSet<u32>,
    /// Whether the router has said that there are no more requests.
    is_over: bool,
}

impl Stage<'_> {
    fn work(&mut self) -> anyhow::Result<()> {
        let requests = 0..self.knobs.requests;
        let mut left: usize = requests.map(|request| self.plan.parts(self.knobs, request).len()).sum();
        while left > 0 || !self.sender.is_idle() {
            while let Ok(came) = self.inbox.try_recv() {
                self.hear(came)?;
            }
            match self.waiting.pop_front() {
                Some(task) => {
                    self.compute(task)?;
                    left -= 1;
                }
                None => self.wait()?,
            }
        }
        // Leaving before decode has verified all would cut the connection under its feet.
        while self.farewells.len() < self.knobs.decodes as usize {
            self.wait()?;
        }
        Ok(())
    }

    /// Until something comes, or it is time to look again at what is under way.
    fn wait(&mut self) -> anyhow::Result<()> {
        self.sender.pump(&mut self.node, &mut self.truth)?;
        let patience = if self.sender.is_idle() { 10_000 } else { self.knobs.poll_us };
        match self.inbox.recv_timeout(Duration::from_micros(patience)) {
            Ok(came) => self.hear(came),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => bail!("all other processes are gone"),
        }
    }

    fn hear(&mut self, ReceivedMessage { from, message, .. }: ReceivedMessage) -> anyhow::Result<()> {
        let Some(message) = message else {
            // Who has done its part may go first.
            return match from {
                ROUTER if !self.is_over => bail!("the router is gone"),
                decode if decode >= DECODE && !self.farewells.contains(&decode) => {
                    bail!("decode {} is gone", decode - DECODE)
                }
                _ => Ok(()),
            };
        };
        if from == PREVIOUS
            && let Some((request, part)) = self.announced.take()
        {
            self.waiting.push_back(Task { request, part, activations: Some(message) });
            return Ok(());
        }
        match (from, heard::<LinkMessage>(&message)?) {
            (PREVIOUS, LinkMessage::Activations { request, part }) => self.announced = Some((request, part)),
            (NEXT, LinkMessage::Taken) => self.given = self.given.saturating_sub(1),
            (ROUTER, LinkMessage::Request(request)) => {
                let parts = u32::try_from(self.plan.parts(self.knobs, request).len())?;
                self.waiting.extend((0..parts).map(|part| Task { request, part, activations: None }));
            }
            (ROUTER, LinkMessage::End) => self.is_over = true,
            (decode, LinkMessage::End) if decode >= DECODE => _ = self.farewells.insert(decode),
            (from, word) => bail!("connection {from} says {word:?}"),
        }
        Ok(())
    }

    fn compute(&mut self, Task { request, part: index, activations }: Task) -> anyhow::Result<()> {
        let id = layout::request_id(self.knobs, request);
        let Some(part) = self.plan.parts(self.knobs, request).into_iter().nth(index as usize) else {
            bail!("request {request} has no part {index}");
        };
        let about = |detail: String| ActionInfo { request: &id, detail, ..ActionInfo::default() };
        let chunk = format!("chunk={}", part.chunk.index);
        if let Some(pause) = self.knobs.host_pause.filter(|pause| pause.stage == self.rank) {
            let (span, ()) = timed(|| std::thread::sleep(pause.time));
            self.truth.say("fault", span, &ActionInfo { result: "host_pause", ..about(chunk.clone()) })?;
        }
        match activations {
            None => self.device.embed(request, &part.chunk)?,
            Some(given) => {
                let (span, taken) = timed(|| self.device.take(&given));
                taken?;
                self.truth.say("take", span, &about(chunk.clone()))?;
                self.previous.as_mut().context("no stage before")?.say(&LinkMessage::Taken)?;
            }
        }
        let (span, computed) = timed(|| self.layers(request, &part, &id));
        computed?;
        self.truth.say("chunk", span, &about(chunk.clone()))?;
        if self.next.is_some() {
            self.pass_on(request, index, &id, &chunk)?;
        }
        if self.knobs.handoff != HandoffEach::Layer {
            for unit in self.plan.units(self.knobs, request, &part, self.rank) {
                self.sender.push(request, unit, &self.node, &mut self.truth)?;
            }
        }
        self.sender.pump(&mut self.node, &mut self.truth)
    }

    /// All layers of a part, and its KV blocks.
    fn layers(&mut self, request: u32, part: &ComputedPart, id: &str) -> anyhow::Result<()> {
        let mut units = match self.knobs.handoff {
            HandoffEach::Layer => self.plan.units(self.knobs, request, part, self.rank),
            HandoffEach::Request | HandoffEach::Chunk => Vec::new(),
        }
        .into_iter();
        let before = self.knobs.layers_before(self.rank);
        for layer in 0..self.knobs.layers_of(self.rank) {
            let detail = format!("chunk={},layer={layer}", part.chunk.index);
            let slow = self.knobs.slow_layer.filter(|slow| (slow.stage, slow.layer) == (self.rank, layer));
            let (span, done) = timed(|| {
                if let Some(slow) = slow {
                    self.device.spin(slow.time)?;
                }
                self.device.layer(before + layer, &part.chunk)?;
                for region in self.layout.regions(&(layer..layer + 1)) {
                    let blocks = self.layout.filled(self.rank, region, request, &part.blocks, Side::Prefill);
                    self.device.fill(&mut self.regions[region], &blocks)?;
                }
                if self.knobs.handoff == HandoffEach::Layer { self.device.finish() } else { Ok(()) }
            });
            done?;
            let result = if slow.is_some() { "slow_layer" } else { "" };
            self.truth.say("layer", span, &ActionInfo { request: id, result, detail, ..ActionInfo::default() })?;
            if let Some(unit) = units.next() {
                self.sender.push(request, unit, &self.node, &mut self.truth)?;
                self.sender.pump(&mut self.node, &mut self.truth)?;
            }
        }
        self.device.finish()
    }

    /// Passes the activations on, once there is a buffer for them.
    fn pass_on(&mut self, request: u32, part: u32, id: &str, chunk: &str) -> anyhow::Result<()> {
        while self.given >= BUFFERS {
            self.wait()?;
        }
        let (span, given) = timed(|| {
            let payload = self.device.give()?;
            let next = self.next.as_mut().context("no stage behind")?;
            next.say(&LinkMessage::Activations { request, part })?;
            next.send(&payload)
        });
        given?;
        self.given += 1;
        self.truth.say("give", span, &ActionInfo { request: id, detail: chunk.to_owned(), ..ActionInfo::default() })
    }
}
