//! What the scheduler's tracepoints write, for threads that the agent names.

/// Size of the ring buffer, bytes.
pub const RING_BYTES: u32 = 1 << 20;
/// Most threads of a recording.
pub const THREADS: u32 = 65_536;
/// Intervals off the CPU from here on are records, ns; shorter ones are summed up by thread.
pub const LONG_NS: u64 = 200_000;

/// Offset of `prev_pid` (i32) in the tracepoint `sched_switch`; the agent compares these with the kernel's own description.
pub const SWITCH_PREV_PID: usize = 24;
/// Of `prev_state` (i64).
pub const SWITCH_PREV_STATE: usize = 32;
/// Of `next_pid` (i32).
pub const SWITCH_NEXT_PID: usize = 56;
/// Of `pid` (i32) in `sched_wakeup`.
pub const WAKEUP_PID: usize = 24;

/// Value of the map `SCHED_THREADS`, by thread. In the map as [`Thread::WORDS`] words of 8 bytes in this order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thread {
    /// When it went off the CPU; 0: it is on, or that was not seen.
    pub off_ns: u64,
    /// When it became ready to run again; 0: not yet.
    pub ready_ns: u64,
    /// The state that it went off in, as the kernel numbers it.
    pub state: u64,
    /// Short intervals so far.
    pub short: u64,
    /// Time in them, ns.
    pub short_ns: u64,
    /// Of that, waiting for a CPU, ns.
    pub short_queue_ns: u64,
}

impl Thread {
    /// Words in the map.
    pub const WORDS: usize = 6;
}

/// A thread is on a CPU again after a long interval.
#[repr(C)]
#[cfg_attr(feature = "tables", derive(zerocopy::FromBytes))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// When, ns of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// When it had gone off, ns.
    pub off_ns: u64,
    /// How long it waited for a CPU at the end of it, ns.
    pub queue_ns: u64,
    /// Thread.
    pub tid: u32,
    /// The state that it went off in, as the kernel numbers it.
    pub state: u32,
}

const _: () = {
    assert!(size_of::<Thread>() == 8 * Thread::WORDS);
    assert!(size_of::<Interval>() == 32);
};
