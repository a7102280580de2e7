//! `kvpath-agent man DIR`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

use super::Cli;

/// Write the man pages of this program, one a command; for packagers.
#[derive(Debug, Args)]
pub struct Man {
    /// An existing folder.
    pub dir: PathBuf,
}

impl Man {
    /// Writes them.
    ///
    /// # Errors
    /// The folder is not there or cannot be written.
    pub fn write(&self) -> anyhow::Result<()> {
        clap_mangen::generate_to(Cli::command(), &self.dir).with_context(|| self.dir.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        Man { dir: folder.path().to_owned() }.write().unwrap();
        let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(page("kvpath-agent.1").contains("transfers over NIXL"));
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let text = page(&format!("kvpath-agent-{}.1", command.get_name()));
            assert!(text.contains(".SH OPTIONS") || text.contains(".SH SUBCOMMANDS"), "{}: {text}", command.get_name());
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Man { dir: PathBuf::from("/nonexistent/folder") }.write().unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/folder"), "{error:#}");
    }
}
