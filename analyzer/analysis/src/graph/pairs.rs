//! NCCL sends and receives: which kernel is the other end of which.
//!
//! A record of an NCCL kernel names neither communicator nor peer. Messages between two ranks keep their order, so once two
//! streams are known to be the ends of one channel, the n-th kernel of one belongs to the n-th of the other. Streams are the
//! ends of one channel if their kernels, n-th by n-th, could be (a receive does not end before its send starts) and end
//! together, as both ends of a message do that does not fit into NCCL's buffer. Where records are missing the counts differ;
//! then only kernels that end together are paired.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::collectives::Collectives;
use super::{Method, Op, op};
use crate::timeline::{Class, LaneAt, Timeline};

/// Both ends of a message end within this, ns, or within a fiftieth of its time: NCCL's last flag goes over NVLink in a few us.
pub(super) const TOGETHER_NS: i64 = 50_000;
/// Share of a channel's messages that must fit.
const FITTING: f64 = 0.9;

/// The other end of every message that is known.
#[derive(Debug, Default)]
pub struct Pairs {
    other: HashMap<(LaneAt, u32), (Op, Method, bool)>,
    /// Processes that received.
    receivers: HashSet<i64>,
    /// NCCL sends and receives without another end.
    pub unpaired: usize,
    /// Collectives of the ranks of one stage.
    pub collectives: Collectives,
}

/// Sends and receives of one stream, or collectives.
pub(super) struct Stream {
    pub(super) lane: LaneAt,
    pub(super) ops: Vec<u32>,
}

impl Pairs {
    /// Pairs the kernels of stages that follow each other; `stages` holds the process of each stage of each pipeline, in
    /// order.
    #[must_use]
    pub fn of(timeline: &Timeline, pipelines: &[Vec<i64>]) -> Self {
        let mut streams: BTreeMap<i64, Vec<Stream>> = BTreeMap::new();
        for lane in 0..u32::try_from(timeline.lanes.len()).unwrap_or(u32::MAX) {
            let is_p2p = |at: &u32| timeline.class(lane, *at as usize) == Class::PointToPoint;
            let count = u32::try_from(timeline.lane(lane).len()).unwrap_or(u32::MAX);
            let ops: Vec<u32> = (0..count).filter(is_p2p).collect();
            if !ops.is_empty() {
                let process = timeline.id(lane).process;
                streams.entry(process).or_default().push(Stream { lane, ops });
            }
        }
        let mut pairs = Self::default();
        for pipeline in pipelines {
            for (from, to) in pipeline.iter().zip(pipeline.iter().skip(1)) {
                let (Some(senders), Some(receivers)) = (streams.get(from), streams.get(to)) else { continue };
                pairs.connect(timeline, senders, receivers);
            }
        }
        let all: usize = streams.values().flatten().map(|stream| stream.ops.len()).sum();
        pairs.unpaired = all - pairs.other.len().min(all);
        pairs
    }

    /// The same with collectives.
    #[must_use]
    pub fn with_collectives(self, collectives: Collectives) -> Self {
        Self { collectives, ..self }
    }

    /// The other end of a send or receive.
    #[must_use]
    pub fn partner(&self, lane: LaneAt, at: u32) -> Option<(Op, Method)> {
        self.other.get(&(lane, at)).map(|(op, method, _)| (*op, *method))
    }

    /// Whether it receives; `None` if its other end is not known.
    #[must_use]
    pub fn receives(&self, lane: LaneAt, at: u32) -> Option<bool> {
        self.other.get(&(lane, at)).map(|(.., receives)| *receives)
    }

    /// Whether a process received anything that is known.
    #[must_use]
    pub fn is_receiver(&self, process: i64) -> bool {
        self.receivers.contains(&process)
    }

