//! `kvpath queries list|show`.

use clap::{Args, Subcommand, ValueEnum};

use super::stdout::print;
use crate::error::OK;
use crate::sql::library;

/// The library of queries.
#[derive(Debug, Args)]
pub struct Queries {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Name every query and the question that it answers.
    List {
        /// One JSON object with parameters and columns; the same as `--format json`.
        #[arg(long, conflicts_with = "format")]
        json: bool,
        /// How to print them.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Print a query with what it says of itself.
    Show {
        /// Its name, such as `handoffs.slowest`.
        name: String,
    },
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line a query.
    Text,
    /// One object.
    Json,
    /// The page `queries/README.md`.
    Markdown,
}

impl Queries {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        match self.action {
            Action::List { json: true, .. } | Action::List { format: Format::Json, .. } => {
                print(&format!("{:#}\n", library::json()))?;
            }
            Action::List { format: Format::Text, .. } => print(&library::text())?,
            Action::List { format: Format::Markdown, .. } => print(&library::markdown())?,
            Action::Show { name } => print(library::find(&name)?.text)?,
        }
        Ok(OK)
    }
}
