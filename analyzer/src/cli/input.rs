//! The run that a command reads, and what it takes of it.

use clap::Args;
use kvpath_analysis::error::LoadError;
use kvpath_analysis::load::Run;

/// A run to be read.
#[derive(Debug, Clone, Args)]
pub struct Input {
    /// A run: a folder of segments, a glob, or one segment.
    pub run: String,
    /// Of several runs, this one.
    #[arg(long = "run", value_name = "NAME")]
    pub one: Option<String>,
    /// Refuse the run if one of its segments is damaged, instead of leaving that segment out.
    #[arg(long)]
    pub strict: bool,
}

impl Input {
    /// Opens it; one that is to be chosen from several must be named.
    pub(super) fn open(&self) -> Result<Run, LoadError> {
        Run::only(&self.run, self.open_all()?)
    }

    /// Opens it, or all of several.
    pub(super) fn open_all(&self) -> Result<Vec<Run>, LoadError> {
        let runs = Run::open_all(&self.run, self.strict)?;
        match &self.one {
            Some(label) => Ok(vec![Run::labelled(&self.run, label, runs)?]),
            None => Ok(runs),
        }
    }

    /// Opens another run in the same way.
    pub(super) fn open_other(&self, name: &str) -> Result<Run, LoadError> {
        Run::only(name, Run::open_all(name, self.strict)?)
    }
}

/// Names on standard error what was left out.
pub(super) fn warn(run: &Run) {
    for damaged in &run.damaged {
        eprintln!("kvpath: {damaged}");
    }
}
