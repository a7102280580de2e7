//! Lists of blocks that NIXL agents prepared: where the layers of a process lie in its memory.
//!
//! Engines prepare the blocks of all layers, a row of the list for each, one layer after another: vLLM of its own memory when it
//! registers it, and of each peer's when they meet. vLLM 0.33 has a row a layer, K and V of a block together (`nixl/base_worker.py`,
//! lines 2171 and 2196, in the natural order of the layers' names, 1573); a stage of a push has of decode's rows those of its layers alone
//! (2476). Where a block holds all layers, as for MLA with an indexer (1693), the list has one row; but stages of a push then have a row for
//! the page of each of their layers, here and at decode (1688). SGLang 0.5.23 has a row a buffer,
//! K of all layers and then V of all (`disaggregation/nixl/conn.py`, line 1206).
//!
//! Only a list of a process's own memory is sure to be of all its layers; others count where all say the same.

use std::collections::BTreeMap;

use kvpath_schema::cell::Name;
use kvpath_schema::tables::nixl::PreparedForm;

use super::Facts;
use super::agents::AgentNames;
use super::places::{Blocks, Places};

/// Rows of a process's list, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// Blocks of each.
    pub blocks: Vec<Blocks>,
    /// Whether the process prepared it, for its own memory.
    pub is_own: bool,
    /// Whether rows are as the engine gave them; else they are runs of blocks, and several layers without a gap between them one.
    pub is_strided: bool,
}

/// A list that was recorded whole.
struct List<'a> {
    process: i64,
    time: i64,
    agent: Option<&'a str>,
    peer: Option<&'a str>,
    memory: &'a str,
    rows: Rows,
}

impl<'a> List<'a> {
    /// Name of the agent whose memory it is.
    fn owner(&self) -> Option<&'a str> {
        self.peer.or(self.agent)
    }
}

/// The lists of a run, in order of time.
fn lists(facts: &Facts) -> Vec<List<'_>> {
    let table = &facts.prepared;
    let mut rows: BTreeMap<(i64, i32), Vec<usize>> = BTreeMap::new();
    for row in 0..table.time_ns.len() {
        rows.entry((table.process_id[row], table.list[row])).or_default().push(row);
    }
    let mut found: Vec<List> = Vec::new();
    for ((process, _), mut rows) in rows {
        rows.sort_by_key(|row| table.row[*row]);
        let first = rows[0];
        let is_whole = table.rows[first] == i64::try_from(rows.len()).ok();
        let is_strided = *table.form[first] == PreparedForm::Strided;
        // One run may be of any number of layers.
        if !is_whole || !is_strided && rows.len() == 1 {
            continue;
        }
        let blocks = |row: usize| {
            let [bytes, stride, count] = [table.bytes[row], table.stride[row], table.count[row]].map(i64::unsigned_abs);
            Blocks { addr: table.addr[row], bytes, stride, count }
        };
        let own: Option<&str> = table.agent[first].as_deref();
        let peer = table.peer[first].as_deref().filter(|peer| Some(*peer) != own);
        found.push(List {
            process,
            time: table.time_ns[first],
            agent: own,
            peer,
            memory: &table.memory[first],
            rows: Rows { blocks: rows.into_iter().map(blocks).collect(), is_own: peer.is_none(), is_strided },
        });
    }
    found.sort_by_key(|list| list.time);
    found
}

/// How many rows the list has that a process prepared of its own KV.
#[must_use]
pub fn own_rows(facts: &Facts, process: i64) -> Option<u32> {
    if facts.prepared.time_ns.is_empty() {
        return None;
    }
    let lists = lists(facts);
    let rows = chosen(facts, process, lists.iter().filter(|list| list.process == process && list.peer.is_none()))?;
    u32::try_from(rows.blocks.len()).ok()
}

