//! Layers that the program itself names: NVTX ranges around the launches of a layer's kernels.

use std::collections::BTreeMap;

use crate::error::LoadError;
use crate::facts::Nvtx;
use crate::intervals::Span;
use crate::serving::layer_names::layer;
use crate::spill::{Column, Memory, sorted};

/// Ranges that name a layer, of each thread by time.
#[derive(Debug, Default)]
pub struct Ranges(BTreeMap<(i64, i32), Vec<(Span, u32)>>);

impl Ranges {
    /// Those of a recording, one each: ranges of the same layer may lie within each other.
    ///
    /// # Errors
    /// No room for files.
    pub fn of(nvtx: &Nvtx, memory: &Memory) -> Result<Self, LoadError> {
        let (mut rows, mut layers) = (Column::<u32>::new(memory), Column::<u32>::new(memory));
        for (row, layer) in nvtx.of_texts(layer).filter(|(row, _)| nvtx.mark(*row).dur.is_some()) {
            rows.push(u32::try_from(row).unwrap_or(u32::MAX))?;
            layers.push(layer)?;
        }
        let range = |at: u32| {
            let mark = nvtx.mark(rows[at as usize] as usize);
            let span = (mark.start, mark.start.saturating_add(mark.dur.unwrap_or(0)));
            (mark.thread, (span, layers[at as usize]))
        };
        let mut by_thread: BTreeMap<(i64, i32), Vec<(Span, u32)>> = BTreeMap::new();
        for at in sorted(memory, rows.len(), |a, b| (range(a), a).cmp(&(range(b), b)))?.iter() {
            let (thread, next) = range(*at);
            let kept = by_thread.entry(thread).or_default();
            match kept.last_mut() {
                // What lies within a range, or goes on from it, says the same.
                Some((span, layer)) if *layer == next.1 && next.0.0 <= span.1 => span.1 = span.1.max(next.0.1),
                _ => kept.push(next),
            }
        }
        Ok(Self(by_thread))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The layer within whose range a thread was at a time.
    #[must_use]
    pub fn layer(&self, thread: (i64, i32), at: i64) -> Option<u32> {
        let ranges = self.0.get(&thread)?;
        let before = ranges.partition_point(|((start, _), _)| *start <= at);
        before.checked_sub(1).map(|i| ranges[i]).filter(|((_, end), _)| at < *end).map(|(_, layer)| layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of marks that are all in memory: start, length, thread, layer.
    fn plainly(marks: &[(i64, i64, i32, u32)]) -> BTreeMap<(i64, i32), Vec<(Span, u32)>> {
        let mut by_thread: BTreeMap<(i64, i32), Vec<(Span, u32)>> = BTreeMap::new();
        for (start, dur, tid, layer) in marks {
            by_thread.entry((1, *tid)).or_default().push(((*start, start + dur), *layer));
        }
        for ranges in by_thread.values_mut() {
            ranges.sort_unstable();
            ranges.dedup_by(|next, kept| {
                let is_same = next.1 == kept.1 && next.0.0 <= kept.0.1;
                kept.0.1 = if is_same { kept.0.1.max(next.0.1) } else { kept.0.1 };
                is_same
            });
        }
        by_thread
    }

    fn found(marks: &[(i64, i64, i32, u32)], memory: &Memory) -> BTreeMap<(i64, i32), Vec<(Span, u32)>> {
        let rows =
            marks.iter().map(|(start, dur, tid, layer)| (*start, Some(*dur), (1, *tid), format!("layers.{layer}")));
        Ranges::of(&Nvtx::of_rows(rows, memory), memory).unwrap().0
    }

    #[test]
    fn ranges_beyond_the_memory_limit_are_the_same() {
        let mark = |at: i64| (at * 7919 % 50_021, at % 9, i32::from(at % 5 == 0), u32::from(at % 3 == 0));
        let marks: Vec<(i64, i64, i32, u32)> = (0..70_000).map(mark).collect();
        let small = Memory::of(1);
        assert_eq!(found(&marks, &small), plainly(&marks));
    }

    proptest! {
        #[test]
        fn ranges_in_any_order_are_those_of_their_threads(
            marks in prop::collection::vec((0i64..40, 0i64..9, 1i32..3, 0u32..3), 0..30),
        ) {
            prop_assert_eq!(found(&marks, &Memory::default()), plainly(&marks));
        }
    }
}
