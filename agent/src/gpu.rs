//! The commands that are about the GPU alone: `env` and `level`.

use std::io::Write as _;

use kvpath_ring::file;
use kvpath_schema::wire::ring::header;

use crate::capture::cupti::environment::{library, variables};
use crate::capture::cupti::source::{Folders, rings};
use crate::cli::{ChangeLevel, Env, Target};
use crate::error::AgentError;

/// Prints the variables as shell commands.
///
/// # Errors
/// The library is missing.
pub fn env(options: &Env) -> Result<(), AgentError> {
    let library = library().ok_or(AgentError::NoInjection)?;
    for (name, value) in variables(&library, None, options.gpu) {
        let value = value.to_string_lossy().replace('\'', r"'\''");
        // A reader that stops reading is no failure of ours.
        let _ = writeln!(std::io::stdout(), "export {name}='{value}'");
    }
    Ok(())
}

/// Asks processes for a level.
///
/// # Errors
/// There is none, or one cannot be asked.
pub fn level(options: &ChangeLevel) -> Result<(), AgentError> {
    let mut asked = 0;
    for path in rings(&Folders::All) {
        let failed = |error: String| AgentError::Ring { path: path.clone(), error };
        // What cannot be read may belong to another version, or be in the making.
        let Ok(reader) = file::open_beside(&path) else { continue };
        let pid = reader.word(header::PID);
        let is_meant = options.target == Target::All || options.target == Target::Pid(pid);
        if is_meant && file::is_alive(&reader).map_err(|error| failed(error.to_string()))? {
            reader.ask_for(options.level).map_err(|error| failed(error.to_string()))?;
            asked += 1;
            let _ = writeln!(std::io::stdout(), "{pid}: {}", options.level.text());
        }
    }
    match (asked, options.target) {
        (0, Target::Pid(pid)) => Err(AgentError::NoRing(pid.to_string())),
        (0, Target::All) => Err(AgentError::NoRing("here".to_owned())),
        _ => Ok(()),
    }
}
