//! Keeps what probes cost the traced programs within a share of a core: hits are counted, and where they cost more, the least
//! valuable group of probes is taken off for a while. Nothing here does I/O but the measurement of what a hit costs.

mod calibrate;
mod ffi;

use std::collections::BTreeMap;

pub use calibrate::{Costs, measure};
use kvpath_schema::wire::nixl::Kind;

/// What may be saved up, in time: a burst within it is let pass.
const SAVES_NS: f64 = 1e9;
/// How long a group is off the first time; twice as long each time after.
const FIRST_PAUSE_NS: i64 = 10_000_000_000;
/// Longest pause.
const LONGEST_PAUSE_NS: i64 = 600_000_000_000;

/// Probes that are taken off together, the least valuable first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The scheduler's tracepoints: every switch on the machine runs them.
    Scheduler,
    /// Everything of UCX.
    Ucx,
    /// getNotifs: when the program received notifications that had arrived. Most of its calls return none.
    NotificationsReceived,
    /// getXferStatus: when a transfer was seen to end. Its release still tells that it has.
    Polls,
    /// Notifications that are sent by themselves, and that arrive.
    Notifs,
    /// Everything of Mooncake.
    Mooncake,
    /// Agents, regions, prepared lists, and the making, posting and releasing of transfers.
    Transfers,
}

impl Group {
    /// All, in the order in which they are given up.
    pub const ALL: [Self; 7] = [
        Self::Scheduler,
        Self::Ucx,
        Self::NotificationsReceived,
        Self::Polls,
        Self::Notifs,
        Self::Mooncake,
        Self::Transfers,
    ];

    /// That of a probe of NIXL.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Status => Self::Polls,
            Kind::NotifTaken => Self::NotificationsReceived,
            Kind::NotifSent | Kind::NotifArrived | Kind::NotifPassed => Self::Notifs,
            Kind::Agent
            | Kind::Regions
            | Kind::RegionsEnd
            | Kind::MakeSpan
            | Kind::MakeVector
            | Kind::Create
            | Kind::Post
            | Kind::Descriptors
            | Kind::Prepare
            | Kind::PrepareStrided
            | Kind::PreparedRow
            | Kind::LoadMd
            | Kind::Connect
            | Kind::FetchMd
            | Kind::SendMd
            | Kind::InvalidateMd
            | Kind::Deregister
            | Kind::Call
            | Kind::CallEnd
            | Kind::Contradicted
            | Kind::Release => Self::Transfers,
        }
    }

    /// The source whose probes these are.
    pub fn source(self) -> &'static str {
        match self {
            Self::Scheduler => "sched",
            Self::Ucx => "ucx",
            Self::Mooncake => "mooncake",
            Self::NotificationsReceived | Self::Polls | Self::Notifs | Self::Transfers => "nixl",
        }
    }

    /// Name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Ucx => "UCX ops",
            Self::NotificationsReceived => "notifications received",
            Self::Polls => "polls",
            Self::Notifs => "notifs",
            Self::Mooncake => "transfers of Mooncake",
            Self::Transfers => "transfers",
        }
    }
}

/// What hits have cost, ns.
pub type Spent = BTreeMap<Group, f64>;

/// A group is not given up while it costs less than this share of all: that would save nothing.
const WORTH: f64 = 0.25;

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

    /// Puts a group off again that could not be restored.
    pub fn put_off(&mut self, group: Group, now_ns: i64) {
        if let Some(off) = self.groups.iter_mut().find(|off| off.group == group) {
            off.pause(now_ns);
        }
    }

    /// Takes what probes have cost since the last step.
    #[expect(clippy::cast_precision_loss, reason = "times between steps are far below 2^53 ns")]
    pub fn step(&mut self, now_ns: i64, spent: &Spent) -> Option<Change> {
        let passed = (now_ns - self.last_ns).max(1) as f64;
        let spent_ns: f64 = spent.values().sum();
        self.last_ns = now_ns;
        self.saved_ns = (self.saved_ns + self.share * passed).min(self.share * SAVES_NS) - spent_ns;
        if self.saved_ns < 0.0 {
            self.saved_ns = self.share * SAVES_NS;
            let is_worth_it = |group| spent.get(&group).is_some_and(|ns| *ns >= WORTH * spent_ns);
            let off = self.groups.iter_mut().find(|off| !off.now && is_worth_it(off.group))?;
            let pause_ns = off.pause(now_ns);
            return Some(Change::Shed { group: off.group, share: spent_ns / passed, pause_ns });
        }
        // The most valuable that may come back comes first.
        let off = self.groups.iter_mut().rev().find(|off| off.now && off.until_ns <= now_ns)?;
        off.now = false;
        Some(Change::Restore(off.group))
    }
}

