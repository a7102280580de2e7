//! What a trace holds and what of it is not imported.

use std::collections::BTreeMap;

use super::event::Event;

/// Counts of one trace.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Events, descriptions of processes and threads (`M`) left aside.
    pub(super) events: u64,
    /// Events that became rows.
    pub(super) kept: u64,
    /// Events that should have become rows of a table, but whose times, sizes or process cannot be.
    pub(super) impossible: BTreeMap<&'static str, u64>,
    /// Waits for an event of which the trace does not say which call recorded it.
    pub(super) waits_without_record: u64,
    /// Events of which nothing is imported, by category; few, so a list.
    left_out: Vec<(Box<[u8]>, u64)>,
    left_out_beyond: u64,
}

/// Categories that are told apart; Kineto knows 28.
const CATEGORIES: usize = 64;

impl Counts {
    /// Counts an event of which nothing is imported.
    pub(super) fn left_out(&mut self, event: &Event) {
        self.add_left_out(event.category_text.raw, 1);
    }

    fn add_left_out(&mut self, category: &[u8], events: u64) {
        if let Some((_, count)) = self.left_out.iter_mut().find(|(known, _)| **known == *category) {
            *count += events;
        } else if self.left_out.len() < CATEGORIES {
            self.left_out.push((category.into(), events));
        } else {
            self.left_out_beyond += events;
        }
    }

    /// Adds those of the part that follows.
    pub(super) fn join(&mut self, part: Self) {
        self.events += part.events;
        self.kept += part.kept;
        self.waits_without_record += part.waits_without_record;
        for (table, count) in part.impossible {
            *self.impossible.entry(table).or_default() += count;
        }
        for (category, count) in &part.left_out {
            self.add_left_out(category, *count);
        }
        self.left_out_beyond += part.left_out_beyond;
    }

    /// Counts an event whose times, sizes or process cannot be.
    pub(super) fn impossible(&mut self, table: &'static str) {
        *self.impossible.entry(table).or_default() += 1;
    }

    /// Events of which nothing is imported, by category.
    pub(super) fn left_out_by_category(&self) -> BTreeMap<String, u64> {
        let mut by_category: BTreeMap<String, u64> = BTreeMap::new();
        for (category, count) in &self.left_out {
            let name = match &*String::from_utf8_lossy(category) {
                "" => "(no category)".to_owned(),
                name => name.to_owned(),
            };
            *by_category.entry(name).or_default() += count;
        }
        if self.left_out_beyond > 0 {
            by_category.insert("(more categories)".to_owned(), self.left_out_beyond);
        }
        by_category
    }
}
