//! Where values have been found every time so far.

use std::collections::BTreeSet;

/// Places of one value.
#[derive(Debug)]
pub struct Places<P> {
    what: &'static str,
    left: Option<BTreeSet<P>>,
}

impl<P: Ord + Copy> Places<P> {
    /// Nothing was looked at yet.
    pub fn new(what: &'static str) -> Self {
        Self { what, left: None }
    }

    /// It may be at these; at others it is not.
    pub fn seen(&mut self, places: impl IntoIterator<Item = P>) {
        let seen: BTreeSet<P> = places.into_iter().collect();
        self.left = Some(match self.left.take() {
            None => seen,
            Some(left) => left.intersection(&seen).copied().collect(),
        });
    }

    /// Whether no place is left.
    pub fn is_nowhere(&self) -> bool {
        self.left.as_ref().is_none_or(BTreeSet::is_empty)
    }

    /// The one that is left.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn only(&self) -> Result<P, String> {
        let left = self.left.as_ref();
        match left.and_then(BTreeSet::first) {
            Some(first) if left.is_some_and(|left| left.len() == 1) => Ok(*first),
            _ => Err(format!("{}: {} places instead of one", self.what, left.map_or(0, BTreeSet::len))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_that_was_right_every_time() {
        let mut places = Places::new("size");
        assert!(places.is_nowhere());
        places.seen([8, 16, 24]);
        assert_eq!(places.only(), Err("size: 3 places instead of one".to_owned()));
        places.seen([16, 32]);
        assert_eq!(places.only(), Ok(16));
        places.seen([32]);
        assert!(places.is_nowhere() && places.only().is_err());
    }
}
