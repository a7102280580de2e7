//! This machine, for the records.

use std::fs;

use chrono::DateTime;

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
    DateTime::from_timestamp_nanos(wall_ns).format("%Y%m%dT%H%M%SZ").to_string()
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
