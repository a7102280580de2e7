//! What people read: text for a terminal, and the same as one JSON object.

pub mod against;
pub mod clocks;
mod contacts;
pub mod ends;
pub mod gathered;
pub mod json;
pub mod name;
mod others;
mod parallel;
pub mod path;
mod ranks;
pub mod step_section;
pub mod steps;
pub mod stuck;
pub mod table;
pub mod text;

pub use kvpath_analysis::{title, units};

use kvpath_analysis::findings::Findings;
use kvpath_analysis::load::Run;
use kvpath_analysis::load::losses::Losses;
use kvpath_analysis::model::Analysis;

/// What a report is made of.
#[derive(Debug)]
pub struct Report<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its analysis.
    pub analysis: &'a Analysis,
    /// What that justifies saying.
    pub findings: &'a Findings,
    /// What the recording says that it lacks.
    pub losses: &'a Losses,
    /// Paths of some of its steps, where it has steps instead of requests.
    pub step_paths: Option<gathered::PathTotals>,
    /// Only this request, by number.
    pub only: Option<i32>,
}

impl Report<'_> {
    /// What is missing: segments that cannot be read, counted losses, files cut off, and signs of loss that nobody counted.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> = self.run.damaged.iter().map(ToString::to_string).collect();
        missing.extend(self.losses.lines());
        missing.extend(self.findings.missing());
        missing
    }

    /// The findings, those of the request alone if only one is shown.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        self.findings.sentences(self.only)
    }

    /// Whether a request is to be shown.
    #[must_use]
    pub fn shows(&self, request: i32) -> bool {
        self.only.is_none_or(|only| only == request)
    }
}
