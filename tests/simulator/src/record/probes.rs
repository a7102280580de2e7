//! Clock probes between all hosts, as agents that probe each other would have recorded them.

use kvpath_schema::tables::clock::ClockProbe;

use super::Recorder;
use crate::distort::Random;
use crate::engine::Ns;

/// The shortest way, ns; every pair and direction has one of its own, up to three times as long.
const LEAST_WAY_NS: Ns = 8_000;
/// Every fifth message is held up, by this on average, ns.
const HELD_UP_NS: Ns = 100_000;
/// From the receipt of a probe to its answer, ns.
const ANSWER_NS: Ns = 4_000;

impl Recorder {
    /// Records what every host's probes of every other show, over the time of all that was recorded before.
    pub fn probes(&mut self, seed: u64) {
        let Some((first, last)) = self.seen.filter(|_| self.distort.probe_hz > 0) else { return };
        let every = 1_000_000_000 / Ns::from(self.distort.probe_hz);
        let mut random = Random::new(seed, Random::PROBES);
        let hosts = self.hosts.len();
        let ways: Vec<Ns> =
            (0..hosts * hosts).map(|_| LEAST_WAY_NS + random.around_zero(LEAST_WAY_NS) + LEAST_WAY_NS).collect();
        let way = |random: &mut Random, from: usize, to: usize| {
            ways[from * hosts + to] + if random.below(5) == 0 { random.exponential(HELD_UP_NS) } else { 0 }
        };
        let Self { distort, words, rows, hosts: of, disk, .. } = self;
        let read = |host: usize, t: Ns| distort.clocks[host].read(t);
        for (from, host) in of.iter_mut().enumerate() {
            let mut sequence = 0;
            let mut at = first + random.around_zero(every / 2);
            while at <= last + every {
                for to in (0..hosts).filter(|to| *to != from) {
                    let arrived = at + way(&mut random, from, to);
                    let answered = arrived + ANSWER_NS;
                    let back = answered + way(&mut random, to, from);
                    let row = ClockProbe {
                        sent_ns: read(from, at),
                        received_ns: read(from, back),
                        peer: words.get(&distort.clocks[to].host),
                        peer_received_ns: read(to, arrived),
                        peer_sent_ns: read(to, answered),
                        sequence,
                    };
                    sequence += 1;
                    rows.entry("clock_probes").or_default().0 += 1;
                    host.probes.push(row, 0, (from, disk, &mut host.drops, host.last_ns));
                }
                at += every;
            }
        }
    }
}
