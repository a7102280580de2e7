//! The scheduler in a recording: which threads are watched, and what is written.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::sched::{OffCpu, OffCpus};
use kvpath_schema::wire::sched::{Interval, LONG_NS, NO_CALL, NO_FILE, SPUN, Thread, YIELD};

use super::calls;
use super::files::Files;
use super::parents;
use super::programs::{Programs, ThreadWords};
use super::rows::{interval, is_over, is_waiting, state, thread, waker};
use crate::budget::{Costs, Group, Spent};
use crate::capture::error::AttachError;
use crate::capture::{Budgeted, Context, EndedProcess, RecordSource};
use crate::losses::{Cause, Losses};
use crate::processes::ProcessTable;

#[derive(Debug, Clone, Copy)]
struct Watched {
    pid: i32,
    process_id: i64,
    seen: Thread,
}

/// What the kernel takes to come to a program and back, which the programs' own times do not hold, ns: measured, see docs/costs.md.
const ENTRY_NS: f64 = 60.0;
/// What a run takes where few were timed yet, ns.
const RUN_NS: f64 = 200.0;
/// Threads of a process that make no recorded call, and are watched for having woken one that does: transports and queues have one or
/// two each.
const WAKERS: usize = 16;
/// So few runs say nothing about their mean.
const FEW_RUNS: u64 = 16;

