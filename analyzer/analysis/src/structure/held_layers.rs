//! Which layers the registered regions of a process hold.
//!
//! Serving engines register the layers in their order: one region each (K and V together), or two. So a process whose hand-offs
//! touch as many regions as its forward passes run layers, or twice as many, has one layer in each, or K and V apart. Where no
//! kernels were recorded, what holds for the others of the run holds, if all agree. Several layers in a region, or a number of
//! regions that is neither, leave it unknown. But where a process prepared a list of its blocks ([`crate::facts::prepared`]), its rows stand
//! for regions; else where the hand-offs show that its only region has a part for each layer, the parts do.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::Facts;
use crate::facts::regions::{Parts, Regions};
use crate::facts::set::Set;
use crate::method::Method;
use crate::serving::region_order::{Evidence, Order};
use crate::serving::titles;

/// How the KV regions of a process stand to its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionLayers {
    /// Positions of the KV regions, rising.
    pub kv: Set,
    /// Regions a layer: 1 or 2.
    pub each: u32,
    /// Layers.
    pub layers: u32,
    /// Which are a layer's, and how that is known; `None` if it is not.
    order: Option<(Order, &'static str)>,
    /// How it is known of all of them together.
    whole: &'static str,
}

/// Layers that some regions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLayers {
    /// Their numbers within the process.
    pub layers: Set,
    /// How that is known: `all` (all regions), `one_each`, `prepared`, `slots`, `sizes`, `transfers`, `peer` or `engine`.
    pub method: &'static str,
}

/// By the parts of one region, at whose distance the addresses of hand-offs repeat.
const SLOTS: &str = "slots";
/// By the rows of a prepared list, in its order.
const PREPARED: &str = "prepared";
/// By what the engine is known to do, where no kernels tell how many layers there are.
const ENGINE: &str = "engine";

/// How sure the layers of regions are, by [`HeldLayers::method`]: 0 to 1.
#[must_use]
pub fn confidence(method: &str) -> f64 {
    match method {
        ENGINE => Method::Engine.confidence(),
        SLOTS => Method::Time.confidence(),
        _ => Method::Count.confidence(),
    }
}

impl RegionLayers {
    /// The layer of a region, by its position.
    #[must_use]
    pub fn layer(&self, position: u32) -> Option<u32> {
        let number = self.kv.rank(position)?;
        match self.order?.0 {
            Order::One => Some(number),
            Order::ByLayer => Some(number / 2),
            Order::ByPart => Some(number % self.layers),
        }
    }

    /// How the layer of a region is known; `None` if it is not.
    #[must_use]
    pub fn method(&self) -> Option<&'static str> {
        self.order.map(|(_, method)| method)
    }

    /// The layers that some regions hold; `None` if that is not known, or one of them holds none.
    #[must_use]
    pub fn held(&self, regions: &Set) -> Option<HeldLayers> {
        if *regions == self.kv {
            return Some(HeldLayers { layers: Set::of(0..self.layers), method: self.whole });
        }
        let numbers: Option<Vec<u32>> = regions.iter().map(|position| self.layer(position)).collect();
        Some(HeldLayers { layers: Set::of(numbers?), method: self.method()? })
    }
}

