//! What is recorded of threads besides their calls: when and why they were off the CPU, who woke them, and when they waited for code
//! to be loaded.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvpath_schema::cell::Name;

use crate::error::LoadError;
use crate::intervals::{Span, Union};
use crate::spill::{Column, Memory, Numbers, sorted};

/// A thread: process and thread id.
pub type ThreadId = (i64, i32);

/// Why a thread was off the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blocking {
    /// It could have gone on, and had no CPU.
    Ready,
    /// A time, a disk or a signal: nothing that another thread does.
    Own,
    /// A time again and again, mostly: see [`Threads::blocked`].
    Sleep,
    /// Another thread woke it, which is on record.
    Woken,
    /// Something else, or it was not recorded.
    Unknown,
}

/// An interval off the CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffCpu {
    /// The thread.
    pub thread: ThreadId,
    /// When it went off, ns.
    pub start: i64,
    /// When it could have gone on, ns.
    pub ready: i64,
    /// When it was on again, ns.
    pub end: i64,
    /// Why.
    pub blocking: Blocking,
    /// Thread that woke it.
    pub waker: Option<ThreadId>,
    /// The call and what it was on, and the waker's name; else how it went off.
    pub what: Name,
}

/// What the scheduler's row says of an interval.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cause<'a> {
    /// `sched.state`.
    pub state: &'a str,
    /// `sched.call`.
    pub call: Option<&'a str>,
    /// `sched.file`.
    pub file: Option<&'a str>,
    /// `sched.waker`.
    pub waker: Option<&'a str>,
}

impl Cause<'_> {
    fn blocking(&self, is_waker_known: bool) -> Blocking {
        match (self.state, self.call) {
            ("preempted" | "yielded", _) => Blocking::Ready,
            ("stopped", _) => Blocking::Own,
            _ if is_waker_known => Blocking::Woken,
            (_, Some("nanosleep" | "clock_nanosleep")) => Blocking::Sleep,
            (_, Some("fsync" | "fdatasync")) => Blocking::Own,
            _ => Blocking::Unknown,
        }
    }

    fn text(&self) -> Name {
        if self.state == "spinning" {
            return "spins in sched_yield".into();
        }
        // By a signal, whatever it was at.
        if self.state == "stopped" {
            return self.state.into();
        }
        let words = [self.call.or(Some(self.state)), self.file];
        let mut text: String = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
        if let Some(waker) = self.waker {
            text.push_str(", woken by ");
            text.push_str(waker);
        }
        text.into()
    }
}

/// Records of threads.
#[derive(Debug, Default)]
pub struct Threads {
    process: Column<i64>,
    tid: Column<u32>,
    start: Column<i64>,
    ready: Column<i64>,
    end: Column<i64>,
    /// Number of reason and text.
    cause: Column<u32>,
    waker_process: Column<i64>,
    /// 0: none.
    waker_tid: Column<u32>,
    causes: Numbers<(Blocking, Name)>,
    /// Times in which a thread may have been off the CPU without a row: many short intervals, and what was not recorded.
    unsure: BTreeMap<ThreadId, Vec<Span>>,
    loads: BTreeMap<ThreadId, Vec<Span>>,
}

/// Threads that are off the CPU in short intervals for more than this share of a time are not said to run in it: a tenth is
/// what calls of ms may be wrong by where the margin of all figures is.
const SHORT_SHARE: f64 = 0.1;

/// So many texts are kept with what was waited for and who woke: a server has a socket for each connection. Others name the call alone.
const MOST_TEXTS: usize = 65_536;

impl Threads {
    /// None yet.
    #[must_use]
    pub fn within(memory: &Memory) -> Self {
        Self {
            process: Column::new(memory),
            tid: Column::new(memory),
            start: Column::new(memory),
            ready: Column::new(memory),
            end: Column::new(memory),
            cause: Column::new(memory),
            waker_process: Column::new(memory),
            waker_tid: Column::new(memory),
            ..Self::default()
        }
    }

    /// A thread was off the CPU for that time, of which it waited `queue_ns` for one at the end.
    ///
    /// # Errors
    /// No room for files.
    pub fn off(
        &mut self,
        thread: ThreadId,
        (start, end): Span,
        queue_ns: i64,
        cause: &Cause,
        waker: Option<ThreadId>,
    ) -> Result<(), LoadError> {
        let blocking = cause.blocking(waker.is_some());
        let mut value = (blocking, cause.text());
        if !self.causes.has_room(&value, MOST_TEXTS) {
            let Cause { state, call, .. } = *cause;
            value = (blocking, Cause { state, call, file: None, waker: None }.text());
        }
        let cause = self.causes.of(value);
        self.push(thread, (start, end.saturating_sub(queue_ns.max(0)).max(start), end), cause, waker)
    }

