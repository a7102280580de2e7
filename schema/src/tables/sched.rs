//! When worker threads were off the CPU.

use crate::cell::Name;

crate::define_table! {
    /// A thread that makes recorded calls, or the main thread of a process that started one, was off the CPU: one interval of
    /// 100 us or more (or it spun for so long; or one that had not ended when the thread, its process or the recording did), or the sum of its
    /// shorter ones over a span. Waking late shows as `run_queue_ns`: ready to run, and no CPU. Recordings of before 2026-12 have
    /// intervals from 200 us on, and not what a thread waited for.
    #[derive(Default)]
    Raw sched: OffCpu, OffCpus, sorted by [start_ns] {
        /// When it went off, or start of the span, ns.
        start_ns: i64 => Delta,
        /// From there until it was on again, or length of the span, ns.
        dur_ns: i64 => Split,
        /// Process.
        process_id: i64 => Dict,
        /// Thread.
        tid: i32 => Dict,
        /// How it went off: `sleeping`, `uninterruptible` (I/O, page faults), `preempted`, `yielded` (it called `sched_yield`; in recordings
        /// of before 2026-12 many that were preempted), `stopped`; `short` for a sum; `spinning`: it was on the CPU, and called `sched_yield`
        /// again and again, less than 20 us apart, as one does that looks for something; what it did in between is not known (from 2026-12 on); `unrecorded`: in that time
        /// intervals of it were lost, or not recorded for what that costs.
        state: Name => Dict,
        /// Off the CPU, ns: `dur_ns` of one interval, the sum of the short ones, 0 where it spun.
        off_ns: i64 => Split,
        /// Of that, ready to run and waiting for a CPU, ns.
        run_queue_ns: i64 => Split,
        /// Intervals: 1, or how many are summed up; of `spinning` how often it looked.
        intervals: i64 => Plain,
        /// The system call that it waited in; null: in none (a page fault), it could have gone on (`preempted`, `yielded`), or not recorded.
        call: Option<Name> => Dict,
        /// The file that the call names, of `poll` the first: `tcp 10.0.0.1:4000 to 10.0.0.2:5000`, `pipe`, `eventfd`, a path; as it
        /// was up to 20 ms later. Null: it names none.
        file: Option<Name> => Dict,
        /// Process of the thread that woke it by a call that ends such waiting (a futex, a write, a send, its end); null: none did
        /// (a time was over, a device or another host was ready), or the process is none that is recorded.
        waker_process_id: Option<i64> => Dict,
        /// Thread that woke it so.
        waker_tid: Option<i32> => Dict,
        /// The name of that thread.
        waker: Option<Name> => Dict,
    }
}
