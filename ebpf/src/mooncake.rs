//! Uprobes on Mooncake's transfer engine: `mooncake_entry` sits on entries, `mooncake_return` on the return of `openSegment` alone,
//! which is called once a peer; the attach cookie says on which function and with which layout. Polls are not probed: callers make
//! them in a loop without a pause. Only memory that the call at hand keeps alive is read, and what is lost is counted.
#![expect(unsafe_code, reason = "BPF helpers, and the kernel's pointers to maps and registers")]

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_loop};
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use kvpath_schema::wire::mooncake::{
    BUFFER_BYTES, BUFFER_RECORDS, COUNT_SLOTS, Cookie, Entry, Freed, Header, Kind, LAYOUTS, Layout, Loss, Opened,
    REQUEST_BYTES, REQUEST_RECORDS, RING_BYTES, ROOM_ROW_BYTES, Registered, Requests, Submitted, TASKS, hit_slot,
    loss_slot,
};

use crate::containers::{List, copy, text, vector};
use crate::count::{add, count};
use crate::user::read;

#[cfg(not(bpf_target_arch = "x86_64"))]
compile_error!("Mooncake's layouts are known for x86-64 alone");

/// `TransferRequest::WRITE`.
const WRITE: i32 = 1;
/// The agent drains on a timer: waking it from here would cost ten times the record.
const QUIET: u64 = BPF_RB_NO_WAKEUP as u64;

#[map(name = "MOONCAKE_RING")]
static RING: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);
#[map(name = "MOONCAKE_LAYOUTS")]
static LAYOUT_OF: Array<Layout> = Array::with_max_entries(LAYOUTS, 0);
#[map(name = "MOONCAKE_ENTRIES")]
static ENTRIES: HashMap<u64, Entry> = HashMap::with_max_entries(4096, 0);
#[map(name = "MOONCAKE_COUNTS")]
static COUNTS: PerCpuArray<[u64; COUNT_SLOTS as usize]> = PerCpuArray::with_max_entries(1, 0);

