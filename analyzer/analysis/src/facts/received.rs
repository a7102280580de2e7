//! When programs received the notifications that had arrived (`getNotifs`): until then they do not know of them. A busy program
//! receives them late; the path then leads over what it did meanwhile, back to the arrival.

use std::collections::HashMap;

use kvpath_schema::tables::nixl::NotifDirection;

use super::Facts;
use super::agents::AgentNames;

/// Receiver, sender and text of a notification.
type NotificationKey<'a> = (i64, i64, &'a str);

/// Notifications that were taken, as (arrival, receipt), by arrival: ns.
#[derive(Debug, Default)]
pub struct Received<'a>(HashMap<NotificationKey<'a>, Vec<(i64, i64)>>);

impl<'a> Received<'a> {
    /// Those of a run.
    #[must_use]
    pub fn of(facts: &'a Facts, names: &AgentNames) -> Self {
        let mut taken: HashMap<NotificationKey, Vec<i64>> = HashMap::new();
        for row in 0..facts.received.time_ns.len() {
            let time = facts.received.time_ns[row];
            let Some(sender) = facts.received.peer[row].as_deref().and_then(|name| names.at(name, time)) else {
                continue;
            };
            taken.entry((facts.received.process_id[row], sender, &facts.received.message[row])).or_default().push(time);
        }
        let mut arrived: HashMap<NotificationKey, Vec<i64>> = HashMap::new();
        for row in 0..facts.notifs.time_ns.len() {
            let (time, is_arrival) =
                (facts.notifs.time_ns[row], *facts.notifs.direction[row] == NotifDirection::Arrived);
            let Some(peer) = facts.notifs.peer[row].as_deref().filter(|_| is_arrival) else { continue };
            let Some(sender) = names.at(peer, time) else { continue };
            let key = (facts.notifs.process_id[row], sender, facts.notifs.message[row].as_str());
            if taken.contains_key(&key) {
                arrived.entry(key).or_default().push(time);
            }
        }
        let pairs =
            arrived.into_iter().map(|(key, arrivals)| (key, pairs(arrivals, taken.remove(&key).unwrap_or_default())));
        Self(pairs.collect())
    }

    /// When the notification that arrived at a time was taken, ns; none where that was not recorded, or not surely of it.
    #[must_use]
    pub fn of_arrival(&self, receiver: i64, sender: i64, text: &str, arrived_ns: i64) -> Option<i64> {
        let pairs = self.0.get(&(receiver, sender, text))?;
        let at = pairs.binary_search_by_key(&arrived_ns, |(arrival, _)| *arrival).ok()?;
        Some(pairs[at].1)
    }
}

/// Arrivals of one text with their received. A `getNotifs` hands over all that have arrived, so what it took of the text has arrived
/// since the one before that took any. Where the two are not as many, records are missing, and none is sure.
fn pairs(mut arrivals: Vec<i64>, mut received: Vec<i64>) -> Vec<(i64, i64)> {
    arrivals.sort_unstable();
    received.sort_unstable();
    let mut found = Vec::new();
    let mut since = 0;
    for call in received.chunk_by(|one, other| one == other) {
        let until = arrivals.partition_point(|at| *at <= call[0]);
        if until - since == call.len() {
            found.extend(arrivals[since..until].iter().map(|at| (*at, call[0])));
        }
        since = until;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_takes_all_that_has_arrived() {
        assert_eq!(pairs(vec![30, 10, 20], vec![25, 31, 25]), [(10, 25), (20, 25), (30, 31)]);
        assert_eq!(pairs(vec![10], vec![]), []);
    }

    #[test]
    fn where_one_is_missing_none_is_taken_for_another() {
        assert_eq!(pairs(vec![10, 20, 30], vec![25, 31]), [(30, 31)]);
        assert_eq!(pairs(vec![20, 30], vec![15, 25, 25, 31]), [(30, 31)]);
    }

    #[test]
    fn a_receipt_is_found_by_its_arrival() {
        let mut facts = Facts::default();
        facts.agent(1, "prefill");
        facts.agent(2, "decode");
        for (time, message) in [(10, "a"), (20, "b")] {
            facts.notif(2, "arrived", "prefill", time, message);
        }
        facts.notif(2, "taken", "prefill", 50, "a");
        facts.set_received_apart();
        let received = Received::of(&facts, &AgentNames::of(&facts));
        assert_eq!(received.of_arrival(2, 1, "a", 10), Some(50));
        for (receiver, sender, text, at) in [(2, 1, "b", 20), (2, 1, "a", 11), (1, 2, "a", 10)] {
            assert_eq!(received.of_arrival(receiver, sender, text, at), None, "{text} {at}");
        }
    }
}
