//! What a recording is asked to do. The command line and a file of settings both end here.

pub mod file;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use kvpath_schema::segment::host_name;
use kvpath_schema::wire::ring::Level;
use serde::Deserialize;

use crate::clock::Clocking;
use crate::host;

/// What probes may cost where nothing else is asked for, % of a core.
pub const MAX_OVERHEAD: f64 = 5.0;

/// The settings of a recording.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the run; `None`: one named after the time.
    pub out: Option<PathBuf>,
    /// How long to record; `None`: until told to stop, or until the command ends.
    pub duration: Option<Duration>,
    /// Libraries to attach to before any process maps them.
    pub libraries: Vec<PathBuf>,
    /// Folder of layouts that were learned; `None`: the usual one.
    pub layouts: Option<PathBuf>,
    /// How much to record of the GPU, if that is said.
    pub gpu: Option<Level>,
    /// Sources that are asked for.
    pub extras: Vec<OptionalSource>,
    /// Whether the scheduler is left out, which is recorded where the machine allows it.
    pub is_without_scheduler: bool,
    /// Whether the ids of SGLang's requests are not read from the memory of its engines.
    pub is_without_room: bool,
    /// What probes may cost, % of a core.
    pub max_overhead: f64,
    /// Name of this host in the run; `None`: the kernel's.
    pub node: Option<String>,
    /// Clock probes between hosts.
    pub clock: Option<Clocking>,
    /// The command to record; empty: whatever runs.
    pub command: Vec<OsString>,
}

impl Settings {
    /// The name of this host in the run.
    pub fn host(&self) -> String {
        self.node.clone().unwrap_or_else(host::name)
    }

    /// Whether a source that costs more is asked for.
    pub fn asks_for(&self, extra: OptionalSource) -> bool {
        self.extras.contains(&extra)
    }
}

/// A source that can be asked for: then it is an error where it cannot be recorded. But for the scheduler it is recorded only then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionalSource {
    /// UCX.
    Ucx,
    /// RDMA verbs.
    Rdma,
    /// Sockets.
    Sockets,
    /// The scheduler.
    Sched,
    /// NIXL's own telemetry.
    Telemetry,
}

impl OptionalSource {
    /// All.
    pub const ALL: [Self; 5] = [Self::Ucx, Self::Rdma, Self::Sockets, Self::Sched, Self::Telemetry];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ucx => "ucx",
            Self::Rdma => "rdma",
            Self::Sockets => "sockets",
            Self::Sched => "sched",
            Self::Telemetry => "telemetry",
        }
    }

    /// What it is, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Ucx => "UCX",
            Self::Rdma => "RDMA verbs",
            Self::Sockets => "Sockets",
            Self::Sched => "The scheduler",
            Self::Telemetry => "NIXL's own telemetry",
        }
    }
}

/// What is recorded by default and may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeftOut {
    /// The scheduler.
    Sched,
    /// Ids of requests that are read from the memory of engines.
    Room,
}

impl LeftOut {
    /// All.
    pub const ALL: [Self; 2] = [Self::Sched, Self::Room];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sched => "sched",
            Self::Room => "room",
        }
    }

    /// What it is, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Sched => "The scheduler",
            Self::Room => "Ids of SGLang's requests over Mooncake, which are read from the engine's memory",
        }
    }
}

/// Checks a host's name, which becomes that of a folder.
///
/// # Errors
/// What is wrong with it.
pub fn node(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 64 || host_name(text) != text {
        return Err(format!("`{text}` is no host name: 1 to 64 of A-Z, a-z, 0-9, `-`, `_` and `.`"));
    }
    Ok(text.to_owned())
}

/// Whether that is a share of a core, %.
pub fn is_share(percent: f64) -> bool {
    percent > 0.0 && percent.is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_those_of_folders() {
        assert!(node("node-1.rack_2").is_ok() && node("").is_err() && node(&"n".repeat(65)).is_err());
    }

    #[test]
    fn extras_have_the_same_names_in_files() {
        #[derive(Deserialize)]
        struct File {
            with: Vec<OptionalSource>,
        }
        let names = OptionalSource::ALL.map(OptionalSource::name);
        let file: File = toml::from_str(&format!("with = {names:?}")).unwrap();
        assert_eq!(file.with, OptionalSource::ALL);
    }
}
