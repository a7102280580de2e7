//! Pairs notifications that were sent with their arrivals, where several have the same text. Messages between two agents keep
//! their order, so if both ends were recorded completely, the n-th sent is the n-th that arrived.
//!
//! One lost record would shift all later pairs. So a pair counts only if counting from the first and from the last gives the
//! same pair, and none arrives before it was sent: then no record is missing, or equally many on both sides. Where the two
//! counts differ, times decide: a notification arrives when the bytes before it are there, and a pair counts only if each end
//! is the other's nearest and no other end is possible. What remains has no pair.

use std::collections::{BTreeMap, HashMap};

use kvpath_schema::tables::nixl::{NotifDirection, XferStatus};

use super::Facts;
use super::agents::AgentNames;
use super::lost::{self, LostTransfer};
use crate::method::Method;

/// A message that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// When, ns.
    pub at: i64,
    /// It could arrive after this, and did about when this was seen, ns: the end of the transfer that carried it.
    pub over: Option<(i64, i64)>,
}

/// Messages with the rows of their transfers, by who is to get them.
type ByPeer = BTreeMap<Option<i64>, Vec<(Sent, usize)>>;

/// When the notifications of a run's transfers arrived, by row of `nixl_transfers`.
#[must_use]
pub fn of_transfers(facts: &Facts, names: &AgentNames) -> HashMap<usize, i64> {
    of(facts, names, &lost::of(facts, names)).into_iter().map(|(row, (time, _))| (row, time)).collect()
}

/// When the notification of each transfer arrived and how that is known, by row; lost transfers have rows after all others.
/// Transfers of one request may carry the same text: [`paired`] tells their arrivals apart, between two processes.
#[must_use]
pub fn of(facts: &Facts, names: &AgentNames, lost: &[LostTransfer]) -> HashMap<usize, (i64, Method)> {
    let table = &facts.transfers;
    let mut sent: BTreeMap<(i64, &str), ByPeer> = BTreeMap::new();
    let mut add = |process: i64, text, peer: Option<i64>, sent_row| {
        sent.entry((process, text)).or_default().entry(peer).or_default().push(sent_row);
    };
    for row in (0..table.transfer_id.len()).filter(|row| is_sent(facts, *row)) {
        if let (Some(text), Some(at)) = (table.notif[row].as_deref(), table.posted_ns[row]) {
            let by =
                table.done_poll_ns[row].or(table.released_ns[row]).filter(|_| *table.status[row] == XferStatus::Done);
            let over = by.map(|by| (table.last_pending_poll_ns[row].unwrap_or(at), by));
            let peer = table.peer[row].as_deref().and_then(|name| names.at(name, table.made_ns[row].unwrap_or(at)));
            add(table.process_id[row], text, peer, (Sent { at, over }, row));
        }
    }
    for (row, lost) in (table.transfer_id.len()..).zip(lost) {
        add(lost.process, lost.text, lost.peer, (Sent { at: lost.posted, over: None }, row));
    }
    let mut arrived: HashMap<(i64, &str), BTreeMap<i64, Vec<i64>>> = HashMap::new();
    for row in (0..facts.notifs.time_ns.len()).filter(|row| *facts.notifs.direction[*row] == NotifDirection::Arrived) {
        let (own, time) = (facts.notifs.process_id[row], facts.notifs.time_ns[row]);
        if let Some(sender) = facts.notifs.peer[row].as_deref().and_then(|name| names.at(name, time)) {
            let of_text = arrived.entry((sender, facts.notifs.message[row].as_str())).or_default();
            of_text.entry(own).or_default().push(time);
        }
    }
    let mut found = HashMap::new();
    for (key, by_peer) in sent {
        let mut arrived = arrived.remove(&key).unwrap_or_default();
        // The agent's name may not be known: then the one process that received the text is the receiver.
        let only = (arrived.len() == 1 && by_peer.len() == 1).then(|| arrived.keys().next().copied()).flatten();
        for (peer, mut rows) in by_peer {
            // A transfer's notification is sent by the poll that sees its completion, in whatever order transfers were posted.
            let are_seen = rows.iter().all(|(sent, _)| sent.over.is_some());
            rows.sort_by_key(|(sent, row)| {
                (sent.over.filter(|_| are_seen).map_or(sent.at, |(_, by)| by), sent.at, *row)
            });
            let sent: Vec<Sent> = rows.iter().map(|(sent, _)| *sent).collect();
            let times = peer.or(only).and_then(|peer| arrived.remove(&peer)).unwrap_or_default();
            found.extend(rows.iter().zip(paired(&sent, times)).filter_map(|((_, row), time)| Some((*row, time?))));
        }
    }
    found
}

