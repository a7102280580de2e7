//! What stands between the truth and the records: clocks that differ, records that are lost or out of order, polls.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::engine::Ns;

/// A host and its clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Name: `node=` of its segments.
    pub host: String,
    /// What it shows more than the simulator's clock at `zero_ns`, ns.
    pub offset_ns: Ns,
    /// How much faster it runs, billionths.
    pub drift_ppb: i64,
    /// Where its drift counts from, ns.
    pub zero_ns: Ns,
}

impl Clock {
    /// A clock that shows the simulator's time.
    #[must_use]
    pub fn true_time(host: &str) -> Self {
        Self { host: host.to_owned(), offset_ns: 0, drift_ppb: 0, zero_ns: 0 }
    }

    /// What it shows at `t`; never runs backwards.
    ///
    /// # Panics
    /// If it drifts away by centuries.
    #[must_use]
    pub fn read(&self, t: Ns) -> Ns {
        if self.drift_ppb == 0 {
            return t + self.offset_ns;
        }
        let drift = (i128::from(t - self.zero_ns) * i128::from(self.drift_ppb)).div_euclid(1_000_000_000);
        t + self.offset_ns + Ns::try_from(drift).expect("drift is a small part of a time")
    }
}

/// What is done to the records; the truth stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distortions {
    /// A clock for each host.
    pub clocks: Vec<Clock>,
    /// Records lost, millionths.
    pub loss_ppm: u32,
    /// Losses are not counted in `drops` and footers.
    pub is_silent: bool,
    /// Segments of a table that are open at a time, each row in any of them; 1 leaves rows in order.
    pub shuffle: u32,
    /// Polls of transfers by their poster come this far apart, ns; 0 shows completion at once.
    pub poll_ns: Ns,
    /// Probes of each host to each other, a second; 0: none.
    pub probe_hz: u32,
    /// Rows of a table in memory; a segment holds as many, divided by `shuffle`.
    pub segment_rows: usize,
}

impl Distortions {
    /// None, for these hosts.
    #[must_use]
    pub fn none(hosts: &[&str]) -> Self {
        Self {
            clocks: hosts.iter().map(|host| Clock::true_time(host)).collect(),
            loss_ppm: 0,
            is_silent: false,
            shuffle: 1,
            poll_ns: 0,
            probe_hz: 0,
            segment_rows: 262_144,
        }
    }

    /// Polls of a transfer that was posted until `from` and is complete at `completed`: the last that still said in
    /// progress, if any, and the one that said done.
    #[must_use]
    pub fn polls(&self, from: Ns, completed: Ns) -> (Option<Ns>, Ns) {
        if self.poll_ns <= 0 {
            return (None, completed.max(from));
        }
        let before = (completed - from - 1).max(0) / self.poll_ns;
        let last_pending = from + before * self.poll_ns;
        ((before > 0).then_some(last_pending), last_pending + self.poll_ns)
    }
}

/// Random numbers of one purpose: each has its own stream of the seed, so that none alters another's.
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// Durations of kernels and arrivals: part of the truth.
    pub const MODEL: u64 = 0;
    /// Which records are lost.
    pub const LOSS: u64 = 1;
    /// Where records go.
    pub const SHUFFLE: u64 = 2;
    /// How long clock probes take.
    pub const PROBES: u64 = 3;

    /// The stream `purpose` of `seed`.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(purpose);
        Self(rng)
    }

    /// A number below `n`; the bias is below n / 2^64.
    ///
    /// # Panics
    /// Never: the upper half of 128 bits has 64.
    pub fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * u128::from(n);
        u64::try_from(wide >> 64).expect("the upper half has 64 bits")
    }

    /// A number from `-range` to `range`.
    ///
    /// # Panics
    /// If `range` is negative.
    pub fn around_zero(&mut self, range: i64) -> i64 {
        let width = u64::try_from(2 * range + 1).expect("a range is not negative");
        i64::try_from(self.below(width)).expect("a range is far below 2^63") - range
    }

    /// A time from an exponential distribution of that mean, ns.
    pub fn exponential(&mut self, mean: Ns) -> Ns {
        // 53 bits make every double of [0, 1) as likely.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
        let uniform = (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a time of minutes at most")]
        let ns = (-(1.0 - uniform).ln() * mean as f64) as Ns;
        ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_enclose_the_completion() {
        for (poll_ns, from, completed) in [(10, 100, 125), (10, 100, 130), (10, 100, 131), (10, 100, 101), (0, 5, 9)] {
            let distort = Distortions { poll_ns, ..Distortions::none(&[]) };
            let (pending, done) = distort.polls(from, completed);
            assert!(pending.unwrap_or(from) < completed && completed <= done, "{poll_ns} {from} {completed}");
            assert!(poll_ns == 0 || done - pending.unwrap_or(from) == poll_ns);
        }
    }

    #[test]
    fn a_clock_shows_offset_and_drift() {
        let clock = Clock { offset_ns: 5_000_000, drift_ppb: 30_000, zero_ns: 1_000, ..Clock::true_time("h") };
        assert_eq!(clock.read(1_000), 5_001_000);
        // 30 us in a second.
        assert_eq!(clock.read(1_000_001_000), 1_005_031_000);
    }

    #[test]
    fn streams_of_a_seed_differ() {
        let numbers = |purpose| {
            let mut random = Random::new(7, purpose);
            (0..4).map(|_| random.below(1 << 40)).collect::<Vec<_>>()
        };
        assert_ne!(numbers(Random::MODEL), numbers(Random::LOSS));
        assert_eq!(numbers(Random::LOSS), numbers(Random::LOSS));
    }
}
