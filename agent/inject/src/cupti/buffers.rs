//! The activity buffers: a fixed number, each free, with CUPTI, or full. Taking and giving are single atomic steps, for
//! they happen on the program's own threads.
//!
//! The first ones are small, and larger ones are taken only where those do not suffice: CUPTI clears a buffer that it is given, on
//! the thread that launches (100 us for 1 MiB), and gives a full one back without being asked. With small ones a program
//! killed with -9 lost 2 to 26 ms, with buffers of 1 MiB alone 27 to 42 (tests/gpu/killed.py).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::ffi::Memory;

/// Buffers of one size.
struct Class {
    count: usize,
    bytes: usize,
}

/// The lowest free buffer is taken, so the first class serves a GPU with 50 kernels in 25 ms as well as one with a thousand,
/// and bursts reach the last. A record of a kernel takes 208 to 248 bytes. Pages come into being when first used.
const CLASSES: [Class; 3] =
    [Class { count: SMALL, bytes: 4 << 10 }, Class { count: 32, bytes: 64 << 10 }, Class { count: 96, bytes: 1 << 20 }];
const SMALL: usize = 64;
/// Number of buffers.
const BUFFERS: usize = 192;
const MEMORY_BYTES: usize = (SMALL << 12) + (32 << 16) + (96 << 20);

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
            memory: Memory::new(MEMORY_BYTES)?,
            free: std::array::from_fn(|_| AtomicU64::new(u64::MAX)),
            full: std::array::from_fn(|_| AtomicU64::new(0)),
            filled: std::array::from_fn(|_| AtomicUsize::new(0)),
        })
    }

    /// Takes a free buffer, the lowest: the smallest, whose pages are in use already. Gives its size, too, bytes.
    pub fn take(&self) -> Option<(*mut u8, usize)> {
        let (offset, bytes) = place(take_bit(&self.free)?)?;
        Some((self.memory.at(offset), bytes))
    }

    /// CUPTI gives a buffer back with that many bytes in use. Gives whether it should be read soon, for the small ones can
    /// wait; `None` if it is none of ours.
    pub fn give_back(&self, buffer: *mut u8, bytes: usize) -> Option<bool> {
        let (index, size) = holder(self.memory.offset_of(buffer)?)?;
        self.filled[index].store(bytes.min(size), Ordering::Relaxed);
        set_bit(&self.full, index);
        Some(index >= SMALL)
    }

    /// Gives a full buffer (address and bytes in use) to `read`; then it is free again. `false` if there was none.
    pub fn read_one(&self, read: impl FnOnce(*mut u8, usize)) -> bool {
        let Some(index) = take_bit(&self.full) else { return false };
        if let Some((offset, _)) = place(index) {
            read(self.memory.at(offset), self.filled[index].load(Ordering::Relaxed));
        }
        set_bit(&self.free, index);
        true
    }
}

/// Offset and size of a buffer, bytes.
fn place(index: usize) -> Option<(usize, usize)> {
    let (mut first, mut offset) = (0, 0);
    for class in &CLASSES {
        if index < first + class.count {
            return Some((offset + (index - first) * class.bytes, class.bytes));
        }
        first += class.count;
        offset += class.count * class.bytes;
    }
    None
}

/// The buffer that holds the byte at an offset, and its size, bytes.
fn holder(offset: usize) -> Option<(usize, usize)> {
    let (mut first, mut start) = (0, 0);
    for class in &CLASSES {
        if offset < start + class.count * class.bytes {
            return Some((first + (offset - start) / class.bytes, class.bytes));
        }
        first += class.count;
        start += class.count * class.bytes;
    }
    None
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
        let taken: Vec<(*mut u8, usize)> = std::iter::from_fn(|| buffers.take()).collect();
        assert_eq!(taken.len(), BUFFERS);
        assert!(taken.is_sorted_by_key(|(_, bytes)| *bytes), "small ones first");
        assert!(taken.windows(2).all(|pair| pair[0].0.addr() + pair[0].1 == pair[1].0.addr()), "side by side");
        assert!(!buffers.read_one(|_, _| panic!("none is full")));
        assert_eq!(buffers.give_back(taken[70].0, 5), Some(true));
        assert!(buffers.read_one(|buffer, bytes| assert_eq!((buffer, bytes), (taken[70].0, 5))));
        assert_eq!(buffers.take(), Some(taken[70]));
        assert_eq!(buffers.take(), None);
        let mut foreign = 0u8;
        assert_eq!(buffers.give_back(&raw mut foreign, 1), None);
        assert_eq!(buffers.give_back(taken[0].0, usize::MAX), Some(false), "small ones can wait");
        assert!(buffers.read_one(|_, bytes| assert_eq!(bytes, taken[0].1)));
    }

    #[test]
    fn sizes_fill_the_memory() {
        assert_eq!(CLASSES.iter().map(|class| class.count).sum::<usize>(), BUFFERS);
        assert_eq!(CLASSES.iter().map(|class| class.count * class.bytes).sum::<usize>(), MEMORY_BYTES);
        for index in 0..BUFFERS {
            let (offset, bytes) = place(index).unwrap();
            assert_eq!((holder(offset), holder(offset + bytes - 1)), (Some((index, bytes)), Some((index, bytes))));
        }
        assert_eq!((place(BUFFERS), holder(MEMORY_BYTES)), (None, None));
    }
}