    /// Each stream is one end of one channel at most: first those whose messages end together most.
    fn connect(&mut self, timeline: &Timeline, senders: &[Stream], receivers: &[Stream]) {
        let mut channels: Vec<Channel> = Vec::new();
        for (from, sender) in senders.iter().enumerate() {
            for (to, receiver) in receivers.iter().enumerate() {
                let (pairs, method) = match by_count(timeline, sender, receiver) {
                    Some(counted) => (counted, Method::Count),
                    None => (by_time(timeline, sender, receiver), Method::Time),
                };
                let ends = |pair: &(u32, u32)| (span(timeline, sender, pair.0), span(timeline, receiver, pair.1));
                let together =
                    pairs.iter().filter(|pair| ends(pair).0.1.abs_diff(ends(pair).1.1) <= TOGETHER_NS.unsigned_abs());
                let together = together.count();
                let apart_ns =
                    pairs.iter().fold(0u64, |sum, pair| sum.saturating_add(ends(pair).0.1.abs_diff(ends(pair).1.1)));
                channels.push(Channel { from, to, pairs, method, together, apart_ns });
            }
        }
        channels
            .sort_by_key(|channel| (std::cmp::Reverse(channel.together), channel.apart_ns, channel.from, channel.to));
        let (mut has_sent, mut has_received) = (vec![false; senders.len()], vec![false; receivers.len()]);
        for channel in channels {
            let (sender, receiver) = (&senders[channel.from], &receivers[channel.to]);
            if std::mem::replace(&mut has_sent[channel.from], true)
                || std::mem::replace(&mut has_received[channel.to], true)
            {
                continue;
            }
            for (send, receive) in channel.pairs {
                let (send_op, receive_op) = (op(sender.lane, send as usize), op(receiver.lane, receive as usize));
                // A stream that does both has been paired with the other neighbour there.
                if !self.other.contains_key(&(sender.lane, send)) && !self.other.contains_key(&(receiver.lane, receive))
                {
                    self.other.insert((sender.lane, send), (receive_op, channel.method, false));
                    self.other.insert((receiver.lane, receive), (send_op, channel.method, true));
                    self.receivers.insert(timeline.id(receiver.lane).process);
                }
            }
        }
    }
}

/// Two streams that may be the ends of one channel.
struct Channel {
    from: usize,
    to: usize,
    pairs: Vec<(u32, u32)>,
    method: Method,
    /// How many of them end together.
    together: usize,
    /// By how much they end apart in all, ns.
    apart_ns: u64,
}

fn span(timeline: &Timeline, stream: &Stream, at: u32) -> (i64, i64) {
    let lane = timeline.lane(stream.lane);
    (lane.start[at as usize], lane.end[at as usize])
}

fn ends_together(a: (i64, i64), b: (i64, i64)) -> bool {
    let longest = (a.1 - a.0).max(b.1 - b.0);
    (a.1 - b.1).abs() <= TOGETHER_NS.max(longest / 50) && a.0 <= b.1 && b.0 <= a.1
}

/// n-th with n-th, if there are as many and nearly all of them can be.
pub(super) fn by_count(timeline: &Timeline, sender: &Stream, receiver: &Stream) -> Option<Vec<(u32, u32)>> {
    if sender.ops.len() != receiver.ops.len() {
        return None;
    }
    let pairs: Vec<(u32, u32)> = sender.ops.iter().copied().zip(receiver.ops.iter().copied()).collect();
    let spans = |pair: &(u32, u32)| (span(timeline, sender, pair.0), span(timeline, receiver, pair.1));
    // What fits into NCCL's buffer is sent before it is received.
    let fits = |pair: &&(u32, u32)| {
        let (send, receive) = spans(pair);
        ends_together(send, receive) || (send.1 <= receive.1 && send.0 <= receive.1)
    };
    let possible = pairs.iter().all(|pair| spans(pair).0.0 <= spans(pair).1.1);
    #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^52")]
    let share = pairs.iter().filter(fits).count() as f64 / pairs.len() as f64;
    (possible && share >= FITTING).then_some(pairs)
}

/// Whether nearly all kernels of two streams that belong together end together.
pub(super) fn end_together(timeline: &Timeline, a: &Stream, b: &Stream, pairs: &[(u32, u32)]) -> bool {
    let fits = |pair: &&(u32, u32)| ends_together(span(timeline, a, pair.0), span(timeline, b, pair.1));
    #[expect(clippy::cast_precision_loss, reason = "counts of kernels are far below 2^52")]
    let share = pairs.iter().filter(fits).count() as f64 / pairs.len().max(1) as f64;
    share >= FITTING
}

/// Kernels that end together, each with one other at most.
pub(super) fn by_time(timeline: &Timeline, sender: &Stream, receiver: &Stream) -> Vec<(u32, u32)> {
    let mut pairs = Vec::new();
    let mut from = 0;
    for receive in &receiver.ops {
        let own = span(timeline, receiver, *receive);
        while from < sender.ops.len() && span(timeline, sender, sender.ops[from]).1 + TOGETHER_NS < own.0 {
            from += 1;
        }
        let candidates = sender.ops[from..].iter().take_while(|send| span(timeline, sender, **send).0 <= own.1);
        let fitting = candidates.filter(|send| ends_together(span(timeline, sender, **send), own));
        let found = fitting.min_by_key(|send| ((span(timeline, sender, **send).1 - own.1).abs(), **send));
        if let Some(send) = found
            && pairs.last().is_none_or(|(last, _)| last < send)
        {
            pairs.push((*send, *receive));
        }
    }
    pairs
}
