//! Collectives of the ranks of one stage: which kernel of each is the same one. It ends on every rank when the last of them has begun
//! it, so a rank that comes late keeps the others waiting inside.
//!
//! No record names a communicator. Ranks run the same collectives in the same order: as messages are paired ([`super::pairs`]), the n-th of
//! one stream belongs to the n-th of the other; where records are missing, those that end together.

use std::collections::{BTreeMap, HashMap};

use kvpath_schema::tables::derived::Stages as Table;

use super::pairs::{Stream, by_count, by_time, end_together};
use super::{Gate, GateKind, Graph, Method, Node, Op, op};
use crate::timeline::{Class, LaneAt, Timeline};

/// Of each stage's first rank a stream, and of another rank the one that runs the same collectives.
#[derive(Debug)]
struct Channel {
    first: LaneAt,
    other: LaneAt,
    /// Positions of the same collective on either, both rising.
    same: Vec<(u32, u32)>,
    method: Method,
}

/// All of a run.
#[derive(Debug, Default)]
pub struct Collectives {
    channels: Vec<Channel>,
    /// By stream: those that it is an end of.
    of_lane: HashMap<LaneAt, Vec<usize>>,
}

impl Collectives {
    /// Of the stages that have several ranks.
    #[must_use]
    pub fn of(timeline: &Timeline, stages: &Table) -> Self {
        let mut ranks: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for (stage, process) in stages.stage.iter().zip(&stages.process_id) {
            ranks.entry(*stage).or_default().push(*process);
        }
        let mut found = Self::default();
        for ranks in ranks.into_values().filter(|ranks| ranks.len() > 1) {
            let firsts = streams(timeline, ranks[0]);
            for other in &ranks[1..] {
                let mut others = streams(timeline, *other);
                for first in &firsts {
                    found.connect(timeline, first, &mut others);
                }
            }
        }
        for (at, channel) in found.channels.iter().enumerate() {
            for lane in [channel.first, channel.other] {
                found.of_lane.entry(lane).or_default().push(at);
            }
        }
        found
    }

    /// Connects a stream with the one of another rank with which it has most in common, which then is no other's.
    fn connect(&mut self, timeline: &Timeline, first: &Stream, others: &mut Vec<Stream>) {
        // A collective ends on all ranks at once; a message may be sent before it is received.
        let by_count =
            |other: &Stream| by_count(timeline, first, other).filter(|same| end_together(timeline, first, other, same));
        let same = |other: &Stream| match by_count(other) {
            Some(same) => (same, Method::Count),
            None => (by_time(timeline, first, other), Method::Time),
        };
        let all = others.iter().map(same).enumerate();
        let Some((at, (same, method))) = all.max_by_key(|(at, (same, _))| (same.len(), std::cmp::Reverse(*at))) else {
            return;
        };
        if !same.is_empty() {
            let other = others.remove(at).lane;
            self.channels.push(Channel { first: first.lane, other, same, method });
        }
    }

    /// The same collective on the other ranks.
    fn same(&self, lane: LaneAt, at: u32) -> Vec<(Op, Method)> {
        let of_channel = |channel: &Channel, lane: LaneAt, at: u32| {
            let own = |pair: &(u32, u32)| if channel.first == lane { pair.0 } else { pair.1 };
            let found = channel.same.binary_search_by_key(&at, own).ok().map(|found| channel.same[found])?;
            Some(if channel.first == lane { (channel.other, found.1) } else { (channel.first, found.0) })
        };
        let channels = |lane: LaneAt| self.of_lane.get(&lane).into_iter().flatten().map(|at| &self.channels[*at]);
        let mut found: Vec<(Op, Method)> = Vec::new();
        for channel in channels(lane) {
            let Some((there, other)) = of_channel(channel, lane, at) else { continue };
            found.push((op(there, other as usize), channel.method));
            if channel.other == lane {
                // The other ranks are known by the first one.
                let others = channels(there).filter(|next| next.other != lane);
                let others = others.filter_map(|next| Some((of_channel(next, there, other)?, next.method)));
                let least_sure = |a: Method, b: Method| if a.confidence() < b.confidence() { a } else { b };
                found.extend(
                    others.map(|((lane, at), method)| (op(lane, at as usize), least_sure(method, channel.method))),
                );
            }
        }
        found
    }
}

/// The streams of a process that run collectives.
fn streams(timeline: &Timeline, process: i64) -> Vec<Stream> {
    let lanes = timeline.processes.get(&process).map_or(&[][..], |lanes| &lanes.streams);
    let of_lane = |lane: &LaneAt| {
        let count = u32::try_from(timeline.lane(*lane).len()).unwrap_or(u32::MAX);
        let is_own = |at: &u32| timeline.class(*lane, *at as usize) == Class::Collective;
        Stream { lane: *lane, ops: (0..count).filter(is_own).collect() }
    };
    lanes.iter().map(of_lane).filter(|stream| !stream.ops.is_empty()).collect()
}