/// The rows of each process's KV, by a list of its own, else by the only one that others have of it.
pub(super) fn of(facts: &Facts, names: &AgentNames) -> BTreeMap<i64, Rows> {
    let lists = lists(facts);
    let mut of_process: BTreeMap<i64, Vec<&List>> = BTreeMap::new();
    for list in &lists {
        let owner = list.peer.map_or(Some(list.process), |peer| names.at(peer, list.time));
        of_process.entry(owner.unwrap_or(list.process)).or_default().extend(owner.map(|_| list));
    }
    let mut found = BTreeMap::new();
    for (process, lists) in of_process {
        let (own, others): (Vec<&List>, Vec<&List>) = lists.into_iter().partition(|list| list.rows.is_own);
        let is_only = others.windows(2).all(|pair| pair[0].rows == pair[1].rows);
        let rows = if own.is_empty() && is_only { &others } else { &own };
        if let Some(rows) = chosen(facts, process, rows.iter().copied()) {
            let pages = match rows.blocks[..] {
                [whole] if rows.is_own => pages(whole, &others),
                _ => None,
            };
            found.insert(process, pages.unwrap_or_else(|| rows.clone()));
        }
    }
    found
}

/// The pages of the layers in blocks that hold all, where lists of others have a row for each and together fill the blocks: each has
/// its layers in their order, which is that of the pages too.
fn pages(whole: Blocks, others: &[&List]) -> Option<Rows> {
    let follow =
        |blocks: &[Blocks]| blocks.windows(2).all(|pair| pair[0].addr.checked_add(pair[0].bytes) == Some(pair[1].addr));
    if !others.iter().all(|list| list.rows.is_strided && follow(&list.rows.blocks)) {
        return None;
    }
    let mut blocks: Vec<Blocks> = others.iter().flat_map(|list| list.rows.blocks.iter().copied()).collect();
    blocks.sort_by_key(|own| own.addr);
    blocks.dedup();
    let are_alike = blocks.iter().all(|own| (own.stride, own.count) == (whole.stride, whole.count));
    let is_filled = blocks.first()?.addr == whole.addr
        && blocks.iter().fold(0, |sum: u64, own| sum.saturating_add(own.bytes)) == whole.bytes;
    let is_divided = blocks.len() > 1 && are_alike && is_filled && follow(&blocks);
    is_divided.then_some(Rows { blocks, is_own: true, is_strided: true })
}

/// The list of KV, among those of one process's memory: on a GPU if it has some there, and one in which all lies that transfers
/// touch of that memory; the first of several, for engines prepare parts of blocks later. A program that prepares a list for each
/// transfer has none.
fn chosen<'a, 'b: 'a>(facts: &Facts, process: i64, lists: impl IntoIterator<Item = &'a List<'b>>) -> Option<&'a Rows> {
    let regions = &facts.regions;
    let is_own = |row: &usize| regions.process_id[*row] == process;
    let has_vram = (0..regions.addr.len()).filter(is_own).any(|row| &*regions.memory[row] == "VRAM");
    let is_wanted = |memory: &str| memory == "VRAM" || memory == "DRAM" && !has_vram;
    let mut candidates: Vec<(&List, Places)> = Vec::new();
    for list in lists.into_iter().filter(|list| is_wanted(list.memory)) {
        if candidates.iter().all(|(other, _)| other.rows.blocks != list.rows.blocks) {
            candidates.extend(Places::of(&list.rows.blocks).map(|places| (list, places)));
        }
    }
    let table = &facts.transfers;
    for row in 0..table.transfer_id.len() {
        if candidates.is_empty() {
            return None;
        }
        let Some(first) = facts.descriptors.of(table.transfer_id[row]).next() else { continue };
        let is_poster = table.process_id[row] == process;
        candidates.retain(|(list, places)| {
            let is_of = |memory: &Option<Name>| memory.as_deref().is_none_or(|memory| memory == list.memory);
            let is_peer = table.peer[row].is_some() && table.peer[row].as_deref() == list.owner();
            let local = (is_poster && is_of(&table.local_memory[row])).then_some(first.local);
            let remote = first.remote.filter(|_| is_peer && is_of(&table.remote_memory[row]));
            local.into_iter().chain(remote).all(|addr| places.touched(addr, first.bytes, |_| ()))
        });
    }
    candidates.first().map(|(list, _)| &list.rows)
}
