//! This machine, for the records.

use std::fs;

fn first_line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.to_owned())
}

/// Host name.
pub fn name() -> String {
    first_line("/proc/sys/kernel/hostname").unwrap_or_else(|| "unknown".to_owned())
}

/// Kernel release.
pub fn kernel() -> String {
    first_line("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned())
}

/// Inode of the PID namespace that a machine boots with (`PROC_PID_INIT_INO` of the kernel).
const INITIAL_PID_NAMESPACE: u32 = 0xefff_fffc;

/// Whether the pids that we see are those that BPF programs see.
pub fn sees_all_pids() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name.to_str() == Some(&*pid_namespace(INITIAL_PID_NAMESPACE)))
}

fn pid_namespace(inode: u32) -> String {
    format!("pid:[{inode}]")
}

/// A wall-clock time (ns since 1970) as `YYYYMMDDTHHMMSSZ`.
pub fn utc(wall_ns: i64) -> String {
    let seconds = wall_ns.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1970 to a date: years of 400 start in March, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day_of_month:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::{INITIAL_PID_NAMESPACE, pid_namespace, utc};

    #[test]
    fn the_initial_pid_namespace_has_a_fixed_name() {
        assert_eq!(pid_namespace(INITIAL_PID_NAMESPACE), "pid:[4026531836]");
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_709_251_199, "20240229T235959Z"),
            (1_798_761_599, "20261231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(utc(seconds * 1_000_000_000), text);
        }
    }
}
