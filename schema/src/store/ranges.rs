//! Parts of an object that is not a file: few, large ranges, because each is a request.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::{Location, io_error, wait};

/// A range that is asked for at once.
const WINDOW_BYTES: u64 = 1 << 20;
/// Ranges that are kept: a reader goes through several columns side by side.
const WINDOWS: usize = 32;

/// An object, a window at a time.
#[derive(Debug, Clone)]
pub(super) struct Ranges {
    of: Arc<Object>,
}

#[derive(Debug)]
struct Object {
    objects: Arc<dyn ObjectStore>,
    location: Location,
    size: u64,
    windows: Mutex<VecDeque<(u64, Bytes)>>,
}

impl Ranges {
    pub(super) fn of(objects: Arc<dyn ObjectStore>, location: &Location) -> object_store::Result<Self> {
        let size = wait(objects.head(location))?.size;
        let object = Object { objects, location: location.clone(), size, windows: Mutex::default() };
        Ok(Self { of: Arc::new(object) })
    }

    pub(super) fn size(&self) -> u64 {
        self.of.size
    }

    /// Exactly those bytes.
    pub(super) fn bytes(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.of.size);
        let end = end.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        if start / WINDOW_BYTES != (end - 1) / WINDOW_BYTES {
            return self.of.fetch(start, end);
        }
        let from = usize::try_from(start % WINDOW_BYTES).map_err(io::Error::other)?;
        Ok(self.of.window(start / WINDOW_BYTES)?.slice(from..from + length))
    }

    /// Everything from there on.
    pub(super) fn read_from(&self, start: u64) -> impl Read + Send + use<> {
        From { of: self.clone(), at: start }
    }
}

impl Object {
    fn fetch(&self, start: u64, end: u64) -> io::Result<Bytes> {
        wait(self.objects.get_range(&self.location, start..end)).map_err(io_error)
    }

    fn window(&self, number: u64) -> io::Result<Bytes> {
        let kept = || self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = kept().iter().find(|(own, _)| *own == number) {
            return Ok(bytes.clone());
        }
        let start = number * WINDOW_BYTES;
        let bytes = self.fetch(start, self.size.min(start + WINDOW_BYTES))?;
        let mut kept = kept();
        kept.truncate(WINDOWS - 1);
        kept.push_front((number, bytes.clone()));
        Ok(bytes)
    }
}

struct From {
    of: Ranges,
    at: u64,
}

impl Read for From {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let to_window_end = WINDOW_BYTES - self.at % WINDOW_BYTES;
        let most = to_window_end.min(self.of.size().saturating_sub(self.at)).min(into.len() as u64);
        let count = usize::try_from(most).map_err(io::Error::other)?;
        into[..count].copy_from_slice(&self.of.bytes(self.at, count)?);
        self.at += most;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use object_store::PutPayload;
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn ranges_are_what_the_object_holds_there() {
        let whole: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let location = Location::from("object");
        wait(objects.put(&location, PutPayload::from(whole.clone()))).unwrap();
        let ranges = Ranges::of(objects, &location).unwrap();
        for (start, length) in [(0, 0), (0, 1), (1_048_570, 6), (1_048_570, 7), (5, 2_500_000), (2_999_999, 1)] {
            assert_eq!(ranges.bytes(start as u64, length).unwrap(), whole[start..start + length], "{start} {length}");
        }
        let mut read = Vec::new();
        ranges.read_from(17).read_to_end(&mut read).unwrap();
        assert_eq!(read, whole[17..]);
        let error = ranges.bytes(2_999_999, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
