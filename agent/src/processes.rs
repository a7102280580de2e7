//! The traced processes: ids that are never reused, titles, threads, begin and end.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::process::{Process, Processes, Thread, Threads};

use crate::system::{Clock, now_ns, ticks_per_second};

/// Longest title that is kept, bytes.
const TITLE_MAX: usize = 512;

#[derive(Debug)]
struct KnownProcess {
    process_id: i64,
    start_ns: Option<i64>,
    name: String,
    end_ns: Option<i64>,
    parent: Option<i64>,
    threads: BTreeMap<i32, Option<Name>>,
    /// Names that the program gave by NVTX; they go before the system's.
    given: BTreeMap<i32, Name>,
}

/// All traced processes of a recording.
#[derive(Debug, Default)]
pub struct ProcessTable {
    living: HashMap<i32, KnownProcess>,
    ended: Vec<(i32, KnownProcess)>,
    /// How many processes had each pid.
    uses: HashMap<i32, i64>,
    changed: bool,
}

impl ProcessTable {
    /// The id of the process that has this pid now; it becomes known with its title and start time.
    pub fn id_of(&mut self, pid: i32) -> i64 {
        if let Some(known) = self.living.get(&pid) {
            return known.process_id;
        }
        let uses = self.uses.entry(pid).or_default();
        let process_id = (*uses << 32) + i64::from(pid);
        *uses += 1;
        let known = KnownProcess {
            process_id,
            start_ns: start_ns(pid),
            name: title(pid).unwrap_or_default(),
            end_ns: None,
            parent: None,
            threads: BTreeMap::new(),
            given: BTreeMap::new(),
        };
        self.living.insert(pid, known);
        self.changed = true;
        process_id
    }

    /// The id of a process that is known already.
    #[must_use]
    pub fn known(&self, pid: i32) -> Option<i64> {
        self.living.get(&pid).map(|known| known.process_id)
    }

    /// A process was started by another one; both become known, and the main thread of that one.
    pub fn started_by(&mut self, pid: i32, parent: i32) {
        let parent_id = self.id_of(parent);
        self.saw_thread(parent, parent);
        self.id_of(pid);
        if let Some(known) = self.living.get_mut(&pid) {
            known.parent = Some(parent_id);
            self.changed = true;
        }
    }

    /// A thread made a recorded call.
    pub fn saw_thread(&mut self, pid: i32, tid: i32) {
        if let Some(known) = self.living.get_mut(&pid)
            && !known.threads.contains_key(&tid)
        {
            known.threads.insert(tid, thread_name(pid, tid));
            self.changed = true;
        }
    }

    /// A program gave one of its threads a name.
    pub fn name_thread(&mut self, pid: i32, tid: i32, name: Name) {
        self.saw_thread(pid, tid);
        if let Some(known) = self.living.get_mut(&pid) {
            known.given.insert(tid, name);
            self.changed = true;
        }
    }

    /// Reads titles and thread names again: programs set them when they know their rank.
    pub fn refresh(&mut self, pid: i32) {
        let Some(known) = self.living.get_mut(&pid) else {
            return;
        };
        if let Some(name) = title(pid)
            && name != known.name
        {
            known.name = name;
            self.changed = true;
        }
        for (tid, name) in &mut known.threads {
            let now = thread_name(pid, *tid);
            if now.is_some() && now != *name {
                *name = now;
                self.changed = true;
            }
        }
    }

    /// Pids of the processes that live as far as is known.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        self.living.keys().copied().collect()
    }

    /// The threads of living processes that made a recorded call: pid, process id and thread.
    pub fn living_threads(&self) -> impl Iterator<Item = (i32, i64, i32)> + '_ {
        self.living.iter().flat_map(|(pid, known)| known.threads.keys().map(|tid| (*pid, known.process_id, *tid)))
    }

    /// Whether the process with that pid is still the one that is known.
    #[must_use]
    pub fn is_alive(&self, pid: i32) -> bool {
        let Some(known) = self.living.get(&pid) else {
            return false;
        };
        match stat(pid) {
            Some((state, started)) => !matches!(state, 'Z' | 'X') && close(known.start_ns, started),
            None => false,
        }
    }

    /// The process has ended; gives its id.
    pub fn end(&mut self, pid: i32, end_ns: i64) -> Option<i64> {
        let mut known = self.living.remove(&pid)?;
        known.end_ns = Some(end_ns);
        let process_id = known.process_id;
        self.ended.push((pid, known));
        self.changed = true;
        Some(process_id)
    }

    /// How many processes were seen.
    #[must_use]
    pub fn count(&self) -> usize {
        self.living.len() + self.ended.len()
    }

    /// Both tables as a whole, if anything has changed since the last call.
    pub fn rows_if_changed(&mut self) -> Option<(Processes, Threads)> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let (mut processes, mut threads) = (Processes::default(), Threads::default());
        let living = self.living.iter().map(|(pid, known)| (*pid, known));
        for (pid, known) in self.ended.iter().map(|(pid, known)| (*pid, known)).chain(living) {
            processes.push(Process {
                process_id: known.process_id,
                pid,
                name: known.name.clone(),
                start_ns: known.start_ns,
                end_ns: known.end_ns,
                parent_process_id: known.parent,
            });
            for (tid, name) in &known.threads {
                let name = known.given.get(tid).or(name.as_ref()).cloned();
                threads.push(Thread { process_id: known.process_id, tid: *tid, name });
            }
        }
        Some((processes, threads))
    }
}

