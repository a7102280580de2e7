//! Raw ring-buffer records to events. Pure; any bytes give an event or an error, never a panic or a guess.

use kvpath_schema::wire::mooncake::{self as wire, Header, Kind, Layout, REQUEST_BYTES, REQUEST_RECORDS};
use zerocopy::FromBytes;

use crate::capture::nixl::decode::{DecodeError, RecordedAt, TracedText, read};

/// A part of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// 0 read, 1 write.
    pub op: i32,
    /// Local address.
    pub source: u64,
    /// Segment of the peer.
    pub target: u64,
    /// Address at the peer.
    pub remote: u64,
    /// Size, bytes.
    pub bytes: u64,
}

/// A range of memory.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes)]
pub struct Buffer {
    /// First byte.
    pub addr: u64,
    /// Size, bytes.
    pub bytes: u64,
}

/// What a batch says of itself when it is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Its tasks.
    pub tasks: u64,
    /// Those that were looked at.
    pub looked: u64,
    /// Of these, those that failed.
    pub failed: u64,
    /// Of these, those that have ended.
    pub ended: u64,
    /// Whether it says that all are done.
    pub is_done: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Opened { engine: u64, segment: u64, name: TracedText },
    Registered { engine: u64, total: u32, first: u32, own: TracedText, location: TracedText, buffers: Vec<Buffer> },
    Submitted { engine: u64, batch: u64, total: u64, limit: u64, is_first: bool, room: Option<u64>, own: TracedText },
    Requests { batch: u64, first: u32, requests: Vec<Request> },
    Freed { batch: u64, ending: Ending },
}

/// The first `count` elements of `element` bytes of `data`.
fn elements(data: &[u8], count: u32, element: u32) -> Result<impl Iterator<Item = &[u8]>, DecodeError> {
    let (count, element) = (count as usize, element as usize);
    let is_held = count.checked_mul(element).is_some_and(|bytes| bytes <= data.len());
    if element == 0 || !is_held {
        return Err(DecodeError::Inconsistent);
    }
    Ok(data.chunks_exact(element).take(count))
}

/// Decodes one record. `layouts` are those that were put into the BPF map.
///
/// # Errors
/// See [`DecodeError`].
pub fn record(bytes: &[u8], layouts: &[Layout]) -> Result<(RecordedAt, Event), DecodeError> {
    let header: Header = read(bytes)?;
    let at = RecordedAt::of(header.time_ns, header.pid_tgid);
    let layout = usize::try_from(header.layout).ok().and_then(|i| layouts.get(i)).ok_or(DecodeError::Inconsistent)?;
    let event = match Kind::from_u32(header.kind).ok_or(DecodeError::Kind(header.kind))? {
        Kind::Open => {
            let wire::Opened { engine, segment, name, .. } = read(bytes)?;
            Event::Opened { engine, segment, name: (&name).into() }
        }
        kind @ (Kind::Register | Kind::RegisterBatch) => {
            let wire::Registered { engine, total, first, count, own, location, data, .. } = read(bytes)?;
            let element = if kind == Kind::Register { 16 } else { layout.buffer_bytes };
            let buffers = elements(&data, count, element)?.map(read).collect::<Result<_, _>>()?;
            Event::Registered { engine, total, first, own: (&own).into(), location: (&location).into(), buffers }
        }
        Kind::Submit => {
            let wire::Submitted { engine, batch, total, tasks_before, room, room_read, own, .. } = read(bytes)?;
            let per = (REQUEST_BYTES as u64).checked_div(u64::from(layout.request_bytes));
            Event::Submitted {
                engine,
                batch,
                total,
                limit: u64::from(REQUEST_RECORDS) * per.ok_or(DecodeError::Inconsistent)?,
                is_first: tasks_before == 0,
                room: (room_read == 1).then_some(room),
                own: (&own).into(),
            }
        }
        Kind::Requests => {
            let wire::Requests { batch, first, count, data, .. } = read(bytes)?;
            Event::Requests { batch, first, requests: requests(&data, count, layout)? }
        }
        Kind::Free => {
            let wire::Freed { batch, tasks, looked, failed, ended, finished, .. } = read(bytes)?;
            Event::Freed { batch, ending: Ending { tasks, looked, failed, ended, is_done: finished == 1 } }
        }
    };
    Ok((at, event))
}

