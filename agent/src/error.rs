//! Why a command fails; each says what to do about it. The exit code is 2.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;

use kvpath_schema::segment::SegmentError;

use crate::capture::error::AttachError;
use crate::clock::KeyError;
use crate::elf::ElfError;

/// Why a command of the agent failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The folder holds something.
    #[error("{} is not empty; a run needs a folder of its own: name another with --out", .0.display())]
    NotEmpty(PathBuf),
    /// The folder cannot be made or looked at.
    #[error("{}: {error}", .path.display())]
    Folder {
        /// Folder.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The settings are no settings.
    #[error("{}: {text}", .path.display())]
    Config {
        /// File.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
    /// Capabilities are missing.
    #[error(
        "recording needs {missing}, which this process lacks: run it as root, or give it \
         CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (`kvpath-agent doctor` says more)"
    )]
    Privileges {
        /// Their names.
        missing: String,
    },
    /// Pids of BPF programs are not those of our `/proc`.
    #[error(
        "this is not the machine's initial PID namespace, so pids seen by probes would be taken for other processes: \
         run with hostPID (Kubernetes) or --pid=host (Docker)"
    )]
    PidNamespace,
    /// Return probes kill confined processes here.
    #[error(
        "--with {asked}: return probes end processes confined by seccomp on this kernel, and may not be put on libraries \
         that any of them may map: leave it out"
    )]
    Confined {
        /// The source.
        asked: &'static str,
    },
    /// The kernel cannot attach many probes by one link.
    #[error("this kernel has no uprobe_multi links; recording needs Linux 6.6 or newer")]
    Kernel,
    /// The programs cannot be used.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A library that was named cannot be opened.
    #[error("--library {}: {error}", .path.display())]
    Library {
        /// File.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A library that was named is none.
    #[error("--library {}: {error}", .path.display())]
    NotALibrary {
        /// File.
        path: PathBuf,
        /// Why.
        error: ElfError,
    },
    /// The command cannot be started.
    #[error("cannot run {command}: {error}; nothing was recorded")]
    Command {
        /// Its name.
        command: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The library for GPU records is missing.
    #[error(
        "{} does not lie beside kvpath-agent; install it there, or record without the GPU: --gpu off",
        crate::capture::cupti::environment::LIBRARY
    )]
    NoInjection,
    /// No process has a ring.
    #[error("no process {0} is being recorded: it must be started with the variables that `kvpath-agent env` prints")]
    NoRing(String),
    /// A level cannot be gone to while the program runs.
    #[error(
        "level {level} is refused by {}: this CUPTI ends programs where it is turned on after graphs were made; start them with \
         KVPATH_LEVEL={level}, or choose kernel",
        .pids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
    )]
    LevelRefused {
        /// The processes.
        pids: Vec<u64>,
        /// The level.
        level: &'static str,
    },
    /// A process has not been asked for a level.
    #[error("{}: {error}", .path.display())]
    Ring {
        /// Its ring.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// Clock probes have no key.
    #[error("clock key {}: {error}", .path.display())]
    ClockKey {
        /// File.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// Clock probes cannot be answered.
    #[error("clock probes at {listen}: {error}; name another address or port")]
    ClockListen {
        /// Address.
        listen: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The run cannot be written.
    #[error("the run cannot be written: {0}")]
    Segment(SegmentError),
    /// There is no room for the run.
    #[error(
        "{}: the disk is full, so the recording has ended; the segments before are whole. Make room, or record to another disk \
         (--out)",
        .0.display()
    )]
    DiskFull(PathBuf),
    /// Signals or polling fail.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        error: std::io::Error,
    },
}

impl From<SegmentError> for AgentError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Io { path, error } if error.kind() == ErrorKind::StorageFull => Self::DiskFull(path),
            error => Self::Segment(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_that() {
        let said = |kind: ErrorKind| {
            AgentError::from(SegmentError::Io { path: "/run/x.partial".into(), error: kind.into() }).to_string()
        };
        let full = said(ErrorKind::StorageFull);
        assert!(full.starts_with("/run/x.partial: the disk is full") && full.contains("--out"), "{full}");
        let other = said(ErrorKind::PermissionDenied);
        assert!(other.contains("cannot be written") && !other.contains("full"), "{other}");
    }
}
