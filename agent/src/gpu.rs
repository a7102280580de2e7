//! The commands that are about the GPU alone: `env` and `level`.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use kvpath_ring::{Reader, file};
use kvpath_schema::wire::ring::{Level, State, header};

use crate::capture::cupti::environment::{library, variables};
use crate::capture::cupti::folders::{Folders, host_pid, rings};
use crate::error::AgentError;

/// Which processes a level is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// All that have a ring.
    All,
    /// One, by its pid, on this host or as it sees it itself.
    Pid(u64),
}

/// Prints the variables that have a program recorded at that level, as shell commands.
///
/// # Errors
/// The library is missing.
pub fn env(level: Level) -> Result<(), AgentError> {
    let library = library().ok_or(AgentError::NoInjection)?;
    for (name, value) in variables(&library, None, level) {
        let value = value.to_string_lossy().replace('\'', r"'\''");
        // A reader that stops reading is no failure of ours.
        let _ = writeln!(std::io::stdout(), "export {name}='{value}'");
    }
    Ok(())
}

/// How long a process has to follow, and how often it is looked at. Its thread goes round every 25 ms.
const FOLLOW: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// Asks processes for a level, and says of each what became of it.
///
/// # Errors
/// There is none, one cannot be asked, or one cannot go to that level.
pub fn level(target: Target, level: Level) -> Result<(), AgentError> {
    let mut asked = Vec::new();
    for path in rings(&Folders::All) {
        let failed = |error: String| AgentError::Ring { path: path.clone(), error };
        // What cannot be read may belong to another version, or be in the making.
        let Ok(reader) = file::open_beside(&path) else { continue };
        let told = reader.word(header::PID);
        let pid = i32::try_from(told).ok().and_then(|told| host_pid(told, reader.word(header::START_TICKS)));
        let pid = pid.and_then(|pid| u64::try_from(pid).ok()).unwrap_or(told);
        let is_meant = target == Target::All || [Target::Pid(pid), Target::Pid(told)].contains(&target);
        if is_meant && file::is_alive(&reader).map_err(|error| failed(error.to_string()))? {
            reader.ask_for(level).map_err(|error| failed(error.to_string()))?;
            asked.push((pid, reader));
        }
    }
    if asked.is_empty() {
        return Err(AgentError::NoRing(match target {
            Target::Pid(pid) => pid.to_string(),
            Target::All => "here".to_owned(),
        }));
    }
    let until = Instant::now() + FOLLOW;
    let mut refused = Vec::new();
    for (pid, mut reader) in asked {
        let became = loop {
            let became = level_reached(&mut reader, level);
            if became != LevelReached::Silent || Instant::now() > until {
                break became;
            }
            std::thread::sleep(LOOK);
        };
        let _ = writeln!(std::io::stdout(), "{pid}: {}", became.text(level, &reader));
        if became == LevelReached::Refused {
            refused.push(pid);
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(AgentError::LevelRefused { pids: refused, level: level.text() }) }
}

/// What a process did when it was asked for a level of GPU recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LevelReached {
    InForce,
    Refused,
    /// In force as soon as there is something to record.
    Waiting,
    /// CUPTI is not recording for another reason, which the state says.
    NotRecording,
    /// Nothing yet.
    Silent,
}

fn level_reached(reader: &mut Reader<File>, level: Level) -> LevelReached {
    if reader.look().is_err() {
        return LevelReached::Silent;
    }
    match reader.state() {
        _ if reader.refused() == Some(level) => LevelReached::Refused,
        State::Running if reader.level() == level => LevelReached::InForce,
        State::Unused => LevelReached::Waiting,
        State::Waiting if level == Level::Off => LevelReached::InForce,
        // It may be about to attach, or to follow.
        State::Waiting | State::Running => LevelReached::Silent,
        State::NotFound | State::Unsuitable | State::Refused | State::Aside => LevelReached::NotRecording,
    }
}

impl LevelReached {
    fn text(self, level: Level, reader: &Reader<File>) -> String {
        let level = level.text();
        match self {
            Self::InForce => level.to_owned(),
            Self::Refused => format!("{level} is refused, {} stays", reader.level().text()),
            Self::Waiting | Self::Silent => format!("{level} is asked for: {}", reader.state().text()),
            Self::NotRecording => format!("{level} is asked for, but nothing is recorded: {}", reader.state().text()),
        }
    }
}