/// The source.
pub struct Scheduler {
    /// None while they are off.
    programs: Option<Programs>,
    /// Threads that were watched at any time since rows were written last.
    recent: BTreeSet<(i64, i32)>,
    /// Threads that were watched when they went off, and when that was, ns.
    paused: (Vec<(i64, i32)>, i64),
    files: Files,
    /// Processes whose parents are known.
    asked: HashSet<i64>,
    run_ns: f64,
    /// Runs that were timed, and what they took, ns.
    timed: (u64, u64),
    runs: u64,
    watched: BTreeMap<i32, Watched>,
    /// Threads that woke a watched one of their process, by process: what they waited for is what it waited for.
    wakers: BTreeMap<(i32, i64), BTreeSet<i32>>,
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
        let spins = programs.no_spins().map_or_else(|| "recorded".to_owned(), |why| format!("not recorded: {why}"));
        context.facts.say("sched", "spins", spins);
        Ok(Self {
            programs: Some(programs),
            recent: BTreeSet::new(),
            paused: (Vec::new(), 0),
            files: Files::default(),
            asked: HashSet::new(),
            run_ns: RUN_NS,
            timed: (0, 0),
            runs: 0,
            watched: BTreeMap::new(),
            wakers: BTreeMap::new(),
            left: HashSet::new(),
            rows: OffCpus::default(),
            losses: Losses::default(),
            from_ns: context.now_ns,
        })
    }

    /// Makes the processes known that started traced ones, and their main threads: what those wait for the others do.
    fn know_parents(&mut self, processes: &mut ProcessTable) {
        for pid in processes.pids() {
            if processes.known(pid).is_some_and(|process_id| self.asked.insert(process_id))
                && let Some(parent) = parents::same_program(pid)
            {
                processes.started_by(pid, parent);
            }
        }
    }

    /// Watches threads that have made their first recorded call, or have woken one that did.
    fn watch_new(&mut self, processes: &ProcessTable) {
        let Some(programs) = &mut self.programs else { return };
        let wakers =
            self.wakers.iter().flat_map(|((pid, process_id), tids)| tids.iter().map(|tid| (*pid, *process_id, *tid)));
        let threads: Vec<(i32, i64, i32)> = processes.living_threads().chain(wakers).collect();
        for (pid, process_id, tid) in threads {
            let Ok(number) = u32::try_from(tid) else { continue };
            let is_watched = self.watched.get(&tid).is_some_and(|watched| watched.process_id == process_id);
            if is_watched || self.left.contains(&(process_id, tid)) {
                continue;
            }
            let seen = Thread::default();
            match programs.watch(number) {
                Ok(()) => {
                    self.watched.insert(tid, Watched { pid, process_id, seen });
                    self.recent.insert((process_id, tid));
                }
                Err(error) => {
                    self.left.insert((process_id, tid));
                    self.losses.add(Cause::of("sched", format!("a thread cannot be watched: {error}")), 1);
                }
            }
        }
    }

    fn take_records(&mut self, now_ns: i64, processes: &ProcessTable) {
        let Self { programs: Some(programs), files, watched, wakers, rows, losses, .. } = self else { return };
        files.forget();
        programs.drain(|bytes| {
            let Some(interval) = interval(bytes) else {
                return losses.add(Cause::of("sched", "record that contradicts itself"), 1);
            };
            // Left since: its last records are still on their way.
            let Some((tid, own)) = i32::try_from(interval.tid).ok().and_then(|tid| Some((tid, watched.get(&tid)?)))
            else {
                return;
            };
            let waker = waker(&interval);
            if let Some(new) = waker.as_ref().filter(|by| by.pid == own.pid && !watched.contains_key(&by.tid)) {
                let wakers = wakers.entry((own.pid, own.process_id)).or_default();
                if wakers.len() < WAKERS {
                    wakers.insert(new.tid);
                }
            }
            rows.push(OffCpu {
                waker_process_id: waker.as_ref().and_then(|waker| processes.known(waker.pid)),
                waker_tid: waker.as_ref().map(|waker| waker.tid),
                waker: waker.map(|waker| waker.name),
                ..row(&interval, tid, own, (files, now_ns))
            });
        });
    }

    /// The threads that are watched.
    fn threads(&self) -> Vec<(i64, i32)> {
        self.watched.iter().map(|(tid, watched)| (watched.process_id, *tid)).collect()
    }

    /// Says of threads that what they did in a time is not known.
    fn say_unrecorded(&mut self, threads: &[(i64, i32)], (from_ns, to_ns): (i64, i64)) {
        for (process_id, tid) in threads {
            self.rows.push(OffCpu {
                start_ns: from_ns,
                dur_ns: to_ns - from_ns,
                process_id: *process_id,
                tid: *tid,
                state: "unrecorded".into(),
                ..OffCpu::default()
            });
        }
    }

    /// The same of the time in which nothing was recorded for what it costs.
    fn end_pause(&mut self, now_ns: i64) {
        let (threads, since_ns) = std::mem::take(&mut self.paused);
        self.say_unrecorded(&threads, (since_ns, now_ns));
    }

    fn tids(&self, which: impl Fn(&Watched) -> bool) -> Vec<i32> {
        self.watched.iter().filter(|(_, watched)| which(watched)).map(|(tid, _)| *tid).collect()
    }

    /// Watches threads no more that have ended; `for_good` where they are not to be watched again.
    fn leave(&mut self, tids: &[i32], now_ns: i64, for_good: bool) {
        for tid in tids {
            let words = u32::try_from(*tid).ok().zip(self.programs.as_mut()).and_then(|(tid, own)| own.leave(tid));
            if let Some(words) = words {
                self.sum_up(*tid, words, now_ns);
                self.spun_at_the_end(*tid, words);
                self.off_at_the_end(*tid, words, now_ns);
            }
            if let Some(watched) = self.watched.remove(tid)
                && for_good
            {
                self.left.insert((watched.process_id, *tid));
            }
        }
    }

    /// A row for an interval that has not ended: what hung is most wanted.
    fn off_at_the_end(&mut self, tid: i32, words: ThreadWords, now_ns: i64) {
        let Some(watched) = self.watched.get(&tid) else { return };
        let now = thread(words);
        let now_at = u64::try_from(now_ns).unwrap_or(0);
        let is_since = |ns: u64| ns > 0 && ns < now_at;
        if is_since(now.off_ns) && !is_over(now.state) {
            let interval = Interval {
                time_ns: now_at,
                off_ns: now.off_ns,
                queue_ns: if is_since(now.ready_ns) { now_at - now.ready_ns } else { 0 },
                tid: tid.cast_unsigned(),
                state: u32::try_from(now.state & 0xffff).unwrap_or(0),
                call: i32::try_from(now.call.cast_signed()).unwrap_or(NO_CALL),
                file: i32::try_from(now.file.cast_signed()).unwrap_or(NO_FILE),
                waker_pid: 0,
                waker_tid: 0,
                waker_call: NO_CALL,
                zero: 0,
                waker_name: [0; 16],
            };
            self.rows.push(row(&interval, tid, watched, (&mut self.files, now_ns)));
        }
    }

    /// A row for a time in which it spun that has not ended, or was not followed by another one.
    fn spun_at_the_end(&mut self, tid: i32, words: ThreadWords) {
        let Some(watched) = self.watched.get(&tid) else { return };
        let now = thread(words);
        if now.spin_ns > 0 && now.spun_ns.saturating_sub(now.spin_ns) >= LONG_NS {
            self.rows.push(spun(tid, watched, (now.spin_ns, now.spun_ns), now.spins));
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
                ..OffCpu::default()
            });
        }
    }
}

/// The row of a time in which a thread spun, and how often it looked.
fn spun(tid: i32, watched: &Watched, (from_ns, to_ns): (u64, u64), looks: u64) -> OffCpu {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    OffCpu {
        start_ns: signed(from_ns),
        dur_ns: signed(to_ns.saturating_sub(from_ns)),
        process_id: watched.process_id,
        tid,
        state: state(SPUN, YIELD),
        intervals: signed(looks),
        call: calls::name(YIELD),
        ..OffCpu::default()
    }
}

