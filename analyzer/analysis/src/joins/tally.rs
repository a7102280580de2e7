//! Counts by kind, process and method.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::joins::{Join, Joins};
use kvpath_schema::tables::process::Processes;

use crate::method::Method;

/// A kind of join: its name and the raw table whose rows are counted.
pub type Kind = (&'static str, &'static str);

/// How a row was joined: the method's name and how sure it is.
pub type JoinMethod = (&'static str, f64);

/// A method of the graph.
pub const fn how(method: Method) -> JoinMethod {
    (method.name(), method.confidence())
}

/// The counts of a run.
#[derive(Debug, Default)]
pub struct Tally {
    counts: BTreeMap<(Option<i64>, Kind), Counts>,
    titles: BTreeMap<i64, String>,
}

#[derive(Debug, Default)]
struct Counts {
    unknown: i64,
    by_method: BTreeMap<&'static str, (f64, i64)>,
}

impl Tally {
    /// Takes titles of processes.
    pub fn name(&mut self, processes: &Processes) {
        self.titles.extend(processes.process_id.iter().copied().zip(processes.name.iter().cloned()));
    }

    /// Counts a row of a process.
    pub fn add(&mut self, process: i64, kind: Kind, how: Option<JoinMethod>) {
        self.add_many(Some(process), kind, how, 1);
    }

    /// Counts `rows` of them.
    pub fn add_many(&mut self, process: Option<i64>, kind: Kind, how: Option<JoinMethod>, rows: i64) {
        if rows == 0 {
            return;
        }
        let counts = self.counts.entry((process, kind)).or_default();
        match how {
            Some((method, confidence)) => counts.by_method.entry(method).or_insert((confidence, 0)).1 += rows,
            None => counts.unknown += rows,
        }
    }

    /// The table.
    pub fn table(self) -> Joins {
        let mut table = Joins::default();
        for ((process_id, (kind, table_name)), Counts { unknown, mut by_method }) in self.counts {
            let rows = by_method.values().fold(unknown, |sum, (_, joined)| sum + joined);
            if by_method.is_empty() {
                by_method.insert("none", (0.0, 0));
            }
            for (method, (confidence, joined)) in by_method {
                table.push(Join {
                    process_id,
                    process: process_id.and_then(|process| self.titles.get(&process).cloned()),
                    kind: kind.into(),
                    table_name: table_name.into(),
                    method: method.into(),
                    confidence,
                    rows,
                    joined,
                    unknown,
                });
            }
        }
        table
    }
}
