//! Raw ring-buffer records to events. Pure; any bytes give an event or an error, never a panic or a guess.

use std::borrow::Cow;
use std::mem::{offset_of, size_of};

use kvpath_schema::cell::Bytes;
use kvpath_schema::wire::nixl::{self as wire, Handle, Header, Kind, Layout, Polls, TEXT_MAX, Text, unread};

/// Why a record is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its kind asks.
    #[error("record of {have} bytes, but its kind needs {need}")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes asked.
        need: usize,
    },
    /// A kind that this agent does not know.
    #[error("record of unknown kind {0}")]
    Kind(u32),
    /// A count that its data cannot hold, or a layout that does not exist.
    #[error("record that contradicts itself")]
    Inconsistent,
}

/// A text of the traced process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txt {
    /// What was copied, with bytes that are not UTF-8 replaced; `None` if it could not be read.
    pub text: Option<String>,
    /// The same as bytes, where not all are UTF-8.
    pub raw: Option<Bytes>,
    /// Its true length, bytes.
    pub len: u64,
}

/// A range of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub addr: u64,
    /// Size, bytes.
    pub bytes: u64,
    /// Device.
    pub device: u64,
}

/// What a handle says of itself; `None` is a field that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    pub bytes: Option<u64>,
    pub descriptors: Option<u64>,
    pub op: Option<i32>,
    pub local_memory: Option<i32>,
    pub remote_memory: Option<i32>,
    pub has_notif: Option<bool>,
    pub peer: Txt,
    pub notif: Txt,
}

/// Who and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// When the record was made, ns.
    pub time_ns: i64,
    /// OS pid.
    pub pid: i32,
    /// OS thread id.
    pub tid: i32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Agent { agent_ptr: u64, name: Txt },
    Regions { agent_ptr: u64, total: u32, first: u32, memory: i32, ranges: Vec<Range> },
    RegionsEnd { entry_ns: i64, status: i32 },
    Made { entry_ns: i64, agent_ptr: u64, handle: u64, asked: u64, about: About },
    Posted { entry_ns: i64, agent_ptr: u64, handle: u64, earlier: Polls, status: i32, about: About },
    Descriptors { handle: u64, first: u32, local: Vec<Range>, remote: Option<Vec<Range>> },
    Status { handle: u64, polls: Polls, status: i32 },
    Released { handle: u64, polls: Polls, status: Option<i32> },
    NotifSent { peer: Txt, message: Txt },
    NotifArrived { peer: Txt, message: Txt },
    NotifTaken { peer: Txt, message: Txt },
}

/// The bytes of one record, read at the offsets of a wire struct.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn of<T>(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let need = size_of::<T>();
        if bytes.len() < need {
            return Err(DecodeError::Short { have: bytes.len(), need });
        }
        Ok(Self(bytes))
    }

    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        // In range: `of` has seen that the whole struct is there.
        self.0[at..at + N].try_into().expect("a slice of N bytes")
    }

    fn u64(self, at: usize) -> u64 {
        u64::from_ne_bytes(self.array(at))
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.array(at))
    }

    fn i32(self, at: usize) -> i32 {
        i32::from_ne_bytes(self.array(at))
    }

    fn time(self, at: usize) -> i64 {
        i64::try_from(self.u64(at)).unwrap_or(i64::MAX)
    }

    fn polls(self, at: usize) -> Polls {
        Polls {
            pending: self.u64(at + offset_of!(Polls, pending)),
            last_pending_ns: self.u64(at + offset_of!(Polls, last_pending_ns)),
        }
    }

    fn text(self, at: usize) -> Txt {
        let len = self.u64(at + offset_of!(Text, len));
        let start = at + offset_of!(Text, bytes);
        let kept = usize::try_from(len).unwrap_or(TEXT_MAX).min(TEXT_MAX);
        let read = self.u64(at + offset_of!(Text, read)) == 1;
        let copied = read.then(|| String::from_utf8_lossy(&self.0[start..start + kept]));
        // A text that is UTF-8 is borrowed as it is.
        let raw = matches!(copied, Some(Cow::Owned(_))).then(|| self.0[start..start + kept].into());
        Txt { text: copied.map(Cow::into_owned), raw, len }
    }

    fn about(self, at: usize) -> About {
        let missing = self.u32(at + offset_of!(Handle, unread));
        let known = |bit: u32| missing & bit == 0;
        let number = |bit: u32, offset: usize| known(bit).then(|| self.i32(at + offset));
        About {
            bytes: known(unread::BYTES).then(|| self.u64(at + offset_of!(Handle, bytes))),
            descriptors: known(unread::DESCRIPTORS).then(|| self.u64(at + offset_of!(Handle, descriptors))),
            op: number(unread::OP, offset_of!(Handle, op)),
            local_memory: number(unread::LOCAL_MEMORY, offset_of!(Handle, local_memory)),
            remote_memory: number(unread::REMOTE_MEMORY, offset_of!(Handle, remote_memory)),
            has_notif: known(unread::HAS_NOTIF).then(|| self.u32(at + offset_of!(Handle, has_notif)) != 0),
            peer: self.text(at + offset_of!(Handle, peer)),
            notif: self.text(at + offset_of!(Handle, notif)),
        }
    }

    /// `count` elements of `element` bytes in the `room` bytes at `at`.
    fn ranges(self, at: usize, room: usize, count: u32, element: u32) -> Result<Vec<Range>, DecodeError> {
        let (count, element) = (count as usize, element as usize);
        if element < 24 || count.checked_mul(element).is_none_or(|bytes| bytes > room) {
            return Err(DecodeError::Inconsistent);
        }
        Ok((0..count)
            .map(|i| at + i * element)
            .map(|at| Range { addr: self.u64(at), bytes: self.u64(at + 8), device: self.u64(at + 16) })
            .collect())
    }
}

