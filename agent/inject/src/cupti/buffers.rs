//! The activity buffers: a fixed number, each free, with CUPTI, or full. Taking and giving are single atomic steps, for
//! they happen on the program's own threads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::ffi::Memory;

/// Size of a buffer, bytes. Larger ones hold more back when the process is killed.
pub const BUFFER_BYTES: usize = 1 << 20;
/// Number of buffers; their pages come into being when first used.
pub const BUFFERS: usize = 128;

/// All buffers.
pub struct Buffers {
    memory: Memory,
    free: [AtomicU64; BUFFERS / 64],
    full: [AtomicU64; BUFFERS / 64],
    filled: [AtomicUsize; BUFFERS],
}

impl Buffers {
    /// All free; `None` if there is no memory.
    pub fn new() -> Option<Self> {
        Some(Self {
            memory: Memory::new(BUFFERS * BUFFER_BYTES)?,
            free: std::array::from_fn(|_| AtomicU64::new(u64::MAX)),
            full: std::array::from_fn(|_| AtomicU64::new(0)),
            filled: std::array::from_fn(|_| AtomicUsize::new(0)),
        })
    }

    /// Takes a free buffer, the lowest: pages that are in use already.
    pub fn take(&self) -> Option<*mut u8> {
        let index = take_bit(&self.free)?;
        Some(self.memory.at(index * BUFFER_BYTES))
    }

    /// CUPTI gives a buffer back with that many bytes in use; `false` if it is none of ours.
    pub fn give_back(&self, buffer: *mut u8, bytes: usize) -> bool {
        let Some(index) = self.memory.offset_of(buffer).map(|offset| offset / BUFFER_BYTES) else { return false };
        self.filled[index].store(bytes.min(BUFFER_BYTES), Ordering::Relaxed);
        set_bit(&self.full, index);
        true
    }

    /// Gives a full buffer (address and bytes in use) to `read`; then it is free again. `false` if there was none.
    pub fn read_one(&self, read: impl FnOnce(*mut u8, usize)) -> bool {
        let Some(index) = take_bit(&self.full) else { return false };
        read(self.memory.at(index * BUFFER_BYTES), self.filled[index].load(Ordering::Relaxed));
        set_bit(&self.free, index);
        true
    }
}

fn take_bit(words: &[AtomicU64]) -> Option<usize> {
    words.iter().enumerate().find_map(|(at, word)| {
        let lowest = |bits: u64| (bits != 0).then_some(bits & bits.wrapping_sub(1));
        let before = word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, lowest).ok()?;
        Some(at * 64 + before.trailing_zeros() as usize)
    })
}

fn set_bit(words: &[AtomicU64], index: usize) {
    words[index / 64].fetch_or(1 << (index % 64), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_go_round_and_run_out() {
        let buffers = Buffers::new().unwrap();
        let taken: Vec<*mut u8> = std::iter::from_fn(|| buffers.take()).collect();
        assert_eq!(taken.len(), BUFFERS);
        assert!(!buffers.read_one(|_, _| panic!("none is full")));
        assert!(buffers.give_back(taken[70], 5));
        assert!(buffers.read_one(|buffer, bytes| assert_eq!((buffer, bytes), (taken[70], 5))));
        assert_eq!(buffers.take(), Some(taken[70]));
        assert_eq!(buffers.take(), None);
        let mut foreign = 0u8;
        assert!(!buffers.give_back(&raw mut foreign, 1));
        assert!(buffers.give_back(taken[0], usize::MAX));
        assert!(buffers.read_one(|_, bytes| assert_eq!(bytes, BUFFER_BYTES)));
    }
}
