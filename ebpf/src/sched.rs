//! The scheduler's tracepoints: when threads that the agent has named go off a CPU, in which system call, who wakes them, and when
//! they are on one again. Whatever other threads do costs look-ups. By the kernel's own types (BTF), which need no tracefs.
#![expect(unsafe_code, reason = "the tracepoints' arguments, registers and map values are reached by pointers")]

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_ktime_get_ns, bpf_probe_read_kernel,
    bpf_probe_read_user, bpf_task_pt_regs,
};
use aya_ebpf::macros::{btf_tracepoint, fentry, map};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext};
use kvpath_schema::wire::sched::{
    COUNTS, Interval, LONG_NS, LOST, NO_CALL, NO_FILE, POLL, PPOLL, REGS_ARG, REGS_CALL, REGS_CS, RING_BYTES, RUNS,
    SPIN_GAP_NS, SPIN_MOST_NS, SPUN, THREADS, TIMED, TIMED_EVERY, TIMED_MOST_NS, TIMED_NS, Thread, WAITS, YIELD,
};

use crate::count::{add, count};

#[map(name = "SCHED_RING")]
static RING: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);
#[map(name = "SCHED_THREADS")]
static THREAD_OF: HashMap<u32, Thread> = HashMap::with_max_entries(THREADS, 0);
#[map(name = "SCHED_COUNTS")]
static COUNTERS: PerCpuArray<[u64; COUNTS as usize]> = PerCpuArray::with_max_entries(1, 0);

/// Offset of `pid` in `task_struct`.
#[map(name = "SCHED_OFFSETS")]
static OFFSETS: Array<u32> = Array::with_max_entries(1, 0);

/// `bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state` (include/trace/events/sched.h).
#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let began = begin();
    let (is_preempted, next, state): (u64, *const u8, u32) = (ctx.arg(0), ctx.arg(2), ctx.arg(3));
    // The one that goes off is still the current one.
    let prev = bpf_get_current_pid_tgid() as u32;
    if let Some(thread) = THREAD_OF.get_ptr_mut(&prev) {
        let (call, file) = current_call();
        // Preempted as it was about to wait, it can go on.
        let state = if is_preempted & 1 == 0 { state } else { 0 };
        // SAFETY: a live map value; a thread goes off and on in turn, so no two write at once.
        unsafe {
            let now = bpf_ktime_get_ns();
            (*thread).off_ns = now;
            (*thread).state = state as u64;
            (*thread).call = call as i64 as u64;
            (*thread).file = file as i64 as u64;
            (*thread).waker = 0;
            // State 0: it could go on, and waits for a CPU from now on.
            (*thread).ready_ns = if state & WAITS == 0 { now } else { 0 };
        }
    }
    if let Some(next) = tid(next)
        && let Some(thread) = THREAD_OF.get_ptr_mut(&next)
    {
        // SAFETY: as above.
        unsafe { on_again(thread, next) };
    }
    end(began);
    0
}

/// `struct task_struct *p`.
#[btf_tracepoint(function = "sched_waking")]
pub fn sched_waking(ctx: BtfTracePointContext) -> i32 {
    let began = begin();
    if let Some(woken) = tid(ctx.arg(0))
        && let Some(thread) = THREAD_OF.get_ptr_mut(&woken)
    {
        // SAFETY: a live map value; a waker may come while the thread is on its way off, and is then overwritten by that.
        unsafe {
            if (*thread).off_ns != 0 && (*thread).ready_ns == 0 {
                (*thread).ready_ns = bpf_ktime_get_ns();
                (*thread).waker = bpf_get_current_pid_tgid();
                (*thread).waker_call = current_call().0 as i64 as u64;
                let name = bpf_get_current_comm().unwrap_or_default();
                (*thread).waker_name = core::mem::transmute::<[u8; 16], [u64; 2]>(name);
            }
        }
    }
    end(began);
    0
}

/// A thread that has nothing to do but to look again calls `sched_yield` in between. This runs for every such call on the machine, as the
/// tracepoints do, but is not counted as cost: what yields has time.
#[fentry]
pub fn sched_yield(_ctx: FEntryContext) -> i32 {
    let tid = bpf_get_current_pid_tgid() as u32;
    if let Some(thread) = THREAD_OF.get_ptr_mut(&tid) {
        // SAFETY: a live map value; only the thread itself comes here.
        unsafe {
            let now = bpf_ktime_get_ns();
            let (from, last) = ((*thread).spin_ns, (*thread).spun_ns);
            if from != 0 && now.saturating_sub(last) <= SPIN_GAP_NS && last - from < SPIN_MOST_NS {
                (*thread).spins += 1;
            } else {
                spun(thread, tid);
                (*thread).spin_ns = now;
                (*thread).spins = 1;
            }
            (*thread).spun_ns = now;
        }
    }
    0
}

