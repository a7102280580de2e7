//! Messages between hosts, as their recordings show them: probes, and NIXL notifications seen at both ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::clock::ClockProbes;
use kvpath_schema::tables::nixl::{NixlAgents, NixlNotifs, NotifDirection};

use super::hosts::{Carrier, HostFacts, Message};
use crate::error::LoadError;
use crate::load::limits::{TIME, within};

/// What a host recorded of its messages with others.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Clock probes.
    pub probes: &'a ClockProbes,
    /// NIXL notifications.
    pub notifs: &'a NixlNotifs,
    /// NIXL agents.
    pub agents: &'a NixlAgents,
}

/// All messages between hosts, by their positions in `hosts`, in an order that does not depend on that of the rows; `observed` is
/// of each of them.
///
/// # Errors
/// Times that cannot be.
pub fn messages(hosts: &[HostFacts], observed: &[Observed]) -> Result<Vec<Message>, LoadError> {
    let mut messages = Vec::new();
    let mut ends = NotificationEnds::default();
    for (at, own) in observed.iter().enumerate() {
        probes(own.probes, at, hosts, &mut messages)?;
        ends.add(at, own.notifs, own.agents)?;
    }
    ends.pair(&mut messages);
    messages.sort_unstable();
    Ok(messages)
}

/// A probe is a message there and one back.
fn probes(rows: &ClockProbes, from: usize, hosts: &[HostFacts], out: &mut Vec<Message>) -> Result<(), LoadError> {
    for (column, values) in [
        ("sent_ns", &rows.sent_ns),
        ("received_ns", &rows.received_ns),
        ("peer_received_ns", &rows.peer_received_ns),
        ("peer_sent_ns", &rows.peer_sent_ns),
    ] {
        within("clock_probes", column, values.iter().copied(), -TIME..=TIME)?;
    }
    let by_name: BTreeMap<&str, usize> = hosts.iter().map(|host| host.name.as_str()).zip(0..).collect();
    for row in 0..rows.len() {
        // A peer that the run holds no records of needs no clock.
        let Some(to) = by_name.get(&*rows.peer[row]).copied() else { continue };
        let message = |(from, to): (usize, usize), sent_ns: i64, arrived_ns: i64| Message {
            from,
            to,
            sent_ns,
            arrived_ns,
            carrier: Carrier::Probe,
        };
        out.push(message((from, to), rows.sent_ns[row], rows.peer_received_ns[row]));
        out.push(message((to, from), rows.peer_sent_ns[row], rows.received_ns[row]));
    }
    Ok(())
}

/// Ends of notifications, by text and whole length.
#[derive(Default)]
struct NotificationEnds {
    by_text: HashMap<(String, i64), Vec<NotificationEnd>>,
    /// Names of the agents of a process.
    agents: BTreeMap<(usize, i64), BTreeSet<String>>,
}

/// A text with more ends than this tells no messages apart.
const MOST_ENDS: usize = 64;

/// One end.
struct NotificationEnd {
    host: usize,
    process_id: i64,
    time_ns: i64,
    is_arrival: bool,
    peer: Option<String>,
}

impl NotificationEnds {
    fn add(&mut self, host: usize, notifs: &NixlNotifs, agents: &NixlAgents) -> Result<(), LoadError> {
        within("nixl_notifs", "time_ns", notifs.time_ns.iter().copied(), -TIME..=TIME)?;
        for row in 0..agents.len() {
            self.agents.entry((host, agents.process_id[row])).or_default().insert(agents.name[row].to_string());
        }
        for row in 0..notifs.len() {
            let is_arrival = match NotifDirection::from_text(&notifs.direction[row]) {
                Some(NotifDirection::Arrived) => true,
                Some(NotifDirection::Sent) => false,
                Some(NotifDirection::Taken) | None => continue,
            };
            let key = (notifs.message[row].clone(), notifs.message_bytes[row]);
            self.by_text.entry(key).or_default().push(NotificationEnd {
                host,
                process_id: notifs.process_id[row],
                time_ns: notifs.time_ns[row],
                is_arrival,
                peer: notifs.peer[row].as_deref().map(str::to_owned),
            });
        }
        Ok(())
    }

