//! Where several reports stand to each other: each counts from the start of its own session.
//!
//! On one host the sessions' starts by the host's own clock (`ANALYSIS_DETAILS`, counted by the TSC since the host booted) say it to
//! the ns, where the wall clock (`TARGET_INFO_SESSION_START_TIME`) agrees that both are of one boot. Else the wall clock alone does,
//! which may have been stepped between them, and differs from host to host by what NTP leaves.

use std::path::{Path, PathBuf};

use super::error::ImportError;

/// Clocks of one host drift apart by less, parts per million: a wall clock is slewed by 500 at most.
const DRIFT_PPM: i128 = 500;
/// And both are read within this of each other, ns.
const READ_NS: i64 = 10_000_000;

/// When a report's times begin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Began {
    /// The host, where the report names it.
    pub(super) host: Option<String>,
    /// Wall clock at the zero of its times, ns since 1970.
    pub(super) wall_ns: Option<i64>,
    /// The host's own clock there, ns since it booted.
    pub(super) own_ns: Option<i64>,
}

/// Where a report was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    /// The partition `node=`.
    pub(super) host: String,
    /// From its times to the run's, ns.
    pub(super) shift_ns: i64,
    /// How that is known, for people.
    pub(super) how: String,
}

/// Places reports on one axis, whose zero is that of the earliest; also says that by the wall clock.
pub(super) fn all(reports: &[(PathBuf, String, Began)]) -> Result<(i64, Vec<Placed>), ImportError> {
    let walls = reports.iter().map(|(path, _, began)| wall(path, began));
    let walls = walls.collect::<Result<Vec<i64>, ImportError>>()?;
    let zero = walls.iter().copied().min().unwrap_or(0);
    let hosts: Vec<&str> = reports.iter().map(|(_, name, began)| began.host.as_deref().unwrap_or(name)).collect();
    let placed = (0..reports.len()).map(|at| {
        // The earliest of its host is by the wall clock, the others by it.
        let of_host = (0..reports.len()).filter(|other| hosts[*other] == hosts[at]);
        let first = of_host.min_by_key(|other| (walls[*other], *other)).unwrap_or(at);
        let (later, how) = if first == at {
            let several = hosts.iter().any(|host| *host != hosts[at]);
            let how = if several {
                "by the wall clock of its host; how far that is off is not recorded"
            } else {
                "where the run begins"
            };
            (0, how.to_owned())
        } else {
            after((walls[first], reports[first].2.own_ns), (walls[at], reports[at].2.own_ns))
        };
        Placed { host: hosts[at].to_owned(), shift_ns: walls[first].saturating_sub(zero).saturating_add(later), how }
    });
    Ok((zero, placed.collect()))
}

fn wall(path: &Path, began: &Began) -> Result<i64, ImportError> {
    began.wall_ns.ok_or_else(|| ImportError::NoClock(path.to_owned()))
}

/// How much later the second of two reports of a host began, ns, and how that is known. Each: wall clock, own clock.
fn after(first: (i64, Option<i64>), second: (i64, Option<i64>)) -> (i64, String) {
    let by_wall = second.0.saturating_sub(first.0);
    let by_own = first.1.zip(second.1).and_then(|(first, second)| second.checked_sub(first));
    let apart = by_own.map(|own| own.abs_diff(by_wall));
    match (by_own, apart) {
        (Some(own), Some(apart)) if apart <= allowed(by_wall) => {
            (own, format!("by the host's own clock; its wall clock says {apart} ns else"))
        }
        (_, apart) => {
            let why = apart
                .map(|apart| format!(": the host's own clock says {apart} ns else, so it was set or the host booted"));
            (by_wall, format!("by the host's wall clock{}", why.unwrap_or_default()))
        }
    }
}

/// How far two clocks of one boot may come apart in a time, ns.
fn allowed(ns: i64) -> u64 {
    let drift = i128::from(ns).abs() * DRIFT_PPM / 1_000_000;
    u64::try_from(drift).unwrap_or(u64::MAX).saturating_add(READ_NS.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn report(name: &str, host: Option<&str>, wall_ns: i64, own_ns: Option<i64>) -> (PathBuf, String, Began) {
        let host = host.map(str::to_owned);
        (PathBuf::from(name), name.to_owned(), Began { host, wall_ns: Some(wall_ns), own_ns })
    }

    #[test]
    fn reports_of_one_boot_are_placed_by_the_hosts_own_clock() {
        let wall = 1_700_000_000 * SECOND;
        let reports = [
            report("b", Some("h"), wall + 2 * SECOND + 900, Some(52 * SECOND)),
            report("a", Some("h"), wall, Some(50 * SECOND)),
        ];
        let (zero, placed) = all(&reports).unwrap();
        assert_eq!(zero, wall);
        assert_eq!((placed[1].shift_ns, placed[1].how.as_str()), (0, "where the run begins"));
        assert_eq!(placed[0].shift_ns, 2 * SECOND);
        assert!(placed[0].how.ends_with("its wall clock says 900 ns else"), "{}", placed[0].how);
    }

    #[test]
    fn another_boot_and_another_host_leave_the_wall_clock_alone() {
        let wall = 1_700_000_000 * SECOND;
        let reports = [
            report("a", Some("h"), wall, Some(5_000 * SECOND)),
            report("b", Some("h"), wall + 9 * SECOND, Some(3 * SECOND)),
            report("c", Some("i"), wall + 4 * SECOND, Some(7 * SECOND)),
            report("d", None, wall + SECOND, None),
        ];
        let (_, placed) = all(&reports).unwrap();
        assert_eq!(placed.iter().map(|placed| placed.shift_ns / SECOND).collect::<Vec<_>>(), [0, 9, 4, 1]);
        assert!(placed[1].how.starts_with("by the host's wall clock: the host's own clock says"), "{}", placed[1].how);
        assert!(placed[2].how.contains("how far that is off is not recorded"), "{}", placed[2].how);
        assert_eq!((placed[2].host.as_str(), placed[3].host.as_str()), ("i", "d"));
    }

    #[test]
    fn a_report_that_does_not_say_when_it_began_cannot_stand_beside_others() {
        let mut reports = [report("a", None, 0, None), report("b", None, 0, None)];
        reports[1].2.wall_ns = None;
        assert!(all(&reports).unwrap_err().to_string().starts_with("b: "));
    }
}