    fn push(
        &mut self,
        (process, tid): ThreadId,
        (start, ready, end): (i64, i64, i64),
        cause: u32,
        waker: Option<ThreadId>,
    ) -> Result<(), LoadError> {
        let (waker_process, waker_tid) = waker.unwrap_or_default();
        self.process.push(process)?;
        self.tid.push(tid.cast_unsigned())?;
        self.start.push(start)?;
        self.ready.push(ready)?;
        self.end.push(end)?;
        self.cause.push(cause)?;
        self.waker_process.push(waker_process)?;
        self.waker_tid.push(waker_tid.cast_unsigned())
    }

    /// A thread was off the CPU in short intervals of a time, for `off_ns` in all.
    pub fn off_shortly(&mut self, thread: ThreadId, (start, end): Span, off_ns: i64) {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let is_much = off_ns as f64 > SHORT_SHARE * (end - start) as f64;
        if is_much {
            self.unsure.entry(thread).or_default().push((start, end));
        }
    }

    /// Intervals off the CPU of a thread were not recorded in that time, or lost.
    pub fn unrecorded(&mut self, thread: ThreadId, span: Span) {
        self.unsure.entry(thread).or_default().push(span);
    }

    /// A thread had code loaded into its GPU on first use.
    pub fn load(&mut self, thread: ThreadId, span: Span) {
        self.loads.entry(thread).or_default().push(span);
    }

    /// The same in order.
    ///
    /// # Errors
    /// No room for files.
    pub(crate) fn sorted(mut self, memory: &Memory) -> Result<Self, LoadError> {
        let key = |row: u32| {
            let row = row as usize;
            (self.process[row], self.tid[row].cast_signed(), self.start[row], self.end[row], row)
        };
        let rows = sorted(memory, self.process.len(), |a, b| key(a).cmp(&key(b)))?;
        let mut all = Self::within(memory);
        for row in rows.iter().map(|row| *row as usize) {
            let waker = Some((self.waker_process[row], self.waker_tid[row].cast_signed()));
            let thread = (self.process[row], self.tid[row].cast_signed());
            all.push(thread, (self.start[row], self.ready[row], self.end[row]), self.cause[row], waker)?;
        }
        self.loads.values_mut().for_each(|spans| spans.sort_unstable());
        self.unsure.values_mut().for_each(|spans| *spans = Union::of(std::mem::take(spans)).spans().to_vec());
        let Self { causes, unsure, loads, .. } = self;
        Ok(Self { causes, unsure, loads, ..all })
    }

    /// Rows of a thread, by time.
    fn rows(&self, (process, tid): ThreadId) -> std::ops::Range<usize> {
        let own = self.process.partition_point(|other| *other < process)
            ..self.process.partition_point(|other| *other <= process);
        let tids = &self.tid[own.clone()];
        let before = tids.partition_point(|other| other.cast_signed() < tid);
        let until = tids.partition_point(|other| other.cast_signed() <= tid);
        own.start + before..own.start + until
    }

    /// An interval by its row.
    #[must_use]
    pub fn interval(&self, row: u32) -> OffCpu {
        let row = row as usize;
        let (blocking, what) = self.causes.value(self.cause[row]);
        let waker = (self.waker_process[row], self.waker_tid[row].cast_signed());
        OffCpu {
            thread: (self.process[row], self.tid[row].cast_signed()),
            start: self.start[row],
            ready: self.ready[row],
            end: self.end[row],
            blocking: *blocking,
            waker: Some(waker).filter(|waker| waker.1 != 0),
            what: Arc::clone(what),
        }
    }