    /// Only of a text that one agent sent to another once is it known which arrival is whose. A notification that goes out with a
    /// transfer was recorded as sent when that was posted, which is before.
    fn pair(&self, out: &mut Vec<Message>) {
        for ends in self.by_text.values().filter(|ends| ends.len() <= MOST_ENDS) {
            let may_be = |a: &NotificationEnd, b: &NotificationEnd| {
                a.is_arrival != b.is_arrival
                    && (a.host, a.process_id) != (b.host, b.process_id)
                    && self.is_named(a, b)
                    && self.is_named(b, a)
            };
            let only = |end: &NotificationEnd| {
                let mut others = (0..ends.len()).filter(|other| may_be(end, &ends[*other]));
                others.next().filter(|_| others.next().is_none())
            };
            for (at, sent) in ends.iter().enumerate().filter(|(_, end)| !end.is_arrival) {
                let Some(arrived) = only(sent).map(|other| &ends[other]) else { continue };
                if sent.host != arrived.host && only(arrived) == Some(at) {
                    let (from, to, carrier) = (sent.host, arrived.host, Carrier::Notif);
                    out.push(Message { from, to, sent_ns: sent.time_ns, arrived_ns: arrived.time_ns, carrier });
                }
            }
        }
    }

    /// Whether the peer that one end names is the other, as far as names are known.
    fn is_named(&self, end: &NotificationEnd, other: &NotificationEnd) -> bool {
        let names = self.agents.get(&(other.host, other.process_id));
        names.zip(end.peer.as_ref()).is_none_or(|(names, peer)| names.contains(peer))
    }
}

#[cfg(test)]
mod tests {
    use kvpath_schema::tables::nixl::{NixlAgent, NixlNotif};

    use super::*;

    fn notif(time_ns: i64, process_id: i64, direction: &str, peer: &str, message: &str) -> NixlNotif {
        NixlNotif {
            time_ns,
            process_id,
            tid: 1,
            direction: direction.into(),
            via: "unknown".into(),
            peer: Some(peer.into()),
            message: message.to_owned(),
            message_raw: None,
            message_bytes: 9,
            transfer_id: None,
        }
    }

    fn paired(sent: &[NixlNotif], arrived: &[NixlNotif]) -> Vec<Message> {
        let mut ends = NotificationEnds::default();
        for (host, rows, agent) in [(0, sent, "p0"), (1, arrived, "d0")] {
            let (mut notifs, mut agents) = (NixlNotifs::default(), NixlAgents::default());
            agents.push(NixlAgent {
                time_ns: 0,
                process_id: 7,
                agent_ptr: 1,
                name: agent.into(),
                library: "nixl".into(),
            });
            for row in rows {
                notifs.push(row.clone());
            }
            ends.add(host, &notifs, &agents).unwrap();
        }
        let mut out = Vec::new();
        ends.pair(&mut out);
        out
    }

    #[test]
    fn a_text_that_was_sent_and_arrived_once_is_a_message() {
        let found = paired(&[notif(5, 7, "sent", "d0", "r1")], &[notif(90, 7, "arrived", "p0", "r1")]);
        assert_eq!(found, [Message { from: 0, to: 1, sent_ns: 5, arrived_ns: 90, carrier: Carrier::Notif }]);
    }

    #[test]
    fn a_text_of_several_or_of_other_agents_is_none() {
        let sent = notif(5, 7, "sent", "d0", "r1");
        let arrived = notif(90, 7, "arrived", "p0", "r1");
        assert!(paired(&[sent.clone(), sent.clone()], std::slice::from_ref(&arrived)).is_empty());
        assert!(paired(std::slice::from_ref(&sent), &[arrived.clone(), arrived.clone()]).is_empty());
        assert!(paired(&[notif(5, 7, "sent", "d1", "r1")], std::slice::from_ref(&arrived)).is_empty());
        assert!(paired(std::slice::from_ref(&sent), &[notif(90, 7, "arrived", "p1", "r1")]).is_empty());
        assert!(paired(std::slice::from_ref(&sent), &[]).is_empty());
        // One text to two agents, as where decode registers with each stage.
        let other = notif(6, 7, "sent", "d1", "r1");
        assert_eq!(paired(&[sent, other], std::slice::from_ref(&arrived)).len(), 1);
        assert!(paired(std::slice::from_ref(&arrived), std::slice::from_ref(&arrived)).is_empty());
    }
}
