//! One end of the protocol without its socket: what to send, and what an arrival means.

use std::collections::{BTreeMap, VecDeque};

use kvpath_schema::segment::host_name;
use kvpath_schema::tables::clock::ClockProbe;

use super::packet::{Foreign, Kind, NAME_BYTES, Packet};

/// Probes that are waited for, at most; an older one is given up. Those of 100 s to one peer.
const MOST_OPEN: usize = 2_000;
/// Agents whose last probe is remembered, at most.
const MOST_SESSIONS: usize = 256;

/// What was not used, by why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dropped {
    /// Not of this protocol, or of another key.
    Foreign(Foreign),
    /// A probe that was answered already, or came after a later one.
    OldProbe,
    /// An answer to no probe that is waited for: another agent's, late beyond measure, or seen before.
    OldAnswer,
}

impl Dropped {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Foreign(foreign) => foreign.text(),
            Self::OldProbe => "a probe seen before, or overtaken",
            Self::OldAnswer => "an answer to no open probe",
        }
    }
}

/// What an arrival calls for.
#[derive(Debug, PartialEq)]
pub enum Arrival {
    /// This is to be sent back, once `peer_sent_ns` is filled in.
    Answer(Packet),
    /// A row.
    Row(ClockProbe),
}

/// One end.
#[derive(Debug)]
pub struct Prober {
    key: Vec<u8>,
    name: String,
    session: u64,
    next: u64,
    /// Numbers of probes that are waited for, and when they were sent, oldest first.
    open: VecDeque<(u64, i64)>,
    /// The last probe of each session, and the order in which sessions were last heard of.
    seen: BTreeMap<u64, (u64, u64)>,
    heard: u64,
}

impl Prober {
    /// For a host of that name; `session` is drawn at random.
    pub fn new(key: Vec<u8>, name: &str, session: u64) -> Self {
        let mut name = host_name(name);
        name.truncate(NAME_BYTES);
        Self { key, name, session, next: 0, open: VecDeque::new(), seen: BTreeMap::new(), heard: 0 }
    }

    /// The next probe, sent at `now_ns`.
    pub fn probe(&mut self, now_ns: i64) -> Vec<u8> {
        let (session, sequence) = (self.session, self.next);
        self.next += 1;
        self.open.push_back((sequence, now_ns));
        if self.open.len() > MOST_OPEN {
            self.open.pop_front();
        }
        let (peer_received_ns, peer_sent_ns, name) = (0, 0, self.name.clone());
        let probe =
            Packet { kind: Kind::Probe, session, sequence, sent_ns: now_ns, peer_received_ns, peer_sent_ns, name };
        probe.bytes(&self.key).to_vec()
    }

    /// What arrived at `now_ns`.
    ///
    /// # Errors
    /// It is not to be used.
    pub fn arrived(&mut self, bytes: &[u8], now_ns: i64) -> Result<Arrival, Dropped> {
        let packet = Packet::read(bytes, &self.key).map_err(Dropped::Foreign)?;
        match packet.kind {
            Kind::Probe => {
                if packet.session == self.session || !self.is_new(packet.session, packet.sequence) {
                    return Err(Dropped::OldProbe);
                }
                let name = self.name.clone();
                Ok(Arrival::Answer(Packet { kind: Kind::Answer, peer_received_ns: now_ns, name, ..packet }))
            }
            Kind::Answer => {
                let at = self.open.iter().position(|(sequence, _)| *sequence == packet.sequence);
                let at = at.filter(|_| packet.session == self.session).ok_or(Dropped::OldAnswer)?;
                let (sequence, sent_ns) = self.open.remove(at).ok_or(Dropped::OldAnswer)?;
                Ok(Arrival::Row(ClockProbe {
                    sent_ns,
                    received_ns: now_ns,
                    peer: packet.name.into(),
                    peer_received_ns: packet.peer_received_ns,
                    peer_sent_ns: packet.peer_sent_ns,
                    sequence: i64::try_from(sequence).unwrap_or(i64::MAX),
                }))
            }
        }
    }

