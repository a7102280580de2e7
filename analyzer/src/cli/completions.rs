//! `kvpath completions SHELL`.

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::{generate, shells};

use super::Cli;
use super::stdout::print;
use crate::error::OK;

/// Print completions of this program for a shell.
///
/// bash: `source <(kvpath completions bash)`. zsh: save them as `_kvpath` in a folder of `$fpath`. fish: save them as
/// `~/.config/fish/completions/kvpath.fish`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Shells that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// Fish.
    Fish,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        print(&self.shell.completions())?;
        Ok(OK)
    }
}

impl Shell {
    fn completions(self) -> String {
        let (mut cli, mut out) = (Cli::command(), Vec::new());
        match self {
            Self::Bash => generate(shells::Bash, &mut cli, "kvpath", &mut out),
            Self::Zsh => generate(shells::Zsh, &mut cli, "kvpath", &mut out),
            Self::Fish => generate(shells::Fish, &mut cli, "kvpath", &mut out),
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_is_completed() {
        for shell in Shell::value_variants() {
            let text = shell.completions();
            for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
                assert!(text.contains(command.get_name()), "{shell:?}: {} is missing", command.get_name());
                for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                    assert!(text.contains(option), "{shell:?}: --{option} of {} is missing", command.get_name());
                }
            }
        }
    }
}