/// Decodes one record. `layouts` are those that were put into the BPF map.
///
/// # Errors
/// See [`DecodeError`].
pub fn record(bytes: &[u8], layouts: &[Layout]) -> Result<(At, Event), DecodeError> {
    let header = Fields::of::<Header>(bytes)?;
    let pid_tgid = header.u64(offset_of!(Header, pid_tgid));
    let half = |value: u64| i32::try_from(value & 0xffff_ffff).unwrap_or(-1);
    let at = At { time_ns: header.time(offset_of!(Header, time_ns)), pid: half(pid_tgid >> 32), tid: half(pid_tgid) };
    let kind = header.u32(offset_of!(Header, kind));
    let layout = usize::try_from(header.u32(offset_of!(Header, layout))).ok().and_then(|i| layouts.get(i));
    let event = match Kind::from_u32(kind).ok_or(DecodeError::Kind(kind))? {
        Kind::Agent => {
            let f = Fields::of::<wire::Agent>(bytes)?;
            Event::Agent {
                agent_ptr: f.u64(offset_of!(wire::Agent, agent_ptr)),
                name: f.text(offset_of!(wire::Agent, name)),
            }
        }
        Kind::Regions => regions(bytes, layout)?,
        Kind::RegionsEnd => {
            let f = Fields::of::<wire::RegionsEnd>(bytes)?;
            Event::RegionsEnd {
                entry_ns: f.time(offset_of!(wire::RegionsEnd, entry_ns)),
                status: f.i32(offset_of!(wire::RegionsEnd, status)),
            }
        }
        Kind::MakeSpan | Kind::MakeVector | Kind::Create => {
            let f = Fields::of::<wire::Made>(bytes)?;
            Event::Made {
                entry_ns: f.time(offset_of!(wire::Made, entry_ns)),
                agent_ptr: f.u64(offset_of!(wire::Made, agent_ptr)),
                handle: f.u64(offset_of!(wire::Made, handle)),
                asked: f.u64(offset_of!(wire::Made, asked)),
                about: f.about(offset_of!(wire::Made, about)),
            }
        }
        Kind::Post => {
            let f = Fields::of::<wire::Posted>(bytes)?;
            Event::Posted {
                entry_ns: f.time(offset_of!(wire::Posted, entry_ns)),
                agent_ptr: f.u64(offset_of!(wire::Posted, agent_ptr)),
                handle: f.u64(offset_of!(wire::Posted, handle)),
                earlier: f.polls(offset_of!(wire::Posted, earlier)),
                status: f.i32(offset_of!(wire::Posted, status)),
                about: f.about(offset_of!(wire::Posted, about)),
            }
        }
        Kind::Descriptors => descriptors(bytes, layout)?,
        Kind::Status => {
            let f = Fields::of::<wire::Status>(bytes)?;
            Event::Status {
                handle: f.u64(offset_of!(wire::Status, handle)),
                polls: f.polls(offset_of!(wire::Status, polls)),
                status: f.i32(offset_of!(wire::Status, status)),
            }
        }
        Kind::Release => {
            let f = Fields::of::<wire::Released>(bytes)?;
            Event::Released {
                handle: f.u64(offset_of!(wire::Released, handle)),
                polls: f.polls(offset_of!(wire::Released, polls)),
                status: (f.u32(offset_of!(wire::Released, status_read)) == 1)
                    .then(|| f.i32(offset_of!(wire::Released, status))),
            }
        }
        kind @ (Kind::NotifSent | Kind::NotifArrived | Kind::NotifPassed | Kind::NotifTaken) => {
            let f = Fields::of::<wire::Notif>(bytes)?;
            let (peer, message) = (f.text(offset_of!(wire::Notif, peer)), f.text(offset_of!(wire::Notif, message)));
            match kind {
                Kind::NotifSent => Event::NotifSent { peer, message },
                Kind::NotifTaken => Event::NotifTaken { peer, message },
                _ => Event::NotifArrived { peer, message },
            }
        }
    };
    Ok((at, event))
}

