//! What the scheduler's tracepoints write, for threads that the agent names.

/// Size of the ring buffer, bytes.
pub const RING_BYTES: u32 = 1 << 20;
/// Most threads of a recording.
pub const THREADS: u32 = 65_536;
/// Intervals off the CPU from here on are records, ns; shorter ones are summed up by thread.
pub const LONG_NS: u64 = 100_000;

/// A thread that calls `sched_yield` again within this time spins, ns: it looks for something again and again.
pub const SPIN_GAP_NS: u64 = 20_000;
/// A record of spinning is at most this long, ns; then the next one begins.
pub const SPIN_MOST_NS: u64 = 1_000_000_000;
/// [`Interval::state`] of a time in which a thread spun: none of the kernel's bits. Its `file` is the number of calls.
pub const SPUN: u32 = 1 << 31;

/// Offset of `orig_ax` in `struct pt_regs` of x86-64 (arch/x86/include/asm/ptrace.h): the number of the system call that the thread
/// is in, below 0 outside of one.
pub const REGS_CALL: usize = 120;
/// Of `di`, its first argument.
pub const REGS_ARG: usize = 112;
/// Of `cs`, whose lowest two bits are set where the registers are those of user code: kernel threads have none.
pub const REGS_CS: usize = 136;
/// No system call; as `u64` in the map.
pub const NO_CALL: i32 = -1;
/// No file: the call names none, or it could not be read.
pub const NO_FILE: i32 = -1;
/// `poll` and `ppoll`, whose first argument points to the first file that is waited for (`arch/x86/entry/syscalls/syscall_64.tbl`).
pub const POLL: i32 = 7;
/// See [`POLL`].
pub const PPOLL: i32 = 271;

/// `sched_yield`.
pub const YIELD: i32 = 24;

/// States in which a thread cannot go on, as bits of `TASK_*` (include/linux/sched.h): those of the lowest byte, a lock of `PREEMPT_RT`, and
/// frozen, which has no other bit.
pub const WAITS: u32 = 0x90ff;

/// What the programs count by CPU, in this order: intervals lost, runs of the programs, runs that were timed, ns of those.
pub const COUNTS: u32 = 4;
/// Slots of the map `SCHED_COUNTS`.
pub const LOST: u32 = 0;
/// See [`COUNTS`].
pub const RUNS: u32 = 1;
/// See [`COUNTS`].
pub const TIMED: u32 = 2;
/// See [`COUNTS`].
pub const TIMED_NS: u32 = 3;
/// Of so many runs one is timed.
pub const TIMED_EVERY: u64 = 64;
/// Longer runs do not count as timed, ns: those of the programs take below 1 us.
pub const TIMED_MOST_NS: u64 = 10_000;

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
    /// System call that it went off in: [`NO_CALL`] outside of one.
    pub call: u64,
    /// File descriptor that the call names first: [`NO_FILE`] where it names none.
    pub file: u64,
    /// Process (above) and thread (below 32 bits) that woke it; 0: not woken yet, or by an idle CPU.
    pub waker: u64,
    /// System call that the waker was in.
    pub waker_call: u64,
    /// The waker's name, up to 15 bytes.
    pub waker_name: [u64; 2],
    /// When its first call of `sched_yield` began that others followed closely; 0: none.
    pub spin_ns: u64,
    /// When the last of them began.
    pub spun_ns: u64,
    /// How many.
    pub spins: u64,
}

impl Thread {
    /// Words in the map.
    pub const WORDS: usize = 15;
}

/// A thread is on a CPU again after a long interval; or it has spun for a while.
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
    /// As in [`Thread`].
    pub call: i32,
    /// As in [`Thread`].
    pub file: i32,
    /// Process of the waker; 0: none.
    pub waker_pid: u32,
    /// Its thread.
    pub waker_tid: u32,
    /// The system call that it was in.
    pub waker_call: i32,
    /// Padding.
    pub zero: u32,
    /// Its name, up to the first 0.
    pub waker_name: [u8; 16],
}

const _: () = {
    assert!(size_of::<Thread>() == 8 * Thread::WORDS);
    assert!(size_of::<Interval>() == 72);
};
