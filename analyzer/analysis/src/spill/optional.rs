//! A column of numbers that some rows lack.

use super::{Column, Memory};
use crate::error::LoadError;

/// Stands for a number that is not there: no time, duration or id is that far below 0.
const NONE: i64 = i64::MIN;

/// Numbers, or none, one after another.
#[derive(Debug, Default)]
pub struct Optional(Column<i64>);

impl Optional {
    /// None yet.
    #[must_use]
    pub fn new(memory: &Memory) -> Self {
        Self(Column::new(memory))
    }

    /// Adds one.
    ///
    /// # Errors
    /// No room for a file.
    pub fn push(&mut self, value: Option<i64>) -> Result<(), LoadError> {
        self.0.push(value.unwrap_or(NONE))
    }

    /// The one of a row.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<i64> {
        Some(self.0[row]).filter(|value| *value != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_reads_as_none() {
        let mut column = Optional::default();
        for value in [Some(-1), None, Some(0)] {
            column.push(value).unwrap();
        }
        assert_eq!([0, 1, 2].map(|row| column.get(row)), [Some(-1), None, Some(0)]);
    }
}
