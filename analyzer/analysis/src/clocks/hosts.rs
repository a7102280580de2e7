//! Which host's clock is related to whose, and through whom.

use std::collections::{BTreeMap, BTreeSet};

use super::bounds::{Constraint, Side};
use super::chain::Chain;
use super::map::Map;

/// A reading of a clock is a whole ns: the time read is up to one later.
const QUANTUM_NS: i64 = 1;
/// Beyond all times of a host's own clock, ns.
const OWN_TIME: i64 = 1 << 62;
/// Ids of a host's rows are moved by its number times this.
const ID_BITS: u32 = 48;

/// What is known of a host before its clock is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Name: `node=` of its segments.
    pub name: String,
    /// Rows of all its tables.
    pub rows: i64,
    /// First and last time of its records on its own clock, ns, where known.
    pub extent: Option<(i64, i64)>,
}

/// What carried a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// A way of a clock probe.
    Probe,
    /// A NIXL notification.
    Notif,
}

/// A message between hosts, which are positions in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Sender.
    pub from: usize,
    /// Receiver.
    pub to: usize,
    /// Before it left, on the sender's clock, ns; within ±2^61.
    pub sent_ns: i64,
    /// After it arrived, on the receiver's clock, ns; within ±2^61.
    pub arrived_ns: i64,
    /// What carried it.
    pub carrier: Carrier,
}

/// The clock of a host among those of a run.
#[derive(Debug, Clone)]
pub struct HostClock {
    /// Host.
    pub name: String,
    /// First and last time of its records on its own clock, ns, where known.
    pub extent: Option<(i64, i64)>,
    /// Position of the host to whose clock its times are moved; its own, if it is that.
    pub reference: usize,
    /// Position of the host through which it is related to that.
    pub via: Option<usize>,
    /// Hosts through which the offset comes out elsewhere.
    pub open_triangles: usize,
    /// To the reference's clock.
    pub chain: Chain,
    index: usize,
}

impl HostClock {
    /// Moves a time of its records to the reference's clock, ns; a later time never becomes an earlier one.
    #[must_use]
    pub fn time(&self, t: i64) -> i64 {
        self.chain.time(t)
    }

    /// The id that a process or transfer of this host has among those of all hosts: its own + number of the host * 2^48, so those
    /// of host 0 stay. `None` for an id that no recorder gives: below 0, or 2^48 or more.
    #[must_use]
    pub fn id(&self, id: i64) -> Option<i64> {
        let index = i64::try_from(self.index).ok().filter(|index| *index < 1 << (62 - ID_BITS))?;
        (0..1 << ID_BITS).contains(&id).then_some((index << ID_BITS) + id)
    }

    /// The largest error of [`HostClock::time`] over all records of the host, ns; `None` if there is no bound. A duration from one
    /// host to another of the same reference is wrong by the sum of both.
    #[must_use]
    pub fn eps_ns(&self) -> Option<i64> {
        let (first, last) = self.extent?;
        self.chain.worst(first..=last)
    }

    /// The same at `t`, a time that was moved already, ns.
    #[must_use]
    pub fn eps_at_ns(&self, t: i64) -> Option<i64> {
        let (mut low, mut high) = (-OWN_TIME, OWN_TIME);
        while low < high {
            let middle = low.midpoint(high);
            if self.time(middle) < t { low = middle + 1 } else { high = middle }
        }
        self.chain.worst(low..=low)
    }
}

/// The clocks of a run's hosts.
#[derive(Debug, Clone, Default)]
pub struct Clocks {
    /// The reference first, then by name; a host's number is its position.
    pub hosts: Vec<HostClock>,
    /// By pair of positions, the smaller first.
    pairs: BTreeMap<(usize, usize), Vec<Message>>,
}

impl Clocks {
    /// The host of a process or transfer, by the id that [`HostClock::id`] gave it.
    #[must_use]
    pub fn host_of(&self, id: i64) -> Option<&HostClock> {
        self.hosts.get(usize::try_from(id >> ID_BITS).ok()?)
    }

    /// Relates hosts by messages between them. The reference is the host with most rows, the first by name of several; of hosts
    /// that cannot be related to it again the one with most rows is the reference of those that can be related to that one.
    #[must_use]
    pub fn align(mut facts: Vec<HostFacts>, messages: &[Message]) -> Self {
        let names: Vec<String> = facts.iter().map(|host| host.name.clone()).collect();
        facts.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(most) = (0..facts.len()).min_by_key(|at| (std::cmp::Reverse(facts[*at].rows), *at)) {
            facts[..=most].rotate_right(1);
        }
        let position: Vec<usize> =
            names.iter().map(|name| facts.iter().position(|host| host.name == *name).unwrap_or(0)).collect();
        let mut pairs: BTreeMap<(usize, usize), Vec<Message>> = BTreeMap::new();
        for message in messages {
            let (from, to) = (position[message.from], position[message.to]);
            if from != to {
                pairs.entry((from.min(to), from.max(to))).or_default().push(Message { from, to, ..*message });
            }
        }
        let alone = |(index, host): (usize, &HostFacts)| HostClock {
            name: host.name.clone(),
            extent: host.extent,
            reference: index,
            via: None,
            open_triangles: 0,
            chain: Chain::default(),
            index,
        };
        let mut clocks = Self { hosts: facts.iter().enumerate().map(alone).collect(), pairs };
        let mut left: BTreeSet<usize> = (0..facts.len()).collect();
        while let Some(reference) = left.iter().copied().min_by_key(|at| (std::cmp::Reverse(facts[*at].rows), *at)) {
            clocks.relate(reference, &mut left);
        }
        for at in 0..clocks.hosts.len() {
            clocks.hosts[at].open_triangles = clocks.open_triangles(at);
        }
        clocks
    }