impl Off {
    /// From now on; twice as long as the last time. Gives how long, ns.
    fn pause(&mut self, now_ns: i64) -> i64 {
        let pause_ns = (FIRST_PAUSE_NS << self.times.min(10)).min(LONGEST_PAUSE_NS);
        *self = Self { until_ns: now_ns + pause_ns, times: self.times + 1, now: true, ..*self };
        pause_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_NS: i64 = 20_000_000;
    const SECOND_NS: i64 = 1_000_000_000;
    /// What is there where nothing else is asked for.
    const NIXL: [Group; 4] = [Group::NotificationsReceived, Group::Polls, Group::Notifs, Group::Transfers];

    /// Probes of a group that cost a share of a core while all of these groups are on; what changed, and when.
    fn play(budget: f64, seconds: i64, costs: impl Fn(i64, &[Group]) -> (Group, f64)) -> Vec<(i64, Change)> {
        let mut budget = Budget::new(budget, 0, NIXL);
        let (mut on, mut changes) = (NIXL.to_vec(), Vec::new());
        for now in (1..=seconds * SECOND_NS / STEP_NS).map(|step| step * STEP_NS) {
            let (group, share) = costs(now, &on);
            let Some(change) = budget.step(now, &Spent::from([(group, 0.02e9 * share)])) else { continue };
            match change {
                Change::Shed { group, .. } => on.retain(|other| *other != group),
                Change::Restore(group) => on.push(group),
            }
            changes.push((now, change));
        }
        changes
    }

    fn storm_of_polls(_: i64, on: &[Group]) -> (Group, f64) {
        (Group::Polls, if on.contains(&Group::Polls) { 1.0 } else { 0.0 })
    }

    #[test]
    fn what_stays_within_the_budget_is_never_shed() {
        assert_eq!(play(0.05, 100, |_, _| (Group::Polls, 0.049)), []);
    }

    #[test]
    fn a_burst_passes_and_a_storm_does_not() {
        // A whole core for 40 ms of each second.
        assert_eq!(play(0.05, 100, |now, _| (Group::Polls, if now % SECOND_NS < 40_000_000 { 1.0 } else { 0.0 })), []);
        let changes = play(0.05, 5, storm_of_polls);
        let [(at, Change::Shed { group: Group::Polls, share, .. })] = changes[..] else { panic!("{changes:?}") };
        assert!(at <= 80_000_000 && (share - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_storm_that_stays_is_looked_at_less_and_less() {
        let changes = play(0.05, 1000, storm_of_polls);
        let sheds: Vec<i64> =
            changes.iter().filter(|(_, c)| matches!(c, Change::Shed { .. })).map(|(at, _)| *at).collect();
        // 10, 20, 40, … 600 s apart.
        assert_eq!(sheds.len(), 7, "{sheds:?}");
        assert!(sheds.windows(3).all(|w| w[2] - w[1] > w[1] - w[0]));
        assert!(changes.iter().all(|(_, c)| matches!(c, Change::Restore(Group::Polls) | Change::Shed { .. })));
    }

    #[test]
    fn where_the_rest_costs_too_much_as_well_it_goes_in_order() {
        let changes = play(0.05, 2, |_, on| on.first().map_or((Group::Polls, 0.0), |group| (*group, 1.0)));
        let groups: Vec<_> = changes
            .iter()
            .map(|(_, change)| match change {
                Change::Shed { group, .. } => *group,
                Change::Restore(group) => panic!("{group:?}"),
            })
            .collect();
        assert_eq!(groups, NIXL);
    }

    #[test]
    fn what_costs_little_stays_on() {
        let mut budget = Budget::new(0.05, 0, NIXL);
        let spent = Spent::from([(Group::Polls, 1e6), (Group::Notifs, 0.0), (Group::Transfers, 1e9)]);
        let Some(Change::Shed { group, .. }) = budget.step(STEP_NS, &spent) else { panic!("it stays") };
        assert_eq!(group, Group::Transfers);
        // Of two that cost as much, the less valuable goes.
        let spent = Spent::from([(Group::Polls, 1e9), (Group::Notifs, 1e9)]);
        let Some(Change::Shed { group, .. }) = budget.step(2 * STEP_NS, &spent) else { panic!("it stays") };
        assert_eq!(group, Group::Polls);
    }

    #[test]
    fn what_could_not_be_restored_is_tried_again() {
        let mut budget = Budget::new(0.05, 0, NIXL);
        let shed = budget.step(STEP_NS, &Spent::from([(Group::Polls, 1e9)]));
        assert!(matches!(shed, Some(Change::Shed { group: Group::Polls, pause_ns: FIRST_PAUSE_NS, .. })), "{shed:?}");
        let mut restored = Vec::new();
        for now in (1..=40).map(|second| second * SECOND_NS) {
            if let Some(Change::Restore(group)) = budget.step(now, &Spent::new()) {
                restored.push(now / SECOND_NS);
                budget.put_off(group, now);
            }
        }
        assert_eq!(restored, [11, 31]);
    }
}
