//! A prefill stage: computes its layers on each chunk, keeps the KV blocks, and pushes them to decode or
//! lets decode pull them.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::{Op, Worker};
use crate::compute;
use crate::ffi::Region;
use crate::layout::{self, Block, Side};
use crate::link::{Hello, Link, Welcome};
use crate::nixl::{Blocks, HandOver, Node, Prepared};
use crate::truth::{About, Truth, timed};

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
    let name = agent_name(rank);
    let mut truth = Truth::create(&worker.dir, &name)?;
    let listener =
        if rank > 0 { Some(UnixListener::bind(socket(&worker.dir, rank)).context("own socket")?) } else { None };

    let mut node = Node::new(&name, &mut truth)?;
    let bytes = layout::block_bytes(knobs);
    let slots = layout::slots(knobs);
    let mut regions: Vec<Region> = (0..knobs.layers).map(|_| Region::new(slots as usize * bytes)).collect();
    let mut registered = Vec::new();
    for region in &regions {
        registered.push(node.register(region, slots as usize * bytes, &mut truth)?);
    }

    let mut decode = Link::connect(&worker.dir.join("decode.sock"))?;
    let bases: Vec<usize> = regions.iter().map(Region::address).collect();
    decode.send(&serde_json::to_vec(&Hello { rank, metadata: node.metadata()?, layers: bases.clone() })?)?;
    let welcome: Welcome = serde_json::from_slice(&decode.receive()?)?;
    let peer = node.add_peer(&welcome.metadata)?;
    let mut previous = listener.as_ref().map(Link::accept).transpose()?;
    let mut next = if rank + 1 < knobs.stages { Some(Link::connect(&socket(&worker.dir, rank + 1))?) } else { None };

    let local = node.prepare(None, &layout::every(knobs, &bases), bytes)?;
    let remote = node.prepare(Some(&peer), &layout::every(knobs, &welcome.layers), bytes)?;

    for request in 0..knobs.requests {
        let id = layout::request_id(request);
        if rank == 0 && knobs.op == Op::Write {
            node.await_notifs(&format!("PUSH_REG:{id}"), 1, &mut truth)?;
        }
        let here = layout::slots_of(knobs, request, Side::Prefill);
        for chunk in 0..knobs.chunks {
            let mut activations = match &mut previous {
                Some(previous) => compute::from_bytes(&previous.receive()?),
                None => compute::embed(request, chunk),
            };
            let (span, ()) = timed(|| {
                for (layer, region) in (0..).zip(&mut regions) {
                    compute::layer(&mut activations, layer, chunk);
                    for index in blocks_of_chunk(knobs.blocks, knobs.chunks, chunk) {
                        let to = region.block_mut(here[index as usize], bytes);
                        Block { stage: rank, layer, request, index }.fill(to);
                    }
                }
            });
            truth.say("chunk", span, &About { request: &id, detail: format!("chunk={chunk}"), ..About::default() })?;
            if let Some(next) = &mut next {
                next.send(&compute::to_bytes(&activations))?;
            }
        }
        let notif = format!("{id}:1");
        if knobs.op == Op::Read {
            node.notify(&peer, &id, &format!("READY:{id}"), &mut truth)?;
            node.await_notifs(&notif, 1, &mut truth)?;
            continue;
        }
        if rank > 0 {
            node.await_notifs(&format!("PUSH_REG:{id}"), 1, &mut truth)?;
        }
        let listed = layout::listed(knobs, request, Side::Prefill, (&bases, &welcome.layers));
        let prepared = Prepared { local: &local, remote: &remote, listed: &listed };
        let blocks = Blocks { pairs: &listed.pairs, bytes };
        let (op, make, peer, request, notif) = (knobs.op, knobs.make, &*peer, &*id, &*notif);
        node.hand_over(&HandOver { op, make, peer, request, notif, blocks, prepared }, &mut truth)?;
    }
    // Decode says when all has arrived and is verified; leaving earlier would cut the connection under its feet.
    decode.receive()?;
    Ok(())
}

/// The blocks that a chunk fills.
fn blocks_of_chunk(blocks: u32, chunks: u32, chunk: u32) -> std::ops::Range<u32> {
    let at = |chunk: u32| u32::try_from(u64::from(blocks) * u64::from(chunk) / u64::from(chunks)).unwrap_or(blocks);
    at(chunk)..at(chunk + 1)
}

#[cfg(test)]
mod tests {
    use super::blocks_of_chunk;

    #[test]
    fn chunks_cover_every_block_once() {
        for (blocks, chunks) in [(64, 4), (7, 3), (2, 5), (65_535, 65_535)] {
            let all: Vec<u32> = (0..chunks).flat_map(|chunk| blocks_of_chunk(blocks, chunks, chunk)).collect();
            assert_eq!(all, (0..blocks).collect::<Vec<_>>(), "{blocks} blocks in {chunks} chunks");
        }
    }
}
