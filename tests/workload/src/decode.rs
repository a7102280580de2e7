//! The decode process: asks each stage for a request's KV blocks or pulls them, waits until all are there, and compares every byte.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nixl_sys::XferDlistHandle;

use crate::cli::{Knobs, Op, Worker};
use crate::ffi::Region;
use crate::layout::{self, Block, Side};
use crate::link::{Hello, Link, Welcome};
use crate::nixl::{Blocks, HandOver, Node, Prepared};
use crate::stage;
use crate::truth::{About, Truth, timed};

/// Name of the decode agent.
pub const AGENT: &str = "decode-0";

/// Runs it to its end.
///
/// # Errors
/// NIXL or another process fails, or a byte is wrong.
pub fn run(worker: &Worker) -> anyhow::Result<()> {
    let knobs = &worker.knobs;
    let mut truth = Truth::create(&worker.dir, AGENT)?;
    let mut node = Node::new(AGENT, &mut truth)?;
    let bytes = layout::block_bytes(knobs);
    let region_bytes = layout::slots(knobs) as usize * bytes;
    let regions: Vec<Region> = (0..knobs.stages * knobs.layers).map(|_| Region::new(region_bytes)).collect();
    let mut registered = Vec::new();
    for region in &regions {
        registered.push(node.register(region, region_bytes, &mut truth)?);
    }

    // Stages are let in when the regions are there; the name appears at once with a socket that listens.
    let hidden = worker.dir.join("decode.sock.new");
    let listener = UnixListener::bind(&hidden).context("own socket")?;
    std::fs::rename(&hidden, worker.dir.join("decode.sock")).context("own socket")?;
    let mut stages: Vec<Option<Stage>> = (0..knobs.stages).map(|_| None).collect();
    for _ in 0..knobs.stages {
        let mut link = Link::accept(&listener)?;
        let hello: Hello = serde_json::from_slice(&link.receive()?)?;
        let peer = node.add_peer(&hello.metadata)?;
        let rank = hello.rank as usize;
        if rank >= stages.len() || peer != stage::agent_name(hello.rank) {
            bail!("a stage {rank} with agent {peer}");
        }
        let own = rank * knobs.layers as usize..(rank + 1) * knobs.layers as usize;
        let layers: Vec<usize> = regions[own].iter().map(Region::address).collect();
        link.send(&serde_json::to_vec(&Welcome { metadata: node.metadata()?, layers: layers.clone() })?)?;
        let local = node.prepare(None, &layout::every(knobs, &layers), bytes)?;
        let remote = node.prepare(Some(&peer), &layout::every(knobs, &hello.layers), bytes)?;
        stages[rank] = Some(Stage { link, peer, bases: (layers, hello.layers), local, remote });
    }

    std::thread::sleep(Duration::from_millis(knobs.start_delay_ms));
    for request in 0..knobs.requests {
        let id = layout::request_id(request);
        match knobs.op {
            Op::Write => {
                for rank in 0..knobs.stages {
                    node.notify(&stage::agent_name(rank), &id, &format!("PUSH_REG:{id}"), &mut truth)?;
                }
                node.await_notifs(&format!("{id}:1"), knobs.stages as usize, &mut truth)?;
            }
            Op::Read => {
                node.await_notifs(&format!("READY:{id}"), knobs.stages as usize, &mut truth)?;
                for stage in stages.iter().flatten() {
                    pull(&node, knobs, stage, (request, &id), &mut truth)?;
                }
            }
        }
        let slots = layout::slots_of(knobs, request, Side::Decode);
        let (span, (right, wrong)) = timed(|| compare(knobs.layers, request, &regions, &slots, bytes));
        truth.say("verified", span, &About { request: &id, bytes: Some(right), ..About::default() })?;
        if wrong > 0 {
            bail!("request {id}: {wrong} of {} bytes are wrong", right + wrong);
        }
    }
    std::thread::sleep(Duration::from_millis(knobs.end_delay_ms));
    for stage in stages.iter_mut().flatten() {
        stage.link.send(b"bye")?;
    }
    Ok(())
}

/// A stage as decode knows it.
struct Stage {
    link: Link,
    peer: String,
    /// Where the regions of its layers lie, here and there.
    bases: (Vec<usize>, Vec<usize>),
    local: XferDlistHandle,
    remote: XferDlistHandle,
}

/// Reads a request's blocks from a stage, which is told when they are here.
fn pull(
    node: &Node,
    knobs: &Knobs,
    stage: &Stage,
    (request, id): (u32, &str),
    truth: &mut Truth,
) -> anyhow::Result<()> {
    let listed = layout::listed(knobs, request, Side::Decode, (&stage.bases.0, &stage.bases.1));
    let what = HandOver {
        op: knobs.op,
        make: knobs.make,
        peer: &stage.peer,
        request: id,
        notif: &format!("{id}:1"),
        blocks: Blocks { pairs: &listed.pairs, bytes: layout::block_bytes(knobs) },
        prepared: Prepared { local: &stage.local, remote: &stage.remote, listed: &listed },
    };
    node.hand_over(&what, truth)
}

/// How many bytes of a request are right and how many are wrong.
fn compare(layers: u32, request: u32, regions: &[Region], slots: &[u32], bytes: usize) -> (u64, u64) {
    let (mut right, mut wrong) = (0, 0);
    for (index, region) in (0..).zip(regions) {
        for (position, slot) in (0..).zip(slots) {
            let block = Block { stage: index / layers, layer: index % layers, request, index: position };
            let bad = block.wrong_bytes(region.block(*slot, bytes)) as u64;
            wrong += bad;
            right += bytes as u64 - bad;
        }
    }
    (right, wrong)
}