/// The KV regions of a process: the rows of its prepared list; else those in the memory where KV lies, if hand-offs touch them all, else those that they touch, if
/// that is all there is to know and they are one or two a layer. Once a hand-off was posted no layer is registered for the first
/// time: what comes later may stand for what was before, and then no number of regions means anything.
fn kv(facts: &Facts, regions: &Regions, process: i64, layers: Option<u32>, carries_kv: &[bool]) -> Option<Set> {
    let own = regions.registered.get(&process)?;
    if let Parts::Rows { count, .. } = own.parts {
        return Some(Set::of(0..count));
    }
    let has_vram = own.rows.iter().any(|row| &*facts.regions.memory[*row] == "VRAM");
    let is_candidate = |row: &usize| !has_vram || &*facts.regions.memory[*row] == "VRAM";
    let candidates =
        Set::of((0u32..).zip(&own.rows).filter(|(_, row)| is_candidate(row)).map(|(position, _)| position));
    let registered = own.rows.iter().filter(|row| is_candidate(row)).map(|row| facts.regions.time_ns[*row]).max()?;
    let (mut touched, mut is_all) = (Set::default(), true);
    for row in (0..regions.touches.len()).filter(|row| carries_kv[*row]) {
        let touch = &regions.touches[row];
        for (of, set) in [(touch.sender, &touch.sent), (touch.receiver, &touch.received)] {
            if of == Some(process) {
                if facts.transfers.posted_ns[row].is_some_and(|posted| posted < registered) {
                    return None;
                }
                is_all &= touch.is_whole && set.is_some();
                if let Some(set) = set.as_ref().filter(|set| **set != touched) {
                    touched = touched.union(set);
                }
            }
        }
    }
    let fits = |set: &Set| layers.is_some_and(|layers| each(set, layers).is_some());
    if touched == candidates {
        return Some(candidates).filter(|set| !set.is_empty());
    }
    (is_all && fits(&touched)).then_some(touched)
}

/// Regions a layer, if it is one or two.
fn each(kv: &Set, layers: u32) -> Option<u32> {
    (1..=2).find(|each| layers > 0 && kv.len() == (each * layers) as usize)
}

/// The KV regions of each process, and which layers they hold, where that is known.
#[derive(Debug, Default)]
pub struct RegionLayerMap {
    /// KV regions.
    pub kv: BTreeMap<i64, Set>,
    /// Their layers.
    pub layers: BTreeMap<i64, RegionLayers>,
    /// How many regions those of `kv` are: fewer where layers share one.
    pub regions: BTreeMap<i64, usize>,
    /// Processes of which `kv` are rows of a prepared list.
    pub prepared: BTreeSet<i64>,
}

/// Whether each transfer carries KV, by row. Where nothing is on a GPU, KV is not either.
#[must_use]
pub fn carries_kv(facts: &Facts) -> Vec<bool> {
    let on_gpu: Vec<bool> = (0..facts.transfers.transfer_id.len()).map(|row| facts.is_on_gpu(row)).collect();
    if on_gpu.contains(&true) { on_gpu } else { vec![true; on_gpu.len()] }
}

/// Layers of each process by its kernels.
pub fn mined(stages: impl IntoIterator<Item = (i64, Option<i32>)>) -> BTreeMap<i64, u32> {
    stages.into_iter().filter_map(|(process, layers)| Some((process, u32::try_from(layers?).ok()?))).collect()
}

