//! How much of a core the probes may cost the programs that they are on: counted by their hits, and the least valuable
//! taken off for a while where it is more. Pure, but for measuring what a hit costs.

mod calibrate;
mod ffi;

pub use calibrate::{Costs, measure};

/// What may be saved up, in time: a burst within it is let pass.
const SAVES_NS: f64 = 1e9;
/// How long a group is off the first time; twice as long each time after.
const FIRST_PAUSE_NS: i64 = 10_000_000_000;
/// Longest pause.
const LONGEST_PAUSE_NS: i64 = 600_000_000_000;

/// Probes that are taken off together, the least valuable first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Everything of UCX.
    Ucx,
    /// getXferStatus: when a transfer was seen to end. Its release still tells that it has.
    Polls,
    /// Notifications that are sent by themselves, and that arrive.
    Notifs,
    /// Agents, regions, and the making, posting and releasing of transfers.
    Transfers,
}

impl Group {
    /// All, in the order in which they are given up.
    pub const ALL: [Self; 4] = [Self::Ucx, Self::Polls, Self::Notifs, Self::Transfers];

    /// Name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ucx => "UCX ops",
            Self::Polls => "polls",
            Self::Notifs => "notifs",
            Self::Transfers => "transfers",
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// This group costs too much now: take it off, for so long.
    Shed {
        /// The group.
        group: Group,
        /// What all probes have cost since the last step, share of a core.
        share: f64,
        /// ns.
        pause_ns: i64,
    },
    /// Try this group again.
    Restore(Group),
}

#[derive(Debug, Clone, Copy)]
struct Off {
    group: Group,
    /// Of now.
    until_ns: i64,
    times: u32,
    now: bool,
}

/// A budget.
#[derive(Debug)]
pub struct Budget {
    share: f64,
    saved_ns: f64,
    last_ns: i64,
    groups: Vec<Off>,
}

impl Budget {
    /// At most that share of a core, for probes of these groups.
    pub fn new(share: f64, now_ns: i64, groups: impl IntoIterator<Item = Group>) -> Self {
        let off = |group| Off { group, until_ns: 0, times: 0, now: false };
        Self { share, saved_ns: share * SAVES_NS, last_ns: now_ns, groups: groups.into_iter().map(off).collect() }
    }

    /// Goes on from now: what was spent since the last step does not count.
    pub fn resume(&mut self, now_ns: i64) {
        self.last_ns = now_ns;
    }

    /// Takes what probes have cost since the last step, ns.
    #[expect(clippy::cast_precision_loss, reason = "times between steps are far below 2^53 ns")]
    pub fn step(&mut self, now_ns: i64, spent_ns: f64) -> Option<Change> {
        let passed = (now_ns - self.last_ns).max(1) as f64;
        self.last_ns = now_ns;
        self.saved_ns = (self.saved_ns + self.share * passed).min(self.share * SAVES_NS) - spent_ns;
        if self.saved_ns < 0.0 {
            self.saved_ns = self.share * SAVES_NS;
            let off = self.groups.iter_mut().find(|off| !off.now)?;
            let pause_ns = (FIRST_PAUSE_NS << off.times.min(10)).min(LONGEST_PAUSE_NS);
            *off = Off { until_ns: now_ns + pause_ns, times: off.times + 1, now: true, ..*off };
            return Some(Change::Shed { group: off.group, share: spent_ns / passed, pause_ns });
        }
        // The most valuable that may come back comes first.
        let off = self.groups.iter_mut().rev().find(|off| off.now && off.until_ns <= now_ns)?;
        off.now = false;
        Some(Change::Restore(off.group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_NS: i64 = 20_000_000;
    const SECOND_NS: i64 = 1_000_000_000;
    /// What is there where nothing else is asked for.
    const NIXL: [Group; 3] = [Group::Polls, Group::Notifs, Group::Transfers];

    /// Probes that cost `share` of a core while all of these groups are on; what changed, and when.
    fn play(budget: f64, seconds: i64, share: impl Fn(i64, &[Group]) -> f64) -> Vec<(i64, Change)> {
        let mut budget = Budget::new(budget, 0, NIXL);
        let (mut on, mut changes) = (NIXL.to_vec(), Vec::new());
        for now in (1..=seconds * SECOND_NS / STEP_NS).map(|step| step * STEP_NS) {
            let Some(change) = budget.step(now, 0.02e9 * share(now, &on)) else { continue };
            match change {
                Change::Shed { group, .. } => on.retain(|other| *other != group),
                Change::Restore(group) => on.push(group),
            }
            changes.push((now, change));
        }
        changes
    }

    #[test]
    fn what_stays_within_the_budget_is_never_shed() {
        assert_eq!(play(0.05, 100, |_, _| 0.049), []);
    }

    #[test]
    fn a_burst_passes_and_a_storm_does_not() {
        // A whole core for 40 ms of each second.
        assert_eq!(play(0.05, 100, |now, _| if now % SECOND_NS < 40_000_000 { 1.0 } else { 0.0 }), []);
        let changes = play(0.05, 5, |_, on| if on.contains(&Group::Polls) { 1.0 } else { 0.0 });
        let [(at, Change::Shed { group: Group::Polls, share, .. })] = changes[..] else { panic!("{changes:?}") };
        assert!(at <= 80_000_000 && (share - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_storm_that_stays_is_looked_at_less_and_less() {
        let changes = play(0.05, 1000, |_, on| if on.contains(&Group::Polls) { 1.0 } else { 0.0 });
        let sheds: Vec<i64> =
            changes.iter().filter(|(_, c)| matches!(c, Change::Shed { .. })).map(|(at, _)| *at).collect();
        // 10, 20, 40, … 600 s apart.
        assert_eq!(sheds.len(), 7, "{sheds:?}");
        assert!(sheds.windows(3).all(|w| w[2] - w[1] > w[1] - w[0]));
        assert!(changes.iter().all(|(_, c)| matches!(c, Change::Restore(Group::Polls) | Change::Shed { .. })));
    }

    #[test]
    fn where_the_rest_costs_too_much_as_well_it_goes_in_order() {
        let changes = play(0.05, 2, |_, on| if on.is_empty() { 0.0 } else { 1.0 });
        let groups: Vec<_> = changes
            .iter()
            .map(|(_, change)| match change {
                Change::Shed { group, .. } => *group,
                Change::Restore(group) => panic!("{group:?}"),
            })
            .collect();
        assert_eq!(groups, NIXL);
    }
}
