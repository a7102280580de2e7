//! Records that a source lost, by cause, until they are written as rows of `drops`.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Why records are missing, and of what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// The table that lacks them; `None`: several, or it is not known.
    pub table: Option<&'static str>,
    /// Why, for people.
    pub reason: Cow<'static, str>,
    /// The process that lost them, if known.
    pub process_id: Option<i64>,
}

impl Cause {
    /// Of a table, whichever process lost them.
    pub fn of(table: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { table: Some(table), reason: reason.into(), process_id: None }
    }

    /// The same of one process.
    #[must_use]
    pub fn in_process(self, process_id: i64) -> Self {
        Self { process_id: Some(process_id), ..self }
    }
}

/// Counts of lost records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    counts: BTreeMap<Cause, u64>,
}

impl Losses {
    /// Counts more of a cause.
    pub fn add(&mut self, cause: Cause, count: u64) {
        if count > 0 {
            *self.counts.entry(cause).or_default() += count;
        }
    }

    /// Adds what another has counted.
    pub fn append(&mut self, other: Self) {
        for (cause, count) in other.counts {
            self.add(cause, count);
        }
    }

    /// How many a table lacks.
    #[must_use]
    pub fn of(&self, table: &str) -> u64 {
        self.counts.iter().filter(|(cause, _)| cause.table == Some(table)).map(|(_, count)| count).sum()
    }

    /// How many there are in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Each cause with its count, in an order of their own.
    pub fn iter(&self) -> impl Iterator<Item = (&Cause, u64)> {
        self.counts.iter().map(|(cause, count)| (cause, *count))
    }

    /// Splits off those of one table.
    #[must_use]
    pub fn take_of(&mut self, table: &str) -> Self {
        Self { counts: self.counts.extract_if(.., |cause, _| cause.table == Some(table)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_added_up_and_told_apart() {
        let mut losses = Losses::default();
        losses.add(Cause::of("kernels", "ring full"), 3);
        losses.add(Cause::of("kernels", "ring full"), 4);
        losses.add(Cause::of("kernels", "ring full").in_process(7), 1);
        losses.add(Cause::of("kernels", "nothing"), 0);
        losses.add(Cause { table: None, reason: "unreadable".into(), process_id: None }, 2);
        assert_eq!((losses.of("kernels"), losses.total(), losses.iter().count()), (8, 10, 3));
        let kernels = losses.take_of("kernels");
        assert_eq!((kernels.total(), losses.total()), (8, 2));
        losses.append(kernels);
        assert_eq!(losses.of("kernels"), 8);
    }
}