fn requests(data: &[u8; REQUEST_BYTES], count: u32, layout: &Layout) -> Result<Vec<Request>, DecodeError> {
    let number = |element: &[u8], at: u32| -> Result<u64, DecodeError> {
        read(element.get(at as usize..).ok_or(DecodeError::Inconsistent)?)
    };
    let request = |element: &[u8]| {
        Ok(Request {
            op: read(element.get(layout.request_op as usize..).ok_or(DecodeError::Inconsistent)?)?,
            source: number(element, layout.request_source)?,
            target: number(element, layout.request_target)?,
            remote: number(element, layout.request_offset)?,
            bytes: number(element, layout.request_length)?,
        })
    };
    elements(data, count, layout.request_bytes)?.map(request).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::mooncake::builds;
    use proptest::prelude::*;
    use std::mem::offset_of;

    fn blank(kind: Kind, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        put(&mut bytes, 0, &77u64.to_ne_bytes());
        put(&mut bytes, 8, &((41u64 << 32) + 43).to_ne_bytes());
        put(&mut bytes, 16, &(kind as u32).to_ne_bytes());
        bytes
    }

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    #[test]
    fn requests_are_cut_by_the_layout() {
        let layouts = builds::layouts();
        let layout = layouts[0];
        let mut bytes = blank(Kind::Requests, size_of::<wire::Requests>());
        put(&mut bytes, offset_of!(wire::Requests, batch), &0xbau64.to_ne_bytes());
        put(&mut bytes, offset_of!(wire::Requests, count), &2u32.to_ne_bytes());
        for (i, start) in (0..2u64).zip((0..).step_by(layout.request_bytes as usize)) {
            let at = |field: u32| offset_of!(wire::Requests, data) + start + field as usize;
            put(&mut bytes, at(layout.request_op), &1i32.to_ne_bytes());
            for (field, value) in
                [(layout.request_source, 10), (layout.request_target, 20), (layout.request_offset, 30)]
            {
                put(&mut bytes, at(field), &(value + i).to_ne_bytes());
            }
            put(&mut bytes, at(layout.request_length), &(40 + i).to_ne_bytes());
        }
        let (at, event) = record(&bytes, &layouts).unwrap();
        assert_eq!(at, RecordedAt { time_ns: 77, pid: 41, tid: 43 });
        let request = |i: u64| Request { op: 1, source: 10 + i, target: 20 + i, remote: 30 + i, bytes: 40 + i };
        assert_eq!(event, Event::Requests { batch: 0xba, first: 0, requests: vec![request(0), request(1)] });
        put(&mut bytes, offset_of!(wire::Requests, count), &65u32.to_ne_bytes());
        assert_eq!(record(&bytes, &layouts), Err(DecodeError::Inconsistent));
    }

    #[test]
    fn a_room_is_there_only_if_it_was_read() {
        let mut bytes = blank(Kind::Submit, size_of::<wire::Submitted>());
        put(&mut bytes, offset_of!(wire::Submitted, room), &8_273_645u64.to_ne_bytes());
        let room = |bytes: &[u8]| match record(bytes, &builds::layouts()).unwrap().1 {
            Event::Submitted { room, .. } => room,
            event => panic!("{event:?}"),
        };
        assert_eq!(room(&bytes), None);
        put(&mut bytes, offset_of!(wire::Submitted, room_read), &1u32.to_ne_bytes());
        assert_eq!(room(&bytes), Some(8_273_645));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in 0u32..8, layout in 0u32..3, body in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let mut bytes = body;
            if bytes.len() >= 24 {
                put(&mut bytes, 16, &kind.to_ne_bytes());
                put(&mut bytes, 20, &layout.to_ne_bytes());
            }
            let _ = record(&bytes, &builds::layouts());
        }
    }
}
