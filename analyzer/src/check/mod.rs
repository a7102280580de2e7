//! Is a run whole? Files that cannot be read, files cut off in writing, counted drops, and signs of uncounted loss.

mod audited;
pub mod text;

use arrow::error::ArrowError;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::capture::Drops;
use kvpath_schema::tables::stuck::Stuck;
use serde_json::{Value, json};

use crate::error::{BAD_INPUT, FOUND, OK};
use crate::json::Output;
use crate::report::json as report_json;
use audited::Audited;
use kvpath_analysis::error::LoadError;
use kvpath_analysis::load::Run;
use kvpath_analysis::load::losses::Losses;
use kvpath_analysis::model::{Analysis, Loaded, Model};
use kvpath_analysis::settings::Settings;
use kvpath_analysis::spill::Memory;

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
    /// What the recording itself says that it lacks.
    pub losses: Losses,
    /// Signs of loss that nobody counted.
    pub lost: Vec<String>,
    /// Why coverage could not be judged, if so.
    pub not_judged: Option<String>,
    /// What each process's records cover.
    pub analysis: Analysis,
    /// How far the paths of requests agree with what the GPUs alone say, a line each.
    pub audit: Vec<String>,
}

impl Checked {
    /// Checks a run.
    ///
    /// # Errors
    /// Nothing in it decodes, or damage is not accepted.
    pub fn of(mut run: Run, memory: &Memory) -> Result<Self, LoadError> {
        run.verify()?;
        // Segments that do not decode are out by now, so these reads meet only whole ones.
        let losses = Losses::of(&run)?;
        let settings = Settings { memory: memory.clone(), ..Settings::default() };
        let (run, judged) = match Model::reading(run.clone(), &settings, |model| model.recording().map(drop)) {
            Ok(model) => {
                let judged = judged(&model);
                (model.run().clone(), judged)
            }
            Err(error) => (run, Err(error)),
        };
        let (analysis, audit, not_judged) = match judged {
            Ok((analysis, audit)) => (analysis, audit, None),
            Err(error) => (Analysis::default(), Vec::new(), Some(error.to_string())),
        };
        let unreadable = run.damaged.iter().map(|damaged| damaged.error.clone()).collect();
        let mut lost = analysis.findings(&Stuck::default()).missing();
        lost.extend(unnamed(&analysis));
        Ok(Self {
            run: run.name.clone(),
            segments: run.segments.len(),
            rows: run.segments.iter().map(|segment| segment.rows).sum(),
            unreadable,
            losses,
            lost,
            not_judged,
            analysis,
            audit,
        })
    }

    /// 0: whole; 1: something is lost, or cannot be read; 2: coverage could not be judged.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.not_judged.is_some() {
            BAD_INPUT
        } else if self.unreadable.is_empty() && self.losses.is_empty() && self.lost.is_empty() {
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
        for drop in &self.losses.drops {
            drops.push(drop.clone());
        }
        let mut object = json!({
            "run": self.run,
            "segments": self.segments,
            "rows": self.rows,
            "unreadable": self.unreadable,
            "partial": self.losses.partial,
            "notes": self.losses.notes,
            "drops": report_json::rows(&drops.to_batch())?,
            "lost": self.lost,
            "not_judged": self.not_judged,
            "coverage": report_json::rows(&self.analysis.coverage.to_batch())?,
            "audit": self.audit,
        });
        if self.analysis.clocks.len() > 1 {
            object["clocks"] = report_json::rows(&self.analysis.clocks.to_batch())?;
        }
        Ok(Output::Check.stamped(object))
    }
}

/// What the processes' records cover, and how far paths agree with them.
fn judged(model: &Model) -> Loaded<(Analysis, Vec<String>)> {
    let mut audited = Audited::default();
    model.walker()?.each(|_| true, |path, _| audited.add(path));
    Ok((model.analysis()?.clone(), audited.lines()))
}

/// Processes that records name and `processes` does not.
fn unnamed(analysis: &Analysis) -> Vec<String> {
    let coverage = &analysis.coverage;
    let mut ids: Vec<i64> = (0..coverage.len())
        .filter(|row| coverage.process[*row].is_empty())
        .map(|row| coverage.process_id[row])
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter()
        .map(|id| format!("process {id}: has records but no title; is its row of `processes` lost?"))
        .collect()
}