/// Whether the transfer's notification was sent, or was to be sent.
#[must_use]
pub fn is_sent(facts: &Facts, row: usize) -> bool {
    facts.transfers.posted_ns[row].is_some()
        && matches!(XferStatus::from_text(&facts.transfers.status[row]), Some(XferStatus::Done | XferStatus::Pending))
}

/// When each message of one text between two processes arrived, and how that is known, in the order in which they left.
#[must_use]
pub fn paired(sent: &[Sent], mut arrivals: Vec<i64>) -> Vec<Option<(i64, Method)>> {
    arrivals.sort_unstable();
    let (first, last) = (from_the_first(sent, &arrivals), from_the_last(sent, &arrivals));
    let mut found: Vec<Option<usize>> = first.iter().zip(&last).map(|(a, b)| a.filter(|_| a == b)).collect();
    let is_open: Vec<bool> = first.iter().zip(&last).map(|(a, b)| a != b).collect();
    if is_open.contains(&true) {
        let mut is_taken = vec![false; arrivals.len()];
        for arrival in found.iter().flatten() {
            is_taken[*arrival] = true;
        }
        by_time(sent, &arrivals, (&is_open, &is_taken), &mut found);
    }
    let method = |is_open: bool| if is_open { Method::Time } else { Method::Count };
    let pair = |(arrival, is_open): (Option<usize>, bool)| Some((arrivals[arrival?], method(is_open)));
    found.into_iter().zip(is_open).map(pair).collect()
}

fn from_the_first(sent: &[Sent], arrivals: &[i64]) -> Vec<Option<usize>> {
    let mut next = 0;
    let take = |sent: &Sent| {
        next += arrivals[next..].partition_point(|arrival| *arrival < sent.at);
        let found = (next < arrivals.len()).then_some(next);
        next += usize::from(found.is_some());
        found
    };
    sent.iter().map(take).collect()
}

fn from_the_last(sent: &[Sent], arrivals: &[i64]) -> Vec<Option<usize>> {
    let mut until = arrivals.len();
    let mut found = vec![None; sent.len()];
    for (at, sent) in sent.iter().enumerate().rev() {
        let last = until.checked_sub(1).filter(|last| arrivals[*last] >= sent.at);
        until = last.unwrap_or(until);
        found[at] = last;
    }
    found
}

/// Pairs those that are open with arrivals that are not taken.
fn by_time(sent: &[Sent], arrivals: &[i64], (is_open, is_taken): (&[bool], &[bool]), found: &mut [Option<usize>]) {
    let left: Vec<usize> = (0..arrivals.len()).filter(|at| !is_taken[*at]).collect();
    let mut over: Vec<(i64, usize)> =
        (0..sent.len()).filter(|at| is_open[*at]).filter_map(|at| Some((sent[at].over?.1, at))).collect();
    over.sort_unstable();
    let ends: Vec<i64> = over.iter().map(|(by, _)| *by).collect();
    let times: Vec<i64> = left.iter().map(|at| arrivals[*at]).collect();
    for (by, at) in &over {
        let Some(near) = nearest(&times, *by) else { continue };
        let time = times[near];
        let Some((after, _)) = sent[*at].over else { continue };
        // All that could be it arrived from the last poll that saw it on its way to the one that did not, or then.
        let (since, until) = (after.max(sent[*at].at).min(time), time.max(*by));
        let among = times.partition_point(|time| *time <= until) - times.partition_point(|time| *time < since);
        let is_own = nearest(&ends, time).is_some_and(|own| over[own].1 == *at);
        if is_own && among == 1 && time >= sent[*at].at {
            found[*at] = Some(left[near]);
        }
    }
}

