//! Values that many rows share, each kept once: a row holds the number of its own.

use std::collections::HashMap;
use std::hash::Hash;

/// Values by number.
#[derive(Debug)]
pub struct Numbers<K> {
    values: Vec<K>,
    by_value: HashMap<K, u32>,
    last: u32,
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self { values: Vec::new(), by_value: HashMap::new(), last: 0 }
    }
}

impl<K: Clone + Eq + Hash> Numbers<K> {
    /// The number of a value; one that was not there gets the next.
    pub fn of(&mut self, value: K) -> u32 {
        // Neighbouring rows mostly share one.
        if self.values.get(self.last as usize) == Some(&value) {
            return self.last;
        }
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let values = &mut self.values;
        self.last = *self.by_value.entry(value).or_insert_with_key(|value| {
            values.push(value.clone());
            next
        });
        self.last
    }

    /// Whether it may have a number of its own: it has one, or fewer than `most` have.
    #[must_use]
    pub fn has_room(&self, value: &K, most: usize) -> bool {
        self.values.len() < most || self.by_value.contains_key(value)
    }

    /// The value with that number.
    #[must_use]
    pub fn value(&self, number: u32) -> &K {
        &self.values[number as usize]
    }

    /// All of them, by number.
    #[must_use]
    pub fn values(&self) -> &[K] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_number() {
        let mut numbers = Numbers::default();
        let given: Vec<u32> = ["a", "a", "b", "a", "c", "b"].into_iter().map(|value| numbers.of(value)).collect();
        assert_eq!(given, [0, 0, 1, 0, 2, 1]);
        assert_eq!((numbers.values(), numbers.value(2)), (&["a", "b", "c"][..], &"c"));
    }
}
