//! Where rings lie, and whose they are.

use std::fs;
use std::path::{Path, PathBuf};

use kvpath_ring::file;

use crate::processes::start_ticks;

/// Where the folders of rings lie.
const SHARED_MEMORY: &str = "/dev/shm";
/// How the folder of a command's rings begins; the agent's pid follows.
const OF_COMMAND: &str = "kvpath-run-";

/// The folder for the rings of a command of this agent.
pub fn of_command() -> PathBuf {
    Path::new(SHARED_MEMORY).join(format!("{OF_COMMAND}{}", std::process::id()))
}

/// Removes what agents that are gone have left: folders of their commands, with the rings of processes that have ended. Nobody
/// would read them.
pub fn remove_abandoned(now_ns: u64) {
    remove_abandoned_in(Path::new(SHARED_MEMORY), now_ns);
}

fn remove_abandoned_in(shared_memory: &Path, now_ns: u64) {
    for entry in fs::read_dir(shared_memory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let agent = name.to_str().and_then(|name| name.strip_prefix(OF_COMMAND)?.parse::<u32>().ok());
        if agent.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = file::sweep(&entry.path(), now_ns, 0);
            // Stays while a process of the command lives on.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

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
            Self::All => fs::read_dir(SHARED_MEMORY)
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("kvpath-"))
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .collect(),
        }
    }

    /// Removes those that are empty; a process that needs one makes it anew.
    pub fn remove_empty(&self) {
        for folder in self.list() {
            let _ = fs::remove_dir(folder);
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
    use kvpath_ring::ProducerInfo;
    use kvpath_schema::wire::ring::Shape;

    use super::*;

    #[test]
    fn what_agents_that_are_gone_have_left_is_removed() {
        let shared_memory = tempfile::tempdir().unwrap();
        let folder = |name: String| {
            let path = shared_memory.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        // No pid is as great as these.
        let [empty, ended, alive] = [1, 2, 3].map(|number| folder(format!("{OF_COMMAND}{}", u32::MAX - number)));
        let own = folder(format!("{OF_COMMAND}{}", std::process::id()));
        let other = folder("kvpath-0".to_owned());
        let ring = |folder: &Path| {
            let shape = Shape { lanes: 1, gpu_words: 1024, thread_words: 256, names_words: 64 };
            file::create(folder, shape, ProducerInfo { pid: 7, start_ticks: 0, created_ns: 5 }).unwrap().1
        };
        drop(ring(&ended));
        let _living = ring(&alive);
        remove_abandoned_in(shared_memory.path(), 6);
        assert!(!empty.exists() && !ended.exists());
        assert!(alive.exists() && own.exists() && other.exists());
    }

    #[test]
    fn this_process_is_found_by_pid_and_start() {
        let own = i32::try_from(std::process::id()).unwrap();
        let ticks = start_ticks(own).unwrap();
        assert_eq!(host_pid(own, ticks), Some(own));
        assert_eq!(host_pid(own, ticks + 12_345_678), None);
    }
}
