//! Who acts in a run: processes and threads, with ids that no two traces share.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::process::{Process, Processes, Thread, Threads};

use super::event::Id;
use super::names::TraceNames;

/// Hands out `process_id`s: the pid, and where a trace before had that pid, plus n * 2^32.
#[derive(Default)]
pub(super) struct Pids {
    taken: HashMap<i32, i64>,
}

impl Pids {
    /// The ids of a trace's processes; of one trace at a time.
    pub(super) fn of_trace(&mut self, pids: impl IntoIterator<Item = i32>) -> BTreeMap<i32, i64> {
        let mut id = |pid: i32| {
            let before = self.taken.entry(pid).or_default();
            let id = i64::from(pid) + (*before << 32);
            *before += 1;
            (pid, id)
        };
        pids.into_iter().map(&mut id).collect()
    }

    /// The id that a pid of the next trace would get.
    pub(super) fn next(&self, pid: i32) -> i64 {
        i64::from(pid) + (self.taken.get(&pid).copied().unwrap_or(0) << 32)
    }
}

/// The processes and threads of a trace, or of a part of one.
#[derive(Debug, Default)]
pub(super) struct Actors {
    pids: BTreeSet<i32>,
    last: Option<i32>,
    threads: BTreeMap<(i32, i32), Option<Name>>,
    last_thread: Option<(i32, i32)>,
    /// Threads whose ids are no OS thread ids, by process and what is written.
    odd: HashMap<(i32, Name), i32>,
    process_names: BTreeMap<i64, Name>,
    thread_names: BTreeMap<(i64, i64), Name>,
}

/// Threads that are numbered anew: process, number there and now.
pub(super) type Renumbered = HashMap<(i32, i32), i32>;

impl Actors {
    /// The process `pid`; none where that can be no pid.
    pub(super) fn process(&mut self, pid: i64) -> Option<i32> {
        let pid = i32::try_from(pid).ok().filter(|pid| *pid >= 0)?;
        if self.last != Some(pid) {
            self.pids.insert(pid);
            self.last = Some(pid);
        }
        Some(pid)
    }

    /// The thread of a host event. Ids are of 32 bits, below 0 where they are cut from larger ones, as older Kinetos did.
    /// What is no such id gets a number of its own, and its text as name.
    pub(super) fn thread(&mut self, pid: i32, tid: Id, names: &mut TraceNames) -> i32 {
        match tid {
            Id::Number(number) => match i32::try_from(number) {
                Ok(tid) => self.numbered(pid, tid),
                Err(_) => self.named(pid, number.to_string().into()),
            },
            Id::Text(text) => {
                let name = names.get(text);
                self.named(pid, name)
            }
            Id::None => self.named(pid, "unknown".into()),
        }
    }

    fn numbered(&mut self, pid: i32, tid: i32) -> i32 {
        if self.last_thread == Some((pid, tid)) {
            return tid;
        }
        if tid < 0 && self.is_odd(pid, tid) {
            return self.named(pid, tid.to_string().into());
        }
        self.threads.entry((pid, tid)).or_default();
        self.last_thread = Some((pid, tid));
        tid
    }

    fn named(&mut self, pid: i32, name: Name) -> i32 {
        let key = (pid, name);
        if let Some(tid) = self.odd.get(&key) {
            return *tid;
        }
        let next = i32::try_from(self.odd.len()).map_or(i32::MIN, |made| i32::MIN + made);
        let free = (next..0).find(|tid| !self.threads.contains_key(&(pid, *tid))).unwrap_or(i32::MIN);
        self.threads.insert((pid, free), Some(key.1.clone()));
        self.odd.insert(key, free);
        free
    }

    /// Whether that number was made here.
    fn is_odd(&self, pid: i32, tid: i32) -> bool {
        self.threads.get(&(pid, tid)).is_some_and(Option::is_some)
    }

    /// The trace names a process.
    pub(super) fn name_process(&mut self, pid: i64, name: Name) {
        self.process_names.insert(pid, name);
    }

    /// The trace names a thread.
    pub(super) fn name_thread(&mut self, pid: i64, tid: i64, name: Name) {
        self.thread_names.insert((pid, tid), name);
    }

