//! `kvpath check RUN`.

use clap::Args;

use super::input::Input;
use super::limit::Limit;
use super::stdout::print;
use crate::check::{Checked, text};

/// Is the run whole? Damaged files, drops, and what each process's records cover.
///
/// Exit code 0: whole. 1: something is lost, or a file cannot be read. 2: not a run, or coverage cannot be judged.
#[derive(Debug, Args)]
pub struct Check {
    /// The run.
    #[command(flatten)]
    pub input: Input,
    /// Memory.
    #[command(flatten)]
    pub limit: Limit,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let checked = Checked::of(self.input.open()?, &self.limit.memory())?;
        if self.json {
            print(&format!("{}\n", checked.json()?))?;
        } else {
            print(&text::render(&checked))?;
        }
        Ok(checked.exit_code())
    }
}