    /// The bytes of an answer that is sent at `now_ns`.
    pub fn answer(&self, answer: Packet, now_ns: i64) -> Vec<u8> {
        Packet { peer_sent_ns: now_ns, ..answer }.bytes(&self.key).to_vec()
    }

    /// Whether no probe of that number or a later one came in the session before.
    fn is_new(&mut self, session: u64, sequence: u64) -> bool {
        self.heard += 1;
        if let Some((last, heard)) = self.seen.get_mut(&session) {
            let is_new = sequence > *last;
            if is_new {
                (*last, *heard) = (sequence, self.heard);
            }
            return is_new;
        }
        if self.seen.len() >= MOST_SESSIONS
            && let Some(oldest) = self.seen.iter().min_by_key(|(_, (_, heard))| *heard).map(|(session, _)| *session)
        {
            self.seen.remove(&oldest);
        }
        self.seen.insert(session, (sequence, self.heard));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"0123456789abcdef";

    fn pair() -> (Prober, Prober) {
        (Prober::new(KEY.to_vec(), "node a", 1), Prober::new(KEY.to_vec(), "node-b", 2))
    }

    fn answered(by: &mut Prober, probe: &[u8], at: i64) -> Vec<u8> {
        match by.arrived(probe, at) {
            Ok(Arrival::Answer(answer)) => by.answer(answer, at + 5),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_probe_and_its_answer_make_a_row() {
        let (mut a, mut b) = pair();
        a.probe(90);
        let probe = a.probe(100);
        let answer = answered(&mut b, &probe, 1_000);
        let Ok(Arrival::Row(row)) = a.arrived(&answer, 160) else { panic!("no row") };
        assert_eq!((row.sent_ns, row.received_ns, row.sequence, &*row.peer), (100, 160, 1, "node-b"));
        assert_eq!((row.peer_received_ns, row.peer_sent_ns), (1_000, 1_005));
    }

    #[test]
    fn replays_and_strangers_are_dropped() {
        let (mut a, mut b) = pair();
        let (first, second) = (a.probe(100), a.probe(200));
        let answer = answered(&mut b, &second, 1_000);
        assert_eq!(b.arrived(&second, 1_100), Err(Dropped::OldProbe), "seen before");
        assert_eq!(b.arrived(&first, 1_100), Err(Dropped::OldProbe), "overtaken");
        assert!(a.arrived(&answer, 300).is_ok());
        assert_eq!(a.arrived(&answer, 310), Err(Dropped::OldAnswer), "seen before");
        assert_eq!(b.arrived(&answer, 310), Err(Dropped::OldAnswer), "another's");
        assert_eq!(a.arrived(&first, 310), Err(Dropped::OldProbe), "one's own");
        let mut stranger = Prober::new(b"fedcba9876543210".to_vec(), "node-c", 3);
        let probe = stranger.probe(1);
        assert_eq!(b.arrived(&probe, 1), Err(Dropped::Foreign(Foreign::BadSignature)));
        assert_eq!(b.arrived(&probe[..20], 1), Err(Dropped::Foreign(Foreign::NoPacket)));
        assert_eq!(b.arrived(b"GET / HTTP/1.1", 1), Err(Dropped::Foreign(Foreign::NoPacket)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut a, mut b) = pair();
        let first = a.probe(0);
        let answer = answered(&mut b, &first, 10);
        for i in 0..MOST_OPEN {
            a.probe(i64::try_from(i).unwrap());
        }
        assert_eq!(a.arrived(&answer, 9_999), Err(Dropped::OldAnswer));
        for session in 100..100 + 2 * MOST_SESSIONS as u64 {
            let probe = Prober::new(KEY.to_vec(), "n", session).probe(1);
            assert!(b.arrived(&probe, 1).is_ok());
        }
        assert_eq!(b.seen.len(), MOST_SESSIONS);
    }
}
