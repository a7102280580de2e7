//! UCX uprobes: `ucx_entry` on entries of libucp's send calls, of `ucp_request_free` and of transports' functions,
//! `ucx_return` on returns of the send calls. Only the public interface of libucp.so.0 is read (ucp.h): no layout of
//! anything within UCX.
#![expect(unsafe_code, reason = "BPF helpers, and the kernel's pointers to maps and registers")]

use core::hint::black_box;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::{HashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use kvpath_schema::wire::ucx::{
    COUNT_SLOTS, Call, CallKey, Entry, FUNCTIONS, Freed, Header, LOST_CALLS, LOST_ENDS, LOST_ENTRIES, LOST_OPS, Op,
    RING_BYTES, return_slot,
};

use crate::count::{add, count};
use crate::stack::stack_arg;
use crate::user::read;

#[cfg(not(bpf_target_arch = "x86_64"))]
compile_error!("where the arguments of ucp_am_send_nbx lie on the stack is known for x86-64 alone");

/// The agent drains on a timer: waking it from here would cost ten times the record.
const QUIET: u64 = BPF_RB_NO_WAKEUP as u64;
/// `UCP_OP_ATTR_FIELD_DATATYPE` in `ucp_request_param_t::op_attr_mask`, at offset 0.
const HAS_DATATYPE: u32 = 1 << 3;
/// Offset of `ucp_request_param_t::datatype`, behind mask, flags, request and callback.
const DATATYPE: u64 = 24;
/// The low bits of a datatype: 0 for contiguous data, whose element size is above them.
const DATATYPE_SHIFT: u32 = 3;

#[map(name = "UCX_RING")]
static RING: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);
#[map(name = "UCX_ENTRIES")]
static ENTRIES: HashMap<u64, Entry> = HashMap::with_max_entries(16_384, 0);
#[map(name = "UCX_CALLS")]
static CALLS: HashMap<CallKey, u64> = HashMap::with_max_entries(4 * FUNCTIONS, 0);
#[map(name = "UCX_COUNTS")]
static COUNTS: PerCpuArray<[u64; COUNT_SLOTS as usize]> = PerCpuArray::with_max_entries(1, 0);

#[uprobe(multi)]
pub fn ucx_entry(ctx: ProbeContext) -> u32 {
    // SAFETY: the context is the one this program was called with.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let _ = on_entry(&ctx, cookie);
    0
}

#[uretprobe(multi)]
pub fn ucx_return(ctx: RetProbeContext) -> u32 {
    // SAFETY: as above.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let _ = on_return(&ctx, cookie as u32);
    0
}

#[inline(always)]
fn on_entry(ctx: &ProbeContext, cookie: u64) -> Option<()> {
    let call = Call::from_u32(cookie as u32)?;
    count(COUNTS.get_ptr_mut(0), call as u32);
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: takes no pointer.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    if call == Call::Transport {
        return transport(pid_tgid, (cookie >> 32) as u32);
    }
    if call == Call::Free {
        return freed(Header { time_ns, pid_tgid, call: call as u32, function: 0 }, ctx.arg(0)?);
    }
    // Read here, one by one: the compiler would merge reads in the branches to one at a variable place in the context, which
    // the verifier does not allow.
    let [third, fourth, fifth, sixth]: [u64; 4] =
        [black_box(ctx.arg(2)?), black_box(ctx.arg(3)?), black_box(ctx.arg(4)?), black_box(ctx.arg(5)?)];
    let (items, remote, param): (u64, u64, u64) = match call {
        // ep, buffer, count, remote address, key, parameters
        Call::Put | Call::Get => (third, fourth, sixth),
        // ep, id, header, its length, buffer, count, parameters
        Call::Am => (sixth, 0, stack_arg(ctx, 0)?),
        // ep, buffer, count, tag, parameters
        Call::Tag => (third, 0, fifth),
        // ep, parameters
        _ => (0, 0, 0),
    };
    let size = if param == 0 { Some(1) } else { item_bytes(param) };
    let entry = Entry {
        time_ns,
        ep: ctx.arg(0)?,
        remote,
        bytes: items * size.unwrap_or(0),
        function: 0,
        bytes_known: u32::from(size.is_some()),
    };
    if ENTRIES.insert(&pid_tgid, &entry, 0).is_err() {
        count(COUNTS.get_ptr_mut(0), LOST_ENTRIES);
    }
    Some(())
}

/// Size of an item by the parameters of a call; `None` if its data is not contiguous or they cannot be read.
#[inline(always)]
fn item_bytes(param: u64) -> Option<u64> {
    let mask: u32 = read(param)?;
    if mask & HAS_DATATYPE == 0 {
        return Some(1);
    }
    let datatype: u64 = read(param + DATATYPE)?;
    (datatype & ((1 << DATATYPE_SHIFT) - 1) == 0).then_some(datatype >> DATATYPE_SHIFT)
}

#[inline(always)]
fn on_return(ctx: &RetProbeContext, call: u32) -> Option<()> {
    let call = Call::from_u32(call)?;
    count(COUNTS.get_ptr_mut(0), return_slot(call));
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: the entry is this thread's own; it is copied before it is removed.
    let entry = *unsafe { ENTRIES.get(&pid_tgid) }?;
    let _ = ENTRIES.remove(&pid_tgid);
    // SAFETY: takes no pointer.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    let header = Header { time_ns, pid_tgid, call: call as u32, function: entry.function };
    let Some(mut slot) = RING.reserve::<Op>(0) else {
        count(COUNTS.get_ptr_mut(0), LOST_OPS);
        return None;
    };
    slot.write(Op { header, entry, result: ctx.ret() });
    slot.submit(QUIET);
    Some(())
}

#[inline(always)]
fn freed(header: Header, request: u64) -> Option<()> {
    let Some(mut slot) = RING.reserve::<Freed>(0) else {
        count(COUNTS.get_ptr_mut(0), LOST_ENDS);
        return None;
    };
    slot.write(Freed { header, request });
    slot.submit(QUIET);
    Some(())
}

#[inline(always)]
fn transport(pid_tgid: u64, function: u32) -> Option<()> {
    if let Some(entry) = ENTRIES.get_ptr_mut(&pid_tgid) {
        // SAFETY: the entry is this thread's own.
        unsafe {
            if (*entry).function == 0 {
                (*entry).function = function;
            }
        }
    }
    let key = CallKey { tgid: (pid_tgid >> 32) as u32, function };
    if let Some(calls) = CALLS.get_ptr_mut(&key) {
        add(Some(calls), 1);
    } else if CALLS.insert(&key, &1, 1).is_err() {
        // Another thread's may have come first (flag 1: only if there is none).
        match CALLS.get_ptr_mut(&key) {
            Some(calls) => add(Some(calls), 1),
            None => count(COUNTS.get_ptr_mut(0), LOST_CALLS),
        }
    }
    Some(())
}
