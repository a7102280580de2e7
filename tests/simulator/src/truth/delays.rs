//! Root causes of waits: what the stage before had in the interval that it was waited for, beyond what it should have had;
//! where it waited itself, that wait's causes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bubbles::{ALL, CLASSES, Class, Idle};
use super::{Cause, DelayTruth, WaitTruth};
use crate::engine::Ns;

/// One chunk on one stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interval {
    /// What its kernels should take, ns.
    pub nominal_ns: Ns,
    /// What they took beyond that, by layer (-1 outside layers), ns; positive ones only.
    pub excess: Vec<(i16, Ns)>,
    /// Its wait.
    pub idle: Idle,
}

/// What the stage before had in its interval, ns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Excess by layer; -1 outside layers.
    pub excess: Vec<(i16, Ns)>,
    /// More to do than this stage.
    pub partition_ns: Ns,
    /// More to do for this chunk than for the one before.
    pub growth_ns: Ns,
    /// Its own wait, without dispatch between kernels back to back.
    pub propagated_ns: Ns,
}

/// Divides `total` as the weights say, by largest remainder (the earlier of equals first); all of it is given out.
/// `None` if every weight is zero.
///
/// # Panics
/// If `total` or a weight is negative.
#[must_use]
pub fn apportion(total: Ns, weights: &[Ns]) -> Option<Vec<Ns>> {
    let sum: i128 = weights.iter().map(|w| i128::from(*w)).sum();
    if sum <= 0 {
        return None;
    }
    let exact: Vec<i128> = weights.iter().map(|w| i128::from(total) * i128::from(*w)).collect();
    let mut parts: Vec<Ns> = exact.iter().map(|x| Ns::try_from(x / sum).expect("a part is below the total")).collect();
    let left = usize::try_from(total - parts.iter().sum::<Ns>()).expect("fewer ns are left than there are weights");
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(exact[*i] % sum), *i));
    for i in order.into_iter().take(left) {
        parts[i] += 1;
    }
    Some(parts)
}

/// How a stage's upstream wait divides over its bubble classes, ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitSplit {
    /// Excess and partition.
    pub imbalance: Ns,
    /// Growth.
    pub growth: Ns,
    /// The stage before waited.
    pub propagated: Ns,
    /// Nothing explains it.
    pub unknown: Ns,
}

/// What came out for a request.
#[derive(Debug, Clone, Default)]
pub struct RootCauses {
    /// Waits that are not zero.
    pub waits: Vec<WaitTruth>,
    /// Delays that are not zero.
    pub delays: Vec<DelayTruth>,
    /// Split of the upstream waits, by stage.
    pub splits: Vec<WaitSplit>,
}

/// Waits, causes and splits from a request's intervals, `[stage][chunk]`. Fill is no wait, so the first chunk's are those
/// between its kernels.
#[must_use]
pub fn root_causes(stages: &[Vec<Interval>]) -> RootCauses {
    let mut out = RootCauses { splits: vec![WaitSplit::default(); stages.len()], ..RootCauses::default() };
    let mut delays: BTreeMap<(Cause, i16, i16), [Ns; 2]> = BTreeMap::new();
    let chunks = stages.first().map_or(0, Vec::len);
    for chunk in 0..chunks {
        // Waits of later stages that stages before them caused by waiting; the pipeline is gone through from its end.
        let mut carried = 0;
        for stage in (0..stages.len()).rev() {
            let own = &stages[stage][chunk];
            let wait_ns = own.idle.total();
            if wait_ns == 0 {
                debug_assert_eq!(carried, 0, "only a wait passes waits on");
                continue;
            }
            let sources = sources(stages, stage, chunk);
            let name = i16::try_from(stage).unwrap_or(i16::MAX);
            let classes = own.idle.by_class;
            let long = apportion(carried, &own.idle.waits()).unwrap_or([0; CLASSES].to_vec());
            carried = 0;
            for class in ALL {
                let amounts = [classes[class as usize], long[class as usize]];
                if class == Class::UpstreamLate {
                    carried = upstream(&mut delays, &mut out.splits[stage], name, amounts, &sources);
                } else {
                    give(&mut delays, (terminal(class), name, -1), amounts);
                }
            }
            out.waits.push(WaitTruth {
                chunk: i32::try_from(chunk).unwrap_or(i32::MAX),
                stage: name,
                wait_ns,
                by_class: ALL.into_iter().map(|c| (c, own.idle.of(c))).filter(|(_, ns)| *ns > 0).collect(),
                sources,
            });
        }
    }
    out.waits.sort_by_key(|wait| (wait.chunk, wait.stage));
    out.delays = delays
        .into_iter()
        .map(|((cause, stage, layer), [short_ns, long_ns])| {
            let layer = (layer >= 0).then_some(layer);
            DelayTruth { cause, stage, layer, short_ns, long_ns }
        })
        .collect();
    out
}

type Delays = BTreeMap<(Cause, i16, i16), [Ns; 2]>;

