//! Where rings lie, and whose they are.

use std::fs;
use std::path::PathBuf;

use kvpath_ring::file;

use crate::processes::start_ticks;

/// Where rings lie.
#[derive(Debug)]
pub enum Folders {
    /// One folder: that of a command.
    One(PathBuf),
    /// Those of all users.
    All,
}

impl Folders {
    /// The folders that are there.
    fn list(&self) -> Vec<PathBuf> {
        match self {
            Self::One(folder) => vec![folder.clone()],
            Self::All => fs::read_dir("/dev/shm")
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("kvpath-"))
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .collect(),
        }
    }
}

/// Every ring file there.
pub fn rings(folders: &Folders) -> Vec<PathBuf> {
    folders.list().iter().flat_map(|folder| file::list(folder)).collect()
}

/// The pid on this host of a process that says it is `told` and started at `ticks`: in a container it has another.
pub fn host_pid(told: i32, ticks: u64) -> Option<i32> {
    if start_ticks(told) == Some(ticks) {
        return Some(told);
    }
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.into_iter().find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let inner =
            status.lines().find_map(|line| line.strip_prefix("NSpid:")?.split_whitespace().last()?.parse().ok());
        inner == Some(told) && start_ticks(*pid) == Some(ticks)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_pid_and_start() {
        let own = i32::try_from(std::process::id()).unwrap();
        let ticks = start_ticks(own).unwrap();
        assert_eq!(host_pid(own, ticks), Some(own));
        assert_eq!(host_pid(own, ticks + 12_345_678), None);
    }
}
