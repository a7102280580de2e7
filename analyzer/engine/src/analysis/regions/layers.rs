//! Which layers the registered regions of a process hold.
//!
//! Serving engines register the layers in their order: one region each (K and V together), or two. So a process whose hand-offs
//! touch as many regions as its forward passes run layers, or twice as many, has one layer in each, or K and V apart. Where no
//! kernels were recorded, what holds for the others of the run holds, if all agree. Several layers in a region, or a number of
//! regions that is neither, leave it unknown.

use std::collections::{BTreeMap, BTreeSet};

use super::order::{Evidence, Order};
use super::{Regions, Set};
use crate::analysis::Raw;
use crate::graph::Method;

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
}

/// Layers that some regions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Their numbers within the process.
    pub layers: Set,
    /// How that is known: `all` (all regions), `one_each`, `sizes`, `transfers`, `peer` or `engine`.
    pub method: &'static str,
}

/// How sure the layers of regions are, by [`Held::method`]: 0 to 1.
#[must_use]
pub fn confidence(method: &str) -> f64 {
    if method == "engine" { Method::Engine.confidence() } else { Method::Count.confidence() }
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
    pub fn held(&self, regions: &Set) -> Option<Held> {
        if *regions == self.kv {
            return Some(Held { layers: Set::of(0..self.layers), method: "all" });
        }
        let numbers: Option<Vec<u32>> = regions.iter().map(|position| self.layer(position)).collect();
        Some(Held { layers: Set::of(numbers?), method: self.method()? })
    }
}

/// The KV regions of a process: those in the memory where KV lies, if hand-offs touch them all, else those that they touch, if
/// that is all there is to know and they are one or two a layer.
fn kv(raw: &Raw, regions: &Regions, process: i64, layers: Option<u32>, carries_kv: &[bool]) -> Option<Set> {
    let own = regions.registered.get(&process)?;
    let has_vram = own.rows.iter().any(|row| &*raw.regions.memory[*row] == "VRAM");
    let is_candidate = |row: &usize| !has_vram || &*raw.regions.memory[*row] == "VRAM";
    let candidates =
        Set::of((0u32..).zip(&own.rows).filter(|(_, row)| is_candidate(row)).map(|(position, _)| position));
    let (mut touched, mut is_all) = (Set::default(), true);
    let of_kv = regions.touches.iter().zip(carries_kv).filter(|(_, carries)| **carries).map(|(touch, _)| touch);
    for touch in of_kv {
        for (of, set) in [(touch.sender, &touch.sent), (touch.receiver, &touch.received)] {
            if of == Some(process) {
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
pub struct Known {
    /// KV regions.
    pub kv: BTreeMap<i64, Set>,
    /// Their layers.
    pub layers: BTreeMap<i64, RegionLayers>,
}

/// Whether each transfer carries KV, by row. Where nothing is on a GPU, KV is not either.
#[must_use]
pub fn carries_kv(raw: &Raw) -> Vec<bool> {
    let on_gpu: Vec<bool> = (0..raw.transfers.transfer_id.len()).map(|row| raw.is_on_gpu(row)).collect();
    if on_gpu.contains(&true) { on_gpu } else { vec![true; on_gpu.len()] }
}

/// Layers of each process by its kernels.
pub fn mined(stages: impl IntoIterator<Item = (i64, Option<i32>)>) -> BTreeMap<i64, u32> {
    stages.into_iter().filter_map(|(process, layers)| Some((process, u32::try_from(layers?).ok()?))).collect()
}

/// Those of a run, by how many layers the processes' kernels show.
#[must_use]
pub fn of(raw: &Raw, regions: &Regions, mined: &BTreeMap<i64, u32>) -> Known {
    let carries_kv = carries_kv(raw);
    let mut sets: BTreeMap<i64, Set> = BTreeMap::new();
    for process in regions.registered.keys() {
        if let Some(set) = kv(raw, regions, *process, mined.get(process).copied(), &carries_kv) {
            sets.insert(*process, set);
        }
    }
    let of_mined = |process: &i64| mined.get(process).and_then(|layers| each(&sets[process], *layers));
    let known: BTreeSet<u32> = sets.keys().filter_map(of_mined).collect();
    let common = known.first().copied().filter(|_| known.len() == 1);
    let mut found: BTreeMap<i64, RegionLayers> = BTreeMap::new();
    for (process, kv) in &sets {
        let count = u32::try_from(kv.len()).unwrap_or(u32::MAX);
        let each = if mined.contains_key(process) { of_mined(process) } else { common };
        if let Some(each) = each.filter(|each| count.is_multiple_of(*each)) {
            let order = (each == 1).then_some((Order::One, "one_each"));
            found.insert(*process, RegionLayers { kv: kv.clone(), each, layers: count / each, order });
        }
    }
    let ordered: Vec<(i64, Option<(Order, &'static str)>)> = found
        .iter()
        .filter(|(_, own)| own.each == 2)
        .map(|(process, own)| (*process, evidence(raw, regions, &found, *process, &carries_kv).order(own.layers)))
        .collect();
    for (process, order) in ordered {
        if let Some(own) = found.get_mut(&process) {
            own.order = order;
        }
    }
    Known { kv: sets, layers: found }
}

fn evidence(
    raw: &Raw,
    regions: &Regions,
    found: &BTreeMap<i64, RegionLayers>,
    process: i64,
    carries_kv: &[bool],
) -> Evidence {
    let own = &found[&process];
    let rows = &regions.registered[&process].rows;
    let sizes = own.kv.iter().map(|position| raw.regions.bytes[rows[position as usize]]).collect();
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
    let title = raw.processes.process_id.iter().position(|id| *id == process);
    let title = title.map_or(String::new(), |row| raw.processes.name[row].clone());
    Evidence { sizes, carried, peers, title }
}