fn give(delays: &mut Delays, key: (Cause, i16, i16), [short, long]: [Ns; 2]) {
    if short > 0 || long > 0 {
        let sum = delays.entry(key).or_default();
        sum[0] += short;
        sum[1] += long;
    }
}

fn terminal(class: Class) -> Cause {
    match class {
        Class::UpstreamLate => Cause::Unattributed,
        Class::P2pExposed => Cause::P2p,
        Class::Host => Cause::Host,
        Class::Sync => Cause::Sync,
        Class::HandoffBackpressure => Cause::HandoffBackpressure,
        Class::NoWork => Cause::NoWork,
    }
}

fn sources(stages: &[Vec<Interval>], stage: usize, chunk: usize) -> Sources {
    let Some(before) = stage.checked_sub(1) else { return Sources::default() };
    let (peer, own) = (&stages[before][chunk], &stages[stage]);
    Sources {
        excess: peer.excess.clone(),
        partition_ns: (peer.nominal_ns - own[chunk].nominal_ns).max(0),
        growth_ns: chunk.checked_sub(1).map_or(0, |last| (own[chunk].nominal_ns - own[last].nominal_ns).max(0)),
        propagated_ns: peer.idle.waits().iter().sum(),
    }
}

/// Divides an upstream wait (what is waited here, and what was carried here from further down); returns what the stage
/// before must pass on.
fn upstream(delays: &mut Delays, split: &mut WaitSplit, stage: i16, amounts: [Ns; 2], sources: &Sources) -> Ns {
    let mut weights: Vec<Ns> = vec![sources.propagated_ns, sources.growth_ns, sources.partition_ns];
    weights.extend(sources.excess.iter().map(|(_, ns)| *ns));
    let [Some(short), Some(long)] = amounts.map(|ns| apportion(ns, &weights)) else {
        give(delays, (Cause::Unattributed, stage, -1), amounts);
        split.unknown += amounts[0];
        return 0;
    };
    let peer = stage - 1;
    give(delays, (Cause::Growth, peer, -1), [short[1], long[1]]);
    give(delays, (Cause::Partition, peer, -1), [short[2], long[2]]);
    for (i, (layer, _)) in sources.excess.iter().enumerate() {
        give(delays, (Cause::Excess, peer, *layer), [short[3 + i], long[3 + i]]);
    }
    split.propagated += short[0];
    split.growth += short[1];
    split.imbalance += short[2..].iter().sum::<Ns>();
    short[0] + long[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_sum_to_the_whole() {
        assert_eq!(apportion(10, &[1, 1, 1]), Some(vec![4, 3, 3]));
        assert_eq!(apportion(7, &[0, 5]), Some(vec![0, 7]));
        assert_eq!(apportion(7, &[0, 0]), None);
        assert_eq!(apportion(7, &[]), None);
    }

    /// Three stages of 10; chunk 1 of stage 0 takes 4 more in layer 2. Stage 1 waits 4 for it, stage 2 waits 4 for stage 1,
    /// which had nothing in its interval but its wait: short 4, long 4, both on (0, 2).
    #[test]
    fn a_wait_that_is_passed_on_falls_back_on_its_cause() {
        let idle = |ns| Idle { by_class: [ns, 0, 0, 0, 0, 0], kernel_gap_ns: 0 };
        let nominal = |excess: &[(i16, Ns)], ns| Interval { nominal_ns: 10, excess: excess.to_vec(), idle: idle(ns) };
        let first = || nominal(&[], 0);
        let stages =
            vec![vec![first(), nominal(&[(2, 4)], 0)], vec![first(), nominal(&[], 4)], vec![first(), nominal(&[], 4)]];
        let found = root_causes(&stages);
        let delay = DelayTruth { cause: Cause::Excess, stage: 0, layer: Some(2), short_ns: 4, long_ns: 4 };
        assert_eq!(found.delays, [delay]);
        assert_eq!(found.splits[2], WaitSplit { propagated: 4, ..WaitSplit::default() });
    }

    /// The same with 3 of dispatch between the kernels of every chunk: the stages have it alike, so it causes no wait but
    /// itself.
    #[test]
    fn dispatch_back_to_back_makes_no_stage_late() {
        let chunk = |late: Ns, excess: &[(i16, Ns)]| Interval {
            nominal_ns: 10,
            excess: excess.to_vec(),
            idle: Idle { by_class: [late, 0, 3, 0, 0, 0], kernel_gap_ns: 3 },
        };
        let stages = [chunk(0, &[(2, 4)]), chunk(4, &[]), chunk(4, &[])].map(|second| vec![chunk(0, &[]), second]);
        let found = root_causes(&stages);
        let host = |stage| DelayTruth { cause: Cause::Host, stage, layer: None, short_ns: 6, long_ns: 0 };
        let excess = DelayTruth { cause: Cause::Excess, stage: 0, layer: Some(2), short_ns: 4, long_ns: 4 };
        assert_eq!(found.delays, [excess, host(0), host(1), host(2)]);
    }
}
