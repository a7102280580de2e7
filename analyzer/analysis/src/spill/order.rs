//! Rows in an order, without memory beyond the limit.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::{Column, Memory};
use crate::error::LoadError;

/// Rows that are put in order by themselves where they are not yet.
const PIECE: usize = 1 << 16;

/// The rows 0 to `count` in the order of `compare`, which must not call two of them equal: stretches that are in order already
/// are merged, as the segments of a run and their tables make them.
///
/// # Errors
/// No room for a file.
pub fn sorted(memory: &Memory, count: usize, compare: impl Fn(u32, u32) -> Ordering) -> Result<Column<u32>, LoadError> {
    let row = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    let mut rows = Column::collect(memory, (0..count).map(row))?;
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    let mut begin = 0;
    while begin < count {
        let mut end = begin + 1;
        while end < count && compare(rows[end - 1], rows[end]) == Ordering::Less {
            end += 1;
        }
        if end - begin < PIECE {
            end = (begin + PIECE).min(count);
            rows[begin..end].sort_unstable_by(|a, b| compare(*a, *b));
        }
        stretches.push((begin, end));
        begin = end;
    }
    if stretches.len() < 2 {
        return Ok(rows);
    }
    merge(memory, &rows, stretches, &compare)
}

/// The next row of a stretch, and what is left of it.
struct Head<'a, C> {
    row: u32,
    rest: (usize, usize),
    compare: &'a C,
}

impl<C: Fn(u32, u32) -> Ordering> Ord for Head<'_, C> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.compare)(self.row, other.row)
    }
}

impl<C: Fn(u32, u32) -> Ordering> PartialOrd for Head<'_, C> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<C: Fn(u32, u32) -> Ordering> PartialEq for Head<'_, C> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<C: Fn(u32, u32) -> Ordering> Eq for Head<'_, C> {}

fn merge<C: Fn(u32, u32) -> Ordering>(
    memory: &Memory,
    rows: &[u32],
    stretches: Vec<(usize, usize)>,
    compare: &C,
) -> Result<Column<u32>, LoadError> {
    let head =
        |(at, end): (usize, usize)| (at < end).then(|| Reverse(Head { row: rows[at], rest: (at + 1, end), compare }));
    let mut heads: BinaryHeap<_> = stretches.into_iter().filter_map(head).collect();
    let mut merged = Column::new(memory);
    merged.reserve(rows.len())?;
    while let Some(mut first) = heads.peek_mut() {
        let Reverse(Head { row, rest, .. }) = &*first;
        merged.push(*row)?;
        match head(*rest) {
            Some(next) => *first = next,
            None => drop(std::collections::binary_heap::PeekMut::pop(first)),
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(memory: &Memory, keys: &[i64]) {
        let key = |row: u32| (keys[row as usize], row);
        let rows = sorted(memory, keys.len(), |a, b| key(a).cmp(&key(b))).unwrap();
        let mut expected: Vec<u32> = (0..u32::try_from(keys.len()).unwrap()).collect();
        expected.sort_by_key(|row| keys[*row as usize]);
        assert_eq!(&rows[..], expected);
    }

    #[test]
    fn long_stretches_and_short_ones_are_merged() {
        let two = (0..150_000).map(|at| at * 2).chain((0..150_000).map(|at| at * 2 + 1));
        let broken = (0..200_000).map(|at| if at % 3 == 0 { -at } else { at });
        for keys in [two.collect::<Vec<i64>>(), broken.collect()] {
            check(&Memory::default(), &keys);
            check(&Memory::of(1), &keys);
        }
    }

    proptest! {
        #[test]
        fn rows_are_in_order(keys in prop::collection::vec(-50i64..50, 0..300)) {
            check(&Memory::default(), &keys);
        }
    }
}