    /// The intervals of a thread of at least that length, of which at least that much lies in a time.
    pub fn long(&self, thread: ThreadId, (from, to): Span, least: i64) -> impl Iterator<Item = OffCpu> + '_ {
        let rows = self.rows(thread);
        let until = rows.start + self.start[rows.clone()].partition_point(|start| *start < to);
        // Intervals of a thread do not overlap: only the last that began before can reach into the time.
        let first = rows.start + self.start[rows.start..until].partition_point(|start| *start < from);
        let is_long = move |row: &usize| self.end[*row].min(to) - self.start[*row].max(from) >= least;
        let rows = first.saturating_sub(1).max(rows.start)..until;
        rows.filter(is_long).filter_map(|row| Some(self.interval(u32::try_from(row).ok()?)))
    }

    /// The last interval of a thread that began at `from` or later, and after which it could go on by `to`, and for which it had
    /// waited: not for a CPU. Nothing where it was a sleep, and another one of that time lasted half to twice as long: then it looked
    /// for something again and again, and it was not the time that it waited for.
    #[must_use]
    pub fn blocked(&self, thread: ThreadId, (from, to): Span) -> Option<u32> {
        let rows = self.rows(thread);
        let first = rows.start + self.start[rows.clone()].partition_point(|start| *start < from);
        let within = first..first + self.ready[first..rows.end].partition_point(|ready| *ready <= to);
        let blocking = |row: &usize| self.causes.value(self.cause[*row]).0;
        let last = within.clone().rev().find(|row| blocking(row) != Blocking::Ready)?;
        let length = |row: usize| self.ready[row] - self.start[row];
        let is_alike = |row: &usize| (length(last) / 2..=length(last).saturating_mul(2)).contains(&length(*row));
        let mut sleeps = within.filter(|row| *row != last && blocking(row) == Blocking::Sleep);
        if blocking(&last) == Blocking::Sleep && sleeps.any(|row| is_alike(&row)) {
            return None;
        }
        u32::try_from(last).ok()
    }

    /// When a thread is known to have run within `[from, to)`: what lies between its first and its last time off the CPU, without
    /// those. Nothing where no such time is recorded.
    #[must_use]
    pub fn ran(&self, thread: ThreadId, (from, to): Span) -> Vec<Span> {
        let rows = self.rows(thread);
        if rows.is_empty() {
            return Vec::new();
        }
        let (mut at, to) = (from.max(self.start[rows.start]), to.min(self.end[rows.end - 1]));
        let first = rows.start + self.end[rows.clone()].partition_point(|end| *end <= at);
        let mut ran = Vec::new();
        let off = (first..rows.end).map(|row| (self.start[row], self.end[row]));
        for (start, end) in off.take_while(|(start, _)| *start < to) {
            if start > at {
                ran.push((at, start));
            }
            at = at.max(end);
        }
        if at < to {
            ran.push((at, to));
        }
        let unsure = self.unsure.get(&thread).map_or(&[][..], Vec::as_slice);
        ran.retain(|(start, end)| {
            let next = unsure.get(unsure.partition_point(|span| span.1 <= *start));
            next.is_none_or(|span| span.0 >= *end)
        });
        ran
    }

    /// When a thread first had code loaded between two times.
    #[must_use]
    pub fn loaded(&self, thread: ThreadId, (from, to): Span) -> Option<i64> {
        let loads = self.loads.get(&thread)?;
        let next = loads.get(loads.partition_point(|(start, _)| *start <= from))?;
        (next.0 < to).then_some(next.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEP: Cause = Cause { state: "sleeping", call: Some("clock_nanosleep"), file: None, waker: None };
    const FUTEX: Cause = Cause { state: "sleeping", call: Some("futex"), file: None, waker: None };
    const PREEMPTED: Cause = Cause { state: "preempted", call: None, file: None, waker: None };

    #[test]
    fn texts_are_kept_up_to_a_number() {
        let mut threads = Threads::within(&Memory::default());
        let wait = |threads: &mut Threads, socket: usize| {
            let file = format!("10.0.0.1:5557 > 10.0.0.2:{socket}");
            let cause = Cause { state: "sleeping", call: Some("recvmsg"), file: Some(&file), waker: None };
            threads.off((1, 1), (0, 1), 0, &cause, None).unwrap();
        };
        for socket in 0..MOST_TEXTS + 100 {
            wait(&mut threads, socket);
        }
        wait(&mut threads, 7);
        assert_eq!(threads.causes.values().len(), MOST_TEXTS + 1);
        let last = u32::try_from(MOST_TEXTS + 100).unwrap();
        assert_eq!(&*threads.interval(last - 1).what, "recvmsg");
        assert_eq!(&*threads.interval(last).what, "recvmsg 10.0.0.1:5557 > 10.0.0.2:7");
    }

    fn threads(spans: &[(Span, Cause)]) -> Threads {
        let memory = Memory::default();
        let mut threads = Threads::within(&memory);
        for (span, cause) in spans {
            threads.off((1, 2), *span, 0, cause, None).unwrap();
        }
        threads.off((1, 1), (0, 1_000), 0, &FUTEX, None).unwrap();
        threads.sorted(&memory).unwrap()
    }

    #[test]
    fn long_intervals_count_by_what_lies_within_the_time() {
        let threads = threads(&[((0, 30), SLEEP), ((40, 45), FUTEX), ((50, 90), FUTEX), ((95, 200), PREEMPTED)]);
        let starts = |span| threads.long((1, 2), span, 10).map(|interval| interval.start).collect::<Vec<_>>();
        assert_eq!(starts((20, 110)), [0, 50, 95]);
        assert_eq!(starts((21, 104)), [50], "too little of the others lies within");
        assert!(starts((300, 400)).is_empty());
    }

    #[test]
    fn a_thread_ran_where_it_was_not_off_the_cpu_as_far_as_that_is_recorded() {
        let spans = [((60, 70), FUTEX), ((10, 30), FUTEX), ((35, 40), PREEMPTED)];
        let mut threads = threads(&spans);
        assert_eq!(threads.ran((1, 2), (0, 100)), [(30, 35), (40, 60)]);
        assert_eq!(threads.ran((1, 2), (32, 38)), [(32, 35)]);
        assert_eq!(threads.ran((1, 2), (45, 50)), [(45, 50)]);
        assert_eq!(threads.ran((1, 3), (0, 100)), [], "nothing is recorded of it");
        threads.off_shortly((1, 2), (25, 45), 1);
        assert_eq!(threads.ran((1, 2), (0, 33)), [(30, 33)], "short times off it that are few");
        threads.off_shortly((1, 2), (25, 34), 5);
        let mut threads = threads.sorted(&Memory::default()).unwrap();
        assert_eq!(threads.ran((1, 2), (0, 100)), [(40, 60)], "it was off shortly, and often");
        threads.unrecorded((1, 2), (50, 51));
        let threads = threads.sorted(&Memory::default()).unwrap();
        assert_eq!(threads.ran((1, 2), (0, 100)), [], "what was lost may have been there");
    }

    #[test]
    fn the_last_wait_of_a_time_is_the_one_that_held_a_thread_up() {
        let threads = threads(&[((10, 20), FUTEX), ((30, 40), SLEEP), ((45, 47), PREEMPTED)]);
        let blocked = |from, to| threads.blocked((1, 2), (from, to)).map(|row| threads.interval(row));
        let sleep = blocked(0, 100).unwrap();
        assert_eq!((sleep.start, sleep.ready, &*sleep.what), (30, 40, "clock_nanosleep"));
        assert_eq!(blocked(0, 35).map(|off| off.start), Some(10), "not over by then");
        assert_eq!(blocked(41, 100), None, "it waited for a CPU only");
        assert_eq!(threads.blocked((1, 3), (0, 100)), None);
    }

    #[test]
    fn who_sleeps_again_and_again_looks_for_something() {
        let threads = threads(&[((10, 20), SLEEP), ((30, 40), SLEEP)]);
        assert_eq!(threads.blocked((1, 2), (0, 100)), None);
        assert!(threads.blocked((1, 2), (25, 100)).is_some());
        let threads = self::threads(&[((10, 12), SLEEP), ((14, 16), SLEEP), ((30, 40), SLEEP)]);
        assert_eq!(
            threads.blocked((1, 2), (0, 100)).map(|row| threads.interval(row).start),
            Some(30),
            "one of its own"
        );
        assert_eq!(threads.blocked((1, 2), (0, 20)), None);
    }

    #[test]
    fn a_wait_says_what_it_was_for_and_who_ended_it() {
        let memory = Memory::default();
        let mut threads = Threads::within(&memory);
        let file = Some("tcp 127.0.0.1:1 to 127.0.0.1:2");
        let cause = Cause { state: "sleeping", call: Some("poll"), file, waker: Some("pt_0") };
        threads.off((1, 2), (10, 30), 5, &cause, Some((4, 9))).unwrap();
        let threads = threads.sorted(&memory).unwrap();
        let off = threads.interval(threads.blocked((1, 2), (0, 100)).unwrap());
        assert_eq!((off.ready, off.end, off.blocking, off.waker), (25, 30, Blocking::Woken, Some((4, 9))));
        assert_eq!(&*off.what, "poll tcp 127.0.0.1:1 to 127.0.0.1:2, woken by pt_0");
    }

    #[test]
    fn a_thread_that_spins_does_not_run_for_anything() {
        let spins = Cause { state: "spinning", call: Some("sched_yield"), ..Cause::default() };
        let threads = threads(&[((100, 300), spins), ((400, 450), PREEMPTED)]);
        let thread = (1, 2);
        let row = threads.blocked(thread, (0, 350)).unwrap();
        let own = threads.interval(row);
        assert_eq!((own.blocking, &*own.what, own.ready), (Blocking::Unknown, "spins in sched_yield", 300));
        assert_eq!(threads.ran(thread, (50, 450)), [(300, 400)]);
    }

    #[test]
    fn a_load_counts_in_the_time_in_which_it_began() {
        let mut threads = Threads::default();
        threads.load((1, 2), (20, 25));
        let threads = threads.sorted(&Memory::default()).unwrap();
        assert_eq!(threads.loaded((1, 2), (10, 30)), Some(20));
        assert_eq!(threads.loaded((1, 2), (20, 30)), None);
        assert_eq!(threads.loaded((1, 2), (10, 20)), None);
    }
}
