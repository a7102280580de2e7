//! Raw ring-buffer records to events. Pure; any bytes give an event or an error, never a panic or a guess.

use std::borrow::Cow;

use kvpath_schema::cell::Bytes;
use kvpath_schema::wire::nixl::{self as wire, Handle, Header, Kind, Layout, Polls, TEXT_MAX, Text, unread};
use zerocopy::FromBytes;

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
pub struct TracedText {
    /// What was copied, with bytes that are not UTF-8 replaced; `None` if it could not be read.
    pub text: Option<String>,
    /// The same as bytes, where not all are UTF-8.
    pub raw: Option<Bytes>,
    /// Its true length, bytes.
    pub len: u64,
}

/// A range of memory, as each element of a descriptor list starts.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes)]
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
pub struct HandleInfo {
    pub bytes: Option<u64>,
    pub descriptors: Option<u64>,
    pub op: Option<i32>,
    pub local_memory: Option<i32>,
    pub remote_memory: Option<i32>,
    pub has_notif: Option<bool>,
    pub peer: TracedText,
    pub notif: TracedText,
}

/// Who and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedAt {
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
    Agent {
        agent_ptr: u64,
        name: TracedText,
    },
    Regions {
        agent_ptr: u64,
        total: u32,
        first: u32,
        memory: i32,
        ranges: Vec<Range>,
    },
    RegionsEnd {
        entry_ns: i64,
        agent_ptr: u64,
        status: i32,
    },
    Made {
        entry_ns: i64,
        agent_ptr: u64,
        handle: u64,
        asked: u64,
        op: Option<i32>,
        about: HandleInfo,
    },
    Posted {
        entry_ns: i64,
        agent_ptr: u64,
        handle: u64,
        earlier: Polls,
        status: i32,
        about: HandleInfo,
    },
    Descriptors {
        handle: u64,
        first: u32,
        local: Vec<Range>,
        remote: Option<Vec<Range>>,
    },
    PreparedRow(Blocks),
    Prepared(List),
    Status {
        handle: u64,
        polls: Polls,
        status: i32,
    },
    Released {
        handle: u64,
        polls: Polls,
        status: Option<i32>,
    },
    Call {
        of: Kind,
        entry_ns: i64,
        agent_ptr: u64,
        peer: TracedText,
    },
    CallEnd {
        of: Kind,
        entry_ns: i64,
        agent_ptr: u64,
        handle: u64,
        status: i32,
    },
    NotifSent {
        peer: TracedText,
        message: TracedText,
    },
    NotifArrived {
        peer: TracedText,
        message: TracedText,
    },
    NotifTaken {
        peer: TracedText,
        message: TracedText,
    },
    /// A judged layout is contradicted by what a call left: of [`wire::flaw`].
    Contradicted {
        of: Kind,
        flaws: u32,
    },
}

/// Blocks of a prepared list, at a constant distance from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    pub position: u64,
    pub range: Range,
    pub stride: u64,
    pub count: u64,
}

/// A prepared list, whose blocks came before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub agent_ptr: u64,
    /// Empty for the agent's own memory.
    pub peer: TracedText,
    pub memory: i32,
    pub is_strided: bool,
    /// Elements, and those of them that rows stand for.
    pub asked: u64,
    pub covered: u64,
    /// How many rows that are.
    pub rows: u64,
}

/// The struct that `bytes` start with.
///
/// # Errors
/// There are too few.
pub fn read<T: FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    let short = DecodeError::Short { have: bytes.len(), need: size_of::<T>() };
    T::read_from_prefix(bytes).map(|(record, _)| record).map_err(|_| short)
}

