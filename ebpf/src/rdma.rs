//! Uprobes on libibverbs' control path: `rdma_entry` keeps a call's arguments, `rdma_return` writes the record.
#![expect(unsafe_code, reason = "BPF helpers, and the kernel's pointers to maps and registers")]

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user};
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::{HashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use kvpath_schema::wire::rdma::{Call, Entry, LOST_SLOTS, RING_BYTES, Returned};

use crate::count::count;

#[map(name = "RDMA_RING")]
static RING: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);
#[map(name = "RDMA_ENTRIES")]
static ENTRIES: HashMap<u64, Entry> = HashMap::with_max_entries(16_384, 0);
#[map(name = "RDMA_LOST")]
static LOST: PerCpuArray<[u64; LOST_SLOTS as usize]> = PerCpuArray::with_max_entries(1, 0);

#[uprobe(multi)]
pub fn rdma_entry(ctx: ProbeContext) -> u32 {
    // SAFETY: the context is the one this program was called with.
    let call = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } as u32;
    let args = [ctx.arg(0).unwrap_or(0), ctx.arg(1).unwrap_or(0), ctx.arg(2).unwrap_or(0), ctx.arg(3).unwrap_or(0)];
    // `qp_state` is the first field of `ibv_qp_attr` (infiniband/verbs.h).
    let state = if call == Call::ModifyQp as u32 {
        // SAFETY: the helper checks the address and reports a fault.
        unsafe { bpf_probe_read_user(args[1] as *const u32) }.unwrap_or(u32::MAX)
    } else {
        u32::MAX
    };
    // SAFETY: takes no pointer.
    let entry = Entry { time_ns: unsafe { bpf_ktime_get_ns() }, args, state, call };
    if ENTRIES.insert(&bpf_get_current_pid_tgid(), &entry, 0).is_err() {
        count(LOST.get_ptr_mut(0), 1);
    }
    0
}

#[uretprobe(multi)]
pub fn rdma_return(ctx: RetProbeContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: the entry is this thread's own; it is copied before it is removed.
    let Some(entry) = (unsafe { ENTRIES.get(&pid_tgid) }).copied() else { return 0 };
    let _ = ENTRIES.remove(&pid_tgid);
    let Some(mut slot) = RING.reserve::<Returned>(0) else {
        count(LOST.get_ptr_mut(0), 0);
        return 0;
    };
    // SAFETY: takes no pointer.
    slot.write(Returned { time_ns: unsafe { bpf_ktime_get_ns() }, pid_tgid, result: ctx.ret(), entry });
    slot.submit(BPF_RB_NO_WAKEUP as u64);
    0
}
