//! `kvpath man DIR`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

use super::Cli;
use crate::error::OK;

/// Write the man pages of this program, one a command; for packagers.
#[derive(Debug, Args)]
pub struct Man {
    /// An existing folder.
    pub dir: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        clap_mangen::generate_to(Cli::command(), &self.dir).with_context(|| self.dir.display().to_string())?;
        Ok(OK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        Man { dir: folder.path().to_owned() }.run().unwrap();
        let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(page("kvpath.1").contains("Offline analyzer for KV"));
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let text = page(&format!("kvpath-{}.1", command.get_name()));
            assert!(text.contains(".SH OPTIONS") || text.contains(".SH SUBCOMMANDS"), "{}: {text}", command.get_name());
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Man { dir: PathBuf::from("/nonexistent/folder") }.run().unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/folder"), "{error:#}");
    }
}