    /// All of them.
    pub(super) fn pids(&self) -> impl Iterator<Item = i32> + '_ {
        self.pids.iter().copied()
    }

    /// Adds those of the part that follows; returns the threads that have other numbers here than there.
    pub(super) fn join(&mut self, part: Self) -> Renumbered {
        self.pids.extend(part.pids);
        self.process_names.extend(part.process_names);
        self.thread_names.extend(part.thread_names);
        let here = part.threads.into_iter().map(|((pid, there), name)| {
            let here = match name {
                Some(name) => self.named(pid, name),
                None => self.numbered(pid, there),
            };
            ((pid, there), here)
        });
        here.filter(|((_, there), here)| there != here).collect()
    }

    /// All that acted, with their ids; `title` is said of the process `main` beside its name.
    pub(super) fn rows(
        &self,
        ids: &BTreeMap<i32, i64>,
        (main, title): (i32, &str),
        processes: &mut Processes,
        threads: &mut Threads,
    ) {
        for (&pid, &process_id) in ids {
            let name = self.process_names.get(&i64::from(pid)).map_or("", |name| name);
            let title = if pid == main { title } else { "" };
            let name = format!("{name} {title}").trim().to_owned();
            processes.push(Process { process_id, pid, name, start_ns: None, end_ns: None, parent_process_id: None });
        }
        for (&(pid, tid), name) in &self.threads {
            let Some(&process_id) = ids.get(&pid) else { continue };
            let key = (i64::from(pid), i64::from(tid));
            let name = name.clone().or_else(|| self.thread_names.get(&key).cloned());
            threads.push(Thread { process_id, tid, name });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kineto::json::Text;

    #[test]
    fn traces_that_share_a_pid_get_ids_of_their_own() {
        let mut pids = Pids::default();
        assert_eq!(pids.of_trace([7, 9]), BTreeMap::from([(7, 7), (9, 9)]));
        assert_eq!(pids.next(7), 7 + (1 << 32));
        assert_eq!(pids.of_trace([7, 8]), BTreeMap::from([(7, 7 + (1 << 32)), (8, 8)]));
        let mut actors = Actors::default();
        assert_eq!((actors.process(7), actors.process(-1), actors.process(1 << 40)), (Some(7), None, None));
        assert_eq!(actors.pids().collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn threads_are_told_apart_and_named_whatever_their_ids_are() {
        let (mut actors, mut names) = (Actors::default(), TraceNames::default());
        let process = actors.process(7).unwrap();
        assert_eq!(actors.thread(process, Id::Number(8), &mut names), 8);
        let text = |raw| Id::Text(Text { raw, escaped: false });
        let loader = actors.thread(process, text(b"loader"), &mut names);
        let long = actors.thread(process, Id::Number(1 << 40), &mut names);
        assert_eq!((loader, long), (i32::MIN, i32::MIN + 1));
        assert_eq!(actors.thread(process, text(b"loader"), &mut names), loader);
        assert_eq!(actors.thread(process, Id::Number(-549_452_224), &mut names), -549_452_224);
        let cut = actors.thread(process, Id::Number(i64::from(loader)), &mut names);
        assert!(cut != loader && cut != long);
        actors.name_thread(7, 8, "main".into());
        actors.name_process(7, "python3".into());
        let (mut processes, mut threads) = (Processes::default(), Threads::default());
        actors.rows(&BTreeMap::from([(7, 7)]), (process, "(rank 1 of 8)"), &mut processes, &mut threads);
        assert_eq!(processes.name, ["python3 (rank 1 of 8)"]);
        let rows: Vec<_> = threads.tid.iter().copied().zip(threads.name.iter().map(Option::as_deref)).collect();
        let expected = [
            (loader, Some("loader")),
            (long, Some("1099511627776")),
            (cut, Some("-2147483648")),
            (-549_452_224, None),
            (8, Some("main")),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn threads_of_parts_keep_apart_and_have_one_number() {
        let text = |raw| Id::Text(Text { raw, escaped: false });
        let mut names = TraceNames::default();
        let mut part = |tids: &[Id]| {
            let mut actors = Actors::default();
            let pid = actors.process(7).unwrap();
            let numbers: Vec<i32> = tids.iter().map(|tid| actors.thread(pid, *tid, &mut names)).collect();
            (actors, numbers)
        };
        let (mut all, first) = part(&[text(b"a"), Id::Number(8)]);
        // There `b` has the number that `a` has here, and the number of `a` is a thread's own.
        let (second, there) = part(&[Id::Number(i64::from(i32::MIN) + 1), text(b"b"), text(b"a")]);
        assert_eq!((first, &there[..]), (vec![i32::MIN, 8], &[i32::MIN + 1, i32::MIN, i32::MIN + 2][..]));
        let renumbered = all.join(second);
        assert_eq!(renumbered.get(&(7, there[2])), Some(&i32::MIN), "{renumbered:?}");
        let here: BTreeSet<i32> = there.iter().map(|tid| renumbered.get(&(7, *tid)).copied().unwrap_or(*tid)).collect();
        assert_eq!(here.len(), 3, "{renumbered:?}");
        assert_eq!(all.threads.len(), 4);
    }
}
