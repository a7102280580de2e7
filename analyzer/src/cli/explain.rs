//! `kvpath explain CATEGORY`: what the categories of paths mean.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use kvpath_analysis::path::category::Category;

use super::stdout::print;
use crate::error::OK;

/// What a category of `kvpath path` means; without one, what each means.
#[derive(Debug, Args)]
pub struct Explain {
    /// Its name, such as `ready_wait`.
    pub category: Option<String>,
    /// How it is printed.
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// How categories are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line a category.
    Text,
    /// The page `docs/categories.md`.
    Markdown,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let shown = match &self.category {
            Some(name) => vec![find(name)?],
            None => Category::ALL.to_vec(),
        };
        print(&match self.format {
            Format::Text => text(&shown),
            Format::Markdown => markdown(&shown),
        })?;
        Ok(OK)
    }
}

fn find(name: &str) -> anyhow::Result<Category> {
    Category::named(name).ok_or_else(|| {
        let all: Vec<&str> = Category::ALL.iter().map(|category| category.name()).collect();
        anyhow::anyhow!("no category `{name}`; there are {}", all.join(", "))
    })
}

fn text(categories: &[Category]) -> String {
    let width = categories.iter().map(|category| category.name().len()).max().unwrap_or(0);
    categories.iter().fold(String::new(), |mut out, category| {
        let _ = writeln!(out, "{:width$}  {}", category.name(), category.meaning());
        out
    })
}

fn markdown(categories: &[Category]) -> String {
    let mut out = String::from(
        "# Categories of the path\n\nWhat the time on a critical path goes to (`kvpath path`, the column `category` of \
         `critical_path`), in the order in which a\nrequest meets them. `kvpath explain CATEGORY` prints the same. This page is \
         generated: `kvpath explain --format markdown`.\n\n| category | the time goes to |\n|---|---|\n",
    );
    for category in categories {
        let _ = writeln!(out, "| `{}` | {} |", category.name(), category.meaning());
    }
    out
}
