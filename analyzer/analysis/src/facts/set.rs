//! Sets of small numbers that mostly follow each other: regions of a process, layers of a stage.

use std::fmt;

/// Runs of numbers, first and last of each, rising and apart; printed as `0-17` or `0-3,8`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set(Vec<(u32, u32)>);

impl Set {
    /// Of numbers in any order.
    pub fn of(numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut numbers: Vec<u32> = numbers.into_iter().collect();
        numbers.sort_unstable();
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for number in numbers {
            match runs.last_mut() {
                Some(last) if number <= last.1.saturating_add(1) => last.1 = number,
                _ => runs.push((number, number)),
            }
        }
        Self(runs)
    }

    /// Its numbers, rising.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|(first, last)| (last - first) as usize + 1).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many smaller ones are among them; `None` if it is not one of them.
    #[must_use]
    pub fn rank(&self, number: u32) -> Option<u32> {
        let mut before = 0;
        for (first, last) in &self.0 {
            if number <= *last {
                return number.checked_sub(*first).map(|within| before + within);
            }
            before += last - first + 1;
        }
        None
    }

    /// All of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if self == other { self.clone() } else { Self::of(self.iter().chain(other.iter())) }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_are_written_by_their_ends() {
        assert_eq!(Set::of([3, 1, 0, 2, 8, 8, 10, 11]).to_string(), "0-3,8,10-11");
        assert_eq!(Set::of([]).to_string(), "");
    }

    proptest! {
        #[test]
        fn it_holds_what_it_was_made_of(
            a in prop::collection::btree_set(0u32..40, 0..30),
            b in prop::collection::btree_set(0u32..40, 0..30),
        ) {
            let set = Set::of(a.iter().rev().copied());
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), a.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), a.len());
            for n in 0..40 {
                let rank = a.contains(&n).then(|| u32::try_from(a.range(..n).count()).unwrap());
                prop_assert_eq!(set.rank(n), rank);
            }
            let both = set.union(&Set::of(b.iter().copied()));
            prop_assert_eq!(both.iter().collect::<Vec<_>>(), a.union(&b).copied().collect::<Vec<_>>());
        }
    }
}
