//! Tables about the tables and the queries.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use kvpath_analysis::model::derived::definitions;
use kvpath_schema::docs::sql_type;
use kvpath_schema::table::{ColumnDef, TableDef};
use kvpath_schema::tables::RAW;

use super::library::{self, Query, signature};

/// The names of every table that a query can read.
pub fn table_names() -> impl Iterator<Item = &'static str> {
    RAW.iter().copied().chain(definitions(false)).map(|def| def.name).chain(["query_catalog", "schema_columns"])
}

/// Every table and function: raw, derived, of a request.
pub fn all_definitions() -> impl Iterator<Item = &'static TableDef> {
    RAW.iter().copied().chain(definitions(false)).chain(definitions(true))
}

fn text(values: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn table<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<MemTable> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, false)))?;
    MemTable::try_new(batch.schema(), vec![vec![batch]])
}

/// `query_catalog`: the library, a row a query.
///
/// # Errors
/// None that is known: the columns are of equal length.
pub fn query_catalog() -> Result<MemTable> {
    let column = |of: fn(&Query) -> String| text(library::all().iter().map(of));
    table([
        ("name", column(|query| query.name.to_owned())),
        ("answers", column(|query| query.header.answers.clone())),
        ("params", column(|query| query.header.params.iter().map(signature).collect::<Vec<_>>().join(", "))),
        (
            "columns",
            column(|query| {
                query.header.columns.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect::<Vec<_>>().join(", ")
            }),
        ),
        ("reads", column(|query| query.header.reads.join(", "))),
    ])
}

/// `schema_columns`: a row a column of every table and function.
///
/// # Errors
/// None that is known: the columns are of equal length.
pub fn schema_columns() -> Result<MemTable> {
    let all: Vec<(&TableDef, &ColumnDef)> =
        all_definitions().flat_map(|def| def.columns.iter().map(move |column| (def, column))).collect();
    let column = |of: fn(&TableDef, &ColumnDef) -> String| text(all.iter().map(|(def, column)| of(def, column)));
    table([
        ("table_name", column(|def, _| def.name.to_owned())),
        ("column_name", column(|_, column| column.name.to_owned())),
        ("type", column(|_, column| sql_type(&(column.data_type)()).to_owned())),
        ("nullable", Arc::new(all.iter().map(|(_, column)| Some(column.nullable)).collect::<BooleanArray>())),
        ("meaning", column(|_, column| column.meaning())),
    ])
}