/// Start times are read from ticks of 10 ms and shift by the difference of two clocks.
fn close(one: Option<i64>, other: i64) -> bool {
    one.is_none_or(|one| (one - other).abs() < 100_000_000)
}

fn start_ns(pid: i32) -> Option<i64> {
    stat(pid).map(|(_, started)| started)
}

/// State and start time (`CLOCK_MONOTONIC`) of a process.
fn stat(pid: i32) -> Option<(char, i64)> {
    let (state, ticks) = read_stat(pid)?;
    let since_boot = ticks.checked_mul(1_000_000_000 / ticks_per_second())?;
    Some((state, since_boot - (now_ns(Clock::Boot) - now_ns(Clock::Monotonic))))
}

/// When a process started, clock ticks since boot.
pub fn start_ticks(pid: i32) -> Option<u64> {
    u64::try_from(read_stat(pid)?.1).ok()
}

fn read_stat(pid: i32) -> Option<(char, i64)> {
    // A name may hold any bytes, and a process of such a name is alive all the same.
    parse_stat(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
}

/// State and start time in ticks. The command, in parentheses, may hold anything, parentheses too.
fn parse_stat(text: &str) -> Option<(char, i64)> {
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The title as `ps` shows it; `None` if the process is gone or has none any more.
fn title(pid: i32) -> Option<String> {
    parse_title(&fs::read(format!("/proc/{pid}/cmdline")).ok()?)
}

fn parse_title(cmdline: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(cmdline).replace('\0', " ");
    let mut text = text.trim().to_owned();
    if text.len() > TITLE_MAX {
        let end = (0..=TITLE_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    (!text.is_empty()).then_some(text)
}

fn thread_name(pid: i32, tid: i32) -> Option<Name> {
    let name = fs::read(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end_matches('\n').into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn a_pid_used_again_is_another_process() {
        let mut table = ProcessTable::default();
        let first = table.id_of(own());
        assert_eq!(first, i64::from(own()));
        assert_eq!(table.id_of(own()), first);
        assert_eq!(table.end(own(), 5), Some(first));
        assert_eq!(table.known(own()), None);
        assert_eq!(table.id_of(own()), first + (1 << 32));
        let (processes, _) = table.rows_if_changed().unwrap();
        assert_eq!(processes.end_ns, [Some(5), None]);
        assert!(table.rows_if_changed().is_none());
    }

    #[test]
    fn this_process_is_alive_and_its_start_is_in_the_past() {
        let mut table = ProcessTable::default();
        table.id_of(own());
        table.saw_thread(own(), own());
        assert!(table.is_alive(own()));
        let (processes, threads) = table.rows_if_changed().unwrap();
        let start = processes.start_ns[0].unwrap();
        assert!(start > 0 && start < now_ns(Clock::Monotonic), "{start}");
        assert!(threads.name[0].is_some() && !processes.name[0].is_empty());
    }

    #[test]
    fn a_name_that_the_program_gave_goes_before_the_systems() {
        let mut table = ProcessTable::default();
        table.id_of(own());
        table.name_thread(own(), own(), "prefill loop".into());
        table.refresh(own());
        let (_, threads) = table.rows_if_changed().unwrap();
        assert_eq!(threads.name[0].as_deref(), Some("prefill loop"));
    }

    #[test]
    fn stat_survives_odd_commands() {
        let text = "12 (a) b (c)) S 1 12 12 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 4242 1000 5 18446744073709551615";
        assert_eq!(parse_stat(text), Some(('S', 4242)));
        assert_eq!(parse_stat("12 (cut"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_name_that_is_no_utf8_hides_neither_process_nor_thread() {
        let comm = format!("/proc/self/task/{}/comm", own());
        let before = fs::read(&comm).unwrap();
        fs::write(&comm, b"odd\xff").unwrap();
        let (stat, name) = (stat(own()), thread_name(own(), own()));
        fs::write(&comm, before).unwrap();
        assert!(stat.is_some_and(|(state, _)| state != 'Z'), "{stat:?}");
        assert_eq!(name.as_deref(), Some("odd\u{fffd}"));
    }

    #[test]
    fn titles_are_joined_trimmed_and_cut() {
        assert_eq!(parse_title(b"VLLM::Worker_PP1_TP0\0\0\0").as_deref(), Some("VLLM::Worker_PP1_TP0"));
        assert_eq!(parse_title(b"a\0b c\0").as_deref(), Some("a b c"));
        assert_eq!(parse_title(b""), None);
        assert_eq!(parse_title("é".repeat(400).as_bytes()).unwrap().len(), TITLE_MAX);
    }
}