    /// Relates to `reference` all that are left and can be, each by the way of the smallest error (Dijkstra).
    fn relate(&mut self, reference: usize, left: &mut BTreeSet<usize>) {
        // Error, host, the host before it, and its way. A way without a bound somewhere counts as the longest.
        let mut open: Vec<(i64, usize, usize, Chain)> = vec![(0, reference, reference, Chain::default())];
        while let Some(next) = (0..open.len()).min_by_key(|at| (open[*at].0, open[*at].1, open[*at].2)) {
            let (_, host, before, chain) = open.swap_remove(next);
            if !left.remove(&host) {
                continue;
            }
            for other in left.iter().copied() {
                if let Some(map) = self.map(other, host) {
                    let way = Chain::new(map, &chain);
                    let (first, last) = self.span(other, &way);
                    open.push((way.worst(first..=last).unwrap_or(i64::MAX), other, host, way));
                }
            }
            let clock = &mut self.hosts[host];
            clock.reference = reference;
            clock.via = Some(before).filter(|before| *before != reference);
            clock.chain = chain;
        }
    }

    /// Where records of a host lie, else what its map was made of.
    fn span(&self, host: usize, chain: &Chain) -> (i64, i64) {
        let pieces = chain.first().map_or(&[][..], Map::pieces);
        let observed = pieces.first().zip(pieces.last()).map(|(first, last)| (first.start, last.end));
        self.hosts[host].extent.or(observed).unwrap_or((0, 0))
    }

    /// From one host's clock to another's, by the messages between them.
    fn map(&self, of: usize, to: usize) -> Option<Map> {
        Map::of(&self.constraints(of, to), self.hosts[of].extent)
    }

    /// What the messages between two hosts say of what the second's clock shows more than the first's, by the first's times.
    pub(super) fn constraints(&self, of: usize, to: usize) -> Vec<Constraint> {
        let messages = self.between(of, to).iter();
        let mut constraints: Vec<Constraint> = messages
            .map(|message| {
                if message.from == of {
                    let limit = message.arrived_ns.saturating_sub(message.sent_ns).saturating_add(QUANTUM_NS);
                    Constraint { at: message.sent_ns, side: Side::Upper, limit }
                } else {
                    let limit = message.sent_ns.saturating_sub(message.arrived_ns).saturating_sub(QUANTUM_NS);
                    Constraint { at: message.arrived_ns, side: Side::Lower, limit }
                }
            })
            .collect();
        constraints.sort_unstable();
        constraints
    }

    /// The messages between two hosts.
    pub(super) fn between(&self, a: usize, b: usize) -> &[Message] {
        self.pairs.get(&(a.min(b), a.max(b))).map_or(&[], Vec::as_slice)
    }

    /// Through how many others the time of a host's records comes out outside of its own bounds.
    fn open_triangles(&self, host: usize) -> usize {
        let own = &self.hosts[host];
        let Some(direct) = own.chain.first() else { return 0 };
        let before = own.via.unwrap_or(own.reference);
        let others = (0..self.hosts.len()).filter(|other| {
            let third = &self.hosts[*other];
            *other != host && *other != before && third.reference == own.reference && !self.leads_through(*other, host)
        });
        let is_open = |other: usize| {
            let Some(map) = self.map(host, other) else { return false };
            let way = Chain::new(map, &self.hosts[other].chain);
            direct.pieces().iter().flat_map(|piece| [piece.start, piece.end]).any(|t| {
                let ((a_low, a_high), (b_low, b_high)) = (own.chain.range(t), way.range(t));
                let is_above =
                    |low: Option<i64>, high: Option<i64>| low.zip(high).is_some_and(|(low, high)| low > high);
                is_above(a_low, b_high) || is_above(b_low, a_high)
            })
        };
        others.filter(|other| is_open(*other)).count()
    }

    /// Whether the way of `host` to its reference leads through `through`.
    fn leads_through(&self, host: usize, through: usize) -> bool {
        let mut at = host;
        while let Some(via) = self.hosts[at].via {
            if via == through {
                return true;
            }
            at = via;
        }
        false
    }
}