impl Graph<'_> {
    /// A collective ends when all ranks have begun it.
    pub(super) fn collective_end(&self, lane: LaneAt, at: u32, into: &mut Vec<Gate>) {
        let begun = self.pairs.collectives.same(lane, at).into_iter();
        into.extend(begun.map(|(op, method)| self.gate(Node::start(op), GateKind::PeerStarted, method)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::pairs::Pairs;
    use crate::graph::stages::Stages;
    use crate::graph::{Request, Transfers};
    use crate::timeline::{LaneId, LaneKind};

    const US: i64 = 1_000;

    /// Ranks 1 to 3 of a stage, of which the last begins its second all-reduce 300 us late; `lost` lacks its first.
    fn ranks(lost: Option<i64>) -> (Timeline, Table) {
        let mut timeline = Timeline::default();
        for rank in 1..=3 {
            let id = LaneId { process: rank, kind: LaneKind::Stream { context: 1, stream: 7 } };
            let late = if rank == 3 { 300 } else { 0 };
            for (key, start, end) in [(1, 100, 150), (2, 200 + late, 550)] {
                if (key, Some(rank)) != (1, lost) {
                    timeline.add_kernel(id, 0, "ncclDevKernel_AllReduce_Sum_bf16_RING_LL", (start * US, end * US, key));
                }
            }
        }
        let table = Table { stage: vec![0, 0, 0], process_id: vec![1, 2, 3], ..Table::default() };
        (timeline, table)
    }

    /// What the last collective of a rank waited for: the rank that began it, how that is known, and when it did, us.
    fn waited_for((timeline, table): &(Timeline, Table), rank: i64) -> Option<(i64, Method, i64)> {
        let pairs = Pairs::default().with_collectives(Collectives::of(timeline, table));
        let (transfers, stages) = (Transfers::default(), Stages::default());
        let graph = Graph { timeline, transfers: &transfers, pairs: &pairs, stages: &stages };
        let lane = timeline.find(LaneId { process: rank, kind: LaneKind::Stream { context: 1, stream: 7 } })?;
        let mut gates = Vec::new();
        let last = timeline.lane(lane).len() - 1;
        graph.gates(Node::end(op(lane, last)), &Request::default(), &mut gates);
        let gate = crate::graph::last(&gates)?;
        Some((graph.process(gate.from)?, gate.method, gate.at / US))
    }

    #[test]
    fn a_collective_waits_for_the_rank_that_begins_it_last() {
        let whole = ranks(None);
        assert_eq!(waited_for(&whole, 1), Some((3, Method::Count, 500)));
        assert_eq!(waited_for(&whole, 2), Some((3, Method::Count, 500)), "which it knows by the first rank");
        let (_, _, at) = waited_for(&whole, 3).unwrap();
        assert_eq!(at, 200, "the others had begun before");
    }

    #[test]
    fn where_one_was_lost_those_that_end_together_are_the_same() {
        assert_eq!(waited_for(&ranks(Some(3)), 1), Some((3, Method::Time, 500)));
        assert_eq!(waited_for(&ranks(Some(2)), 2), Some((3, Method::Time, 500)));
    }

    /// Of six all-reduces each, rank 3 lacks the first and rank 1 the last: as many, but the n-th is not the n-th.
    #[test]
    fn where_as_many_were_lost_on_both_the_nth_is_not_the_nth() {
        let mut timeline = Timeline::default();
        for (rank, numbers) in [(1, 0..5), (3, 1..6)] {
            let id = LaneId { process: rank, kind: LaneKind::Stream { context: 1, stream: 7 } };
            for number in numbers {
                let (start, end) = (1_000 * number + if rank == 3 { 300 } else { 0 }, 1_000 * number + 350);
                timeline.add_kernel(
                    id,
                    0,
                    "ncclDevKernel_AllReduce_Sum_bf16_RING_LL",
                    (start * US, end * US, number + 1),
                );
            }
        }
        let table = Table { stage: vec![0, 0], process_id: vec![1, 3], ..Table::default() };
        assert_eq!(waited_for(&(timeline, table), 1), Some((3, Method::Time, 4_300)));
    }

    #[test]
    fn stages_of_one_process_have_none() {
        let (timeline, table) = ranks(None);
        let apart = Table { stage: vec![0, 1, 2], ..table };
        assert_eq!(waited_for(&(timeline, apart), 1), None);
    }
}