#[uprobe(multi)]
pub fn mooncake_entry(ctx: ProbeContext) -> u32 {
    // SAFETY: the context is the one this program was called with.
    let cookie = Cookie::from_u64(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    let _ = on_entry(&ctx, cookie);
    0
}

#[uretprobe(multi)]
pub fn mooncake_return(ctx: RetProbeContext) -> u32 {
    // SAFETY: as above.
    let cookie = Cookie::from_u64(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    let _ = on_return(&ctx, cookie);
    0
}

/// `None` ends a program early: the loss, if it is one, has been counted.
type Handled = Option<()>;

#[inline(always)]
fn on_entry(ctx: &ProbeContext, cookie: Cookie) -> Handled {
    let header = header(cookie);
    let kind = Kind::from_u32(cookie.kind)?;
    hit(kind, false);
    let layout = LAYOUT_OF.get(u32::from(cookie.layout))?;
    let [first, second, third, fourth]: [u64; 4] = [ctx.arg(0)?, ctx.arg(1)?, ctx.arg(2)?, ctx.arg(3)?];
    match kind {
        Kind::Open => {
            let entry = Entry { time_ns: header.time_ns, engine: first, name: second };
            if ENTRIES.insert(&header.pid_tgid, &entry, 0).is_err() {
                lost(Loss::EntriesFull, kind, 1);
            }
            Some(())
        }
        // engine, address, size, location
        Kind::Register => register(header, first, second, third, fourth, layout),
        // engine, list, location
        Kind::RegisterBatch => register_batch(header, first, second, third, layout),
        // These return an object, whose address comes first: engine, batch, and what is asked for
        Kind::Submit => submit(header, second, third, fourth, cookie.reads_room, layout),
        Kind::Free => free(header, third, layout),
        Kind::Requests => None,
    }
}

#[inline(always)]
fn on_return(ctx: &RetProbeContext, cookie: Cookie) -> Handled {
    let header = header(cookie);
    hit(Kind::Open, true);
    // SAFETY: the entry is this thread's own; it is copied before it is removed.
    let entry = *unsafe { ENTRIES.get(&header.pid_tgid) }?;
    let _ = ENTRIES.remove(&header.pid_tgid);
    let Some(mut slot) = RING.reserve::<Opened>(0) else {
        lost(Loss::RingFull, Kind::Open, 1);
        return None;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted.
    unsafe {
        (*record).header = header;
        (*record).engine = entry.engine;
        (*record).segment = ctx.ret();
        text(&raw mut (*record).name, entry.name);
    }
    slot.submit(QUIET);
    Some(())
}

#[inline(always)]
fn header(cookie: Cookie) -> Header {
    Header {
        // SAFETY: takes no pointer.
        time_ns: unsafe { bpf_ktime_get_ns() },
        pid_tgid: bpf_get_current_pid_tgid(),
        kind: cookie.kind,
        layout: u32::from(cookie.layout),
    }
}

#[inline(always)]
fn hit(kind: Kind, is_return: bool) {
    count(COUNTS.get_ptr_mut(0), hit_slot(kind, is_return));
}

#[inline(always)]
fn lost(loss: Loss, kind: Kind, count: u64) {
    let slot = loss_slot(loss, kind) as usize % COUNT_SLOTS as usize;
    // SAFETY: within the live map value.
    add(COUNTS.get_ptr_mut(0).map(|counts| unsafe { counts.cast::<u64>().add(slot) }), count);
}

/// Counts that a pointer could not be followed.
#[inline(always)]
fn unreadable<T>(kind: Kind) -> Option<T> {
    lost(Loss::Unreadable, kind, 1);
    None
}

/// Where an engine keeps its name; 0, where nothing can be read, if it cannot be found.
#[inline(always)]
fn own_name(engine: u64, layout: &Layout) -> u64 {
    let inner: Option<u64> = read(engine + u64::from(layout.engine_impl));
    inner.filter(|inner| *inner != 0).map_or(0, |inner| inner + u64::from(layout.impl_name))
}

#[inline(always)]
fn register(header: Header, engine: u64, address: u64, bytes: u64, location: u64, layout: &Layout) -> Handled {
    let Some(mut slot) = RING.reserve::<Registered>(0) else {
        lost(Loss::RingFull, Kind::Register, 1);
        return None;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted.
    unsafe {
        (*record).header = header;
        (*record).engine = engine;
        (*record).total = 1;
        (*record).first = 0;
        (*record).count = 1;
        (*record).pad = 0;
        text(&raw mut (*record).own, own_name(engine, layout));
        text(&raw mut (*record).location, location);
        (&raw mut (*record).data).cast::<[u64; 2]>().write([address, bytes]);
    }
    slot.submit(QUIET);
    Some(())
}

#[inline(always)]
fn register_batch(header: Header, engine: u64, list: u64, location: u64, layout: &Layout) -> Handled {
    let element = u64::from(layout.buffer_bytes);
    let per = (BUFFER_BYTES as u64).checked_div(element)?;
    let list = vector(list, layout.buffer_bytes).or_else(|| unreadable(Kind::RegisterBatch))?;
    let own = own_name(engine, layout);
    for record in 0..u64::from(BUFFER_RECORDS) {
        let first = record * per;
        if first >= list.count {
            break;
        }
        let left = list.count - first;
        let count = if left < per { left } else { per };
        let Some(mut slot) = RING.reserve::<Registered>(0) else {
            lost(Loss::RingFull, Kind::RegisterBatch, count);
            continue;
        };
        let record = slot.as_mut_ptr();
        // SAFETY: the reservation is ours until it is submitted.
        unsafe {
            (*record).header = header;
            (*record).engine = engine;
            (*record).total = list.count as u32;
            (*record).first = first as u32;
            (*record).pad = 0;
            text(&raw mut (*record).own, own);
            text(&raw mut (*record).location, location);
            let data = (&raw mut (*record).data).cast();
            let whole = copy(data, count * element, BUFFER_BYTES as u64, list.begin + first * element);
            (*record).count = if whole { count as u32 } else { 0 };
        }
        slot.submit(QUIET);
    }
    Some(())
}

/// The requests of a submit that are being sent.
#[repr(C)]
struct Sending {
    header: Header,
    batch: u64,
    begin: u64,
    count: u64,
    element: u64,
    /// Requests a record.
    per: u64,
}

#[inline(always)]
fn submit(header: Header, engine: u64, batch: u64, list: u64, reads_room: bool, layout: &Layout) -> Handled {
    let list = vector(list, layout.request_bytes).or_else(|| unreadable(Kind::Submit))?;
    let before = vector(batch + u64::from(layout.batch_tasks), layout.task_bytes);
    let before = before.or_else(|| unreadable(Kind::Submit))?.count;
    let room = if reads_room { room(&list, layout) } else { None };
    let Some(mut slot) = RING.reserve::<Submitted>(0) else {
        lost(Loss::RingFull, Kind::Submit, 1);
        return None;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted.
    unsafe {
        (*record).header = header;
        (*record).engine = engine;
        (*record).batch = batch;
        (*record).total = list.count;
        (*record).tasks_before = before;
        (*record).room = room.unwrap_or(0);
        (*record).room_read = u32::from(room.is_some());
        (*record).pad = 0;
        text(&raw mut (*record).own, own_name(engine, layout));
    }
    slot.submit(QUIET);
    let element = u64::from(layout.request_bytes);
    let mut sending = Sending {
        header: Header { kind: Kind::Requests as u32, ..header },
        batch,
        begin: list.begin,
        count: list.count,
        element,
        per: (REQUEST_BYTES as u64).checked_div(element)?,
    };
    // A helper's loop, for the verifier would walk through each turn of a plain one.
    // SAFETY: the callback has the signature that the helper wants, and `sending` outlives the call.
    unsafe {
        bpf_loop(REQUEST_RECORDS, send_some as *mut _, (&raw mut sending).cast(), 0);
    }
    Some(())
}

/// What the last request's local memory starts with, where it may be SGLang's row with the room: nothing but that is in it.
#[inline(always)]
fn room(list: &List, layout: &Layout) -> Option<u64> {
    let last = list.begin + list.count.checked_sub(1)? * u64::from(layout.request_bytes);
    let op: i32 = read(last + u64::from(layout.request_op))?;
    let bytes: u64 = read(last + u64::from(layout.request_length))?;
    if op != WRITE || bytes != ROOM_ROW_BYTES {
        return None;
    }
    let source: u64 = read(last + u64::from(layout.request_source))?;
    let [room, rest]: [u64; 2] = read(source)?;
    if rest == 0 { Some(room) } else { None }
}

/// Sends the requests of one record; 1 ends the loop.
///
/// # Safety
/// `sending` is a [`Sending`].
#[inline(never)]
unsafe extern "C" fn send_some(index: u64, sending: *mut Sending) -> i64 {
    // SAFETY: by contract.
    let sending = unsafe { &*sending };
    let first = index * sending.per;
    if first >= sending.count {
        return 1;
    }
    let left = sending.count - first;
    let count = if left < sending.per { left } else { sending.per };
    let Some(mut slot) = RING.reserve::<Requests>(0) else {
        lost(Loss::RingFull, Kind::Requests, count);
        return 0;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted or discarded.
    let whole = unsafe {
        (*record).header = sending.header;
        (*record).batch = sending.batch;
        (*record).first = first as u32;
        (*record).count = count as u32;
        let from = sending.begin + first * sending.element;
        copy((&raw mut (*record).data).cast(), count * sending.element, REQUEST_BYTES as u64, from)
    };
    if whole {
        slot.submit(QUIET);
    } else {
        slot.discard(QUIET);
        lost(Loss::Unreadable, Kind::Requests, count);
    }
    0
}

/// The tasks of a batch that are being looked at.
#[repr(C)]
struct Looking {
    task: u64,
    left: u64,
    element: u64,
    failed_at: u64,
    finished_at: u64,
    looked: u64,
    failed: u64,
    ended: u64,
}

/// A batch that is done says so itself; of another its tasks tell.
#[inline(always)]
fn free(header: Header, batch: u64, layout: &Layout) -> Handled {
    let tasks = vector(batch + u64::from(layout.batch_tasks), layout.task_bytes).or_else(|| unreadable(Kind::Free))?;
    let finished: u8 = read(batch + u64::from(layout.batch_finished)).or_else(|| unreadable(Kind::Free))?;
    let mut looking = Looking {
        task: tasks.begin,
        left: tasks.count,
        element: u64::from(layout.task_bytes),
        failed_at: u64::from(layout.task_failed),
        finished_at: u64::from(layout.task_finished),
        looked: 0,
        failed: 0,
        ended: 0,
    };
    if finished != 1 && tasks.count > 0 {
        // SAFETY: the callback has the signature that the helper wants, and `looking` outlives the call.
        unsafe {
            bpf_loop(TASKS, look_at_one as *mut _, (&raw mut looking).cast(), 0);
        }
    }
    let Some(mut slot) = RING.reserve::<Freed>(0) else {
        lost(Loss::RingFull, Kind::Free, 1);
        return None;
    };
    slot.write(Freed {
        header,
        batch,
        tasks: tasks.count,
        looked: looking.looked,
        failed: looking.failed,
        ended: looking.ended,
        finished: u32::from(finished == 1),
        pad: 0,
    });
    slot.submit(QUIET);
    Some(())
}

/// Looks at one task; 1 ends the loop.
///
/// # Safety
/// `looking` is a [`Looking`].
#[inline(never)]
unsafe extern "C" fn look_at_one(_: u64, looking: *mut Looking) -> i64 {
    // SAFETY: by contract.
    let looking = unsafe { &mut *looking };
    if looking.left == 0 {
        return 1;
    }
    let (failed, ended) =
        (read::<u64>(looking.task + looking.failed_at), read::<u8>(looking.task + looking.finished_at));
    let (Some(failed), Some(ended)) = (failed, ended) else { return 1 };
    looking.looked += 1;
    looking.failed += u64::from(failed != 0);
    looking.ended += u64::from(ended != 0);
    looking.left -= 1;
    looking.task += looking.element;
    0
}
