//! What a recording does about the GPU: whose rings it drains, and what its command gets to know.

use std::ffi::OsString;
use std::path::PathBuf;

use kvpath_schema::wire::ring::Level;

use super::environment::{library, variables};
use super::folders::{Folders, of_command};
use super::source::Rings;
use crate::error::AgentError;
use crate::settings::Settings;

/// What is recorded of the GPU.
pub enum Plan {
    /// Nothing.
    Off,
    /// The rings of all users; each process is asked for the level, if there is one.
    All(Option<Level>),
    /// Those of a command.
    Command {
        /// The injected library.
        library: PathBuf,
        /// A folder for its rings alone, so that two recordings do not take each other's.
        folder: PathBuf,
        /// The level.
        level: Level,
    },
}

impl Plan {
    /// By the settings.
    ///
    /// # Errors
    /// The GPU is to be recorded and the library is missing.
    pub fn of(settings: &Settings) -> Result<Self, AgentError> {
        Self::choose(settings.gpu, !settings.command.is_empty(), library())
    }

    fn choose(asked: Option<Level>, has_command: bool, library: Option<PathBuf>) -> Result<Self, AgentError> {
        match (asked, has_command, library) {
            (Some(Level::Off), ..) | (None, true, None) => Ok(Self::Off),
            (level, false, _) => Ok(Self::All(level)),
            (Some(_), true, None) => Err(AgentError::NoInjection),
            (level, true, Some(library)) => {
                Ok(Self::Command { library, folder: of_command(), level: level.unwrap_or(Level::Kernel) })
            }
        }
    }

    /// What drains the rings.
    pub fn rings(&self, since_ns: i64) -> Option<Rings> {
        match self {
            Self::Off => None,
            Self::All(level) => Some(Rings::new(Folders::All, *level, since_ns)),
            Self::Command { folder, .. } => Some(Rings::new(Folders::One(folder.clone()), None, since_ns)),
        }
    }

    /// Variables for the command.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        match self {
            Self::Command { library, folder, level } => variables(library, Some(folder), *level),
            Self::Off | Self::All(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_decides_where_nothing_is_said() {
        let library = || Some(PathBuf::from("/x/libkvpath_inject.so"));
        assert!(matches!(Plan::choose(None, true, None), Ok(Plan::Off)));
        assert!(matches!(Plan::choose(Some(Level::Off), false, library()), Ok(Plan::Off)));
        assert!(matches!(Plan::choose(Some(Level::Deep), false, None), Ok(Plan::All(Some(Level::Deep)))));
        assert!(matches!(Plan::choose(Some(Level::Deep), true, None), Err(AgentError::NoInjection)));
        let plan = Plan::choose(None, true, library()).unwrap();
        let variables = plan.variables();
        assert_eq!(variables[0], ("CUDA_INJECTION64_PATH", "/x/libkvpath_inject.so".into()));
        assert_eq!(variables[2], ("KVPATH_LEVEL", "kernel".into()));
        assert_eq!((variables.len(), variables[3].0), (4, "KVPATH_RING_DIR"));
    }
}
