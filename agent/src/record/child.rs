//! The command that is recorded.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use crate::error::AgentError;

/// A running command; its input and output are ours.
pub struct Child {
    process: std::process::Child,
    name: String,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code 0.
    pub is_success: bool,
    /// In words.
    pub text: String,
}

impl Child {
    /// Starts it, with these variables beside our own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(command: &[OsString], variables: &[(&'static str, OsString)]) -> Result<Self, AgentError> {
        let name = command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let process = Command::new(&command[0])
            .args(&command[1..])
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .spawn()
            .map_err(|error| AgentError::Command { command: command[0].to_string_lossy().into_owned(), error })?;
        Ok(Self { process, name })
    }

    /// The command line.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// OS pid.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Outcome> {
        let status = match self.process.try_wait() {
            Ok(status) => status?,
            Err(error) => return Some(Outcome { is_success: false, text: format!("unknown ({error})") }),
        };
        let text = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "unknown".to_owned(),
        };
        Some(Outcome { is_success: status.success(), text })
    }
}
