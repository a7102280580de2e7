//! Whether return probes harm processes that are confined by seccomp.
//!
//! Since Linux 6.11 a return probe on x86-64 returns through the system call `uretprobe`. A filter that does not know it
//! kills the process, or fails the call, which ends no better; newer kernels do not show this call to filters. Which kind
//! this kernel is, is found out by trying: version numbers do not tell, for fixes are backported.

mod ffi;

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;

use crate::capture::nixl::attach::Programs;
use crate::capture::nixl::builds;
use crate::discover::{Discovery, Notice};
use crate::own;

/// What a library is left alone for.
pub const WOULD_KILL: &str = "return probes would kill processes confined by seccomp on this kernel";

/// What was found out.
#[derive(Debug)]
pub enum Verdict {
    /// A confined process lives on.
    Spared,
    /// A confined process ended so.
    Killed(String),
    /// It could not be tried, so confined processes are left alone.
    Unknown(String),
}

impl Verdict {
    /// Whether return probes may be on libraries that confined processes map.
    pub fn is_spared(&self) -> bool {
        matches!(self, Self::Spared)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spared => write!(f, "a confined process lives on after a return probe"),
            Self::Killed(how) => write!(f, "a return probe ends a confined process: {how}"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

/// Tries it on a child of ours.
pub fn attempt(programs: &mut Programs) -> Verdict {
    let Some(offset) = offset_of_probed() else {
        return Verdict::Unknown("this program does not find itself in memory".to_owned());
    };
    let child = match ffi::Child::start() {
        Ok(child) => child,
        Err(error) => return Verdict::Unknown(format!("no child to try it on: {error}")),
    };
    let pid = child.pid();
    let attached = programs.attach_to_own(&[(offset, true)], Some(pid));
    let ended = child.finish(attached.is_ok());
    let was_seen = i32::try_from(pid).is_ok_and(|pid| {
        programs.take_in_flight(|of, _| of == pid);
        !programs.take_polls(Some(pid)).is_empty()
    });
    let attached = match attached {
        Ok(attached) => attached,
        Err(error) => return Verdict::Unknown(error.to_string()),
    };
    if let Err(error) = programs.detach_from_own(attached) {
        return Verdict::Unknown(error.to_string());
    }
    verdict(ended.map(|status| (status.code(), status.signal())), was_seen)
}

fn verdict(ended: io::Result<(Option<i32>, Option<i32>)>, was_seen: bool) -> Verdict {
    match ended {
        Ok((Some(0), _)) if was_seen => Verdict::Spared,
        Ok((Some(0), _)) => Verdict::Unknown("the return probe was not hit".to_owned()),
        Ok((Some(ffi::NO_FILTER), _)) => Verdict::Unknown("no seccomp filter can be installed".to_owned()),
        Ok((_, Some(signal))) => Verdict::Killed(format!("killed by signal {signal}")),
        Ok((code, None)) => Verdict::Unknown(format!("exit code {code:?}")),
        Err(error) => Verdict::Unknown(error.to_string()),
    }
}

/// Where in our file the function to probe lies.
fn offset_of_probed() -> Option<u64> {
    own::offset_of(ffi::probed as extern "C" fn(u64, u64) -> u32 as usize as u64)
}

/// Whether a process is confined by a filter.
pub fn confines(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/status")).is_ok_and(|status| is_filtered(&String::from_utf8_lossy(&status)))
}

/// Whether any process that maps a NIXL library is.
pub fn confines_any() -> bool {
    Discovery::scan_all(builds::is_candidate)
        .into_iter()
        .any(|notice| matches!(notice, Notice::Mapped { pid, .. } if confines(pid)))
}

fn is_filtered(status: &str) -> bool {
    status.lines().find_map(|line| line.strip_prefix("Seccomp:")).is_some_and(|mode| mode.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confined_processes_are_told_by_their_status() {
        assert!(is_filtered("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!is_filtered("Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t0\n"));
        assert!(!is_filtered(""));
        assert!(!confines(i32::MAX));
    }

    #[test]
    fn only_a_child_that_was_seen_to_live_on_is_proof() {
        assert!(matches!(verdict(Ok((Some(0), None)), true), Verdict::Spared));
        assert!(matches!(verdict(Ok((None, Some(libc::SIGSYS))), false), Verdict::Killed(how) if how.ends_with("31")));
        for (ended, was_seen) in [((Some(0), None), false), ((Some(3), None), true), ((Some(2), None), false)] {
            assert!(matches!(verdict(Ok(ended), was_seen), Verdict::Unknown(_)), "{ended:?}");
        }
    }

    #[test]
    fn a_confined_child_can_be_let_go_and_can_call() {
        assert_eq!(ffi::Child::start().unwrap().finish(false).unwrap().code(), Some(2));
        assert_eq!(ffi::Child::start().unwrap().finish(true).unwrap().code(), Some(0));
        assert!(offset_of_probed().is_some());
    }
}