/// The one that is nearest to a time; `None` if two are.
fn nearest(sorted: &[i64], time: i64) -> Option<usize> {
    let next = sorted.partition_point(|other| *other < time);
    let candidates = next.saturating_sub(1)..sorted.len().min(next + 2);
    let apart = |at: usize| sorted[at].abs_diff(time);
    let best = candidates.clone().min_by_key(|at| apart(*at))?;
    let is_one = candidates.filter(|at| apart(*at) == apart(best)).count() == 1;
    is_one.then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(times: &[(i64, i64)]) -> Vec<Sent> {
        times.iter().map(|(at, over)| Sent { at: *at, over: Some((*over - 1, *over)) }).collect()
    }

    /// When they arrived.
    fn paired(sent: &[Sent], arrivals: Vec<i64>) -> Vec<Option<i64>> {
        super::paired(sent, arrivals).into_iter().map(|found| found.map(|(time, _)| time)).collect()
    }

    #[test]
    fn what_only_times_tell_is_said_so() {
        let methods = |sent: &[Sent], arrivals| {
            let found = super::paired(sent, arrivals).into_iter();
            found.map(|found| found.map(|(_, method)| method)).collect::<Vec<_>>()
        };
        let sent = sent(&[(1, 10), (2, 20), (3, 30)]);
        assert_eq!(methods(&sent, vec![12, 22, 32]), [Some(Method::Count); 3]);
        assert_eq!(methods(&sent, vec![12, 32]), [Some(Method::Time), None, Some(Method::Time)]);
    }

    #[test]
    fn a_lost_arrival_shifts_no_other() {
        // All had left before the first arrived.
        let sent = sent(&[(1, 10), (2, 20), (3, 30), (4, 40)]);
        let all = vec![12, 22, 32, 42];
        for lost in 0..4 {
            let mut arrivals = all.clone();
            arrivals.remove(lost);
            let expected: Vec<Option<i64>> = (0..4).map(|at| (at != lost).then_some(all[at])).collect();
            assert_eq!(paired(&sent, arrivals), expected, "without the arrival of {lost}");
        }
        for lost in 0..4 {
            let mut sent = sent.clone();
            sent.remove(lost);
            let expected: Vec<Option<i64>> = (0..4).filter(|at| *at != lost).map(|at| Some(all[at])).collect();
            assert_eq!(paired(&sent, all.clone()), expected, "without the record of {lost}");
        }
    }

    #[test]
    fn what_no_time_tells_apart_has_no_pair() {
        let unseen = [1, 2, 3].map(|at| Sent { at, over: None });
        assert_eq!(paired(&unseen, vec![10, 20]), [None; 3]);
        assert_eq!(paired(&unseen, vec![10, 20, 30]), [10, 20, 30].map(Some));
        // The second left after the first had arrived.
        assert_eq!(paired(&[1, 15].map(|at| Sent { at, over: None }), vec![10]), [Some(10), None]);
        // One poll saw both.
        assert_eq!(paired(&sent(&[(1, 10), (2, 10)]), vec![9]), [None; 2]);
    }

    proptest! {
        #[test]
        fn records_that_are_whole_are_paired_one_by_one(steps in prop::collection::vec((0i64..5, 0i64..9), 0..20)) {
            let (mut at, mut arrival) = (0, 0);
            let mut all: Vec<(i64, i64)> = Vec::new();
            for (later, takes) in steps {
                at += later;
                arrival = (at + takes).max(arrival);
                all.push((at, arrival));
            }
            let sent: Vec<Sent> = all.iter().map(|(at, _)| Sent { at: *at, over: None }).collect();
            let expected: Vec<Option<i64>> = all.iter().map(|(_, arrival)| Some(*arrival)).collect();
            prop_assert_eq!(paired(&sent, all.iter().rev().map(|(_, arrival)| *arrival).collect()), expected);
        }
    }
}
