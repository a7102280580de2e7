//! A column of numbers that grows, in memory or in a file.

use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

use super::map::Mapped;
use super::{Memory, failed};
use crate::error::LoadError;

/// What a column can hold.
pub trait Number: Pod + std::fmt::Debug + Default {}
impl Number for i64 {}
impl Number for u32 {}
impl Number for u64 {}

/// Fewest numbers that a column makes room for.
const FEW: usize = 64;

/// Numbers, one after another; read as a slice.
#[derive(Debug)]
pub struct Column<T: Number> {
    of: Storage<T>,
    memory: Memory,
}

#[derive(Debug)]
enum Storage<T> {
    Held(Vec<T>),
    Spilled { file: Mapped<T>, len: usize },
}

impl<T: Number> Column<T> {
    /// None yet.
    #[must_use]
    pub fn new(memory: &Memory) -> Self {
        Self { of: Storage::Held(Vec::new()), memory: memory.clone() }
    }

    /// Those of an iterator.
    ///
    /// # Errors
    /// No room for a file.
    pub fn collect(memory: &Memory, values: impl ExactSizeIterator<Item = T>) -> Result<Self, LoadError> {
        let mut column = Self::new(memory);
        column.reserve(values.len())?;
        for value in values {
            column.push(value)?;
        }
        Ok(column)
    }

    /// Adds one.
    ///
    /// # Errors
    /// No room for a file.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), LoadError> {
        match &mut self.of {
            Storage::Held(values) if values.len() < values.capacity() => values.push(value),
            Storage::Spilled { file, len } if *len < file.slice().len() => {
                file.slice_mut()[*len] = value;
                *len += 1;
            }
            _ => {
                // Memory grows where it is, mostly; to a larger file all is copied.
                let part = if matches!(self.of, Storage::Held(_)) { 4 } else { 2 };
                self.reserve((self.len() / part).max(FEW))?;
                return self.push(value);
            }
        }
        Ok(())
    }

    /// Adds `value` until there are `count`.
    ///
    /// # Errors
    /// No room for a file.
    pub fn fill(&mut self, count: usize, value: T) -> Result<(), LoadError> {
        self.reserve(count.saturating_sub(self.len()))?;
        while self.len() < count {
            self.push(value)?;
        }
        Ok(())
    }

    /// Makes room for `more`: in memory if they may be there, else all of the column moves to a file.
    ///
    /// # Errors
    /// No room for a file.
    pub(super) fn reserve(&mut self, more: usize) -> Result<(), LoadError> {
        let capacity = self.len() + more;
        match &mut self.of {
            Storage::Held(values) => {
                let own = values.capacity() * size_of::<T>();
                let wanted = (capacity * size_of::<T>()).saturating_sub(own);
                if self.memory.take(own, wanted) {
                    values.reserve_exact(more);
                    let got = values.capacity() * size_of::<T>() - own;
                    // What the allocator gave beyond is taken as well, or given back if there was room before.
                    if got < wanted {
                        self.memory.give(wanted - got);
                    } else if got > wanted {
                        self.memory.force(got - wanted);
                    }
                    return Ok(());
                }
            }
            Storage::Spilled { file, .. } if file.slice().len() >= capacity => return Ok(()),
            Storage::Spilled { .. } => {}
        }
        self.spill(capacity)
    }

    fn spill(&mut self, capacity: usize) -> Result<(), LoadError> {
        let bytes = capacity * size_of::<T>();
        let mut file = Mapped::of_zeros(capacity).map_err(|error| failed(bytes, error))?;
        let len = self.len();
        file.slice_mut()[..len].copy_from_slice(self);
        self.memory.spill(size_of_val(file.slice()));
        self.release();
        self.of = Storage::Spilled { file, len };
        Ok(())
    }

    /// Counts what the column takes as free.
    fn release(&self) {
        match &self.of {
            Storage::Held(values) => self.memory.give(values.capacity() * size_of::<T>()),
            Storage::Spilled { file, .. } => self.memory.drop_spilled(size_of_val(file.slice())),
        }
    }
}

impl<T: Number> Drop for Column<T> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<T: Number> Default for Column<T> {
    fn default() -> Self {
        Self::new(&Memory::default())
    }
}

#[cfg(test)]
impl<T: Number> From<Vec<T>> for Column<T> {
    fn from(values: Vec<T>) -> Self {
        Self::collect(&Memory::default(), values.into_iter()).unwrap()
    }
}

impl<T: Number> Deref for Column<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.of {
            Storage::Held(values) => values,
            Storage::Spilled { file, len } => &file.slice()[..*len],
        }
    }
}

impl<T: Number> DerefMut for Column<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.of {
            Storage::Held(values) => values,
            Storage::Spilled { file, len } => &mut file.slice_mut()[..*len],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spill::SMALL_BYTES;

    #[test]
    fn a_column_beyond_the_limit_moves_to_a_file_and_reads_the_same() {
        let memory = Memory::of(200_000);
        let mut column = Column::new(&memory);
        for value in 0..100_000i64 {
            column.push(value).unwrap();
        }
        assert!(memory.spilled() >= 800_000, "{memory:?}");
        assert!(column.iter().copied().eq(0..100_000));
        column[7] = -1;
        assert_eq!((column[7], column.len()), (-1, 100_000));
        drop(column);
        assert_eq!((memory.spilled(), memory.held()), (0, 0));
    }

    #[test]
    fn small_columns_stay_in_memory_whatever_the_limit() {
        let memory = Memory::of(1);
        let count = SMALL_BYTES / size_of::<u32>() / 2;
        let column = Column::collect(&memory, (0..count).map(|at| u32::try_from(at).unwrap())).unwrap();
        assert_eq!((memory.spilled(), column.len()), (0, count));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let memory = Memory::of(1_000_000);
        for _ in 0..10 {
            let mut column = Column::new(&memory);
            column.fill(100_000, 1i64).unwrap();
            assert_eq!(memory.spilled(), 0);
        }
        assert_eq!(memory.held(), 0);
    }
}
