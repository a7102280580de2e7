//! When programs took the notifications that had arrived: until then they know nothing of them. A program that is busy takes them
//! late; the path then leads over what it did, back to when they arrived.

use std::collections::HashMap;

use super::agents::Names;
use crate::analysis::Raw;

/// Receiver, sender and text of a notification.
type Key<'a> = (i64, i64, &'a str);

/// Notifications that were taken, as (arrival, taking), by arrival: ns.
#[derive(Debug, Default)]
pub struct Takings<'a>(HashMap<Key<'a>, Vec<(i64, i64)>>);

impl<'a> Takings<'a> {
    /// Those of a run.
    #[must_use]
    pub fn of(raw: &'a Raw, names: &Names) -> Self {
        let mut taken: HashMap<Key, Vec<i64>> = HashMap::new();
        for row in 0..raw.takings.time_ns.len() {
            let time = raw.takings.time_ns[row];
            let Some(sender) = raw.takings.peer[row].as_deref().and_then(|name| names.at(name, time)) else { continue };
            taken.entry((raw.takings.process_id[row], sender, &raw.takings.message[row])).or_default().push(time);
        }
        let mut arrived: HashMap<Key, Vec<i64>> = HashMap::new();
        for row in 0..raw.notifs.time_ns.len() {
            let (time, is_arrival) = (raw.notifs.time_ns[row], &*raw.notifs.direction[row] == "arrived");
            let Some(peer) = raw.notifs.peer[row].as_deref().filter(|_| is_arrival) else { continue };
            let Some(sender) = names.at(peer, time) else { continue };
            let key = (raw.notifs.process_id[row], sender, raw.notifs.message[row].as_str());
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

/// Arrivals of one text with their takings. A `getNotifs` hands over all that have arrived, so what it took of the text has arrived
/// since the one before that took any. Where the two are not as many, records are missing, and none is sure.
fn pairs(mut arrivals: Vec<i64>, mut takings: Vec<i64>) -> Vec<(i64, i64)> {
    arrivals.sort_unstable();
    takings.sort_unstable();
    let mut found = Vec::new();
    let mut since = 0;
    for call in takings.chunk_by(|one, other| one == other) {
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
    fn a_taking_is_found_by_its_arrival() {
        let mut raw = Raw::default();
        raw.agent(1, "prefill");
        raw.agent(2, "decode");
        for (time, message) in [(10, "a"), (20, "b")] {
            raw.notif(2, "arrived", "prefill", time, message);
        }
        raw.notif(2, "taken", "prefill", 50, "a");
        raw.set_takings_apart();
        let takings = Takings::of(&raw, &Names::of(&raw));
        assert_eq!(takings.of_arrival(2, 1, "a", 10), Some(50));
        for (receiver, sender, text, at) in [(2, 1, "b", 20), (2, 1, "a", 11), (1, 2, "a", 10)] {
            assert_eq!(takings.of_arrival(receiver, sender, text, at), None, "{text} {at}");
        }
    }
}
