//! Processes that started traced ones: an engine's core starts its workers, and they wait for it.

use std::fs;
use std::path::PathBuf;

/// The process that started another one, if both run the same program: an engine, not the shell or the agent that started it.
pub fn same_program(pid: i32) -> Option<i32> {
    let parent = parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    let program = |pid: i32| -> Option<PathBuf> { fs::read_link(format!("/proc/{pid}/exe")).ok() };
    (program(pid)? == program(parent)?).then_some(parent)
}

/// The fourth field of `/proc/PID/stat` (`proc_pid_stat(5)`); the second one may hold anything, in parentheses.
fn parent(stat: &str) -> Option<i32> {
    let rest = stat.rsplit_once(')')?.1;
    rest.split_ascii_whitespace().nth(1)?.parse().ok().filter(|pid| *pid > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_behind_a_name_that_may_hold_anything() {
        assert_eq!(parent("12 (a) b) c) S 7 1 1"), Some(7));
        assert_eq!(parent("12 (init) S 1 1 1"), None);
        assert_eq!(parent("12"), None);
    }

    #[test]
    fn a_child_of_another_program_has_no_such_parent() {
        let mut child = std::process::Command::new("sleep").arg("9").spawn().unwrap();
        assert_eq!(same_program(i32::try_from(child.id()).unwrap()), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
