//! What the tables of a run justify saying: rules over tables, a file each. A rule says what it rests on, and names no cause that
//! the recording does not show.

mod first_contact;
mod heartbeats;
mod lost_records;
mod poller;
mod ranks;
mod scattered;
mod size;
mod slowest_post;
mod stages;
mod stuck;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::contacts::FirstContacts;
use kvpath_schema::tables::derived::{Bubbles, Chunks, Coverages, Handoffs, Requests, Stages};
use kvpath_schema::tables::findings::{Code, Finding, Findings as Table, Subject};
use kvpath_schema::tables::heartbeats::Heartbeats;

use kvpath_schema::tables::stuck::Stuck;

use crate::path::Walker;
use size::OnPath;

/// What rules read.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'a> {
    /// Stages.
    pub stages: &'a Stages,
    /// Requests.
    pub requests: &'a Requests,
    /// Chunks.
    pub chunks: &'a Chunks,
    /// Bubbles.
    pub bubbles: &'a Bubbles,
    /// Hand-offs.
    pub handoffs: &'a Handoffs,
    /// First contacts.
    pub contacts: &'a FirstContacts,
    /// Heartbeats.
    pub heartbeats: &'a Heartbeats,
    /// Coverage.
    pub coverage: &'a Coverages,
    /// What is stuck.
    pub stuck: &'a Stuck,
}

/// All rules, the most useful first.
const RULES: [fn(&Tables) -> Vec<RuleFinding>; 9] = [
    stuck::of,
    stages::of,
    ranks::of,
    scattered::of,
    poller::of,
    slowest_post::of,
    first_contact::of,
    heartbeats::of,
    lost_records::of,
];

/// Requests that a finding concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Concerns {
    /// Whatever request is looked at.
    Any,
    /// These, in order.
    Requests(Vec<i32>),
}

/// A finding of one rule, with the requests and the part of the paths that it is about.
#[derive(Debug)]
struct RuleFinding {
    row: Finding,
    concerns: Concerns,
    /// Where it is on paths; none where it is about no time.
    on_path: Option<OnPath>,
}

/// What was found in a run.
#[derive(Debug, Default)]
pub struct Findings {
    found: Vec<RuleFinding>,
}

impl Findings {
    /// Applies all rules.
    #[must_use]
    pub fn of(tables: &Tables) -> Self {
        let mut found: Vec<RuleFinding> = RULES.iter().flat_map(|rule| rule(tables)).collect();
        for (number, found) in (0i32..).zip(&mut found) {
            found.row.finding = number;
        }
        Self { found }
    }

    /// As sentences, without those that something is missing; only those that concern a request, if one is given.
    #[must_use]
    pub fn sentences(&self, only: Option<i32>) -> Vec<String> {
        let found = self.found.iter().filter(|found| found.row.code != Code::LostRecords);
        found.filter(|found| only.is_none_or(|only| found.concerns(only))).map(|found| found.row.text.clone()).collect()
    }

    /// What is missing, as sentences.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let found = self.found.iter().filter(|found| found.row.code == Code::LostRecords);
        found.map(|found| found.row.text.clone()).collect()
    }

    /// The table, without sizes on paths.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::default();
        for found in &self.found {
            table.push(found.row.clone());
        }
        table
    }

    /// The table. Walks the paths of the requests that findings are about, if there are any.
    ///
    /// # Errors
    /// Paths cannot be walked, as `walker` says.
    pub fn sized<'a, E>(&self, walker: impl FnOnce() -> Result<Walker<'a>, E>) -> Result<Table, E> {
        let mut table = self.table();
        if self.found.iter().any(|found| found.on_path.is_some()) {
            let on_path: Vec<Option<&OnPath>> = self.found.iter().map(|found| found.on_path.as_ref()).collect();
            table.path_ns = size::of(&on_path, &walker()?);
        }
        Ok(table)
    }
}

impl RuleFinding {
    fn concerns(&self, request: i32) -> bool {
        match &self.concerns {
            Concerns::Any => true,
            Concerns::Requests(requests) => requests.binary_search(&request).is_ok(),
        }
    }
}

/// A finding about nothing yet.
fn finding(code: Code, subject: Subject, text: String) -> Finding {
    Finding {
        finding: 0,
        code,
        subject,
        request: None,
        stage_id: None,
        process_id: None,
        tables: String::new(),
        row_keys: String::new(),
        query: String::new(),
        path_ns: None,
        confidence: 1.0,
        text,
    }
}

/// `part` of `whole`, 0 to 1.
fn share(part: usize, whole: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share of rows")]
    let share = part as f64 / whole.max(1) as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables made by hand.
    #[derive(Debug, Default)]
    pub(super) struct Made {
        pub(super) stages: Stages,
        pub(super) requests: Requests,
        pub(super) chunks: Chunks,
        pub(super) bubbles: Bubbles,
        pub(super) handoffs: Handoffs,
        pub(super) contacts: FirstContacts,
        pub(super) heartbeats: Heartbeats,
        pub(super) coverage: Coverages,
        pub(super) stuck: Stuck,
    }

    impl Made {
        pub(super) fn tables(&self) -> Tables<'_> {
            let Self { stages, requests, chunks, bubbles, handoffs, contacts, heartbeats, coverage, stuck } = self;
            Tables { stages, requests, chunks, bubbles, handoffs, contacts, heartbeats, coverage, stuck }
        }

        pub(super) fn sentences(&self) -> Vec<String> {
            Findings::of(&self.tables()).sentences(None)
        }
    }
}
