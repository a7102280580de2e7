//! One file: a head of 40 bytes, then a ring of events of 16 bytes.
//!
//! | offset | what |
//! |---|---|
//! | 0 | `u64` position that is written next, always below the capacity |
//! | 8 | `u64` position that is read next |
//! | 16 | `u32` version: 4 (NIXL 1.4 and 1.5) |
//! | 24 | `u64` capacity, events; one of them stays empty |
//! | 32 | `u64` mask: capacity - 1 |
//! | 40 | events: `u32` kind, 4 bytes without meaning, `u64` value |
//!
//! Files of other versions (1.0 to 1.3) have other events and are left alone. The writer drops what does not fit, silently.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const HEAD: usize = 40;
const EVENT: usize = 16;
const VERSION: u32 = 4;
/// NIXL's is 4096; more is no file of its.
const MOST_EVENTS: u64 = 1 << 16;
/// Offset of the position that is read next.
const READ_AT: usize = 8;

/// An event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Kind: see [`super::events`].
    pub kind: u32,
    /// Value.
    pub value: u64,
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its writer has just made it.
    #[error("not written yet")]
    Unfinished,
    /// It is something else, or another version.
    #[error("no telemetry of NIXL 1.4 or 1.5: {0}")]
    Foreign(String),
}

/// An open file.
#[derive(Debug)]
pub struct Ring {
    file: File,
    capacity: u64,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

impl Ring {
    /// Takes a file that is open for reading and writing.
    ///
    /// # Errors
    /// It is not such a ring.
    pub fn new(file: File) -> Result<Self, RingError> {
        let foreign = |text: String| RingError::Foreign(text);
        let mut head = [0; HEAD];
        let bytes = file.metadata()?.len();
        if bytes < HEAD as u64 {
            return Err(RingError::Unfinished);
        }
        file.read_exact_at(&mut head, 0)?;
        let (version, capacity, mask) = (half(&head, 16), word(&head, 24), word(&head, 32));
        if version == 0 || version == VERSION && capacity == 0 {
            return Err(RingError::Unfinished);
        }
        if version != VERSION {
            return Err(foreign(format!("version {version}")));
        }
        if !capacity.is_power_of_two() || capacity > MOST_EVENTS || mask != capacity - 1 {
            return Err(foreign(format!("capacity {capacity}, mask {mask}")));
        }
        if bytes < HEAD as u64 + capacity * EVENT as u64 {
            return Err(foreign(format!("{bytes} bytes for {capacity} events")));
        }
        Ok(Self { file, capacity })
    }

    /// Gives the events that have come since the last time and frees their room; says whether the ring was full, so that some
    /// may be missing.
    ///
    /// # Errors
    /// The system says no, or positions lie outside.
    pub fn take(&self, mut visit: impl FnMut(Event)) -> Result<bool, RingError> {
        let mut head = [0; HEAD];
        self.file.read_exact_at(&mut head, 0)?;
        let (written, read) = (word(&head, 0), word(&head, READ_AT));
        if written >= self.capacity || read >= self.capacity {
            return Err(RingError::Foreign(format!("positions {read} and {written} of {}", self.capacity)));
        }
        // The part up to the end of the file, then the part from its start.
        let parts = if read <= written { [(read, written), (0, 0)] } else { [(read, self.capacity), (0, written)] };
        for (from, to) in parts {
            let count = usize::try_from(to - from).unwrap_or(0);
            let mut bytes = vec![0; count * EVENT];
            self.file.read_exact_at(&mut bytes, HEAD as u64 + from * EVENT as u64)?;
            bytes
                .as_chunks::<EVENT>()
                .0
                .iter()
                .for_each(|event| visit(Event { kind: half(event, 0), value: word(event, 8) }));
        }
        self.file.write_all_at(&written.to_ne_bytes(), READ_AT as u64)?;
        Ok((written + 1) % self.capacity == read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of that capacity with those positions, whose events' values are their positions.
    fn file(version: u32, capacity: u64, written: u64, read: u64) -> File {
        let mut bytes = Vec::new();
        bytes.extend(written.to_ne_bytes());
        bytes.extend(read.to_ne_bytes());
        bytes.extend(version.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(capacity.to_ne_bytes());
        bytes.extend(capacity.wrapping_sub(1).to_ne_bytes());
        for value in 0..capacity.min(64) {
            bytes.extend(2u32.to_ne_bytes());
            bytes.extend(0xdead_beefu32.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
        }
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file
    }

    fn take(ring: &Ring) -> (Vec<u64>, bool) {
        let mut values = Vec::new();
        let full = ring
            .take(|event| {
                assert_eq!(event.kind, 2, "the 4 bytes behind it mean nothing");
                values.push(event.value);
            })
            .unwrap();
        (values, full)
    }

    #[test]
    fn events_are_taken_once_and_around_the_end() {
        let ring = Ring::new(file(4, 8, 5, 2)).unwrap();
        assert_eq!(take(&ring), (vec![2, 3, 4], false));
        assert_eq!(take(&ring), (vec![], false));
        ring.file.write_all_at(&3u64.to_ne_bytes(), 0).unwrap();
        assert_eq!(take(&ring), (vec![5, 6, 7, 0, 1, 2], false));
        let full = Ring::new(file(4, 8, 1, 2)).unwrap();
        assert_eq!(take(&full), (vec![2, 3, 4, 5, 6, 7, 0], true));
    }

    #[test]
    fn what_is_something_else_is_refused() {
        for (wrong, word) in [
            (file(3, 8, 0, 0), "version 3"),
            (file(0, 8, 0, 0), "not written yet"),
            (file(4, 7, 0, 0), "capacity 7"),
            (file(4, 0, 0, 0), "not written yet"),
            (file(4, 1 << 40, 0, 0), "capacity"),
            (file(4, 4096, 0, 0), "bytes for 4096"),
            (tempfile::tempfile().unwrap(), "not written yet"),
        ] {
            let error = Ring::new(wrong).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let error = Ring::new(file(4, 8, 8, 0)).unwrap().take(|_| ()).unwrap_err().to_string();
        assert!(error.contains("positions 0 and 8 of 8"), "{error}");
    }
}
