//! The scheduler's tracepoints: when threads that the agent has named go off a CPU, become ready, and are on one again.
//! Whatever other threads do costs two look-ups.
#![expect(unsafe_code, reason = "the tracepoints' records and map values are reached by pointers")]

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{map, tracepoint};
use aya_ebpf::maps::{HashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::TracePointContext;
use kvpath_schema::wire::sched::{
    Interval, LONG_NS, RING_BYTES, SWITCH_NEXT_PID, SWITCH_PREV_PID, SWITCH_PREV_STATE, THREADS, Thread, WAKEUP_PID,
};

use crate::count::count;

#[map(name = "SCHED_RING")]
static RING: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);
#[map(name = "SCHED_THREADS")]
static THREAD_OF: HashMap<u32, Thread> = HashMap::with_max_entries(THREADS, 0);
#[map(name = "SCHED_LOST")]
static LOST: PerCpuArray<[u64; 1]> = PerCpuArray::with_max_entries(1, 0);

#[tracepoint]
pub fn sched_switch(ctx: TracePointContext) -> u32 {
    // SAFETY: reads within the tracepoint's record; the agent has compared the offsets with the kernel's description.
    let fields = unsafe {
        (
            ctx.read_at::<i32>(SWITCH_PREV_PID),
            ctx.read_at::<i64>(SWITCH_PREV_STATE),
            ctx.read_at::<i32>(SWITCH_NEXT_PID),
        )
    };
    let (Ok(prev), Ok(state), Ok(next)) = fields else { return 0 };
    if let Some(thread) = THREAD_OF.get_ptr_mut(&(prev as u32)) {
        // SAFETY: a live map value; a thread goes off and on in turn, so no two write at once.
        unsafe {
            let now = bpf_ktime_get_ns();
            (*thread).off_ns = now;
            (*thread).state = state as u64;
            // State 0: it could go on, and waits for a CPU from now on.
            (*thread).ready_ns = if state & 0xff == 0 { now } else { 0 };
        }
    }
    if let Some(thread) = THREAD_OF.get_ptr_mut(&(next as u32)) {
        // SAFETY: as above.
        unsafe { on_again(thread, next as u32) };
    }
    0
}

#[tracepoint]
pub fn sched_wakeup(ctx: TracePointContext) -> u32 {
    // SAFETY: as above.
    let Ok(pid) = (unsafe { ctx.read_at::<i32>(WAKEUP_PID) }) else { return 0 };
    if let Some(thread) = THREAD_OF.get_ptr_mut(&(pid as u32)) {
        // SAFETY: a live map value; a waker may come while the thread is on its way off, and is then overwritten by that.
        unsafe {
            if (*thread).off_ns != 0 && (*thread).ready_ns == 0 {
                (*thread).ready_ns = bpf_ktime_get_ns();
            }
        }
    }
    0
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
        let (dur_ns, queue_ns) = (now - off_ns, if ready_ns == 0 { 0 } else { now - ready_ns });
        (*thread).off_ns = 0;
        if dur_ns < LONG_NS {
            (*thread).short += 1;
            (*thread).short_ns += dur_ns;
            (*thread).short_queue_ns += queue_ns;
            return;
        }
        let Some(mut slot) = RING.reserve::<Interval>(0) else {
            count(LOST.get_ptr_mut(0), 0);
            return;
        };
        slot.write(Interval { time_ns: now, off_ns, queue_ns, tid, state: (*thread).state as u32 });
        // The agent drains on a timer.
        slot.submit(BPF_RB_NO_WAKEUP as u64);
    }
}
