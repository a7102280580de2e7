//! Which processes there are and what they map: by perf records, which tell within milliseconds, or where those are not
//! permitted by looking through `/proc` five times a second.

mod ffi;
pub mod library;
pub mod maps;
pub mod perf;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use maps::Mapping;

/// How often `/proc` is looked through without perf, ns.
const SCAN_EVERY_NS: i64 = 200_000_000;

/// Something that happened to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It has an executable mapping of a file.
    Mapped {
        /// Process.
        pid: i32,
        /// What is mapped.
        mapping: Mapping,
    },
    /// It runs another program now.
    Exec {
        /// Process.
        pid: i32,
    },
    /// A thread has another name.
    Renamed {
        /// Process.
        pid: i32,
        /// Thread.
        tid: i32,
    },
    /// Its main thread has ended.
    Exit {
        /// Process.
        pid: i32,
        /// When, ns.
        time_ns: i64,
    },
    /// Notices were lost.
    Lost,
}

/// How processes are found.
pub struct Discovery {
    rings: Vec<ffi::Ring>,
    refused: Option<String>,
    scanned_ns: i64,
    known: HashSet<i32>,
    buffer: Vec<u8>,
}

impl Discovery {
    /// Opens a perf ring a CPU, or falls back to looking through `/proc`.
    pub fn start() -> Self {
        let (rings, refused) = match open_rings() {
            Ok(rings) => (rings, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        Self { rings, refused, scanned_ns: i64::MIN, known: HashSet::new(), buffer: Vec::new() }
    }

    /// How it works, for people.
    pub fn method(&self) -> String {
        match &self.refused {
            None => format!("perf records of {} CPUs", self.rings.len()),
            Some(error) => format!(
                "/proc every {} ms, because perf_event_open says: {error}; what a process does before it is found is not seen",
                SCAN_EVERY_NS / 1_000_000
            ),
        }
    }

    /// Whether perf is not permitted.
    pub fn is_fallback(&self) -> bool {
        self.refused.is_some()
    }

    /// What becomes readable when there is something to tell.
    pub fn files(&self) -> Vec<BorrowedFd<'_>> {
        self.rings.iter().map(ffi::Ring::as_fd).collect()
    }

    /// What has happened since the last call. `is_wanted` says by file name which mappings matter.
    pub fn notices(&mut self, now_ns: i64, is_wanted: impl Fn(&str) -> bool) -> Vec<Notice> {
        let mut found = Vec::new();
        if self.rings.is_empty() {
            if now_ns.saturating_sub(self.scanned_ns) >= SCAN_EVERY_NS {
                self.scanned_ns = now_ns;
                self.scan(now_ns, &is_wanted, &mut found);
            }
            return found;
        }
        for ring in &mut self.rings {
            self.buffer.clear();
            ring.drain(&mut self.buffer);
            perf::notices(&self.buffer, |notice| match &notice {
                Notice::Mapped { mapping, .. } if !is_wanted(mapping.file_name()) => {}
                _ => found.push(notice),
            });
        }
        found
    }

    /// Looks through the processes that there are now.
    pub fn scan_all(is_wanted: impl Fn(&str) -> bool) -> Vec<Notice> {
        let mut found = Vec::new();
        for pid in pids() {
            mappings_of(pid, &is_wanted, &mut found);
        }
        found
    }

    fn scan(&mut self, now_ns: i64, is_wanted: &impl Fn(&str) -> bool, found: &mut Vec<Notice>) {
        let now: HashSet<i32> = pids().into_iter().collect();
        for pid in self.known.difference(&now) {
            found.push(Notice::Exit { pid: *pid, time_ns: now_ns });
        }
        for pid in &now {
            mappings_of(*pid, is_wanted, found);
        }
        self.known = now;
    }
}

fn open_rings() -> io::Result<Vec<ffi::Ring>> {
    let online = fs::read_to_string("/sys/devices/system/cpu/online")?;
    cpus(online.trim()).into_iter().map(ffi::Ring::open).collect()
}

/// A list of CPUs as the kernel writes it: `0-3,8`.
fn cpus(list: &str) -> Vec<i32> {
    list.split(',')
        .filter_map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            Some(low.parse::<i32>().ok()?..=high.parse::<i32>().ok()?)
        })
        .flatten()
        .collect()
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn mappings_of(pid: i32, is_wanted: &impl Fn(&str) -> bool, found: &mut Vec<Notice>) {
    // A process that is gone, or that we may not look at, has nothing to tell.
    let Ok(text) = fs::read(format!("/proc/{pid}/maps")) else {
        return;
    };
    let text = String::from_utf8_lossy(&text);
    let wanted = maps::executable(&text).filter(|mapping| is_wanted(mapping.file_name()));
    found.extend(wanted.map(|mapping| Notice::Mapped { pid, mapping }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(cpus("0-2,5,7-8"), [0, 1, 2, 5, 7, 8]);
        assert_eq!(cpus("0"), [0]);
        assert_eq!(cpus(""), [] as [i32; 0]);
    }

    #[test]
    fn this_process_is_found_by_what_it_maps() {
        let own = std::env::current_exe().unwrap();
        let own = own.file_name().unwrap().to_str().unwrap().to_owned();
        let pid = i32::try_from(std::process::id()).unwrap();
        let found = Discovery::scan_all(|name| name == own);
        assert!(found.iter().any(|notice| matches!(notice, Notice::Mapped { pid: p, .. } if *p == pid)), "{found:?}");
    }
}
