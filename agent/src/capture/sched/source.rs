//! The scheduler in a recording: which threads are watched, and what is written.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::sched::{OffCpu, OffCpus};
use kvpath_schema::wire::sched::{LONG_NS, Thread};

use super::programs::{Programs, ThreadWords};
use super::rows::{interval, is_over, state, thread};
use crate::capture::error::AttachError;
use crate::capture::{Context, EndedProcess, RecordSource};
use crate::losses::{Cause, Losses};
use crate::processes::ProcessTable;

#[derive(Debug, Clone, Copy)]
struct Watched {
    pid: i32,
    process_id: i64,
    seen: Thread,
}

/// The source.
pub struct Scheduler {
    programs: Programs,
    watched: BTreeMap<i32, Watched>,
    /// Threads that have ended, or that cannot be watched, by process: they are not watched again.
    left: HashSet<(i64, i32)>,
    rows: OffCpus,
    losses: Losses,
    from_ns: i64,
}

impl Scheduler {
    /// Attaches; threads are watched as they become known.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn start(context: &mut Context) -> Result<Self, AttachError> {
        context.facts.say("sched", "setting.long_ns", LONG_NS.to_string());
        let programs = Programs::start()?;
        Ok(Self {
            programs,
            watched: BTreeMap::new(),
            left: HashSet::new(),
            rows: OffCpus::default(),
            losses: Losses::default(),
            from_ns: context.now_ns,
        })
    }

    /// Watches threads that have made their first recorded call.
    fn watch_new(&mut self, processes: &ProcessTable) {
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
                    self.losses.add(Cause::of("sched", format!("a thread cannot be watched: {error}")), 1);
                }
            }
        }
    }

    fn take_records(&mut self) {
        let Self { programs, watched, rows, losses, .. } = self;
        programs.drain(|bytes| {
            let Some(interval) = interval(bytes) else {
                return losses.add(Cause::of("sched", "record that contradicts itself"), 1);
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
    fn off_at_the_end(&mut self, tid: i32, words: ThreadWords, now_ns: i64) {
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
    fn sum_up(&mut self, tid: i32, words: ThreadWords, now_ns: i64) {
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

impl RecordSource for Scheduler {
    fn name(&self) -> &'static str {
        "sched"
    }

    fn drain(&mut self, context: &mut Context) {
        self.watch_new(&context.processes);
        self.take_records();
    }

    fn process_ended(&mut self, process: EndedProcess, _context: &mut Context) {
        let tids: Vec<i32> = self.tids(|watched| watched.process_id == process.process_id);
        self.leave(&tids, process.end_ns);
        self.left.retain(|(process_id, _)| *process_id != process.process_id);
    }

    /// What is off the CPU still is written as well.
    fn finish(&mut self, context: &mut Context) -> Result<(), AttachError> {
        self.take_records();
        self.leave(&self.tids(|_| true), context.now_ns);
        Ok(())
    }

    fn write(&mut self, context: &mut Context) -> Result<(), SegmentError> {
        let now_ns = context.now_ns;
        self.take_records();
        // A thread's number may be given to another one of the machine.
        let mut gone = self.tids(|_| true);
        gone.retain(|tid| !Path::new(&format!("/proc/{}/task/{tid}", self.watched[tid].pid)).exists());
        self.leave(&gone, now_ns);
        for tid in self.tids(|_| true) {
            if let Some(words) = u32::try_from(tid).ok().and_then(|tid| self.programs.words(tid)) {
                self.sum_up(tid, words, now_ns);
            }
        }
        self.from_ns = now_ns;
        match self.programs.lost() {
            Ok(count) => self.losses.add(Cause::of("sched", "ring buffer full"), count),
            Err(error) => self.losses.add(Cause::of("sched", format!("losses cannot be counted: {error}")), 1),
        }
        let losses = std::mem::take(&mut self.losses);
        context.segments.table("sched", &std::mem::take(&mut self.rows), losses.total())?;
        context.segments.drops("sched", now_ns, &losses)
    }
}
