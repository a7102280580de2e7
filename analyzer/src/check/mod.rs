//! Is a run whole? Files that cannot be read, files cut off in writing, counted drops, and signs of uncounted loss.

pub mod decode;
pub mod text;

use arrow::error::ArrowError;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::capture::{Drop, Drops};
use serde_json::{Value, json};

use crate::analysis::{Analysis, Raw, Settings};
use crate::error::{BAD_INPUT, FOUND, LoadError, OK};
use crate::load::Survey;
use crate::report::{findings, json as report_json};

/// What was found.
#[derive(Debug)]
pub struct Checked {
    /// The run, as named.
    pub run: String,
    /// Segments that decode.
    pub segments: usize,
    /// Rows in them.
    pub rows: i64,
    /// What cannot be read, a line each.
    pub unreadable: Vec<String>,
    /// Files whose writing was cut off.
    pub partial: Vec<String>,
    /// Counted losses.
    pub drops: Vec<Drop>,
    /// Signs of loss that nobody counted.
    pub lost: Vec<String>,
    /// Why coverage could not be judged, if so.
    pub not_judged: Option<String>,
    /// What each process's records cover.
    pub analysis: Analysis,
}

impl Checked {
    /// Checks the run that `name` names.
    ///
    /// # Errors
    /// Nothing there, or not a run.
    pub fn of(name: &str) -> Result<Self, LoadError> {
        let Survey { mut run, bad } = Survey::of(name)?;
        let mut unreadable: Vec<String> = bad.iter().map(ToString::to_string).collect();
        run.segments.retain(|segment| match decode::whole(segment) {
            Ok(()) => true,
            Err(error) => {
                unreadable.push(error);
                false
            }
        });
        // Segments that do not decode are out by now, so these reads meet only whole ones.
        let drops: Drops = run.table()?;
        let (analysis, not_judged) = match Raw::of(&run) {
            Ok(raw) => (Analysis::of(&raw, &Settings::default()), None),
            Err(error) => (Analysis::default(), Some(error.to_string())),
        };
        Ok(Self {
            run: run.name.clone(),
            segments: run.segments.len(),
            rows: run.segments.iter().map(|segment| segment.rows).sum(),
            unreadable,
            partial: run.partial.iter().map(|path| path.display().to_string()).collect(),
            drops: (0..drops.len()).map(|row| drops.row(row)).collect(),
            lost: findings::missing(&analysis),
            not_judged,
            analysis,
        })
    }

    /// 0: whole; 1: something is lost; 2: a file cannot be read, or coverage could not be judged.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if !self.unreadable.is_empty() || self.not_judged.is_some() {
            BAD_INPUT
        } else if self.partial.is_empty() && self.drops.is_empty() && self.lost.is_empty() {
            OK
        } else {
            FOUND
        }
    }

    /// As one JSON object.
    ///
    /// # Errors
    /// A value that JSON cannot hold.
    pub fn json(&self) -> Result<Value, ArrowError> {
        let mut drops = Drops::default();
        for drop in &self.drops {
            drops.push(drop.clone());
        }
        Ok(json!({
            "run": self.run,
            "segments": self.segments,
            "rows": self.rows,
            "unreadable": self.unreadable,
            "partial": self.partial,
            "drops": report_json::rows(&drops.to_batch())?,
            "lost": self.lost,
            "not_judged": self.not_judged,
            "coverage": report_json::rows(&self.analysis.coverage.to_batch())?,
        }))
    }
}
