//! Layers that share one registered region: each has a part of it, all of one size, one after another, as vLLM allocates them from
//! 0.29 on.
//!
//! The blocks of a hand-off lie at the same places in each layer's part. So its addresses repeat at a distance, which divides the
//! region; every list of descriptors must agree with it, and together they touch all parts, as each hand-off is of all layers. Where a
//! block holds all layers, nothing repeats like that; blocks as far apart as each other may, but fill no region.

use std::collections::{BTreeMap, BTreeSet};

use super::agents::AgentNames;
use super::{Descriptor, Facts};

/// More parts than any model has layers, K and V apart.
const MOST: u64 = 1024;
/// Distances that are tried: lists whose blocks lie as far apart as each other repeat at a shorter one than the others.
const TRIED: usize = 16;

/// The only region that a process has for KV, while lists of descriptors are held against it.
#[derive(Debug)]
struct Search {
    addr: u64,
    bytes: u64,
    /// Distances at which some list repeats, that no list has contradicted, and which parts of that size lists touch.
    strides: BTreeMap<u64, BTreeSet<u64>>,
}

/// The size of a part of each process's only region, if it has parts. `single` are address and size of those. Of several that no
/// list contradicts it is the largest.
pub(super) fn of(facts: &Facts, names: &AgentNames, single: &BTreeMap<i64, (u64, u64)>) -> BTreeMap<i64, u64> {
    let search = |(addr, bytes): (u64, u64)| Search { addr, bytes, strides: BTreeMap::new() };
    let mut searches: BTreeMap<i64, Search> = single.iter().map(|(process, own)| (*process, search(*own))).collect();
    if searches.is_empty() {
        return BTreeMap::new();
    }
    each_list(facts, names, |process, list| {
        let Some(search) = searches.get_mut(&process).filter(|search| search.strides.len() < TRIED) else { return };
        let stride = search.runs(list).and_then(|runs| distance(&runs)).filter(|stride| search.divides(*stride));
        search.strides.extend(stride.map(|stride| (stride, BTreeSet::new())));
    });
    searches.retain(|_, search| !search.strides.is_empty());
    each_list(facts, names, |process, list| {
        let Some(search) = searches.get_mut(&process) else { return };
        if let Some(runs) = search.runs(list) {
            search.strides.retain(|stride, touched| are_alike(&runs, *stride, touched));
        }
    });
    let largest = |search: &Search| {
        let is_whole = |(stride, touched): &(&u64, &BTreeSet<u64>)| touched.len() as u64 == search.bytes / **stride;
        search.strides.iter().rfind(is_whole).map(|(stride, _)| *stride)
    };
    searches.iter().filter_map(|(process, search)| Some((*process, largest(search)?))).collect()
}

/// Address and size of each descriptor at one end of a transfer.
type List = Vec<(u64, u64)>;

/// Hands over the lists of both ends of each transfer that was recorded whole.
fn each_list(facts: &Facts, names: &AgentNames, mut take: impl FnMut(i64, List)) {
    let table = &facts.transfers;
    for row in 0..table.transfer_id.len() {
        let all = || facts.descriptors.of(table.transfer_id[row]);
        let count = i64::try_from(all().len()).unwrap_or(i64::MAX);
        if count == 0 || table.descriptors[row] != Some(count) {
            continue;
        }
        take(
            table.process_id[row],
            all().map(|Descriptor { local, bytes, .. }| (local, bytes.unsigned_abs())).collect(),
        );
        let made = table.made_ns[row].or(table.posted_ns[row]).unwrap_or(i64::MAX);
        let peer = table.peer[row].as_deref().and_then(|name| names.at(name, made));
        let remote: Option<List> =
            all().map(|Descriptor { remote, bytes, .. }| Some((remote?, bytes.unsigned_abs()))).collect();
        if let Some((peer, remote)) = peer.zip(remote) {
            take(peer, remote);
        }
    }
}

impl Search {
    fn divides(&self, stride: u64) -> bool {
        self.bytes.is_multiple_of(stride) && (2..=MOST).contains(&(self.bytes / stride))
    }

    /// What a list touches of the region, as runs of offsets, rising and apart; `None` if it is of another.
    fn runs(&self, mut list: List) -> Option<Vec<(u64, u64)>> {
        list.sort_unstable();
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (addr, bytes) in list {
            let start = addr.checked_sub(self.addr)?;
            let end = start.checked_add(bytes).filter(|end| *end <= self.bytes)?;
            match runs.last_mut() {
                Some(run) if start <= run.1 => run.1 = run.1.max(end),
                _ => runs.push((start, end)),
            }
        }
        Some(runs)
    }
}

/// The shortest distance at which runs repeat, all of them.
fn distance(runs: &[(u64, u64)]) -> Option<u64> {
    let repeats = |each: &usize| {
        let (first, stride) = (runs[0].0, runs[*each].0 - runs[0].0);
        let is_apart = runs[*each - 1].1 <= first + stride;
        let moved = |(a, b): (&(u64, u64), &(u64, u64))| b.0 - a.0 == stride && b.1 - a.1 == stride;
        is_apart && runs.iter().zip(&runs[*each..]).all(moved)
    };
    let each = (1..=runs.len() / 2).filter(|each| runs.len().is_multiple_of(*each)).find(repeats)?;
    Some(runs[each].0 - runs[0].0)
}

