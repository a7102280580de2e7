//! Lists with strides, which the C interface does not have: by the C++ function that Python's binding calls. Their elements are given
//! to NIXL as they are believed to be, and must come out of it as the blocks that they stand for.

use super::capi::{Agent, Capi, DRAM, WRITE};
use super::ffi::Region;
use super::memory::{self, Piece, elements};
use super::{Pick, contents, fill, finish};
use crate::capture::nixl::builds::{LayoutEntry, Lists, strided_symbol};

/// Size of an element: address, size, device, stride and count.
const ELEMENT: u32 = 40;
const REGION: usize = 1 << 20;

/// An element.
type Row = [u64; 5];

/// The size of the elements; `None` for a build without such lists.
///
/// # Errors
/// They are not what they are believed to be.
pub fn measure(capi: &Capi, layout: &LayoutEntry) -> Result<Option<u32>, String> {
    if !capi.library.has(strided_symbol()) {
        return Ok(None);
    }
    let (agent, peer) = (Agent::new(capi, "strides", false)?, Agent::new(capi, "strides-peer", false)?);
    let (own, far) = (agent.region(REGION)?, peer.region(REGION)?);
    agent.meet(&peer)?;
    let row = |start: u64, i: u64| -> Row { [start + 64 + 500_000 * i, 1000, 0, 4096 + 8 * i, 5 + i] };
    let rows = [own, far].map(|region| [0, 1].map(|i| row(region.address, i)));
    let blocks = rows.map(|rows| rows.iter().flat_map(flat).collect::<Vec<Piece>>());
    let sides = [prepare(capi, &agent, "", &rows[0], layout)?, prepare(capi, &agent, &peer.name, &rows[1], layout)?];
    let count = u32::try_from(blocks[0].len()).unwrap_or(0);
    let request = agent.make(WRITE, sides, count, Some(b"strided"))?;
    let (address, _) = memory::object(request)?;
    for (at, side) in [layout.handle_local, layout.handle_remote].into_iter().zip(&blocks) {
        let at = address + u64::from(at);
        let list = if layout.handle_lists == Lists::Pointer { memory::word(at).unwrap_or(0) } else { at };
        if elements(list + u64::from(layout.list_begin), side) != Some(layout.meta_bytes) {
            return Err("elements with strides are not what they are believed to be".to_owned());
        }
    }
    fill(&mut Pick(0x1234_5678_9abc_def1), &[own, far]);
    finish(&agent, request, |_| Ok(()))?;
    if contents(&blocks[0]).is_none() || contents(&blocks[0]) != contents(&blocks[1]) {
        return Err("blocks at strides have not moved".to_owned());
    }
    Ok(Some(ELEMENT))
}

fn flat(row: &Row) -> Vec<Piece> {
    let [at, size, device, stride, count] = *row;
    (0..count).map(|n| [at + n * stride, size, device]).collect()
}

/// A prepared side as the C interface hands one out: a struct that points to it.
fn prepare(capi: &Capi, agent: &Agent<'_>, peer: &str, rows: &[Row], layout: &LayoutEntry) -> Result<u64, String> {
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let rows = words(rows.as_flattened());
    let vector = Region::of(&rows);
    let end = vector.address + rows.len() as u64;
    let mut list = vec![0; layout.list_begin as usize + 24];
    put(&mut list, layout.list_memory, &DRAM.to_le_bytes());
    put(&mut list, layout.list_begin, &words(&[vector.address, end, end]));
    let text = Region::of(&[peer.as_bytes(), b"\0"].concat());
    let string = Region::of(&words(&[text.address, peer.len() as u64, peer.len() as u64, 0]));
    let out = Region::new(8);
    let agent = memory::word(agent.handle).unwrap_or(0);
    let args = [agent, string.address, Region::of(&list).address, out.address, 0];
    match capi.library.call(strided_symbol(), &args)? {
        0 => Ok(Region::of(&words(&[memory::word(out.address).unwrap_or(0), 0])).address),
        status => Err(format!("a list with strides is refused: status {status}")),
    }
}

fn put(into: &mut [u8], at: u32, bytes: &[u8]) {
    if let Some(place) = into.get_mut(at as usize..).and_then(|rest| rest.get_mut(..bytes.len())) {
        place.copy_from_slice(bytes);
    }
}
