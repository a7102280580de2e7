//! The scheduler in a recording: which threads are watched, and what is written.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::sched::{OffCpu, OffCpus};
use kvpath_schema::wire::sched::{LONG_NS, Thread};

use super::programs::{Programs, Words};
use super::rows::{interval, is_over, state, thread};
use crate::capture::error::AttachError;
use crate::capture::nixl::assemble::Lack;
use crate::processes::ProcessTable;
use crate::segments::{Facts, Segments};

#[derive(Debug, Clone, Copy)]
struct Watched {
    pid: i32,
    process_id: i64,
    seen: Thread,
}

/// See the module.
pub struct Source {
    programs: Programs,
    watched: BTreeMap<i32, Watched>,
    /// Threads that have ended, or that cannot be watched, by process: they are not watched again.
    left: HashSet<(i64, i32)>,
    rows: OffCpus,
    lacks: Vec<(Lack, u64)>,
    from_ns: i64,
}

impl Source {
    /// Attaches; threads are watched as they become known.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn start(now_ns: i64, facts: &mut Facts) -> Result<Self, AttachError> {
        facts.say("sched", "setting.long_ns", LONG_NS.to_string());
        let programs = Programs::start()?;
        Ok(Self {
            programs,
            watched: BTreeMap::new(),
            left: HashSet::new(),
            rows: OffCpus::default(),
            lacks: Vec::new(),
            from_ns: now_ns,
        })
    }

    /// One round: threads that made their first recorded call, and what the kernel half has written.
    pub fn step(&mut self, processes: &ProcessTable) {
        for (pid, process_id, tid) in processes.living_threads() {
            let Ok(number) = u32::try_from(tid) else { continue };
            let is_watched = self.watched.get(&tid).is_some_and(|watched| watched.process_id == process_id);
            if is_watched || self.left.contains(&(process_id, tid)) {
                continue;
            }
            let seen = Thread::default();
            match self.programs.watch(number) {
                Ok(()) => _ = self.watched.insert(tid, Watched { pid, process_id, seen }),
                Err(error) => {
                    self.left.insert((process_id, tid));
                    self.lacks.push((Lack::of("sched", format!("a thread cannot be watched: {error}")), 1));
                }
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        let Self { programs, watched, rows, lacks, .. } = self;
        programs.drain(|bytes| {
            let Some(interval) = interval(bytes) else {
                return lacks.push((Lack::of("sched", "record that contradicts itself"), 1));
            };
            let signed = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
            // Left since: its last records are still on their way.
            let Some((tid, watched)) = i32::try_from(interval.tid).ok().and_then(|tid| Some((tid, watched.get(&tid)?)))
            else {
                return;
            };
            let off_ns = signed(interval.time_ns.saturating_sub(interval.off_ns));
            rows.push(OffCpu {
                start_ns: signed(interval.off_ns),
                dur_ns: off_ns,
                process_id: watched.process_id,
                tid,
                state: state(interval.state),
                off_ns,
                run_queue_ns: signed(interval.queue_ns),
                intervals: 1,
            });
        });
    }

    /// A process has ended.
    pub fn process_ended(&mut self, process_id: i64, now_ns: i64) {
        self.drain();
        let tids: Vec<i32> = self.tids(|watched| watched.process_id == process_id);
        self.leave(&tids, now_ns);
        self.left.retain(|(process, _)| *process != process_id);
    }

    /// Writes what is ready; `is_last`: also of threads that are off the CPU still.
    ///
    /// # Errors
    /// A segment cannot be written, or the map of losses not be read.
    pub fn write(&mut self, now_ns: i64, is_last: bool, segments: &mut Segments) -> Result<(), SegmentError> {
        self.drain();
        // A thread's number may be given to another one of the machine.
        let gone = self.tids(|_| true);
        let gone: Vec<i32> = gone
            .into_iter()
            .filter(|tid| !Path::new(&format!("/proc/{}/task/{tid}", self.watched[tid].pid)).exists())
            .collect();
        self.leave(&gone, now_ns);
        if is_last {
            self.leave(&self.tids(|_| true), now_ns);
        }
        for tid in self.tids(|_| true) {
            if let Some(words) = u32::try_from(tid).ok().and_then(|tid| self.programs.words(tid)) {
                self.sum_up(tid, words, now_ns);
            }
        }
        self.from_ns = now_ns;
        match self.programs.lost() {
            Ok(0) => {}
            Ok(count) => self.lacks.push((Lack::of("sched", "ring buffer full"), count)),
            Err(error) => self.lacks.push((Lack::of("sched", format!("losses cannot be counted: {error}")), 1)),
        }
        let lost = self.lacks.iter().map(|(_, count)| count).sum();
        segments.table("sched", &std::mem::take(&mut self.rows), lost)?;
        segments.drops("sched", now_ns, &std::mem::take(&mut self.lacks))
    }

    fn tids(&self, which: impl Fn(&Watched) -> bool) -> Vec<i32> {
        self.watched.iter().filter(|(_, watched)| which(watched)).map(|(tid, _)| *tid).collect()
    }

    fn leave(&mut self, tids: &[i32], now_ns: i64) {
        for tid in tids {
            if let Some(words) = u32::try_from(*tid).ok().and_then(|tid| self.programs.leave(tid)) {
                self.sum_up(*tid, words, now_ns);
                self.off_at_the_end(*tid, words, now_ns);
            }
            if let Some(watched) = self.watched.remove(tid) {
                self.left.insert((watched.process_id, *tid));
            }
        }
    }

    /// A row for an interval that has not ended: what hung is most wanted.
    fn off_at_the_end(&mut self, tid: i32, words: Words, now_ns: i64) {
        let Some(watched) = self.watched.get(&tid) else { return };
        let now = thread(words);
        let since = |ns: u64| i64::try_from(ns).ok().filter(|ns| *ns > 0 && *ns < now_ns);
        if let Some(start_ns) = since(now.off_ns).filter(|_| !is_over(now.state)) {
            self.rows.push(OffCpu {
                start_ns,
                dur_ns: now_ns - start_ns,
                process_id: watched.process_id,
                tid,
                state: state(u32::try_from(now.state & 0xffff).unwrap_or(0)),
                off_ns: now_ns - start_ns,
                run_queue_ns: since(now.ready_ns).map_or(0, |ready_ns| now_ns - ready_ns),
                intervals: 1,
            });
        }
    }

    /// A row for the short intervals since the last one.
    fn sum_up(&mut self, tid: i32, words: Words, now_ns: i64) {
        let Some(watched) = self.watched.get_mut(&tid) else { return };
        let now = thread(words);
        let before = std::mem::replace(&mut watched.seen, now);
        let since = |now: u64, before: u64| i64::try_from(now.saturating_sub(before)).unwrap_or(i64::MAX);
        let intervals = since(now.short, before.short);
        if intervals > 0 {
            self.rows.push(OffCpu {
                start_ns: self.from_ns,
                dur_ns: now_ns - self.from_ns,
                process_id: watched.process_id,
                tid,
                state: "short".into(),
                off_ns: since(now.short_ns, before.short_ns),
                run_queue_ns: since(now.short_queue_ns, before.short_queue_ns),
                intervals,
            });
        }
    }
}
