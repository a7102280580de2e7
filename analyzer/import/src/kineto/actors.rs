//! Who acts in a run: processes and threads, with ids that no two traces share.

use std::collections::{BTreeMap, HashMap};

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::process::{Process, Processes, Thread, Threads};

use super::event::Id;
use super::names::Names;

/// Hands out `process_id`s: the pid, and where a trace before had that pid, plus n * 2^32.
#[derive(Default)]
pub(super) struct Pids {
    taken: HashMap<i32, i64>,
}

impl Pids {
    fn take(&mut self, pid: i32) -> i64 {
        let before = self.taken.entry(pid).or_default();
        let id = i64::from(pid) + (*before << 32);
        *before += 1;
        id
    }
}

/// The processes and threads of one trace.
#[derive(Default)]
pub(super) struct Actors {
    ids: BTreeMap<i32, i64>,
    last: Option<(i32, i64)>,
    threads: BTreeMap<(i64, i32), Option<Name>>,
    last_thread: Option<(i64, i32)>,
    /// Threads whose ids are no OS thread ids, by process and what is written.
    odd: HashMap<(i64, Name), i32>,
    process_names: BTreeMap<i64, Name>,
    thread_names: BTreeMap<(i64, i64), Name>,
}

impl Actors {
    /// The id of the process `pid` of this trace; none where that can be no pid.
    pub(super) fn process(&mut self, pid: i64, pids: &mut Pids) -> Option<i64> {
        let pid = i32::try_from(pid).ok().filter(|pid| *pid >= 0)?;
        match self.last {
            Some((last, id)) if last == pid => Some(id),
            _ => {
                let id = *self.ids.entry(pid).or_insert_with(|| pids.take(pid));
                self.last = Some((pid, id));
                Some(id)
            }
        }
    }

    /// The thread of a host event. Ids are of 32 bits, below 0 where they are cut from larger ones, as older Kinetos did.
    /// What is no such id gets a number of its own, and its text as name.
    pub(super) fn thread(&mut self, process: i64, tid: Id, names: &mut Names) -> i32 {
        let as_is = tid.number().and_then(|tid| i32::try_from(tid).ok());
        if let Some(tid) = as_is.filter(|tid| *tid >= 0 || !self.is_odd(process, *tid)) {
            if self.last_thread != Some((process, tid)) {
                self.threads.entry((process, tid)).or_default();
                self.last_thread = Some((process, tid));
            }
            return tid;
        }
        let name = match tid {
            Id::Text(text) => names.get(text),
            Id::Number(number) => number.to_string().into(),
            Id::None => "unknown".into(),
        };
        let key = (process, name.clone());
        if let Some(tid) = self.odd.get(&key) {
            return *tid;
        }
        let next = i32::try_from(self.odd.len()).map_or(i32::MIN, |made| i32::MIN + made);
        let free = (next..0).find(|tid| !self.threads.contains_key(&(process, *tid))).unwrap_or(i32::MIN);
        self.odd.insert(key, free);
        self.threads.insert((process, free), Some(name));
        free
    }

    /// Whether that number was made here.
    fn is_odd(&self, process: i64, tid: i32) -> bool {
        self.threads.get(&(process, tid)).is_some_and(Option::is_some)
    }

    /// The trace names a process.
    pub(super) fn name_process(&mut self, pid: i64, name: Name) {
        self.process_names.insert(pid, name);
    }

    /// The trace names a thread.
    pub(super) fn name_thread(&mut self, pid: i64, tid: i64, name: Name) {
        self.thread_names.insert((pid, tid), name);
    }

    /// All that acted; `title` is said of the process `main` beside its name.
    pub(super) fn rows(&self, main: i64, title: &str, processes: &mut Processes, threads: &mut Threads) {
        for (&pid, &process_id) in &self.ids {
            let name = self.process_names.get(&i64::from(pid)).map_or("", |name| name);
            let title = if process_id == main { title } else { "" };
            let name = format!("{name} {title}").trim().to_owned();
            processes.push(Process { process_id, pid, name, start_ns: None, end_ns: None });
        }
        let pids: HashMap<i64, i32> = self.ids.iter().map(|(pid, id)| (*id, *pid)).collect();
        for (&(process_id, tid), name) in &self.threads {
            let key = (pids.get(&process_id).copied().map_or(0, i64::from), i64::from(tid));
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
        let (mut first, mut second) = (Actors::default(), Actors::default());
        assert_eq!(first.process(7, &mut pids), Some(7));
        assert_eq!(second.process(7, &mut pids), Some(7 + (1 << 32)));
        assert_eq!(first.process(7, &mut pids), Some(7));
        assert_eq!((first.process(-1, &mut pids), first.process(1 << 40, &mut pids)), (None, None));
    }

    #[test]
    fn threads_are_told_apart_and_named_whatever_their_ids_are() {
        let (mut actors, mut names, mut pids) = (Actors::default(), Names::default(), Pids::default());
        let process = actors.process(7, &mut pids).unwrap();
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
        actors.rows(process, "(rank 1 of 8)", &mut processes, &mut threads);
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
}
