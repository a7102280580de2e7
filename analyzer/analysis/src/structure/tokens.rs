//! How many tokens a pass computed, by the grids of its kernels.
//!
//! Many kernels of a layer (norms, rotary embedding, activation, writes into the KV cache) run a block for each token, or for a
//! fixed number of them, so their grids grow with the tokens of the pass, all in the same proportion. Those of others do not:
//! matrix products and attention choose tiles. What most kernels with changing grids agree on is the number of tokens, in a unit
//! that is the same for all passes of the stream.

use std::collections::{BTreeMap, BTreeSet};

use super::lanes::Pass;
use crate::timeline::{Class, LaneAt, Timeline};

/// Share of the passes in which a kernel must run to say anything.
const IN_MOST: f64 = 0.8;
/// Passes by which it is judged which kernels agree.
const JUDGED: usize = 512;
/// Proportions that differ by no more are the same: blocks of several tokens round up.
const SAME: f64 = 0.01;

/// Blocks of a grid of each kernel that runs in every layer of a pass, by name.
type Grids = BTreeMap<u32, f64>;

/// Tells each pass its tokens, where the kernels of the stream agree on them.
pub(super) fn tell(timeline: &Timeline, main: LaneAt, passes: &mut [Pass]) {
    let judged: Vec<Grids> = passes.iter().take(JUDGED).map(|pass| grids(timeline, main, pass)).collect();
    let Some(name) = counting(&judged) else { return };
    let (first, rest) = passes.split_at_mut(judged.len());
    for (pass, grids) in first.iter_mut().zip(&judged) {
        pass.tokens = grids.get(&name).copied();
    }
    // Of the many others nothing is kept but what is asked.
    for pass in rest {
        pass.tokens = grids(timeline, main, pass).get(&name).copied();
    }
}

fn grids(timeline: &Timeline, main: LaneAt, pass: &Pass) -> Grids {
    let ops = timeline.lane(main);
    let mut found: BTreeMap<u32, (f64, usize)> = BTreeMap::new();
    let mut changing: BTreeSet<u32> = BTreeSet::new();
    for op in ops.overlapping(pass.span) {
        let name = ops.name[op];
        if timeline.names.class(name) != Class::Compute {
            continue;
        }
        let [x, y, z, ..] = timeline.names.shape(name);
        let blocks = f64::from(x) * f64::from(y) * f64::from(z);
        let (first, runs) = found.entry(timeline.names.base(name)).or_insert((blocks, 0));
        *runs += 1;
        if (*first - blocks).abs() > 0.0 {
            changing.insert(timeline.names.base(name));
        }
    }
    found.retain(|name, (blocks, runs)| *blocks > 0.0 && *runs >= pass.layers.len().max(2) && !changing.contains(name));
    found.into_iter().map(|(name, (blocks, _))| (name, blocks)).collect()
}

/// The kernel whose grid counts tokens: that with which most others agree, and of those the one with the finest steps.
fn counting(judged: &[Grids]) -> Option<u32> {
    let mut values: BTreeMap<u32, Vec<Option<f64>>> = BTreeMap::new();
    for (at, grids) in judged.iter().enumerate() {
        for (name, blocks) in grids {
            values.entry(*name).or_insert_with(|| vec![None; judged.len()])[at] = Some(*blocks);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "at most a few hundred")]
    let runs_in_most = |own: &[Option<f64>]| own.iter().flatten().count() as f64 >= IN_MOST * own.len() as f64;
    let different = |own: &[Option<f64>]| {
        let mut own: Vec<f64> = own.iter().flatten().copied().collect();
        own.sort_by(f64::total_cmp);
        own.dedup();
        own.len()
    };
    values.retain(|_, own| runs_in_most(own) && different(own) > 1);
    let agreeing = |own: &[Option<f64>]| values.values().filter(|other| is_proportional(own, other)).count();
    let least = |own: &[Option<f64>]| own.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let best = values.iter().map(|(name, own)| (agreeing(own), different(own), least(own), *name));
    let best = best.max_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(b.2.total_cmp(&a.2)).then(b.3.cmp(&a.3)))?;
    // One alone may count anything.
    (best.0 > 1).then_some(best.3)
}

/// Whether two grids grow alike, in all passes in which both ran.
fn is_proportional(a: &[Option<f64>], b: &[Option<f64>]) -> bool {
    let pairs = || a.iter().zip(b).filter_map(|(a, b)| a.zip(*b));
    // By the largest pass, where rounding shows least.
    let Some((most_a, most_b)) = pairs().max_by(|x, y| x.0.total_cmp(&y.0)) else { return false };
    pairs().all(|(a, b)| {
        let (a, b) = (a / most_a, b / most_b);
        (a - b).abs() <= SAME * a.max(b).max(SAME)
    })
}
