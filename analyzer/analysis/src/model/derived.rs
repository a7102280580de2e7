//! The registry of derived tables: each is its definition and how the model makes it. Whoever lists tables lists these.

use std::fmt;

use arrow::array::RecordBatch;
use kvpath_schema::table::{Columns as _, TableDef};
use kvpath_schema::tables::contacts::FirstContacts;
use kvpath_schema::tables::derived::{Bubbles, Chunks, Clocks, Coverages, Handoffs, Layers, Requests, Stages, Steps};
use kvpath_schema::tables::findings::Findings;
use kvpath_schema::tables::heartbeats::Heartbeats;
use kvpath_schema::tables::joins::{Joins, TransferJoins};
use kvpath_schema::tables::path::{CriticalPath, Edges, Paths, Slacks};
use kvpath_schema::tables::purposes::OtherTransfers;
use kvpath_schema::tables::stuck::Stuck;

use super::{Loaded, Model};
use crate::path::{RunPaths, Walker};

/// How the rows of a table are made.
#[derive(Debug, Clone, Copy)]
pub enum RowOrigin {
    /// All at once.
    Whole(fn(&Model) -> Loaded<RecordBatch>),
    /// As the paths of requests are walked, of any number of them.
    Walked(fn(&RunPaths) -> RecordBatch),
    /// Of one request, by number, at a time: a function in SQL and no table. None where there is no such request.
    OfRequest(fn(&Walker, i32) -> Option<RecordBatch>),
}

/// A derived table.
#[derive(Clone, Copy)]
pub struct Derived {
    /// Its definition.
    pub table: &'static TableDef,
    /// How its rows are made.
    pub rows: RowOrigin,
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derived").field("table", &self.table.name).finish_non_exhaustive()
    }
}

/// All of them, in the order of the documentation.
pub static TABLES: [Derived; 20] = [
    Derived { table: Stages::DEF, rows: RowOrigin::Whole(|model| Ok(model.analysis()?.stages.to_batch())) },
    Derived { table: Requests::DEF, rows: RowOrigin::Whole(|model| Ok(model.analysis()?.requests.to_batch())) },
    Derived { table: Steps::DEF, rows: RowOrigin::Whole(|model| Ok(model.analysis()?.steps.to_batch())) },
    Derived { table: Chunks::DEF, rows: RowOrigin::Whole(|model| Ok(model.analysis()?.chunks.to_batch())) },
    Derived { table: Bubbles::DEF, rows: RowOrigin::Whole(|model| Ok(model.analysis()?.bubbles.to_batch())) },
    Derived { table: Layers::DEF, rows: RowOrigin::Whole(|model| Ok(model.analysis()?.layers.to_batch())) },
    Derived { table: Handoffs::DEF, rows: RowOrigin::Whole(|model| Ok(model.analysis()?.handoffs.to_batch())) },
    Derived { table: Stuck::DEF, rows: RowOrigin::Whole(|model| Ok(model.stuck()?.to_batch())) },
    Derived { table: FirstContacts::DEF, rows: RowOrigin::Whole(|model| Ok(model.analysis()?.contacts.to_batch())) },
    Derived { table: Heartbeats::DEF, rows: RowOrigin::Whole(|model| Ok(model.analysis()?.heartbeats.to_batch())) },
    Derived { table: OtherTransfers::DEF, rows: RowOrigin::Whole(|model| Ok(model.analysis()?.others.to_batch())) },
    Derived { table: Coverages::DEF, rows: RowOrigin::Whole(|model| Ok(model.analysis()?.coverage.to_batch())) },
    Derived {
        table: Findings::DEF,
        rows: RowOrigin::Whole(|model| Ok(model.findings()?.sized(|| model.walker())?.to_batch())),
    },
    Derived { table: Paths::DEF, rows: RowOrigin::Walked(|found| found.paths.to_batch()) },
    Derived { table: CriticalPath::DEF, rows: RowOrigin::Walked(|found| found.segments.to_batch()) },
    Derived { table: Clocks::DEF, rows: RowOrigin::Whole(|model| Ok(model.clocks()?.to_batch())) },
    Derived { table: Joins::DEF, rows: RowOrigin::Whole(|model| Ok(model.joined()?.joins.to_batch())) },
    Derived { table: TransferJoins::DEF, rows: RowOrigin::Whole(|model| Ok(model.joined()?.transfers.to_batch())) },
    Derived { table: Edges::DEF, rows: RowOrigin::OfRequest(|walker, number| Some(walker.edges(number)?.to_batch())) },
    Derived { table: Slacks::DEF, rows: RowOrigin::OfRequest(|walker, number| Some(walker.slack(number)?.to_batch())) },
];

impl Derived {
    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|derived| derived.table.name == name)
    }

    /// Whether it is made of one request at a time.
    #[must_use]
    pub fn is_of_request(&self) -> bool {
        matches!(self.rows, RowOrigin::OfRequest(_))
    }
}

/// The definitions of those that are tables; of the others, that are functions of a request, with `of_request`.
pub fn definitions(of_request: bool) -> impl Iterator<Item = &'static TableDef> {
    TABLES.iter().filter(move |derived| derived.is_of_request() == of_request).map(|derived| derived.table)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use kvpath_schema::tables::RAW;

    use super::*;

    #[test]
    fn names_are_unique_and_sort_columns_exist() {
        let mut seen: HashSet<&str> = RAW.iter().map(|table| table.name).collect();
        for Derived { table, .. } in &TABLES {
            assert!(seen.insert(table.name), "{} is defined twice", table.name);
            for column in table.sorted_by {
                assert!(table.column(column).is_some(), "{}: sorted by unknown `{column}`", table.name);
            }
        }
    }

    #[test]
    fn every_column_of_time_carries_its_unit() {
        for Derived { table, .. } in &TABLES {
            for name in table.columns.iter().map(|column| column.name) {
                for word in ["start", "end", "dur", "time", "first", "last"] {
                    assert!(!name.starts_with(word) || name.ends_with("_ns"), "{}.{name}", table.name);
                }
            }
        }
    }
}
