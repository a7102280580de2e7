//! `kvpath-agent completions SHELL`.

use std::io::Write as _;

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::{generate, shells};

use super::Cli;

/// Print completions of this program for a shell.
///
/// bash: `source <(kvpath-agent completions bash)`. zsh: save them as `_kvpath-agent` in a folder of `$fpath`. fish: save them as
/// `~/.config/fish/completions/kvpath-agent.fish`.
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
    /// Prints them.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self) -> std::io::Result<()> {
        std::io::stdout().write_all(self.shell.completions().as_bytes())
    }
}

impl Shell {
    fn completions(self) -> String {
        let (mut cli, mut out) = (Cli::command(), Vec::new());
        match self {
            Self::Bash => generate(shells::Bash, &mut cli, "kvpath-agent", &mut out),
            Self::Zsh => generate(shells::Zsh, &mut cli, "kvpath-agent", &mut out),
            Self::Fish => generate(shells::Fish, &mut cli, "kvpath-agent", &mut out),
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
