//! `kvpath schema`: every table and column, as it is defined.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use kvpath_schema::docs::{self, one_line, sql_type};
use kvpath_schema::table::{Kind, TableDef};
use kvpath_schema::version;
use serde_json::{Value, json};

use super::stdout::print;
use crate::error::OK;
use crate::json::Output;
use crate::report::name::fitted;
use crate::sql::SqlError;
use crate::sql::catalog::all_definitions;
use kvpath_analysis::model::derived::definitions;

/// Tables and columns, with types and meaning.
#[derive(Debug, Args)]
pub struct Schema {
    /// Only this table.
    pub table: Option<String>,
    /// How to print them.
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Characters of a table's meaning in the index.
const INDEX_WIDTH: usize = 100;

/// How the schema is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    Text,
    /// One object.
    Json,
    /// The page `docs/tables.md`, or one table of it.
    Markdown,
}

impl Schema {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let tables: Vec<&TableDef> = match &self.table {
            Some(name) => vec![find(name)?],
            None => all_definitions().collect(),
        };
        print(&match self.format {
            Format::Text if self.table.is_none() => {
                let described: Vec<String> = tables.iter().map(|table| text(table)).collect();
                format!("{}\n{}", index(&tables), described.join("\n"))
            }
            Format::Text => text(tables[0]),
            Format::Json => format!("{:#}\n", json(&tables)),
            Format::Markdown if self.table.is_some() => docs::table(tables[0]),
            Format::Markdown => docs::markdown(definitions(false), definitions(true)),
        })?;
        Ok(OK)
    }
}

fn find(name: &str) -> Result<&'static TableDef, SqlError> {
    all_definitions().find(|table| table.name == name).ok_or_else(|| SqlError::unknown_table(name))
}

/// A line a table.
fn index(tables: &[&TableDef]) -> String {
    let mut out = format!("{} tables; `kvpath schema TABLE` prints one of them alone\n", tables.len());
    let width = tables.iter().map(|table| table.name.len()).max().unwrap_or(0);
    for table in tables {
        let doc = one_line(table.doc);
        let sentence = doc.split_once(". ").map_or(doc.as_str(), |(first, _)| first);
        let _ = writeln!(out, "  {:width$}  {}", table.name, fitted(sentence.trim_end_matches('.'), INDEX_WIDTH));
    }
    out
}

fn text(table: &TableDef) -> String {
    let kind = match table.kind {
        Kind::Raw => "raw",
        Kind::Derived => "derived",
    };
    let mut out = format!("{} ({kind}): {}\n", table.name, one_line(table.doc));
    let width = table.columns.iter().map(|column| column.name.len()).max().unwrap_or(0);
    for column in table.columns {
        let null = if column.nullable { "null" } else { "" };
        let sql_type = sql_type(&(column.data_type)());
        let _ = writeln!(out, "  {:width$}  {sql_type:15}  {null:4}  {}", column.name, column.meaning());
    }
    out
}

fn json(tables: &[&TableDef]) -> Value {
    let table = |table: &&TableDef| {
        let columns: Vec<Value> = table
            .columns
            .iter()
            .map(|column| {
                json!({
                    "name": column.name, "type": sql_type(&(column.data_type)()), "nullable": column.nullable,
                    "meaning": column.meaning(),
                })
            })
            .collect();
        json!({
            "name": table.name, "derived": table.kind == Kind::Derived, "meaning": one_line(table.doc),
            "sorted_by": table.sorted_by, "columns": columns,
        })
    };
    Output::Schema.stamped(json!({
        "schema_version": version::CURRENT, "tables": tables.iter().map(table).collect::<Vec<_>>(),
    }))
}
