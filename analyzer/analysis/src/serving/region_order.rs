//! In which order a process registered the regions of its layers, where each has one for K and one for V.
//!
//! Addresses say nothing of it, so what else was recorded must: sizes that alternate or change once; transfers that carry only
//! some of the layers, for whoever sends a layer sends its K and its V; where in the longer list of its receiver a stage's
//! regions go. Where these are silent, the engine's name decides; where they contradict each other, nothing does.

use std::collections::BTreeSet;

use super::{sglang, vllm};

/// Which regions are a layer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// One each.
    One,
    /// K and V of a layer follow each other.
    ByLayer,
    /// K of all layers, then V of all.
    ByPart,
}

/// What there is to tell the order of `2 * layers` regions by.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Sizes of the regions, in order of registration.
    pub sizes: Vec<i64>,
    /// Regions that transfers carry, each set once.
    pub carried: BTreeSet<Vec<u32>>,
    /// For each receiver (or sender) with as many or more of them: its layers, and which of its regions stand for which of these.
    pub peers: Vec<(u32, BTreeSet<(u32, u32)>)>,
    /// Title of the process.
    pub title: String,
}

impl Evidence {
    /// The order and how it is known; `None` if it is not.
    #[must_use]
    pub fn order(&self, layers: u32) -> Option<(Order, &'static str)> {
        let found =
            [(self.by_sizes(layers), "sizes"), (self.by_carried(layers), "transfers"), (self.by_peers(layers), "peer")];
        let told: Vec<(Order, &'static str)> =
            found.into_iter().filter_map(|(votes, method)| Some((votes.only()?, method))).collect();
        let is_torn = found.iter().any(|(votes, _)| votes.by_layer && votes.by_part);
        match told.first() {
            Some((order, method)) if told.iter().all(|(other, _)| other == order) && !is_torn => Some((*order, method)),
            None if !is_torn => self.by_engine().map(|order| (order, "engine")),
            _ => None,
        }
    }

    fn by_sizes(&self, layers: u32) -> Votes {
        let n = layers as usize;
        let is = |expected: &dyn Fn(usize) -> usize| {
            (0..self.sizes.len()).all(|at| self.sizes[at] == self.sizes[expected(at)])
        };
        let differ = self.sizes.iter().any(|size| Some(size) != self.sizes.first());
        // With layers that are not alike no region stands for another one.
        Votes { by_layer: differ && is(&|at| at % 2), by_part: differ && n > 0 && is(&|at| at / n * n) }
    }

    /// Whoever sends a layer sends both of its regions.
    fn by_carried(&self, layers: u32) -> Votes {
        let mut votes = Votes::default();
        for carried in &self.carried {
            let all = carried.len() == 2 * layers as usize;
            let is_half = carried.len() == layers as usize && carried.windows(2).all(|pair| pair[1] == pair[0] + 1);
            // K of all layers and then V of all looks like the first layers and then the others.
            if all || is_half {
                continue;
            }
            let has = |region: u32| carried.binary_search(&region).is_ok();
            let by_layer = carried.iter().all(|region| has(region ^ 1));
            let by_part = carried.iter().all(|region| has((region + layers) % (2 * layers)));
            votes.by_layer |= by_layer && !by_part;
            votes.by_part |= by_part && !by_layer;
            // K and V go apart, or regions are not what they are taken for.
            if !by_layer && !by_part {
                return Votes { by_layer: true, by_part: true };
            }
        }
        votes
    }

    /// A stage's layers follow each other in the list of a process that has more.
    fn by_peers(&self, layers: u32) -> Votes {
        let mut votes = Votes::default();
        for (of_peer, pairs) in self.peers.iter().filter(|(of_peer, _)| *of_peer > layers) {
            let (n, of_peer) = (i64::from(layers), i64::from(*of_peer));
            let shift = |part: &dyn Fn(i64) -> i64| {
                let shifts: BTreeSet<i64> =
                    pairs.iter().map(|(own, other)| i64::from(*other) - part(i64::from(*own))).collect();
                (shifts.len() == 1).then(|| shifts.first().copied()).flatten()
            };
            let has_both = pairs.iter().any(|(own, _)| *own < layers) && pairs.iter().any(|(own, _)| *own >= layers);
            let by_layer = shift(&|own| own).is_some_and(|shift| shift % 2 == 0);
            let by_part = shift(&|own| own % n + own / n * of_peer).is_some();
            if has_both {
                votes.by_layer |= by_layer && !by_part;
                votes.by_part |= by_part && !by_layer;
            }
        }
        votes
    }

    fn by_engine(&self) -> Option<Order> {
        let title = self.title.to_ascii_lowercase();
        let engines = [(vllm::TITLE, vllm::REGION_ORDER), (sglang::TITLE, sglang::REGION_ORDER)];
        engines.into_iter().find(|(prefix, _)| title.starts_with(prefix)).map(|(_, order)| order)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Votes {
    by_layer: bool,
    by_part: bool,
}

impl Votes {
    fn only(self) -> Option<Order> {
        match (self.by_layer, self.by_part) {
            (true, false) => Some(Order::ByLayer),
            (false, true) => Some(Order::ByPart),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(sets: &[&[u32]]) -> Evidence {
        Evidence { carried: sets.iter().map(|set| set.to_vec()).collect(), ..Evidence::default() }
    }

    #[test]
    fn a_layer_by_itself_shows_where_its_v_is() {
        assert_eq!(carried(&[&[2, 3], &[0, 1]]).order(4), Some((Order::ByLayer, "transfers")));
        assert_eq!(carried(&[&[1, 5], &[0, 4]]).order(4), Some((Order::ByPart, "transfers")));
        // The first two layers, or K of all four: either.
        assert_eq!(carried(&[&[0, 1, 2, 3], &[4, 5, 6, 7]]).order(4), None);
        assert_eq!(carried(&[&[0, 1, 2, 3, 4, 5, 6, 7]]).order(4), None);
        assert_eq!(carried(&[&[0]]).order(4), None, "K by itself");
        assert_eq!(carried(&[&[0, 1], &[1, 5]]).order(4), None, "they contradict each other");
        assert_eq!(carried(&[&[0, 1, 4, 5]]).order(4), None, "closed either way");
    }

    #[test]
    fn sizes_tell_where_k_and_v_differ() {
        let of = |sizes: &[i64]| Evidence { sizes: sizes.to_vec(), ..Evidence::default() }.order(3);
        assert_eq!(of(&[8, 1, 8, 1, 8, 1]), Some((Order::ByLayer, "sizes")));
        assert_eq!(of(&[8, 8, 8, 1, 1, 1]), Some((Order::ByPart, "sizes")));
        assert_eq!(of(&[8; 6]), None);
        assert_eq!(of(&[8, 8, 1, 8, 8, 1]), None, "layers are not alike");
    }

    #[test]
    fn a_longer_list_shows_where_a_stages_regions_go() {
        // Layers 2 and 3 of 4.
        let of = |pairs: &[(u32, u32)], layers| {
            Evidence { peers: vec![(layers, pairs.iter().copied().collect())], ..Evidence::default() }.order(2)
        };
        assert_eq!(of(&[(0, 4), (1, 5), (2, 6), (3, 7)], 4), Some((Order::ByLayer, "peer")));
        assert_eq!(of(&[(0, 2), (1, 3), (2, 6), (3, 7)], 4), Some((Order::ByPart, "peer")));
        assert_eq!(of(&[(0, 0), (1, 1), (2, 2), (3, 3)], 2), None, "as many there as here");
        assert_eq!(of(&[(0, 4), (1, 5)], 4), None, "only half of them");
    }

    #[test]
    fn engines_decide_only_where_nothing_else_does() {
        let named = |title: &str, sets: &[&[u32]]| Evidence { title: title.into(), ..carried(sets) }.order(4);
        assert_eq!(named("sglang::scheduler_PP0", &[]), Some((Order::ByPart, "engine")));
        assert_eq!(named("VLLM::Worker_PP0", &[]), Some((Order::ByLayer, "engine")));
        assert_eq!(named("VLLM::Worker_PP0", &[&[0, 4]]), Some((Order::ByPart, "transfers")));
        assert_eq!(named("VLLM::Worker_PP0", &[&[0]]), None);
        assert_eq!(named("python3 serve --engine vllm::x", &[]), None);
    }
}
