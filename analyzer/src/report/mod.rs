//! What people read: text for a terminal, and the same as one JSON object.

pub mod against;
pub mod clocks;
pub mod findings;
pub mod gathered;
pub mod json;
pub mod path;
pub mod table;
pub mod text;
pub mod title;
pub mod units;

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
    /// What the recording says that it lacks.
    pub losses: &'a Losses,
    /// Only this request, by number.
    pub only: Option<i32>,
}

impl Report<'_> {
    /// What is missing: segments that cannot be read, counted losses, files cut off, and signs of loss that nobody counted.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> = self.run.damaged.iter().map(ToString::to_string).collect();
        missing.extend(self.losses.lines());
        missing.extend(findings::missing(self.analysis));
        missing
    }

    /// Whether a request is to be shown.
    #[must_use]
    pub fn shows(&self, request: i32) -> bool {
        self.only.is_none_or(|only| only == request)
    }
}