/// A record of a time in which a thread spun, if it was a long one.
///
/// # Safety
/// `thread` is a live map value.
#[inline(always)]
unsafe fn spun(thread: *const Thread, tid: u32) {
    // SAFETY: by contract.
    unsafe {
        let (from, last) = ((*thread).spin_ns, (*thread).spun_ns);
        if last.saturating_sub(from) < LONG_NS {
            return;
        }
        let Some(mut slot) = RING.reserve::<Interval>(0) else {
            count(COUNTERS.get_ptr_mut(0), LOST);
            return;
        };
        slot.write(Interval {
            time_ns: last,
            off_ns: from,
            queue_ns: 0,
            tid,
            state: SPUN,
            call: YIELD,
            file: (*thread).spins as i32,
            waker_pid: 0,
            waker_tid: 0,
            waker_call: NO_CALL,
            zero: 0,
            waker_name: [0; 16],
        });
        slot.submit(BPF_RB_NO_WAKEUP as u64);
    }
}

/// The thread id of a task.
#[inline(always)]
fn tid(task: *const u8) -> Option<u32> {
    let offset = *OFFSETS.get(0)?;
    // SAFETY: what cannot be read is an error.
    unsafe { bpf_probe_read_kernel(task.add(offset as usize).cast::<u32>()).ok() }
}

/// The system call that the current thread is in, and the file that it names first.
#[inline(always)]
fn current_call() -> (i32, i32) {
    // SAFETY: the registers that a thread entered the kernel with lie on its own stack; what cannot be read is an error.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
        let Ok(call) = bpf_probe_read_kernel(registers.add(REGS_CALL).cast::<i64>()) else { return (NO_CALL, NO_FILE) };
        let segment = bpf_probe_read_kernel(registers.add(REGS_CS).cast::<u64>()).unwrap_or(0);
        if call < 0 || segment & 3 != 3 {
            return (NO_CALL, NO_FILE);
        }
        let Ok(argument) = bpf_probe_read_kernel(registers.add(REGS_ARG).cast::<u64>()) else {
            return (call as i32, NO_FILE);
        };
        let file = match call as i32 {
            // Of several files the first.
            POLL | PPOLL => bpf_probe_read_user(argument as *const i32).unwrap_or(NO_FILE),
            _ => argument as i32,
        };
        (call as i32, file)
    }
}

/// Counts a run; gives when it began, if it is one of those that are timed.
#[inline(always)]
fn begin() -> u64 {
    count(COUNTERS.get_ptr_mut(0), RUNS);
    // SAFETY: a live map value of this CPU.
    let runs = COUNTERS.get_ptr(0).map_or(1, |counts| unsafe { (*counts)[RUNS as usize] });
    // SAFETY: reads a clock.
    if runs.is_multiple_of(TIMED_EVERY) { unsafe { bpf_ktime_get_ns() } } else { 0 }
}

#[inline(always)]
fn end(began: u64) {
    if began != 0 {
        // SAFETY: reads a clock.
        let ns = unsafe { bpf_ktime_get_ns() } - began;
        // It was interrupted, or its CPU was taken away: none of its own cost.
        if ns > TIMED_MOST_NS {
            return;
        }
        count(COUNTERS.get_ptr_mut(0), TIMED);
        // SAFETY: within the live map value.
        add(COUNTERS.get_ptr_mut(0).map(|counts| unsafe { counts.cast::<u64>().add(TIMED_NS as usize) }), ns);
    }
}

/// # Safety
/// `thread` is a live map value.
#[inline(always)]
unsafe fn on_again(thread: *mut Thread, tid: u32) {
    // SAFETY: by contract.
    unsafe {
        let (off_ns, ready_ns) = ((*thread).off_ns, (*thread).ready_ns);
        if off_ns == 0 {
            return;
        }
        let now = bpf_ktime_get_ns();
        // Clocks of CPUs may differ by some ns.
        let (dur_ns, queue_ns) =
            (now.saturating_sub(off_ns), if ready_ns == 0 { 0 } else { now.saturating_sub(ready_ns) });
        (*thread).off_ns = 0;
        if dur_ns < LONG_NS {
            (*thread).short += 1;
            (*thread).short_ns += dur_ns;
            (*thread).short_queue_ns += queue_ns;
            return;
        }
        let Some(mut slot) = RING.reserve::<Interval>(0) else {
            count(COUNTERS.get_ptr_mut(0), LOST);
            return;
        };
        let waker = (*thread).waker;
        slot.write(Interval {
            time_ns: now,
            off_ns,
            queue_ns,
            tid,
            state: (*thread).state as u32,
            call: (*thread).call as i32,
            file: (*thread).file as i32,
            waker_pid: (waker >> 32) as u32,
            waker_tid: waker as u32,
            waker_call: (*thread).waker_call as i32,
            zero: 0,
            waker_name: core::mem::transmute::<[u64; 2], [u8; 16]>((*thread).waker_name),
        });
        // The agent drains on a timer.
        slot.submit(BPF_RB_NO_WAKEUP as u64);
    }
}