/// Those of a run, by how many layers the processes' kernels show.
#[must_use]
pub fn of(facts: &Facts, regions: &Regions, mined: &BTreeMap<i64, u32>) -> RegionLayerMap {
    let carries_kv = carries_kv(facts);
    let mut sets: BTreeMap<i64, Set> = BTreeMap::new();
    for process in regions.registered.keys() {
        if let Some(set) = kv(facts, regions, *process, mined.get(process).copied(), &carries_kv) {
            sets.insert(*process, set);
        }
    }
    let of_mined = |process: &i64| mined.get(process).and_then(|layers| each(&sets[process], *layers));
    let known: BTreeSet<u32> = sets.keys().filter_map(of_mined).collect();
    let common = known.first().copied().filter(|_| known.len() == 1);
    let mut found: BTreeMap<i64, RegionLayers> = BTreeMap::new();
    for (process, kv) in &sets {
        let count = u32::try_from(kv.len()).unwrap_or(u32::MAX);
        let parts = regions.registered.get(process).map_or(Parts::Regions, |own| own.parts);
        let is_told = mined.is_empty() && is_a_row_a_layer(facts, *process, parts);
        let each = if is_told {
            Some(1)
        } else if mined.contains_key(process) {
            of_mined(process)
        } else {
            common
        };
        if let Some(each) = each.filter(|each| count.is_multiple_of(*each)) {
            let (whole, one) = match parts {
                Parts::Rows { .. } if is_told => (ENGINE, ENGINE),
                Parts::Rows { .. } => (PREPARED, PREPARED),
                Parts::Slots => (SLOTS, SLOTS),
                Parts::Regions => ("all", "one_each"),
            };
            let order = (each == 1).then_some((Order::One, one));
            found.insert(*process, RegionLayers { kv: kv.clone(), each, layers: count / each, order, whole });
        }
    }
    let ordered: Vec<(i64, Option<(Order, &'static str)>)> = found
        .iter()
        .filter(|(_, own)| own.each == 2 && own.whole != SLOTS)
        .map(|(process, own)| (*process, evidence(facts, regions, &found, *process, &carries_kv).order(own.layers)))
        .collect();
    for (process, order) in ordered {
        if let Some(own) = found.get_mut(&process) {
            own.order = order;
        }
    }
    let count = |(process, kv): (&i64, &Set)| (*process, regions.count(*process, kv));
    let of_rows = regions.registered.iter().filter(|(_, own)| matches!(own.parts, Parts::Rows { .. }));
    let prepared = of_rows.map(|(process, _)| *process).collect();
    let regions = sets.iter().map(count).collect();
    RegionLayerMap { kv: sets, layers: found, regions, prepared }
}

/// Whether each row of a process's prepared list is a layer's, K and V together: vLLM prepares one allocation so.
fn is_a_row_a_layer(facts: &Facts, process: i64, parts: Parts) -> bool {
    let title = facts.processes.process_id.iter().position(|id| *id == process);
    let title = title.map_or("", |row| &facts.processes.name[row]);
    matches!(parts, Parts::Rows { share_one: true, .. }) && titles::prepares_a_row_a_layer(title)
}

fn evidence(
    facts: &Facts,
    regions: &Regions,
    found: &BTreeMap<i64, RegionLayers>,
    process: i64,
    carries_kv: &[bool],
) -> Evidence {
    let own = &found[&process];
    let sizes = &regions.registered[&process].sizes;
    let sizes = own.kv.iter().map(|position| sizes[position as usize]).collect();
    let mut carried = BTreeSet::new();
    for (touch, _) in regions.touches.iter().zip(carries_kv).filter(|(_, carries)| **carries) {
        for (of, set) in [(touch.sender, touch.sent()), (touch.receiver, touch.received())] {
            if let Some(set) = set.filter(|_| of == Some(process)) {
                carried.extend(set.iter().map(|position| own.kv.rank(position)).collect::<Option<Vec<u32>>>());
            }
        }
    }
    let mut peers = Vec::new();
    for ((sender, receiver), pairs) in &regions.pairs {
        let (other, is_sender) = if *sender == process { (*receiver, true) } else { (*sender, false) };
        let Some(of_other) = found.get(&other).filter(|of| of.each == 2 && (is_sender || *receiver == process)) else {
            continue;
        };
        let numbers = |(from, to): &(u32, u32)| {
            let (here, there) = if is_sender { (*from, *to) } else { (*to, *from) };
            own.kv.rank(here).zip(of_other.kv.rank(there))
        };
        if let Some(pairs) = pairs.iter().map(numbers).collect::<Option<BTreeSet<(u32, u32)>>>() {
            peers.push((of_other.layers, pairs));
        }
    }
    let title = facts.processes.process_id.iter().position(|id| *id == process);
    let title = title.map_or(String::new(), |row| facts.processes.name[row].clone());
    Evidence { sizes, carried, peers, title }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Descriptor;
    use crate::synthetic::MS;

    const SIZE: i64 = 0x1000;

    /// Processes 1 and 2 push to 9; each has registered so many regions, at addresses of its own.
    fn some_facts(regions: [u64; 3]) -> Facts {
        let mut facts = Facts::default();
        for ((process, name), count) in [(1, "p-0"), (2, "p-1"), (9, "d")].into_iter().zip(regions) {
            facts.process(process, "engine");
            facts.agent(process, name);
            for region in 0..count {
                // Addresses fall.
                facts.region(process, i32::try_from(region).unwrap(), addr(process, region), SIZE);
            }
        }
        facts
    }

    fn addr(process: i64, region: u64) -> u64 {
        process.unsigned_abs() * 0x100_0000 - region * 0x2000
    }

    /// A transfer of a block of some regions each to some of decode's.
    fn push(facts: &mut Facts, process: i64, regions: &[(u64, u64)]) {
        let number = i64::try_from(facts.transfers.transfer_id.len()).unwrap();
        let bytes = SIZE / 4 * i64::try_from(regions.len()).unwrap();
        facts.write(process, &format!("p-{}", process - 1), "d", (10 + number) * MS, bytes, "r");
        for (here, there) in regions {
            let (local, remote) = (addr(process, *here) + 0x100, Some(addr(9, *there) + 0x300));
            facts.descriptors.push(number, Descriptor { local, remote, bytes: SIZE / 4 });
        }
        *facts.transfers.descriptors.last_mut().unwrap() = i64::try_from(regions.len()).ok();
    }

    fn held(facts: &Facts, layers: &[(i64, i32)]) -> Vec<Option<(String, &'static str)>> {
        let regions = Regions::of(facts);
        let known = of(facts, &regions, &mined(layers.iter().map(|(process, layers)| (*process, Some(*layers)))));
        let of_touch = |touch: &crate::facts::regions::TouchedRegions| {
            let held = known.layers.get(&touch.sender?)?.held(touch.sent()?)?;
            Some((held.layers.to_string(), held.method))
        };
        regions.touches.iter().map(of_touch).collect()
    }

    fn by(layers: &str, method: &'static str) -> (String, &'static str) {
        (layers.to_owned(), method)
    }

    #[test]
    fn a_region_a_layer_in_order_of_registration() {
        let mut facts = some_facts([4, 4, 8]);
        push(&mut facts, 1, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
        push(&mut facts, 2, &[(0, 4), (1, 5)]);
        push(&mut facts, 2, &[(2, 6), (3, 7)]);
        let expected = [Some(by("0-3", "all")), Some(by("0-1", "one_each")), Some(by("2-3", "one_each"))];
        assert_eq!(held(&facts, &[(1, 4), (2, 4)]), expected);
        let regions = Regions::of(&facts);
        let known = of(&facts, &regions, &mined([(1, Some(4)), (2, Some(4))]));
        let there: Vec<String> = regions
            .touches
            .iter()
            .map(|touch| known.layers[&9].held(touch.received().unwrap()).unwrap().layers.to_string())
            .collect();
        assert_eq!(there, ["0-3", "4-5", "6-7"], "decode's kernels were not recorded: one each, as in the stages");
        // Kernels that say something else leave it unknown, and so does no kernel at all.
        assert_eq!(held(&facts, &[(1, 3), (2, 3)]), [None, None, None]);
        assert_eq!(held(&facts, &[]), [None, None, None]);
    }

    #[test]
    fn k_and_v_apart_are_told_by_single_layers_or_by_where_they_go() {
        let mut by_layer = some_facts([4, 4, 8]);
        push(&mut by_layer, 1, &[(0, 0), (1, 1)]);
        push(&mut by_layer, 1, &[(2, 2), (3, 3)]);
        push(&mut by_layer, 2, &[(0, 4), (1, 5), (2, 6), (3, 7)]);
        assert_eq!(held(&by_layer, &[(1, 2), (2, 2), (9, 4)])[2], Some(by("0-1", "all")));
        // Two of four that follow each other: a layer, or K of both. Where they lie in decode's longer list decides.
        assert_eq!(held(&by_layer, &[(1, 2), (2, 2)])[0], Some(by("0", "peer")));
        by_layer.descriptors.forget_remote();
        assert_eq!(held(&by_layer, &[(1, 2), (2, 2)])[0], None);

        let mut by_part = some_facts([4, 4, 8]);
        push(&mut by_part, 1, &[(0, 0), (2, 4)]);
        push(&mut by_part, 1, &[(1, 1), (3, 5)]);
        push(&mut by_part, 2, &[(0, 2), (1, 3), (2, 6), (3, 7)]);
        let found = held(&by_part, &[(1, 2), (2, 2), (9, 4)]);
        assert_eq!(found, [Some(by("0", "transfers")), Some(by("1", "transfers")), Some(by("0-1", "all"))]);
    }

    /// Blocks a layer, where layers share a region.
    const BLOCKS: u64 = 8;

    /// Processes 1 and 2, of two layers each, and 9, of four: one region each, as vLLM registers from 0.29 on.
    fn sharing() -> Facts {
        let mut facts = some_facts([0, 0, 0]);
        for (process, layers) in [(1, 2), (2, 2), (9, 4)] {
            facts.region(process, 0, addr(process, 0), layers * i64::try_from(BLOCKS).unwrap() * SIZE);
        }
        facts
    }

    /// A push of some blocks of a stage's layers, to those of decode's from `first` on, neighbours not merged.
    fn push_blocks(facts: &mut Facts, process: i64, (layers, first): (u64, u64), blocks: &[(u64, u64)]) {
        let number = i64::try_from(facts.transfers.transfer_id.len()).unwrap();
        facts.write(process, &format!("p-{}", process - 1), "d", (10 + number) * MS, SIZE, "r");
        let at = |process, layer, block| addr(process, 0) + (layer * BLOCKS + block) * SIZE.unsigned_abs();
        for layer in 0..layers {
            for (here, there) in blocks {
                let (local, remote) = (at(process, layer, *here), Some(at(9, first + layer, *there)));
                facts.descriptors.push(number, Descriptor { local, remote, bytes: SIZE });
            }
        }
        let count = facts.descriptors.of(number).len();
        *facts.transfers.descriptors.last_mut().unwrap() = i64::try_from(count).ok();
    }

    #[test]
    fn layers_that_share_a_region_are_told_by_the_distance_at_which_hand_offs_repeat() {
        let mut facts = sharing();
        push_blocks(&mut facts, 1, (2, 0), &[(1, 0), (2, 1), (5, 6)]);
        push_blocks(&mut facts, 2, (2, 2), &[(0, 0), (3, 1), (4, 6)]);
        push_blocks(&mut facts, 1, (1, 0), &[(1, 2)]);
        let layers = [(1, 2), (2, 2), (9, 4)];
        assert_eq!(held(&facts, &layers), [Some(by("0-1", "slots")), Some(by("0-1", "slots")), Some(by("0", "slots"))]);
        let regions = Regions::of(&facts);
        let known = of(&facts, &regions, &mined(layers.map(|(process, layers)| (process, Some(layers)))));
        let there = |row: usize| known.layers[&9].held(regions.touches[row].received().unwrap()).unwrap();
        assert_eq!((there(0).layers.to_string(), there(1).layers.to_string()), ("0-1".to_owned(), "2-3".to_owned()));
        assert_eq!(
            (known.regions[&9], regions.count(1, regions.touches[0].sent().unwrap())),
            (1, 1),
            "it is one region"
        );
        assert!(confidence("slots") < confidence("one_each"));
        // Kernels that show another number of layers leave it unknown.
        assert_eq!(held(&facts, &[(1, 3), (2, 3), (9, 6)]), [None, None, None]);
    }

    /// Rows of a process's layers, which follow each other.
    fn rows(process: i64, layers: std::ops::Range<u64>) -> Vec<(u64, i64, i64, i64)> {
        let row =
            |layer: u64| (addr(process, 0) + layer * BLOCKS * SIZE.unsigned_abs(), SIZE, SIZE, BLOCKS.cast_signed());
        layers.map(row).collect()
    }

    #[test]
    fn rows_of_a_prepared_list_are_layers_and_rank_above_what_repeats() {
        let mut facts = sharing();
        for (process, layers) in [(1, 2), (2, 2), (9, 4)] {
            facts.prepare(
                process,
                ["p-0", "p-1", "d"][usize::from(process > 1) + usize::from(process > 2)],
                None,
                &rows(process, 0..layers),
            );
        }
        // A stage's own layers at decode, and parts of its blocks for a peer of another size.
        facts.prepare(2, "p-1", Some("d"), &rows(9, 2..4));
        let halves: Vec<_> = rows(2, 0..2).into_iter().map(|(addr, bytes, ..)| (addr, bytes / 2, bytes, 8)).collect();
        facts.prepare(2, "p-1", None, &halves);
        push_blocks(&mut facts, 1, (2, 0), &[(1, 0), (2, 1), (5, 6)]);
        push_blocks(&mut facts, 2, (2, 2), &[(0, 0), (3, 1), (4, 6)]);
        // Lists that repeat at half a layer too.
        push_blocks(&mut facts, 1, (1, 0), &[(1, 2), (5, 6)]);
        let layers = [(1, 2), (2, 2), (9, 4)];
        let prepared = |layers| Some(by(layers, "prepared"));
        assert_eq!(held(&facts, &layers), [prepared("0-1"), prepared("0-1"), prepared("0")]);
        let regions = Regions::of(&facts);
        let known = of(&facts, &regions, &mined(layers.map(|(process, layers)| (process, Some(layers)))));
        let there = |row: usize| known.layers[&9].held(regions.touches[row].received().unwrap()).unwrap();
        assert_eq!((there(1).layers.to_string(), there(2).layers.to_string()), ("2-3".to_owned(), "0".to_owned()));
        assert_eq!((known.regions[&9], known.prepared.len()), (1, 3));
        assert!(confidence("prepared") > confidence("slots"));
        assert_eq!(held(&facts, &[(1, 3), (2, 3), (9, 6)]), [None, None, None], "kernels show another number");
        // A program that prepares what it sends next has no list of all its layers.
        let mut each = sharing();
        each.prepare(
            1,
            "p-0",
            None,
            &[(addr(1, 0), SIZE, SIZE, 2), (addr(1, 0) + 8 * SIZE.unsigned_abs(), SIZE, SIZE, 2)],
        );
        push_blocks(&mut each, 1, (2, 0), &[(1, 0), (0, 1)]);
        push_blocks(&mut each, 1, (2, 0), &[(3, 0), (5, 1)]);
        assert_eq!(held(&each, &layers[..1]), [Some(by("0-1", "slots")), Some(by("0-1", "slots"))]);
        // Without kernels: what vLLM is known to do.
        assert_eq!(held(&facts, &[]), [None, None, None]);
        facts.processes.name.fill("VLLM::Worker_PP0".to_owned());
        let engine = |layers| Some(by(layers, "engine"));
        assert_eq!(held(&facts, &[]), [engine("0-1"), engine("0-1"), engine("0")]);
    }

    #[test]
    fn lists_of_k_and_then_v_are_ordered_as_regions_are() {
        // Layers of which each has K and V in one region, K of all first; two stages of one layer each.
        let mut facts = sharing();
        for (process, name, rows_of) in [(1, "p-0", 0..2), (2, "p-1", 0..2), (9, "d", 0..4)] {
            facts.prepare(process, name, None, &rows(process, rows_of));
        }
        let push = |facts: &mut Facts, process: i64, to: [u64; 2]| {
            let number = i64::try_from(facts.transfers.transfer_id.len()).unwrap();
            facts.write(process, &format!("p-{}", process - 1), "d", (10 + number) * MS, SIZE, "r");
            for (here, there) in (0..).zip(to) {
                let at = |process, row: u64| addr(process, 0) + (row * BLOCKS + 3) * SIZE.unsigned_abs();
                let remote = Some(at(9, there));
                facts.descriptors.push(number, Descriptor { local: at(process, here), remote, bytes: SIZE });
            }
            *facts.transfers.descriptors.last_mut().unwrap() = Some(2);
        };
        push(&mut facts, 1, [0, 2]);
        push(&mut facts, 2, [1, 3]);
        let regions = Regions::of(&facts);
        let known = of(&facts, &regions, &mined([(1, Some(1)), (2, Some(1)), (9, Some(2))]));
        let there = |row: usize| known.layers[&9].held(regions.touches[row].received().unwrap()).unwrap();
        assert_eq!((there(0).layers.to_string(), there(0).method), ("0".to_owned(), "transfers"));
        assert_eq!(there(1).layers.to_string(), "1");
        assert_eq!(
            known.layers[&1].held(regions.touches[0].sent().unwrap()).unwrap(),
            HeldLayers { layers: Set::of([0]), method: "prepared" }
        );
    }

    #[test]
    fn a_list_of_others_counts_only_where_all_say_the_same() {
        let mut facts = sharing();
        facts.prepare(1, "p-0", Some("d"), &rows(9, 0..4));
        push_blocks(&mut facts, 1, (2, 0), &[(1, 0), (5, 6)]);
        let there = |facts: &Facts| {
            let regions = Regions::of(facts);
            let known = of(facts, &regions, &mined([(9, Some(4))]));
            known
                .layers
                .get(&9)
                .and_then(|own| own.held(regions.touches[0].received()?))
                .map(|held| held.layers.to_string())
        };
        assert_eq!(there(&facts).as_deref(), Some("0-1"));
        facts.prepare(2, "p-1", Some("d"), &rows(9, 2..4));
        assert_eq!(there(&facts), None, "each of its own layers");
    }

    /// A list of the pages of some layers in decode's blocks of four.
    fn pages(layers: std::ops::Range<u64>) -> Vec<(u64, i64, i64, i64)> {
        let page = |layer: u64| (addr(9, 0) + layer * SIZE.unsigned_abs(), SIZE, 4 * SIZE, BLOCKS.cast_signed());
        layers.map(page).collect()
    }

    #[test]
    fn pages_that_stages_write_tell_the_layers_of_whole_blocks() {
        let mut facts = sharing();
        facts.prepare(9, "d", None, &[(addr(9, 0), 4 * SIZE, 4 * SIZE, BLOCKS.cast_signed())]);
        facts.prepare(1, "p-0", Some("d"), &pages(0..2));
        let number = i64::try_from(facts.transfers.transfer_id.len()).unwrap();
        facts.write(2, "p-1", "d", 10 * MS, SIZE, "r");
        let at = |layer: u64| addr(9, 0) + (3 * 4 + layer) * SIZE.unsigned_abs();
        for layer in 2..4 {
            let local = addr(2, 0) + layer * SIZE.unsigned_abs();
            facts.descriptors.push(number, Descriptor { local, remote: Some(at(layer)), bytes: SIZE });
        }
        *facts.transfers.descriptors.last_mut().unwrap() = Some(2);
        let there = |facts: &Facts| {
            let regions = Regions::of(facts);
            let known = of(facts, &regions, &mined([(9, Some(4))]));
            known
                .layers
                .get(&9)
                .and_then(|own| own.held(regions.touches[0].received()?))
                .map(|held| held.layers.to_string())
        };
        assert_eq!(there(&facts), None, "only half of the layers");
        facts.prepare(2, "p-1", Some("d"), &pages(2..4));
        assert_eq!(there(&facts).as_deref(), Some("2-3"));
        // Somebody writes whole blocks too.
        facts.prepare(1, "p-0", Some("d"), &[(addr(9, 0), 4 * SIZE, 4 * SIZE, BLOCKS.cast_signed())]);
        assert_eq!(there(&facts), None);
    }

    #[test]
    fn a_row_for_blocks_of_all_layers_and_a_list_that_was_cut_tell_nothing() {
        let mut facts = sharing();
        let all = i64::try_from(BLOCKS).unwrap();
        facts.prepare(1, "p-0", None, &[(addr(1, 0), 2 * SIZE, 2 * SIZE, all)]);
        push_blocks(&mut facts, 1, (1, 0), &[(0, 0), (8, 8)]);
        assert_eq!(held(&facts, &[(1, 2), (9, 4)]), [None], "though it repeats");
        let mut cut = sharing();
        cut.prepare(1, "p-0", None, &rows(1, 0..2));
        cut.prepared.rows.fill(Some(3));
        push_blocks(&mut cut, 1, (2, 0), &[(1, 0), (2, 1), (5, 6)]);
        assert_eq!(held(&cut, &[(1, 2), (9, 4)]), [Some(by("0-1", "slots"))]);
    }

    #[test]
    fn blocks_that_hold_all_layers_leave_it_unknown() {
        let mut facts = sharing();
        push_blocks(&mut facts, 1, (1, 0), &[(0, 0), (1, 1), (5, 6)]);
        push_blocks(&mut facts, 1, (1, 0), &[(2, 4), (8, 5)]);
        assert_eq!(held(&facts, &[(1, 2), (2, 2), (9, 4)]), [None, None]);
    }

    #[test]
    fn what_was_registered_beside_kv_is_left_out_if_all_transfers_are_known() {
        let mut facts = some_facts([5, 0, 8]);
        push(&mut facts, 1, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
        assert_eq!(held(&facts, &[(1, 4)]), [Some(by("0-3", "all"))]);
        push(&mut facts, 1, &[(1, 1)]);
        *facts.transfers.descriptors.last_mut().unwrap() = Some(9);
        assert_eq!(held(&facts, &[(1, 4)]), [None, None], "a list that was cut may touch the fifth too");
    }

    #[test]
    fn a_second_registration_after_hand_offs_is_no_second_half() {
        let mut facts = some_facts([8, 0, 8]);
        let all: Vec<(u64, u64)> = (0..4).map(|region| (region, region)).collect();
        push(&mut facts, 1, &all);
        push(&mut facts, 1, &all.iter().map(|(here, there)| (here + 4, *there)).collect::<Vec<_>>());
        assert_eq!(held(&facts, &[(1, 8)]), [Some(by("0-3", "one_each")), Some(by("4-7", "one_each"))]);
        facts.regions.time_ns[4..8].fill(facts.transfers.posted_ns[0].unwrap() + 1);
        assert_eq!(held(&facts, &[(1, 4)]), [None, None]);
    }

    #[test]
    fn the_order_of_rows_changes_nothing() {
        use kvpath_schema::table::Columns as _;
        let mut facts = some_facts([4, 4, 8]);
        push(&mut facts, 1, &[(0, 0), (2, 4)]);
        push(&mut facts, 1, &[(1, 1), (3, 5)]);
        push(&mut facts, 2, &[(0, 2), (1, 3), (2, 6), (3, 7)]);
        let forward = held(&facts, &[(1, 2), (2, 2)]);
        let regions = std::mem::take(&mut facts.regions);
        (0..regions.len()).rev().for_each(|row| facts.regions.push(regions.row(row)));
        facts.descriptors.reverse();
        assert_eq!(held(&facts, &[(1, 2), (2, 2)]), forward);
    }
}