fn time(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

impl RecordedAt {
    /// As the kernel says both.
    pub fn of(time_ns: u64, pid_tgid: u64) -> Self {
        let half = |value: u64| i32::try_from(value & 0xffff_ffff).unwrap_or(-1);
        Self { time_ns: time(time_ns), pid: half(pid_tgid >> 32), tid: half(pid_tgid) }
    }
}

impl From<&Text> for TracedText {
    fn from(text: &Text) -> Self {
        let kept = usize::try_from(text.len).unwrap_or(TEXT_MAX).min(TEXT_MAX);
        let copied = (text.read == 1).then(|| String::from_utf8_lossy(&text.bytes[..kept]));
        // A text that is UTF-8 is borrowed as it is.
        let raw: Option<Bytes> = matches!(copied, Some(Cow::Owned(_))).then(|| text.bytes[..kept].into());
        Self { text: copied.map(Cow::into_owned), raw, len: text.len }
    }
}

impl From<&Handle> for HandleInfo {
    fn from(handle: &Handle) -> Self {
        let known = |bit: u32| handle.unread & bit == 0;
        Self {
            bytes: known(unread::BYTES).then_some(handle.bytes),
            descriptors: known(unread::DESCRIPTORS).then_some(handle.descriptors),
            op: known(unread::OP).then_some(handle.op),
            local_memory: known(unread::LOCAL_MEMORY).then_some(handle.local_memory),
            remote_memory: known(unread::REMOTE_MEMORY).then_some(handle.remote_memory),
            has_notif: known(unread::HAS_NOTIF).then_some(handle.has_notif != 0),
            peer: (&handle.peer).into(),
            notif: (&handle.notif).into(),
        }
    }
}

/// The first `count` elements of `element` bytes of `data`.
fn ranges(data: &[u8], count: u32, element: u32) -> Result<Vec<Range>, DecodeError> {
    let (count, element) = (count as usize, element as usize);
    let is_held = count.checked_mul(element).is_some_and(|bytes| bytes <= data.len());
    if element < size_of::<Range>() || !is_held {
        return Err(DecodeError::Inconsistent);
    }
    data.chunks_exact(element).take(count).map(read).collect()
}

/// Decodes one record. `layouts` are those that were put into the BPF map.
///
/// # Errors
/// See [`DecodeError`].
pub fn record(bytes: &[u8], layouts: &[Layout]) -> Result<(RecordedAt, Event), DecodeError> {
    let header: Header = read(bytes)?;
    let at = RecordedAt::of(header.time_ns, header.pid_tgid);
    let layout = usize::try_from(header.layout).ok().and_then(|i| layouts.get(i));
    let event = match Kind::from_u32(header.kind).ok_or(DecodeError::Kind(header.kind))? {
        Kind::Agent => {
            let wire::Agent { agent_ptr, name, .. } = read(bytes)?;
            Event::Agent { agent_ptr, name: (&name).into() }
        }
        Kind::Regions => regions(&read(bytes)?, layout)?,
        Kind::RegionsEnd => {
            let wire::RegionsEnd { entry_ns, agent_ptr, status, .. } = read(bytes)?;
            Event::RegionsEnd { entry_ns: time(entry_ns), agent_ptr, status }
        }
        Kind::Call => {
            let wire::Call { entry_ns, agent_ptr, of, peer, .. } = read(bytes)?;
            let of = Kind::from_u32(of).ok_or(DecodeError::Kind(of))?;
            Event::Call { of, entry_ns: time(entry_ns), agent_ptr, peer: (&peer).into() }
        }
        Kind::CallEnd => {
            let wire::CallEnd { entry_ns, agent_ptr, handle, of, status, .. } = read(bytes)?;
            let of = Kind::from_u32(of).ok_or(DecodeError::Kind(of))?;
            Event::CallEnd { of, entry_ns: time(entry_ns), agent_ptr, handle, status }
        }
        Kind::MakeSpan | Kind::MakeVector | Kind::Create => {
            let wire::HandleMade { entry_ns, agent_ptr, handle, asked, op, about, .. } = read(bytes)?;
            let op = i32::try_from(op).ok();
            Event::Made { entry_ns: time(entry_ns), agent_ptr, handle, asked, op, about: (&about).into() }
        }
        Kind::Post => {
            let wire::Posted { entry_ns, agent_ptr, handle, earlier, status, about, .. } = read(bytes)?;
            Event::Posted { entry_ns: time(entry_ns), agent_ptr, handle, earlier, status, about: (&about).into() }
        }
        Kind::Descriptors => descriptors(&read(bytes)?, layout)?,
        Kind::PreparedRow => {
            let wire::PreparedRow { position, addr, bytes, device, stride, count, .. } = read(bytes)?;
            Event::PreparedRow(Blocks { position, range: Range { addr, bytes, device }, stride, count })
        }
        kind @ (Kind::Prepare | Kind::PrepareStrided) => {
            let wire::Prepared { agent_ptr, asked, covered, rows, memory, peer, .. } = read(bytes)?;
            let is_strided = kind == Kind::PrepareStrided;
            Event::Prepared(List { agent_ptr, peer: (&peer).into(), memory, is_strided, asked, covered, rows })
        }
        // Their records are of the two kinds above.
        kind
        @ (Kind::LoadMd | Kind::Connect | Kind::FetchMd | Kind::SendMd | Kind::InvalidateMd | Kind::Deregister) => {
            return Err(DecodeError::Kind(kind as u32));
        }
        Kind::Status => {
            let wire::Status { handle, polls, status, .. } = read(bytes)?;
            Event::Status { handle, polls, status }
        }
        Kind::Release => {
            let wire::Released { handle, polls, status, status_read, .. } = read(bytes)?;
            Event::Released { handle, polls, status: (status_read == 1).then_some(status) }
        }
        Kind::Contradicted => {
            let wire::Contradicted { of, flaws, .. } = read(bytes)?;
            Event::Contradicted { of: Kind::from_u32(of).ok_or(DecodeError::Kind(of))?, flaws }
        }
        kind @ (Kind::NotifSent | Kind::NotifArrived | Kind::NotifPassed | Kind::NotifTaken) => {
            let notif: wire::Notif = read(bytes)?;
            let (peer, message) = ((&notif.peer).into(), (&notif.message).into());
            match kind {
                Kind::NotifSent => Event::NotifSent { peer, message },
                Kind::NotifTaken => Event::NotifTaken { peer, message },
                _ => Event::NotifArrived { peer, message },
            }
        }
    };
    Ok((at, event))
}

fn regions(record: &wire::Regions, layout: Option<&Layout>) -> Result<Event, DecodeError> {
    let element = layout.ok_or(DecodeError::Inconsistent)?.blob_bytes;
    let wire::Regions { agent_ptr, total, first, count, memory, data, .. } = record;
    let ranges = ranges(data, *count, element)?;
    Ok(Event::Regions { agent_ptr: *agent_ptr, total: *total, first: *first, memory: *memory, ranges })
}

fn descriptors(record: &wire::Descriptors, layout: Option<&Layout>) -> Result<Event, DecodeError> {
    let element = layout.ok_or(DecodeError::Inconsistent)?.meta_bytes;
    let side = |data: &[u8]| ranges(data, record.count, element);
    Ok(Event::Descriptors {
        handle: record.handle,
        first: record.first,
        local: side(&record.local)?,
        remote: if record.remote_read == 1 { Some(side(&record.remote)?) } else { None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::nixl::builds;
    use proptest::prelude::*;
    use std::mem::offset_of;

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
        assert_eq!(at, RecordedAt { time_ns: 77, pid: 41, tid: 43 });
        let Event::NotifSent { peer, message } = event else { panic!("{event:?}") };
        assert_eq!(peer, TracedText { text: Some("decode-0".into()), raw: None, len: 8 });
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
        fn no_bytes_make_it_panic(kind in 0u32..28, layout in 0u32..3, body in proptest::collection::vec(any::<u8>(), 0..6000)) {
            let mut bytes = body;
            if bytes.len() >= 24 {
                put(&mut bytes, 16, &kind.to_ne_bytes());
                put(&mut bytes, 20, &layout.to_ne_bytes());
            }
            let _ = record(&bytes, &builds::layouts());
        }
    }
}
