//! When worker threads were off the CPU.

use crate::cell::Name;

crate::define_table! {
    /// A thread that makes recorded calls was off the CPU (`--with sched`): one interval of 200 us or more (or one that had not
    /// ended when the thread, its process or the recording did), or the sum of its
    /// shorter ones over a span. Waking late shows as `run_queue_ns`: ready to run, and no CPU.
    Raw sched: OffCpu, OffCpus, sorted by [start_ns] {
        /// When it went off, or start of the span, ns.
        start_ns: i64 => Delta,
        /// From there until it was on again, or length of the span, ns.
        dur_ns: i64 => Split,
        /// Process.
        process_id: i64 => Dict,
        /// Thread.
        tid: i32 => Dict,
        /// How it went off: `sleeping`, `uninterruptible` (I/O, page faults), `preempted`, `yielded` (gave the CPU up itself and was
        /// ready to go on), `stopped`; `short` for a sum.
        state: Name => Dict,
        /// Off the CPU, ns: `dur_ns` of one interval, the sum of the short ones.
        off_ns: i64 => Split,
        /// Of that, ready to run and waiting for a CPU, ns.
        run_queue_ns: i64 => Split,
        /// Intervals: 1, or how many are summed up.
        intervals: i64 => Plain,
    }
}
