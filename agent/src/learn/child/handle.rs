//! Where `nixlXferReqH` and descriptor lists keep what is recorded, by looking for what was put in.

use super::capi::{Capi, DRAM};
use super::memory::{self, Piece, elements, object, places, text};
use super::places::Places;
use crate::capture::nixl::builds::{LayoutEntry, Lists};

/// Kinds of memory that lists are made of: DRAM, VRAM, OBJ and FILE.
const MEMORIES: [i32; 4] = [0, 1, 3, 4];

/// Layout of a descriptor list by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List {
    pub memory: u32,
    pub begin: u32,
    pub element: u32,
}

impl List {
    /// Of the lists of that kind.
    pub fn measure(capi: &Capi, kind: &str) -> Result<Self, String> {
        let (mut kinds, mut vectors) = (Places::new("kind of memory of a list"), Places::new("vector of a list"));
        for (turn, memory) in (0..).zip(MEMORIES) {
            let piece = |i: u64| [0x10_0000 * (turn + 2) + 0x1000 * i, 100 + 7 * i + turn, 40 + i];
            let pieces: Vec<Piece> = (0..3 + 2 * turn).map(piece).collect();
            let (address, data) = object(capi.list(kind, memory, &pieces)?)?;
            kinds.seen(places(&data, &memory.to_le_bytes()));
            let at = (0..data.len().saturating_sub(15)).step_by(8).filter_map(|at| u32::try_from(at).ok());
            vectors.seen(at.filter_map(|at| Some((at, elements(address + u64::from(at), &pieces)?))));
        }
        let (begin, element) = vectors.only()?;
        Ok(Self { memory: kinds.only()?, begin, element })
    }
}

/// What a request was made of.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub op: i32,
    pub sides: [&'a [Piece]; 2],
    pub peer: &'a str,
    pub notif: Option<&'a [u8]>,
}

/// What is known of the handle so far.
#[derive(Debug)]
pub struct Handle {
    list: List,
    /// Offset, whether it holds a pointer to the list (else the list itself), size of its elements.
    sides: [Places<(u32, bool, u32)>; 2],
    peer: Places<u32>,
    notif: Places<u32>,
    has_notif: Places<u32>,
    op: Places<u32>,
    status: Places<u32>,
    bytes: Places<u32>,
}

impl Handle {
    /// Of a build whose lists are so.
    pub fn new(list: List) -> Self {
        Self {
            list,
            sides: [Places::new("local list"), Places::new("remote list")],
            peer: Places::new("peer"),
            notif: Places::new("notification"),
            has_notif: Places::new("whether there is a notification"),
            op: Places::new("operation"),
            status: Places::new("status"),
            bytes: Places::new("size"),
        }
    }

    /// Looks at a request.
    pub fn see(&mut self, request: u64, asked: Asked<'_>) -> Result<(), String> {
        let (address, data) = object(request)?;
        let words: Vec<u32> =
            (0..data.len().saturating_sub(7)).step_by(8).filter_map(|at| u32::try_from(at).ok()).collect();
        for (side, pieces) in self.sides.iter_mut().zip(asked.sides) {
            side.seen(lists(self.list, address, &words, pieces));
        }
        let texts: Vec<(u32, Option<Vec<u8>>)> = words.iter().map(|at| (*at, text(address + u64::from(*at)))).collect();
        let holding = |wanted: &[u8]| -> Vec<u32> {
            texts.iter().filter(|(_, text)| text.as_deref() == Some(wanted)).map(|(at, _)| *at).collect()
        };
        self.peer.seen(holding(asked.peer.as_bytes()));
        if let Some(notif) = asked.notif {
            self.notif.seen(holding(notif));
        }
        self.has_notif.seen(places(&data, &[u8::from(asked.notif.is_some())]));
        self.op.seen(places(&data, &asked.op.to_le_bytes()));
        let size: u64 = asked.sides[0].iter().map(|piece| piece[1]).sum();
        self.bytes.seen(places(&data, &size.to_le_bytes()));
        Ok(())
    }

    /// Looks for what the post or a poll has just said.
    pub fn see_status(&mut self, request: u64, status: i32) -> Result<(), String> {
        self.status.seen(places(&object(request)?.1, &status.to_le_bytes()));
        Ok(())
    }

    /// The layout, with the elements of lists of basic and of blob descriptors.
    pub fn found(&self, basic_bytes: u32, blob_bytes: u32) -> Result<LayoutEntry, String> {
        let [(local, is_pointer, meta_bytes), (remote, ..)] = [self.sides[0].only()?, self.sides[1].only()?];
        if self.sides[1].only()? != (remote, is_pointer, meta_bytes) {
            return Err("the two lists of a handle are not alike".to_owned());
        }
        Ok(LayoutEntry {
            handle_lists: if is_pointer { Lists::Pointer } else { Lists::Inline },
            handle_local: local,
            handle_remote: remote,
            handle_peer: self.peer.only()?,
            handle_notif: self.notif.only()?,
            handle_has_notif: self.has_notif.only()?,
            handle_op: self.op.only()?,
            handle_status: self.status.only()?,
            // Some builds fill it in only when telemetry is on; then the agent adds up the descriptors.
            handle_bytes: if self.bytes.is_nowhere() { None } else { Some(self.bytes.only()?) },
            list_memory: self.list.memory,
            list_begin: self.list.begin,
            meta_bytes,
            basic_bytes,
            strided_bytes: None,
            blob_bytes,
        })
    }
}

/// Where an object has a list of these pieces of DRAM.
fn lists(list: List, address: u64, words: &[u32], pieces: &[Piece]) -> Vec<(u32, bool, u32)> {
    let mut found = Vec::new();
    for at in words {
        for is_pointer in [false, true] {
            let here = address + u64::from(*at);
            let Some(base) = (if is_pointer { memory::word(here) } else { Some(here) }) else { continue };
            let kind = super::ffi::read(base.wrapping_add(u64::from(list.memory)), 4);
            let element = elements(base.wrapping_add(u64::from(list.begin)), pieces);
            if let (Some(element), true) = (element, kind.as_deref() == Some(&DRAM.to_le_bytes()[..])) {
                found.push((*at, is_pointer, element));
            }
        }
    }
    found
}
