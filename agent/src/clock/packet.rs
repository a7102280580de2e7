//! A packet, and what is none.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Marks a packet of this protocol and version.
const MAGIC: [u8; 7] = *b"kvpclk1";
/// Longest host name, bytes: that of Linux.
pub const NAME_BYTES: usize = 64;
const MAC_BYTES: usize = 32;
const BODY_BYTES: usize = 8 + 8 + 8 + 3 * 8 + NAME_BYTES;
/// Length of every packet.
pub const PACKET_BYTES: usize = BODY_BYTES + MAC_BYTES;

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From who asks.
    Probe,
    /// Back to who asked.
    Answer,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Which way it goes.
    pub kind: Kind,
    /// Drawn at random when the asking agent started.
    pub session: u64,
    /// Number of the probe within the session.
    pub sequence: u64,
    /// Clock of who asked, when it did, ns.
    pub sent_ns: i64,
    /// Clock of who answers, when it had the probe, ns; 0 in a probe.
    pub peer_received_ns: i64,
    /// Clock of who answers, when it did, ns; 0 in a probe.
    pub peer_sent_ns: i64,
    /// Name of the host that sends this packet.
    pub name: String,
}

/// Why bytes are no packet of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Foreign {
    /// Of another length, or not marked as one.
    NoPacket,
    /// Marked, and signed with another key or altered.
    BadSignature,
}

impl Foreign {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoPacket => "no clock packet",
            Self::BadSignature => "another key, or altered",
        }
    }
}

impl Packet {
    /// The bytes that are sent, signed with `key`.
    pub fn bytes(&self, key: &[u8]) -> [u8; PACKET_BYTES] {
        let mut bytes = [0; PACKET_BYTES];
        bytes[..7].copy_from_slice(&MAGIC);
        bytes[7] = match self.kind {
            Kind::Probe => 1,
            Kind::Answer => 2,
        };
        bytes[8..16].copy_from_slice(&self.session.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        for (at, time) in [(24, self.sent_ns), (32, self.peer_received_ns), (40, self.peer_sent_ns)] {
            bytes[at..at + 8].copy_from_slice(&time.to_le_bytes());
        }
        let name = &self.name.as_bytes()[..self.name.len().min(NAME_BYTES)];
        bytes[48..48 + name.len()].copy_from_slice(name);
        let signature = signer(key, &bytes[..BODY_BYTES]).finalize().into_bytes();
        bytes[BODY_BYTES..].copy_from_slice(&signature);
        bytes
    }

    /// Reads what was received, if it was signed with `key`.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(bytes: &[u8], key: &[u8]) -> Result<Self, Foreign> {
        let bytes: &[u8; PACKET_BYTES] = bytes.try_into().map_err(|_| Foreign::NoPacket)?;
        if bytes[..7] != MAGIC {
            return Err(Foreign::NoPacket);
        }
        let (body, signature) = bytes.split_at(BODY_BYTES);
        // Compares in a time that tells nothing of where they differ.
        signer(key, body).verify_slice(signature).map_err(|_| Foreign::BadSignature)?;
        let word = |at: usize| <[u8; 8]>::try_from(&body[at..at + 8]).unwrap_or_default();
        let name = &body[48..48 + NAME_BYTES];
        let name = &name[..name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES)];
        Ok(Self {
            kind: match body[7] {
                1 => Kind::Probe,
                2 => Kind::Answer,
                _ => return Err(Foreign::NoPacket),
            },
            session: u64::from_le_bytes(word(8)),
            sequence: u64::from_le_bytes(word(16)),
            sent_ns: i64::from_le_bytes(word(24)),
            peer_received_ns: i64::from_le_bytes(word(32)),
            peer_sent_ns: i64::from_le_bytes(word(40)),
            name: String::from_utf8_lossy(name).into_owned(),
        })
    }
}

fn signer(key: &[u8], body: &[u8]) -> Hmac<Sha256> {
    let mut signer = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    signer.update(body);
    signer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &[u8] = b"0123456789abcdef";

    fn packet() -> Packet {
        Packet {
            kind: Kind::Answer,
            session: 7,
            sequence: u64::MAX,
            sent_ns: -5,
            peer_received_ns: i64::MAX,
            peer_sent_ns: 9,
            name: "node-a".into(),
        }
    }

    #[test]
    fn a_packet_comes_back_and_any_other_byte_is_refused() {
        let bytes = packet().bytes(KEY);
        assert_eq!(Packet::read(&bytes, KEY), Ok(packet()));
        assert_eq!(Packet::read(&bytes, b"another key of 16"), Err(Foreign::BadSignature));
        for at in 0..PACKET_BYTES {
            let mut altered = bytes;
            altered[at] ^= 1;
            assert!(Packet::read(&altered, KEY).is_err(), "{at}");
        }
        for length in 0..PACKET_BYTES {
            assert_eq!(Packet::read(&bytes[..length], KEY), Err(Foreign::NoPacket));
        }
        assert_eq!(Packet::read(&[&bytes[..], b"x"].concat(), KEY), Err(Foreign::NoPacket));
    }

    #[test]
    fn a_long_name_is_cut() {
        let long = Packet { name: "n".repeat(90), ..packet() };
        assert_eq!(Packet::read(&long.bytes(KEY), KEY).unwrap().name.len(), NAME_BYTES);
    }

    proptest! {
        #[test]
        fn garbage_is_foreign(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Packet::read(&bytes, KEY).is_err());
        }
    }
}
