//! Half-open intervals of integer ns: unions, so that no ns is counted twice.

use std::borrow::Cow;
use std::ops::Range;

/// `[start, end)`, ns.
pub type Span = (i64, i64);

/// Sorted, disjoint intervals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Union(Vec<Span>);

impl Union {
    /// The union of `spans`, in any order.
    pub fn of(spans: impl IntoIterator<Item = Span>) -> Self {
        Self::bridged(spans, 0)
    }

    /// The same over gaps up to `most` ns: what follows closely is one interval.
    pub fn bridged(spans: impl IntoIterator<Item = Span>, most: i64) -> Self {
        let mut spans: Vec<Span> = spans.into_iter().filter(|(start, end)| start < end).collect();
        spans.sort_unstable();
        let mut out: Vec<Span> = Vec::new();
        for (start, end) in spans {
            match out.last_mut() {
                Some(last) if start <= last.1.saturating_add(most) => last.1 = last.1.max(end),
                _ => out.push((start, end)),
            }
        }
        Self(out)
    }

    /// Total length, ns.
    #[must_use]
    pub fn len_ns(&self) -> i64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Length within `window`, ns.
    #[must_use]
    pub fn within(&self, window: Span) -> i64 {
        let from = self.0.partition_point(|(_, end)| *end <= window.0);
        self.0[from..]
            .iter()
            .take_while(|(start, _)| *start < window.1)
            .map(|(start, end)| end.min(&window.1) - start.max(&window.0))
            .sum()
    }

    /// Length of this union that `other` does not cover, ns.
    #[must_use]
    pub fn outside(&self, other: &Self) -> i64 {
        self.0.iter().map(|span| span.1 - span.0 - other.within(*span)).sum()
    }

    /// The disjoint intervals, in order.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.0
    }
}

/// Intervals by start, which may overlap, and the latest end up to each: those that meet a window are found without a look at
/// all of them.
#[derive(Debug, Default)]
pub struct ByStart<'a> {
    spans: Cow<'a, [Span]>,
    latest_end: Vec<i64>,
}

impl<'a> ByStart<'a> {
    /// Of intervals that are sorted.
    #[must_use]
    pub fn of(spans: impl Into<Cow<'a, [Span]>>) -> Self {
        let spans = spans.into();
        let latest = spans.iter().scan(i64::MIN, |latest, span| {
            *latest = span.1.max(*latest);
            Some(*latest)
        });
        let latest_end = latest.collect();
        Self { spans, latest_end }
    }

    /// Positions among which all that meet `window` are; some of these may not.
    #[must_use]
    pub fn near(&self, window: Span) -> Range<usize> {
        let first = self.latest_end.partition_point(|end| *end <= window.0);
        let end = self.spans.partition_point(|span| span.0 < window.1);
        first.min(end)..end
    }

    /// Whether any begins before `window` ends, and ends after it begins.
    #[must_use]
    pub fn any_meets(&self, window: Span) -> bool {
        // The first whose end, or that of one before it, is late enough: it or that one.
        !self.near(window).is_empty()
    }

    /// The parts of them that lie within `window`, as a union.
    #[must_use]
    pub fn within(&self, window: Span) -> Union {
        let met = &self.spans[self.near(window)];
        Union::of(met.iter().map(|span| (span.0.max(window.0), span.1.min(window.1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn overlap_counts_once() {
        let union = Union::of([(0, 10), (5, 12), (12, 13), (20, 21), (30, 30)]);
        assert_eq!(union.spans(), [(0, 13), (20, 21)]);
        assert_eq!(Union::bridged([(20, 21), (0, 10), (12, 13), (24, 25)], 3).spans(), [(0, 13), (20, 25)]);
        assert_eq!(union.len_ns(), 14);
        assert_eq!(union.within((10, 21)), 4);
        assert_eq!(union.outside(&Union::of([(1, 2), (12, 40)])), 11);
    }

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        prop::collection::vec((0i64..200, 0i64..40).prop_map(|(start, len)| (start, start + len)), 0..30)
    }

    proptest! {
        #[test]
        fn what_lies_within_a_window_is_the_same_as_by_a_look_at_all(
            mut spans in prop::collection::vec((0i64..100, 0i64..30), 0..20), from in 0i64..120, dur in 0i64..60,
        ) {
            for span in &mut spans {
                span.1 += span.0;
            }
            spans.sort_unstable();
            let window = (from, from + dur);
            let all = Union::of(spans.iter().map(|span| (span.0.max(window.0), span.1.min(window.1))));
            prop_assert_eq!(ByStart::of(&spans).within(window), all);
            let meets = spans.iter().any(|span| span.0 < window.1 && window.0 < span.1);
            prop_assert_eq!(ByStart::of(&spans).any_meets(window), meets);
        }

        /// Against counting every ns one by one.
        #[test]
        fn agrees_with_counting(a in spans(), b in spans(), lo in 0i64..200, len in 0i64..60) {
            let covered = |spans: &[Span], t: i64| spans.iter().any(|(s, e)| (*s..*e).contains(&t));
            let count = |f: &dyn Fn(i64) -> bool| i64::try_from((0..300).filter(|t| f(*t)).count()).unwrap();
            let (ua, ub) = (Union::of(a.clone()), Union::of(b.clone()));
            prop_assert_eq!(ua.len_ns(), count(&|t| covered(&a, t)));
            prop_assert_eq!(ua.within((lo, lo + len)), count(&|t| covered(&a, t) && (lo..lo + len).contains(&t)));
            prop_assert_eq!(ua.outside(&ub), count(&|t| covered(&a, t) && !covered(&b, t)));
        }
    }
}