/// Whether runs lie alike in all parts of that size that they touch, which are added. One that goes on into the next part is of both.
fn are_alike(runs: &[(u64, u64)], stride: u64, touched: &mut BTreeSet<u64>) -> bool {
    let mut parts: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for (mut start, end) in runs.iter().copied() {
        while start < end {
            let part = start / stride;
            let until = end.min((part + 1) * stride);
            parts.entry(part).or_default().push((start - part * stride, until - part * stride));
            start = until;
        }
    }
    touched.extend(parts.keys());
    let mut parts = parts.values();
    let first = parts.next();
    parts.all(|own| Some(own) == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::MS;
    use proptest::prelude::*;

    const BLOCK: u64 = 0x1000;
    const BLOCKS: u64 = 16;
    const BASE: u64 = 0x7f00_0000;

    /// One transfer of each list from a process with one region of so many layers; the size of its parts that is found.
    fn found(layers: u64, lists: &[List]) -> Option<u64> {
        let mut facts = Facts::default();
        facts.agent(1, "p");
        for list in lists {
            let transfer = i64::try_from(facts.transfers.transfer_id.len()).unwrap();
            facts.write(1, "p", "d", (10 + transfer) * MS, 1, "r");
            for (addr, bytes) in list {
                facts.descriptor(transfer, *addr, i64::try_from(*bytes).unwrap());
            }
            *facts.transfers.descriptors.last_mut().unwrap() = i64::try_from(list.len()).ok();
        }
        let single = BTreeMap::from([(1, (BASE, layers * BLOCKS * BLOCK))]);
        of(&facts, &AgentNames::of(&facts), &single).get(&1).copied()
    }

    /// Neighbours merged, as NIXL does.
    fn merged(mut list: List) -> List {
        list.sort_unstable();
        let mut all: List = Vec::new();
        for (addr, bytes) in list {
            match all.last_mut() {
                Some(run) if run.0 + run.1 == addr => run.1 += bytes,
                _ => all.push((addr, bytes)),
            }
        }
        all
    }

    /// Blocks of some layers, each layer apart.
    fn by_layer(layers: std::ops::Range<u64>, blocks: &[u64]) -> List {
        let of = |layer: u64| blocks.iter().map(move |block| (BASE + (layer * BLOCKS + block) * BLOCK, BLOCK));
        merged(layers.flat_map(of).collect())
    }

    /// The same where a block holds all layers.
    fn by_block(layers: u64, blocks: &[u64]) -> List {
        merged(blocks.iter().map(|block| (BASE + block * layers * BLOCK, layers * BLOCK)).collect())
    }

    #[test]
    fn lists_repeat_at_the_size_of_a_layer() {
        assert_eq!(found(12, &[by_layer(0..12, &[1, 2, 5])]), Some(BLOCKS * BLOCK));
        assert_eq!(found(12, &[by_layer(0..12, &[3])]), Some(BLOCKS * BLOCK), "a block of each layer");
        // A stage's layers of decode's; a list that goes on from one layer into the next.
        let lists = [by_layer(0..6, &[1, 2, 5]), by_layer(6..12, &[1, 2, 5]), by_layer(0..12, &[0, 1, 15])];
        assert_eq!(found(12, &lists), Some(BLOCKS * BLOCK));
        assert_eq!(found(12, &[by_layer(0..1, &[1, 2, 5])]), None, "one layer alone");
        // Blocks that lie half a layer apart repeat at that too.
        assert_eq!(found(12, &[by_layer(0..12, &[1, 9])]), Some(BLOCKS / 2 * BLOCK));
        assert_eq!(found(12, &[by_layer(0..12, &[1, 9]), by_layer(0..12, &[2])]), Some(BLOCKS * BLOCK));
    }

    #[test]
    fn blocks_of_all_layers_do_not_repeat() {
        assert_eq!(found(12, &[by_block(12, &[1, 2, 5]), by_block(12, &[3]), by_block(12, &[0, 1, 4, 7, 8])]), None);
        assert_eq!(found(12, &[by_block(12, &[0, 4, 8])]), None, "as far apart as each other");
        // What happens to repeat is contradicted by the next.
        assert_eq!(found(12, &[by_block(12, &[1, 5]), by_block(12, &[2, 3, 7])]), None);
    }

    #[test]
    fn one_list_that_differs_leaves_it_unknown() {
        let other: List = vec![(BASE, BLOCK), (BASE + BLOCKS * BLOCK, 2 * BLOCK)];
        assert_eq!(found(12, &[by_layer(0..12, &[1, 2, 5]), other]), None);
        assert_eq!(
            found(12, &[by_layer(0..12, &[1, 2, 5]), vec![(0x10, 8)]]),
            Some(BLOCKS * BLOCK),
            "of another region"
        );
    }

    proptest! {
        /// Of any hand-off of a whole stage that does not fill its layers.
        #[test]
        fn any_blocks_tell_the_size(
            layers in 2u64..40,
            blocks in prop::collection::btree_set(0..BLOCKS - 1, 1..9),
        ) {
            let blocks: Vec<u64> = blocks.into_iter().collect();
            let size = found(layers, &[by_layer(0..layers, &blocks)]);
            // Blocks that lie as far apart as layers do make the same list as more layers with fewer blocks.
            let shorter = size.is_some_and(|size| size < BLOCKS * BLOCK && (BLOCKS * BLOCK).is_multiple_of(size));
            prop_assert!(size == Some(BLOCKS * BLOCK) || shorter, "{size:?}");
        }

        #[test]
        fn any_list_gives_a_size_that_divides_or_none(
            list in prop::collection::vec((any::<u64>(), any::<u32>()), 0..20),
            near in prop::collection::vec((0u64..0x4000, 0u64..64), 0..20),
        ) {
            let list: List = list.into_iter().map(|(addr, bytes)| (addr, bytes.into())).collect();
            let near: List = near.into_iter().map(|(at, bytes)| (BASE + at, bytes)).collect();
            if let Some(size) = found(4, &[list, near]) {
                prop_assert!((4 * BLOCKS * BLOCK).is_multiple_of(size));
            }
        }
    }
}
