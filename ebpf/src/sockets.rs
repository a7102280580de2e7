//! The sockets' tracepoints: what processes that the agent has named send and receive, counted by connection. Whatever other
//! processes send costs a look-up.
#![expect(
    unsafe_code,
    reason = "the tracepoints' records, the kernel's sockets and map values are reached by pointers"
)]

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_kernel};
use aya_ebpf::macros::{map, tracepoint};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::programs::TracePointContext;
use kvpath_schema::wire::sockets::{FAMILY, FLAGS, FLOWS, Flow, FlowKey, Offsets, PROCESSES, PROTOCOL, RET, SK};

use crate::count::{add, count};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `MSG_PEEK`: what is looked at stays there, and is received later.
const PEEK: i32 = 2;
/// `-EAGAIN`: nothing there, which is no error.
const AGAIN: i32 = -11;

#[map(name = "SOCKET_PROCESSES")]
static PROCESS: HashMap<u32, u32> = HashMap::with_max_entries(PROCESSES, 0);
#[map(name = "SOCKET_FLOWS")]
static FLOW: HashMap<FlowKey, Flow> = HashMap::with_max_entries(FLOWS, 0);
#[map(name = "SOCKET_OFFSETS")]
static OFFSETS: Array<Offsets> = Array::with_max_entries(1, 0);
#[map(name = "SOCKET_LOST")]
static LOST: PerCpuArray<[u64; 1]> = PerCpuArray::with_max_entries(1, 0);

#[tracepoint]
pub fn sock_send_length(ctx: TracePointContext) -> u32 {
    let _ = take(&ctx, true);
    0
}

#[tracepoint]
pub fn sock_recv_length(ctx: TracePointContext) -> u32 {
    let _ = take(&ctx, false);
    0
}

#[inline(always)]
fn take(ctx: &TracePointContext, is_sent: bool) -> Option<()> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: only whether it is there.
    unsafe { PROCESS.get(&tgid) }?;
    // SAFETY: reads within the tracepoint's record; the agent has compared the offsets with the kernel's description.
    let (sk, family, protocol, ret, flags): (u64, u16, u16, i32, i32) = unsafe {
        (
            ctx.read_at(SK).ok()?,
            ctx.read_at(FAMILY).ok()?,
            ctx.read_at(PROTOCOL).ok()?,
            ctx.read_at(RET).ok()?,
            ctx.read_at(FLAGS).ok()?,
        )
    };
    if ret == AGAIN || !is_sent && flags & PEEK != 0 {
        return None;
    }
    let offsets = OFFSETS.get(0)?;
    let has_ports = family == AF_INET || family == AF_INET6;
    let ports: u32 = if has_ports { kernel(sk + u64::from(offsets.ports))? } else { 0 };
    let key = FlowKey { sk, tgid, ports };
    // SAFETY: takes no pointer.
    let now = unsafe { bpf_ktime_get_ns() };
    if FLOW.get_ptr_mut(&key).is_none() {
        let mut flow = Flow { first_ns: now, family: u64::from(family) | u64::from(protocol) << 32, ..EMPTY };
        if family == AF_INET {
            let local: u32 = kernel(sk + u64::from(offsets.local))?;
            let remote: u32 = kernel(sk + u64::from(offsets.remote))?;
            flow.local[0] = u64::from(local);
            flow.remote[0] = u64::from(remote);
        } else if family == AF_INET6 {
            flow.local = kernel(sk + u64::from(offsets.local6))?;
            flow.remote = kernel(sk + u64::from(offsets.remote6))?;
        }
        // Another thread's may have come first (flag 1: only if there is none).
        let _ = FLOW.insert(&key, &flow, 1);
    }
    let Some(flow) = FLOW.get_ptr_mut(&key) else {
        count(LOST.get_ptr_mut(0), 0);
        return None;
    };
    // SAFETY: fields of a live map value.
    let [last, calls, bytes, errors] = unsafe {
        [
            &raw mut (*flow).last_ns,
            if is_sent { &raw mut (*flow).sent_calls } else { &raw mut (*flow).received_calls },
            if is_sent { &raw mut (*flow).sent_bytes } else { &raw mut (*flow).received_bytes },
            &raw mut (*flow).errors,
        ]
    };
    // SAFETY: as above; threads that write at once write nearly the same.
    unsafe { *last = now };
    if ret < 0 {
        add(Some(errors), 1);
    } else {
        add(Some(calls), 1);
        add(Some(bytes), ret as u64);
    }
    Some(())
}

const EMPTY: Flow = Flow {
    first_ns: 0,
    last_ns: 0,
    sent_bytes: 0,
    sent_calls: 0,
    received_bytes: 0,
    received_calls: 0,
    errors: 0,
    family: 0,
    local: [0; 2],
    remote: [0; 2],
};

#[inline(always)]
fn kernel<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and reports a fault.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}