fn regions(bytes: &[u8], layout: Option<&Layout>) -> Result<Event, DecodeError> {
    let f = Fields::of::<wire::Regions>(bytes)?;
    let layout = layout.ok_or(DecodeError::Inconsistent)?;
    let count = f.u32(offset_of!(wire::Regions, count));
    Ok(Event::Regions {
        agent_ptr: f.u64(offset_of!(wire::Regions, agent_ptr)),
        total: f.u32(offset_of!(wire::Regions, total)),
        first: f.u32(offset_of!(wire::Regions, first)),
        memory: f.i32(offset_of!(wire::Regions, memory)),
        ranges: f.ranges(offset_of!(wire::Regions, data), wire::REGION_BYTES, count, layout.blob_bytes)?,
    })
}

fn descriptors(bytes: &[u8], layout: Option<&Layout>) -> Result<Event, DecodeError> {
    let f = Fields::of::<wire::Descriptors>(bytes)?;
    let element = layout.ok_or(DecodeError::Inconsistent)?.meta_bytes;
    let count = f.u32(offset_of!(wire::Descriptors, count));
    let side = |at: usize| f.ranges(at, wire::DESCRIPTOR_BYTES, count, element);
    let remote = match f.u32(offset_of!(wire::Descriptors, remote_read)) {
        1 => Some(side(offset_of!(wire::Descriptors, remote))?),
        _ => None,
    };
    Ok(Event::Descriptors {
        handle: f.u64(offset_of!(wire::Descriptors, handle)),
        first: f.u32(offset_of!(wire::Descriptors, first)),
        local: side(offset_of!(wire::Descriptors, local))?,
        remote,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::nixl::builds;
    use proptest::prelude::*;

    /// A record of zeros of that kind, with the header filled in.
    fn blank(kind: Kind, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        bytes[..8].copy_from_slice(&77u64.to_ne_bytes());
        bytes[8..16].copy_from_slice(&((41u64 << 32) + 43).to_ne_bytes());
        bytes[16..20].copy_from_slice(&(kind as u32).to_ne_bytes());
        bytes
    }

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    fn put_text(bytes: &mut [u8], at: usize, text: &[u8], len: u64) {
        put(bytes, at, &len.to_ne_bytes());
        put(bytes, at + 8, &1u64.to_ne_bytes());
        put(bytes, at + 16, text);
    }

    #[test]
    fn a_notification_keeps_its_true_length_when_cut() {
        let mut bytes = blank(Kind::NotifSent, size_of::<wire::Notif>());
        put_text(&mut bytes, offset_of!(wire::Notif, peer), b"decode-0", 8);
        put_text(&mut bytes, offset_of!(wire::Notif, message), &[b'x'; TEXT_MAX], 1000);
        let (at, event) = record(&bytes, &builds::layouts()).unwrap();
        assert_eq!(at, At { time_ns: 77, pid: 41, tid: 43 });
        let Event::NotifSent { peer, message } = event else { panic!("{event:?}") };
        assert_eq!(peer, Txt { text: Some("decode-0".into()), raw: None, len: 8 });
        assert_eq!((message.text.unwrap().len(), message.raw, message.len), (TEXT_MAX, None, 1000));
    }

    #[test]
    fn a_text_that_is_not_utf8_keeps_its_bytes() {
        let mut bytes = blank(Kind::NotifSent, size_of::<wire::Notif>());
        let sent = b"PUSH_REG:\x81\xaarequest_id\xd9\x36chatcmpl-0";
        put_text(&mut bytes, offset_of!(wire::Notif, message), sent, sent.len() as u64);
        let (_, event) = record(&bytes, &builds::layouts()).unwrap();
        let Event::NotifSent { message, .. } = event else { panic!("{event:?}") };
        assert_eq!(message.text.as_deref(), Some("PUSH_REG:\u{fffd}\u{fffd}request_id\u{fffd}6chatcmpl-0"));
        assert_eq!(message.raw.as_deref(), Some(&sent[..]));
    }

    #[test]
    fn what_could_not_be_read_is_none() {
        let mut bytes = blank(Kind::Post, size_of::<wire::Posted>());
        let about = offset_of!(wire::Posted, about);
        put(&mut bytes, about, &4096u64.to_ne_bytes());
        put(&mut bytes, about + offset_of!(Handle, unread), &(unread::OP | unread::DESCRIPTORS).to_ne_bytes());
        let (_, event) = record(&bytes, &builds::layouts()).unwrap();
        let Event::Posted { about, .. } = event else { panic!("{event:?}") };
        assert_eq!((about.bytes, about.op, about.descriptors), (Some(4096), None, None));
        assert_eq!((about.peer.text, about.has_notif), (None, Some(false)));
    }

    #[test]
    fn descriptors_are_cut_by_the_layouts_element_size() {
        let mut bytes = blank(Kind::Descriptors, size_of::<wire::Descriptors>());
        put(&mut bytes, offset_of!(wire::Descriptors, first), &64u32.to_ne_bytes());
        put(&mut bytes, offset_of!(wire::Descriptors, count), &2u32.to_ne_bytes());
        let local = offset_of!(wire::Descriptors, local);
        for (i, value) in [0x1000u64, 16, 0, 99, 0x2000, 32, 1, 99].into_iter().enumerate() {
            put(&mut bytes, local + 8 * i, &value.to_ne_bytes());
        }
        let (_, event) = record(&bytes, &builds::layouts()).unwrap();
        let expected = vec![Range { addr: 0x1000, bytes: 16, device: 0 }, Range { addr: 0x2000, bytes: 32, device: 1 }];
        assert_eq!(event, Event::Descriptors { handle: 0, first: 64, local: expected, remote: None });
    }

    #[test]
    fn a_count_beyond_the_data_is_refused() {
        let mut bytes = blank(Kind::Descriptors, size_of::<wire::Descriptors>());
        put(&mut bytes, offset_of!(wire::Descriptors, count), &65u32.to_ne_bytes());
        assert_eq!(record(&bytes, &builds::layouts()), Err(DecodeError::Inconsistent));
        put(&mut bytes, offset_of!(wire::Descriptors, count), &u32::MAX.to_ne_bytes());
        assert_eq!(record(&bytes, &builds::layouts()), Err(DecodeError::Inconsistent));
        assert_eq!(record(&blank(Kind::Regions, size_of::<wire::Regions>()), &[]), Err(DecodeError::Inconsistent));
    }

    #[test]
    fn cut_and_unknown_records_are_refused() {
        let layouts = builds::layouts();
        assert!(matches!(record(&[], &layouts), Err(DecodeError::Short { have: 0, .. })));
        let bytes = blank(Kind::Post, size_of::<wire::Posted>());
        assert!(matches!(record(&bytes[..bytes.len() - 1], &layouts), Err(DecodeError::Short { .. })));
        let mut bytes = blank(Kind::Post, size_of::<wire::Posted>());
        put(&mut bytes, 16, &4242u32.to_ne_bytes());
        assert_eq!(record(&bytes, &layouts), Err(DecodeError::Kind(4242)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in 0u32..16, layout in 0u32..3, body in proptest::collection::vec(any::<u8>(), 0..6000)) {
            let mut bytes = body;
            if bytes.len() >= 24 {
                put(&mut bytes, 16, &kind.to_ne_bytes());
                put(&mut bytes, 20, &layout.to_ne_bytes());
            }
            let _ = record(&bytes, &builds::layouts());
        }
    }
}