/// The row of an interval, but for who ended it.
fn row(interval: &Interval, tid: i32, watched: &Watched, (files, now_ns): (&mut Files, i64)) -> OffCpu {
    if interval.state == SPUN {
        let looks = u64::try_from(interval.file).unwrap_or(0);
        return spun(tid, watched, (interval.off_ns, interval.time_ns), looks);
    }
    let signed = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    let off_ns = signed(interval.time_ns.saturating_sub(interval.off_ns));
    let call = if is_waiting(interval.state) { interval.call } else { NO_CALL };
    let file = calls::names_file(call).then_some(interval.file).filter(|file| *file >= 0);
    OffCpu {
        start_ns: signed(interval.off_ns),
        dur_ns: off_ns,
        process_id: watched.process_id,
        tid,
        state: state(interval.state, interval.call),
        off_ns,
        run_queue_ns: signed(interval.queue_ns),
        intervals: 1,
        call: calls::name(call),
        file: file.and_then(|file| files.text(watched.pid, file, now_ns)),
        ..OffCpu::default()
    }
}

impl RecordSource for Scheduler {
    fn name(&self) -> &'static str {
        "sched"
    }

    fn drain(&mut self, context: &mut Context) {
        self.know_parents(&mut context.processes);
        self.watch_new(&context.processes);
        self.take_records(context.now_ns, &context.processes);
    }

    fn process_ended(&mut self, process: EndedProcess, _context: &mut Context) {
        let tids: Vec<i32> = self.tids(|watched| watched.process_id == process.process_id);
        self.leave(&tids, process.end_ns, true);
        self.left.retain(|(process_id, _)| *process_id != process.process_id);
        self.wakers.retain(|(_, process_id), _| *process_id != process.process_id);
    }

    fn budgeted(&mut self) -> Option<&mut dyn Budgeted> {
        Some(self)
    }

    /// What is off the CPU still is written as well.
    fn finish(&mut self, context: &mut Context) -> Result<(), AttachError> {
        self.take_records(context.now_ns, &context.processes);
        self.leave(&self.tids(|_| true), context.now_ns, true);
        self.end_pause(context.now_ns);
        context.facts.say("sched", "hits.runs", self.runs.to_string());
        context.facts.say("sched", "measured.run_ns", format!("{:.0}", self.run_ns + ENTRY_NS));
        Ok(())
    }

    fn write(&mut self, context: &mut Context) -> Result<(), SegmentError> {
        let now_ns = context.now_ns;
        self.take_records(now_ns, &context.processes);
        // A thread's number may be given to another one of the machine.
        let mut gone = self.tids(|_| true);
        gone.retain(|tid| !Path::new(&format!("/proc/{}/task/{tid}", self.watched[tid].pid)).exists());
        self.leave(&gone, now_ns, true);
        for wakers in self.wakers.values_mut() {
            wakers.retain(|tid| !gone.contains(tid));
        }
        for tid in self.tids(|_| true) {
            let words = u32::try_from(tid).ok().zip(self.programs.as_ref()).and_then(|(tid, own)| own.words(tid));
            if let Some(words) = words {
                self.sum_up(tid, words, now_ns);
            }
        }
        let losses = std::mem::take(&mut self.losses);
        if losses.total() > 0 {
            let recent: Vec<(i64, i32)> = self.recent.iter().copied().collect();
            self.say_unrecorded(&recent, (self.from_ns, now_ns));
        }
        self.recent = self.threads().into_iter().collect();
        self.from_ns = now_ns;
        context.segments.table("sched", &std::mem::take(&mut self.rows), losses.total())?;
        context.segments.drops("sched", now_ns, &losses)
    }
}

impl Budgeted for Scheduler {
    fn groups(&self) -> &'static [Group] {
        &[Group::Scheduler]
    }

    /// Takes the counter of losses too, which lies beside.
    #[expect(clippy::cast_precision_loss, reason = "runs of a few ms")]
    fn add_spent(&mut self, _costs: Costs, spent: &mut Spent) -> Result<(), AttachError> {
        let Some(programs) = &mut self.programs else { return Ok(()) };
        let counts = programs.counts()?;
        self.losses.add(Cause::of("sched", "ring buffer full"), counts.lost);
        self.timed = (self.timed.0 + counts.timed, self.timed.1 + counts.timed_ns);
        if self.timed.0 >= FEW_RUNS {
            self.run_ns = self.timed.1 as f64 / self.timed.0 as f64;
        }
        self.runs += counts.runs;
        *spent.entry(Group::Scheduler).or_default() += (self.run_ns + ENTRY_NS) * counts.runs as f64;
        Ok(())
    }

    fn shed(&mut self, _group: Group, context: &mut Context) {
        self.take_records(context.now_ns, &context.processes);
        self.paused = (self.threads(), context.now_ns);
        self.leave(&self.tids(|_| true), context.now_ns, false);
        self.programs = None;
    }

    fn restore(&mut self, _group: Group, context: &mut Context) -> Result<(), AttachError> {
        self.programs = Some(Programs::start()?);
        self.from_ns = context.now_ns;
        self.end_pause(context.now_ns);
        Ok(())
    }
}
