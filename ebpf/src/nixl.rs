//! NIXL uprobes: `nixl_entry` sits on entries, `nixl_return` on returns; the attach cookie says on which function and with
//! which layout. Both are non-sleepable, read only memory that the call at hand keeps alive, and count what they lose.
//!
//! Records are built inside their ring-buffer reservation: a uprobe program can be preempted, so per-CPU scratch memory
//! would be shared with whatever task runs next.
#![expect(unsafe_code, reason = "BPF helpers, and the kernel's pointers to maps and registers")]

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_loop};
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use kvpath_schema::wire::nixl::{
    Agent, Call, CallEnd, Contradicted, Cookie, DESCRIPTOR_BYTES, DESCRIPTOR_RECORDS, Descriptors, Entry, EntryKey,
    HIT_SLOTS, Handle, HandleMade, Header, Kind, LAYOUTS, LOSS_SLOTS, Layout, Loss, Notif, OP_UNKNOWN, PREPARED_LOOKS,
    PREPARED_ROWS, PollKey, Polls, Posted, Prepared, PreparedRow, REGION_BYTES, REGION_RECORDS, RING_BYTES, Regions,
    RegionsEnd, Released, Status, TAKEN_LIMIT, flaw, hit_slot, loss_slot, unread,
};

use crate::containers::{List, copy, text, vector};
use crate::count::{add, count};
use crate::shape::{is_string, is_vector};
use crate::stack::stack_arg;
use crate::user::read;

#[cfg(not(bpf_target_arch = "x86_64"))]
compile_error!("where arguments lie on the stack, and NIXL's layouts, are known for x86-64 alone");

/// `NIXL_IN_PROG`.
const IN_PROGRESS: i32 = 1;
/// `NIXL_ERR_REPOST_ACTIVE`: this post did nothing, the one before it goes on.
const REPOST_ACTIVE: i32 = -7;

/// The agent drains on a timer: waking it from here would cost ten times the record.
const QUIET: u64 = BPF_RB_NO_WAKEUP as u64;

#[map(name = "NIXL_RING")]
static RING: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);
#[map(name = "NIXL_LAYOUTS")]
static LAYOUT_OF: Array<Layout> = Array::with_max_entries(LAYOUTS, 0);
#[map(name = "NIXL_ENTRIES")]
static ENTRIES: HashMap<EntryKey, Entry> = HashMap::with_max_entries(16_384, 0);
/// Thread to the object whose `appendNotif` it has entered, where that may call the one of its base class. What is never
/// called leaves its entry here, hence the least recently used go.
#[map(name = "NIXL_PASSED")]
static PASSED: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);
#[map(name = "NIXL_POLLS")]
static POLLS: HashMap<PollKey, Polls> = HashMap::with_max_entries(65_536, 0);
#[map(name = "NIXL_LOSSES")]
static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(LOSS_SLOTS, 0);
#[map(name = "NIXL_HITS")]
static HITS: PerCpuArray<[u64; HIT_SLOTS as usize]> = PerCpuArray::with_max_entries(1, 0);

#[uprobe(multi)]
pub fn nixl_entry(ctx: ProbeContext) -> u32 {
    // SAFETY: the context is the one this program was called with.
    let cookie = Cookie::from_u64(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    let _ = on_entry(&ctx, cookie);
    0
}

#[uretprobe(multi)]
pub fn nixl_return(ctx: RetProbeContext) -> u32 {
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
    let this: u64 = ctx.arg(0)?;
    let kind = Kind::from_u32(cookie.kind)?;
    hit(kind, false);
    match kind {
        Kind::Agent => agent(header, this, ctx.arg(1)?),
        Kind::Regions => {
            remember(header, Entry { agent_ptr: this, ..NOTHING });
            regions(header, this, ctx.arg(1)?, LAYOUT_OF.get(cookie.layout)?)
        }
        Kind::MakeSpan => {
            let out = stack_arg(ctx, 2).or_else(|| unreadable(Kind::MakeSpan))?;
            let layout = LAYOUT_OF.get(cookie.layout)?;
            // By value.
            let op = if layout.judged == 0 { OP_UNKNOWN } else { u64::from(ctx.arg::<u32>(1)?) };
            remember(header, Entry { agent_ptr: this, handle: out, asked: ctx.arg(4)?, op, ..NOTHING });
            Some(())
        }
        Kind::MakeVector => {
            let out = stack_arg(ctx, 0).or_else(|| unreadable(Kind::MakeVector))?;
            let asked = vector(ctx.arg(3)?, size_of::<i32>() as u32).map_or(0, |indices| indices.count);
            let op = op_asked(ctx.arg(1)?, LAYOUT_OF.get(cookie.layout)?);
            remember(header, Entry { agent_ptr: this, handle: out, asked, op, ..NOTHING });
            Some(())
        }
        Kind::Create => {
            let layout = LAYOUT_OF.get(cookie.layout)?;
            let list: u64 = ctx.arg(2)?;
            judge_list(header, list, layout, layout.basic_bytes)?;
            let asked = list_of(list, layout, layout.basic_bytes).map_or(0, |list| list.count);
            let op = op_asked(ctx.arg(1)?, layout);
            let entry = Entry { agent_ptr: this, handle: ctx.arg(5)?, asked, peer: ctx.arg(4)?, op, ..NOTHING };
            remember(header, entry);
            Some(())
        }
        Kind::Post | Kind::Status => {
            remember(header, Entry { agent_ptr: this, handle: ctx.arg(1)?, ..NOTHING });
            Some(())
        }
        Kind::Release => {
            let handle: u64 = ctx.arg(1)?;
            remember(header, Entry { agent_ptr: this, handle, ..NOTHING });
            release(header, handle, LAYOUT_OF.get(cookie.layout)?)
        }
        Kind::NotifTaken => {
            let map: u64 = ctx.arg(1)?;
            let held = held(map).or_else(|| unreadable(Kind::NotifTaken))?;
            remember(header, Entry { agent_ptr: this, handle: map, asked: held, ..NOTHING });
            Some(())
        }
        Kind::NotifPassed => {
            if PASSED.insert(&header.pid_tgid, &this, 0).is_err() {
                lost(Loss::EntriesFull, Kind::NotifPassed, 1);
            }
            notif(header, ctx.arg(1)?, ctx.arg(2)?)
        }
        Kind::NotifArrived if was_passed(header, this) => None,
        Kind::NotifSent | Kind::NotifArrived => notif(header, ctx.arg(1)?, ctx.arg(2)?),
        Kind::LoadMd => {
            remember(header, Entry { agent_ptr: this, peer: ctx.arg(2)?, ..NOTHING });
            call(header, header.time_ns, this, 0)
        }
        Kind::SendMd | Kind::Deregister => {
            remember(header, Entry { agent_ptr: this, ..NOTHING });
            call(header, header.time_ns, this, 0)
        }
        // A string by value is passed as a pointer, like one by reference.
        Kind::Connect | Kind::FetchMd | Kind::InvalidateMd => {
            remember(header, Entry { agent_ptr: this, ..NOTHING });
            call(header, header.time_ns, this, ctx.arg(1)?)
        }
        Kind::Prepare | Kind::PrepareStrided => {
            remember(header, Entry { agent_ptr: this, ..NOTHING });
            prepare(header, this, (ctx.arg(1)?, ctx.arg(2)?), kind, LAYOUT_OF.get(cookie.layout)?)
        }
        Kind::RegionsEnd | Kind::Descriptors | Kind::PreparedRow | Kind::Call | Kind::CallEnd | Kind::Contradicted => {
            None
        }
    }
}

#[inline(always)]
fn on_return(ctx: &RetProbeContext, cookie: Cookie) -> Handled {
    let header = header(cookie);
    let kind = Kind::from_u32(cookie.kind)?;
    hit(kind, true);
    let key = EntryKey { pid_tgid: header.pid_tgid, kind: u64::from(cookie.kind) };
    // SAFETY: the entry is this thread's own; it is copied before it is removed.
    let entry = *unsafe { ENTRIES.get(&key) }?;
    let _ = ENTRIES.remove(&key);
    let status: i32 = ctx.ret();
    match kind {
        Kind::Regions => regions_end(header, &entry, status),
        Kind::MakeSpan | Kind::MakeVector | Kind::Create if status == 0 => {
            made(header, kind, &entry, LAYOUT_OF.get(cookie.layout)?)
        }
        Kind::Post => posted(header, &entry, status, LAYOUT_OF.get(cookie.layout)?),
        Kind::Status => polled(header, &entry, status),
        // Of several backends one may fail and the others bring something.
        Kind::NotifTaken => taken(header, &entry),
        // Those that made no handle, which else would be the record; and the peer that is known only now.
        Kind::MakeSpan | Kind::MakeVector | Kind::Create => {
            call(header, entry.time_ns, entry.agent_ptr, entry.peer)?;
            call_end(header, &entry, status)
        }
        Kind::LoadMd if status == 0 => {
            call(header, entry.time_ns, entry.agent_ptr, entry.peer)?;
            call_end(header, &entry, status)
        }
        Kind::LoadMd
        | Kind::Connect
        | Kind::FetchMd
        | Kind::SendMd
        | Kind::InvalidateMd
        | Kind::Deregister
        | Kind::Prepare
        | Kind::PrepareStrided
        | Kind::Release => call_end(header, &entry, status),
        _ => None,
    }
}

#[inline(always)]
fn header(cookie: Cookie) -> Header {
    Header {
        // SAFETY: takes no pointer.
        time_ns: unsafe { bpf_ktime_get_ns() },
        pid_tgid: bpf_get_current_pid_tgid(),
        kind: cookie.kind,
        layout: cookie.layout,
    }
}

#[inline(always)]
fn hit(kind: Kind, is_return: bool) {
    count(HITS.get_ptr_mut(0), hit_slot(kind, is_return));
}

#[inline(always)]
fn lost(loss: Loss, kind: Kind, count: u64) {
    add(LOSSES.get_ptr_mut(loss_slot(loss, kind)), count);
}

/// Counts that a pointer could not be followed.
#[inline(always)]
fn unreadable<T>(kind: Kind) -> Option<T> {
    lost(Loss::Unreadable, kind, 1);
    None
}

/// What an entry is filled in from.
const NOTHING: Entry = Entry { time_ns: 0, agent_ptr: 0, handle: 0, asked: 0, peer: 0, op: OP_UNKNOWN };

#[inline(always)]
fn remember(header: Header, entry: Entry) {
    let entry = Entry { time_ns: header.time_ns, ..entry };
    let key = EntryKey { pid_tgid: header.pid_tgid, kind: u64::from(header.kind) };
    if ENTRIES.insert(&key, &entry, 0).is_err()
        && let Some(kind) = Kind::from_u32(header.kind)
    {
        lost(Loss::EntriesFull, kind, 1);
    }
}

/// Whether this `appendNotif` was called by the one that overrides it, whose entry has written the record already. What
/// that entry left here may be old: it need not have called this one. But then this object never comes here by itself.
#[inline(always)]
fn was_passed(header: Header, this: u64) -> bool {
    // SAFETY: the entry is this thread's own; it is read before it is removed.
    let passed = unsafe { PASSED.get(&header.pid_tgid) }.is_some_and(|object| *object == this);
    passed && PASSED.remove(&header.pid_tgid).is_ok()
}

/// The vector of a descriptor list of elements of `element` bytes.
#[inline(always)]
fn list_of(list: u64, layout: &Layout, element: u32) -> Option<List> {
    vector(list + u64::from(layout.list_begin), element)
}

/// The operation behind a reference to it.
#[inline(always)]
fn op_asked(op: u64, layout: &Layout) -> u64 {
    if layout.judged == 0 { OP_UNKNOWN } else { read::<u32>(op).map_or(OP_UNKNOWN, u64::from) }
}

/// Looks whether a judged layout leads to a vector in a descriptor list; says so and ends the program if it does not.
#[inline(always)]
fn judge_list(header: Header, list: u64, layout: &Layout, element: u32) -> Handled {
    if layout.judged == 0 || is_vector(list + u64::from(layout.list_begin), u64::from(element)) {
        return Some(());
    }
    contradicted(header, flaw::LIST)
}

/// Looks whether a judged layout leads to what a handle should hold; `status` is what the call has just given, if it was no error.
#[inline(always)]
fn judge_handle(header: Header, handle: u64, layout: &Layout, status: Option<i32>) -> Handled {
    if layout.judged == 0 {
        return Some(());
    }
    let mut local = handle + u64::from(layout.handle_local);
    let mut remote = handle + u64::from(layout.handle_remote);
    if layout.handle_pointers != 0 {
        local = read(local).unwrap_or(0);
        remote = read(remote).unwrap_or(0);
    }
    let (begin, element) = (u64::from(layout.list_begin), u64::from(layout.meta_bytes));
    let kept = read::<i32>(handle + u64::from(layout.handle_status));
    let has_notif = read::<u8>(handle + u64::from(layout.handle_has_notif));
    let flag = |holds: bool, bit: u32| if holds { 0 } else { bit };
    let flaws = flag(is_string(handle + u64::from(layout.handle_peer)), flaw::PEER)
        | flag(is_string(handle + u64::from(layout.handle_notif)), flaw::NOTIF)
        | flag(is_vector(local + begin, element), flaw::LOCAL)
        | flag(is_vector(remote + begin, element), flaw::REMOTE)
        | flag(status.is_none_or(|status| kept == Some(status)), flaw::STATUS)
        | flag(has_notif.is_some_and(|flag| flag <= 1), flaw::HAS_NOTIF);
    if flaws == 0 { Some(()) } else { contradicted(header, flaws) }
}

#[inline(always)]
fn contradicted(header: Header, flaws: u32) -> Handled {
    let Some(mut slot) = RING.reserve::<Contradicted>(0) else {
        lost(Loss::RingFull, Kind::Contradicted, 1);
        return None;
    };
    slot.write(Contradicted { header: Header { kind: Kind::Contradicted as u32, ..header }, of: header.kind, flaws });
    slot.submit(QUIET);
    None
}

/// Fills in what a handle says of itself; gives its lists.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
unsafe fn describe(to: *mut Handle, handle: u64, layout: &Layout) -> (Option<List>, Option<List>) {
    let mut local = handle + u64::from(layout.handle_local);
    let mut remote = handle + u64::from(layout.handle_remote);
    if layout.handle_pointers != 0 {
        // A pointer that cannot be read is followed to 0, where nothing can be read either.
        local = read(local).unwrap_or(0);
        remote = read(remote).unwrap_or(0);
    }
    let memory = u64::from(layout.list_memory);
    let bytes: Option<u64> = match layout.handle_bytes {
        0 => None,
        at => read(handle + u64::from(at)),
    };
    let op: Option<i32> = read(handle + u64::from(layout.handle_op));
    let local_memory: Option<i32> = read(local + memory);
    let remote_memory: Option<i32> = read(remote + memory);
    let has_notif: Option<u8> = read(handle + u64::from(layout.handle_has_notif));
    let lists = (list_of(local, layout, layout.meta_bytes), list_of(remote, layout, layout.meta_bytes));
    let flag = |known: bool, bit: u32| if known { 0 } else { bit };
    // SAFETY: by contract.
    unsafe {
        (*to).bytes = bytes.unwrap_or(0);
        (*to).descriptors = lists.0.as_ref().map_or(0, |list| list.count);
        (*to).op = op.unwrap_or(-1);
        (*to).local_memory = local_memory.unwrap_or(-1);
        (*to).remote_memory = remote_memory.unwrap_or(-1);
        (*to).has_notif = u32::from(has_notif.unwrap_or(0));
        (*to).unread = flag(bytes.is_some(), unread::BYTES)
            | flag(lists.0.is_some(), unread::DESCRIPTORS)
            | flag(op.is_some(), unread::OP)
            | flag(local_memory.is_some(), unread::LOCAL_MEMORY)
            | flag(remote_memory.is_some(), unread::REMOTE_MEMORY)
            | flag(has_notif.is_some(), unread::HAS_NOTIF);
        (*to).pad = 0;
        text(&raw mut (*to).peer, handle + u64::from(layout.handle_peer));
        text(&raw mut (*to).notif, handle + u64::from(layout.handle_notif));
    }
    lists
}

#[inline(always)]
fn agent(header: Header, this: u64, name: u64) -> Handled {
    let Some(mut slot) = RING.reserve::<Agent>(0) else {
        lost(Loss::RingFull, Kind::Agent, 1);
        return None;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted.
    unsafe {
        (*record).header = header;
        (*record).agent_ptr = this;
        text(&raw mut (*record).name, name);
    }
    slot.submit(QUIET);
    Some(())
}

#[inline(always)]
fn regions(header: Header, this: u64, list: u64, layout: &Layout) -> Handled {
    let element = u64::from(layout.blob_bytes);
    let per = (REGION_BYTES as u64).checked_div(element)?;
    judge_list(header, list, layout, layout.blob_bytes)?;
    let memory: i32 = read(list + u64::from(layout.list_memory)).unwrap_or(-1);
    let list = list_of(list, layout, layout.blob_bytes).or_else(|| unreadable(Kind::Regions))?;
    for record in 0..u64::from(REGION_RECORDS) {
        let first = record * per;
        if first >= list.count {
            break;
        }
        let left = list.count - first;
        let count = if left < per { left } else { per };
        let Some(mut slot) = RING.reserve::<Regions>(0) else {
            lost(Loss::RingFull, Kind::Regions, count);
            continue;
        };
        let record = slot.as_mut_ptr();
        // SAFETY: the reservation is ours until it is submitted.
        unsafe {
            (*record).header = header;
            (*record).agent_ptr = this;
            (*record).total = list.count as u32;
            (*record).first = first as u32;
            (*record).memory = memory;
            let data = (&raw mut (*record).data).cast();
            let whole = copy(data, count * element, REGION_BYTES as u64, list.begin + first * element);
            (*record).count = if whole { count as u32 } else { 0 };
        }
        slot.submit(QUIET);
    }
    Some(())
}

#[inline(always)]
fn regions_end(header: Header, entry: &Entry, status: i32) -> Handled {
    let Some(mut slot) = RING.reserve::<RegionsEnd>(0) else {
        lost(Loss::RingFull, Kind::RegionsEnd, 1);
        return None;
    };
    slot.write(RegionsEnd {
        header: Header { kind: Kind::RegionsEnd as u32, ..header },
        entry_ns: entry.time_ns,
        agent_ptr: entry.agent_ptr,
        status,
        pad: 0,
    });
    slot.submit(QUIET);
    Some(())
}

#[inline(always)]
fn made(header: Header, kind: Kind, entry: &Entry, layout: &Layout) -> Handled {
    let handle: u64 = read(entry.handle).or_else(|| unreadable(kind))?;
    judge_handle(header, handle, layout, None)?;
    let Some(mut slot) = RING.reserve::<HandleMade>(0) else {
        lost(Loss::RingFull, kind, 1);
        return None;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted.
    unsafe {
        (*record).header = header;
        (*record).entry_ns = entry.time_ns;
        (*record).agent_ptr = entry.agent_ptr;
        (*record).handle = handle;
        (*record).asked = entry.asked;
        (*record).op = entry.op;
        describe(&raw mut (*record).about, handle, layout);
    }
    slot.submit(QUIET);
    Some(())
}

#[inline(always)]
fn posted(header: Header, entry: &Entry, status: i32, layout: &Layout) -> Handled {
    let handle = entry.handle;
    let key = PollKey { tgid: header.pid_tgid >> 32, handle };
    // SAFETY: copied at once.
    let earlier = unsafe { POLLS.get(&key) }.copied().unwrap_or_default();
    if status == IN_PROGRESS {
        if POLLS.insert(&key, &Polls::default(), 0).is_err() {
            lost(Loss::PollsFull, Kind::Post, 1);
        }
    } else if status != REPOST_ACTIVE {
        let _ = POLLS.remove(&key);
    }
    judge_handle(header, handle, layout, (status >= 0).then_some(status))?;
    let Some(mut slot) = RING.reserve::<Posted>(0) else {
        lost(Loss::RingFull, Kind::Post, 1);
        return None;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted.
    let lists = unsafe {
        (*record).header = header;
        (*record).entry_ns = entry.time_ns;
        (*record).agent_ptr = entry.agent_ptr;
        (*record).handle = handle;
        (*record).earlier = earlier;
        (*record).status = status;
        (*record).pad = 0;
        describe(&raw mut (*record).about, handle, layout)
    };
    slot.submit(QUIET);
    match lists {
        (Some(local), remote) if status >= 0 => descriptors(header, handle, &local, remote.as_ref(), layout),
        _ => None,
    }
}

/// The lists of a post that are being sent.
#[repr(C)]
struct Sending {
    header: Header,
    handle: u64,
    local: u64,
    /// 0 if there is none of the same length.
    remote: u64,
    count: u64,
    element: u64,
    /// Descriptors a record.
    per: u64,
}

#[inline(always)]
fn descriptors(header: Header, handle: u64, local: &List, remote: Option<&List>, layout: &Layout) -> Handled {
    let element = u64::from(layout.meta_bytes);
    let per = (DESCRIPTOR_BYTES as u64).checked_div(element)?;
    let remote = remote.filter(|list| list.count == local.count).map_or(0, |list| list.begin);
    let mut sending = Sending {
        header: Header { kind: Kind::Descriptors as u32, ..header },
        handle,
        local: local.begin,
        remote,
        count: local.count,
        element,
        per,
    };
    // A helper's loop, for the verifier would walk through each turn of a plain one.
    // SAFETY: the callback has the signature that the helper wants, and `sending` outlives the call.
    unsafe {
        bpf_loop(DESCRIPTOR_RECORDS, send_some as *mut _, (&raw mut sending).cast(), 0);
    }
    Some(())
}

/// Sends the descriptors of one record; 1 ends the loop.
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
    let Some(mut slot) = RING.reserve::<Descriptors>(0) else {
        lost(Loss::RingFull, Kind::Descriptors, count);
        return 0;
    };
    let record = slot.as_mut_ptr();
    let (bytes, room, at) = (count * sending.element, DESCRIPTOR_BYTES as u64, first * sending.element);
    // SAFETY: the reservation is ours until it is submitted or discarded.
    let whole = unsafe {
        (*record).header = sending.header;
        (*record).handle = sending.handle;
        (*record).first = first as u32;
        (*record).count = count as u32;
        (*record).pad = 0;
        let to_remote = (&raw mut (*record).remote).cast();
        (*record).remote_read = u32::from(sending.remote != 0 && copy(to_remote, bytes, room, sending.remote + at));
        copy((&raw mut (*record).local).cast(), bytes, room, sending.local + at)
    };
    if whole {
        slot.submit(QUIET);
    } else {
        slot.discard(QUIET);
        lost(Loss::Unreadable, Kind::Descriptors, count);
    }
    0
}

#[inline(always)]
fn polled(header: Header, entry: &Entry, status: i32) -> Handled {
    let key = PollKey { tgid: header.pid_tgid >> 32, handle: entry.handle };
    if status == IN_PROGRESS {
        if let Some(polls) = POLLS.get_ptr_mut(&key) {
            // SAFETY: a live map value. Threads that poll one handle at once may lose a count, never more.
            unsafe {
                (*polls).pending += 1;
                (*polls).last_pending_ns = entry.time_ns;
            }
        } else if POLLS.insert(&key, &Polls { pending: 1, last_pending_ns: entry.time_ns }, 0).is_err() {
            lost(Loss::PollsFull, Kind::Status, 1);
        }
        return Some(());
    }
    // Only the poll that sees the end is a record; later ones find nothing here.
    // SAFETY: copied before it is removed.
    let polls = *unsafe { POLLS.get(&key) }?;
    let _ = POLLS.remove(&key);
    let Some(mut slot) = RING.reserve::<Status>(0) else {
        lost(Loss::RingFull, Kind::Status, 1);
        return None;
    };
    slot.write(Status { header, handle: entry.handle, polls, status, pad: 0 });
    slot.submit(QUIET);
    Some(())
}

#[inline(always)]
fn release(header: Header, handle: u64, layout: &Layout) -> Handled {
    let key = PollKey { tgid: header.pid_tgid >> 32, handle };
    // SAFETY: copied before it is removed.
    let polls = unsafe { POLLS.get(&key) }.copied().unwrap_or_default();
    let _ = POLLS.remove(&key);
    let Some(mut slot) = RING.reserve::<Released>(0) else {
        lost(Loss::RingFull, Kind::Release, 1);
        return None;
    };
    let status: Option<i32> = read(handle + u64::from(layout.handle_status));
    let status_read = u32::from(status.is_some());
    slot.write(Released { header, handle, polls, status: status.unwrap_or(0), status_read });
    slot.submit(QUIET);
    Some(())
}

/// Writes what is known of a call; `peer` is 0 where it names none.
#[inline(always)]
fn call(header: Header, entry_ns: u64, agent_ptr: u64, peer: u64) -> Handled {
    let Some(mut slot) = RING.reserve::<Call>(0) else {
        lost(Loss::RingFull, Kind::Call, 1);
        return None;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted.
    unsafe {
        (*record).header = Header { kind: Kind::Call as u32, ..header };
        (*record).entry_ns = entry_ns;
        (*record).agent_ptr = agent_ptr;
        (*record).of = header.kind;
        (*record).pad = 0;
        if peer == 0 {
            (*record).peer.len = 0;
            (*record).peer.read = 1;
        } else {
            text(&raw mut (*record).peer, peer);
        }
    }
    slot.submit(QUIET);
    Some(())
}

#[inline(always)]
fn call_end(header: Header, entry: &Entry, status: i32) -> Handled {
    let Some(mut slot) = RING.reserve::<CallEnd>(0) else {
        lost(Loss::RingFull, Kind::CallEnd, 1);
        return None;
    };
    slot.write(CallEnd {
        header: Header { kind: Kind::CallEnd as u32, ..header },
        entry_ns: entry.time_ns,
        agent_ptr: entry.agent_ptr,
        handle: entry.handle,
        of: header.kind,
        status,
    });
    slot.submit(QUIET);
    Some(())
}

#[inline(always)]
fn notif(header: Header, peer: u64, message: u64) -> Handled {
    let Some(mut slot) = RING.reserve::<Notif>(0) else {
        if let Some(kind) = Kind::from_u32(header.kind) {
            lost(Loss::RingFull, kind, 1);
        }
        return None;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted.
    unsafe {
        (*record).header = header;
        text(&raw mut (*record).peer, peer);
        text(&raw mut (*record).message, message);
    }
    slot.submit(QUIET);
    Some(())
}

/// Address, size, device, stride and count: an element of a list with strides. One without has the first three.
type Strided = [u64; 5];
type Block = [u64; 3];

/// A prepared list that is being sent.
#[repr(C)]
struct Preparing {
    header: Header,
    begin: u64,
    count: u64,
    element: u64,
    /// Elements that the rows so far stand for.
    covered: u64,
    rows: u64,
    run: Run,
}

/// Blocks from element `covered` on that are at one distance from each other; `stride` is 0 where they are still to be looked at.
/// Elements up to `low` are of it, `high` and those behind it are not; 0 where that is not known yet.
#[repr(C)]
struct Run {
    first: Block,
    stride: u64,
    low: u64,
    high: u64,
}

#[inline(always)]
fn prepare(header: Header, this: u64, (peer, list): (u64, u64), kind: Kind, layout: &Layout) -> Handled {
    let is_strided = kind as u32 == Kind::PrepareStrided as u32;
    let element = if is_strided { layout.strided_bytes } else { layout.basic_bytes };
    judge_list(header, list, layout, element)?;
    let memory: Option<i32> = read(list + u64::from(layout.list_memory));
    let list = list_of(list, layout, element).or_else(|| unreadable(kind))?;
    let mut preparing = Preparing {
        header: Header { kind: Kind::PreparedRow as u32, ..header },
        begin: list.begin,
        count: list.count,
        element: u64::from(element),
        covered: 0,
        rows: 0,
        run: Run { first: [0; 3], stride: 0, low: 0, high: 0 },
    };
    // SAFETY: the callbacks have the signature that the helper wants, and `preparing` outlives the calls.
    unsafe {
        if is_strided {
            bpf_loop(PREPARED_ROWS, send_strided as *mut _, (&raw mut preparing).cast(), 0);
            preparing.rows = list.count;
        } else {
            bpf_loop(PREPARED_LOOKS, look_for_run as *mut _, (&raw mut preparing).cast(), 0);
        }
    }
    let Some(mut slot) = RING.reserve::<Prepared>(0) else {
        lost(Loss::RingFull, kind, 1);
        return None;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted.
    unsafe {
        (*record).header = header;
        (*record).agent_ptr = this;
        (*record).asked = list.count;
        (*record).covered = preparing.covered;
        (*record).rows = preparing.rows;
        (*record).memory = memory.unwrap_or(-1);
        (*record).pad = 0;
        text(&raw mut (*record).peer, peer);
    }
    slot.submit(QUIET);
    Some(())
}

/// Sends an element of a list with strides; 1 ends the loop.
///
/// # Safety
/// `preparing` is a [`Preparing`].
#[inline(never)]
unsafe extern "C" fn send_strided(index: u64, preparing: *mut Preparing) -> i64 {
    // SAFETY: by contract.
    let preparing = unsafe { &mut *preparing };
    if index >= preparing.count {
        return 1;
    }
    match read::<Strided>(preparing.begin + index * preparing.element) {
        Some([addr, bytes, device, stride, count]) => {
            send_row(preparing.header, index, [addr, bytes, device], stride, count);
        }
        None => lost(Loss::Unreadable, Kind::PreparedRow, 1),
    }
    preparing.covered = index + 1;
    0
}

/// Looks at one or two elements of a list of blocks, and sends a run whose end is found; 1 ends the loop. What lies between the
/// elements that are looked at is taken to be at its place: twice as far each time until one is not, then in halves.
///
/// # Safety
/// `preparing` is a [`Preparing`].
#[inline(never)]
unsafe extern "C" fn look_for_run(_: u64, preparing: *mut Preparing) -> i64 {
    // SAFETY: by contract.
    let preparing = unsafe { &mut *preparing };
    let (start, run) = (preparing.covered, &mut preparing.run);
    if start >= preparing.count || preparing.rows >= u64::from(PREPARED_ROWS) {
        return 1;
    }
    let block = |at: u64| read::<Block>(preparing.begin + at * preparing.element);
    if run.stride == 0 {
        let Some(first) = block(start) else {
            lost(Loss::Unreadable, Kind::PreparedRow, 1);
            return 1;
        };
        run.first = first;
        (run.low, run.high) = (start, 0);
        // A block by itself is as far from the next as it is long.
        run.stride = first[1].max(1);
        let next = if start + 1 < preparing.count { block(start + 1) } else { None };
        match next {
            Some(next) if next[1] == first[1] && next[2] == first[2] && next[0] > first[0] => {
                run.stride = next[0] - first[0];
                run.low = start + 1;
            }
            _ => run.high = start + 1,
        }
        return 0;
    }
    if run.high != 0 && run.high <= run.low + 1 {
        let count = run.low + 1 - start;
        send_row(preparing.header, preparing.rows, run.first, run.stride, count);
        preparing.rows += 1;
        preparing.covered += count;
        run.stride = 0;
        return 0;
    }
    let at = if run.high == 0 { start + 2 * (run.low - start) } else { run.low + (run.high - run.low) / 2 };
    if at >= preparing.count {
        run.high = preparing.count;
        return 0;
    }
    let expected = [run.first[0].wrapping_add((at - start).wrapping_mul(run.stride)), run.first[1], run.first[2]];
    if block(at) == Some(expected) {
        run.low = at;
    } else {
        run.high = at;
    }
    0
}

#[inline(always)]
fn send_row(header: Header, position: u64, [addr, bytes, device]: Block, stride: u64, count: u64) {
    let Some(mut slot) = RING.reserve::<PreparedRow>(0) else {
        lost(Loss::RingFull, Kind::PreparedRow, 1);
        return;
    };
    slot.write(PreparedRow { header, position, addr, bytes, device, stride, count });
    slot.submit(QUIET);
}

// `std::unordered_map<std::string, std::vector<std::string>>` as libstdc++ has it since GCC 5: the map's first node and how many
// there are; in a node the next one, the key and the vector; the size of an element of that.
const MAP_FIRST: u64 = 16;
const MAP_COUNT: u64 = 24;
const NODE_KEY: u64 = 8;
const NODE_VECTOR: u64 = 40;
const STRING_BYTES: u64 = 32;

/// Peers of a map that are counted.
const PEERS: u32 = 1024;

/// A map whose notifications are being counted.
#[repr(C)]
struct Counting {
    /// The peer that is next; 0 behind the last.
    node: u64,
    count: u64,
}

/// The notifications in a map. Mostly it is empty, which is the first thing that is looked at.
#[inline(always)]
fn held(map: u64) -> Option<u64> {
    if read::<u64>(map + MAP_COUNT)? == 0 {
        return Some(0);
    }
    let mut counting = Counting { node: read(map + MAP_FIRST)?, count: 0 };
    // SAFETY: the callback has the signature that the helper wants, and `counting` outlives the call.
    unsafe {
        bpf_loop(PEERS, count_peer as *mut _, (&raw mut counting).cast(), 0);
    }
    if counting.node == 0 { Some(counting.count) } else { None }
}

/// Counts those of one peer; 1 ends the loop.
///
/// # Safety
/// `counting` is a [`Counting`].
#[inline(never)]
unsafe extern "C" fn count_peer(_: u64, counting: *mut Counting) -> i64 {
    // SAFETY: by contract.
    let counting = unsafe { &mut *counting };
    if counting.node == 0 {
        return 1;
    }
    let (Some(messages), Some(next)) = (vector(counting.node + NODE_VECTOR, STRING_BYTES as u32), read(counting.node))
    else {
        return 1;
    };
    counting.count += messages.count;
    counting.node = next;
    0
}

/// What `getNotifs` has filled in that is being sent.
#[repr(C)]
struct NotifCursor {
    header: Header,
    /// The peer whose notifications are next; 0 behind the last.
    node: u64,
    /// Which of them.
    next: u64,
    sent: u64,
}

/// `getNotifs` adds to the map that it is given. Of a map that held some from several peers it cannot be told which are new; of
/// one peer the new ones are behind the others.
#[inline(always)]
fn taken(header: Header, entry: &Entry) -> Handled {
    let held = held(entry.handle).or_else(|| unreadable(Kind::NotifTaken))?;
    let Some(new) = held.checked_sub(entry.asked).filter(|new| *new > 0) else { return Some(()) };
    let peers: u64 = read(entry.handle + MAP_COUNT).or_else(|| unreadable(Kind::NotifTaken))?;
    if entry.asked != 0 && peers != 1 {
        lost(Loss::Unrecorded, Kind::NotifTaken, new);
        return None;
    }
    let node = read(entry.handle + MAP_FIRST).or_else(|| unreadable(Kind::NotifTaken))?;
    let mut cursor = NotifCursor { header, node, next: entry.asked, sent: 0 };
    // SAFETY: the callback has the signature that the helper wants, and `cursor` outlives the call.
    unsafe {
        bpf_loop(TAKEN_LIMIT, take_one as *mut _, (&raw mut cursor).cast(), 0);
    }
    if cursor.sent < new {
        lost(Loss::Unrecorded, Kind::NotifTaken, new - cursor.sent);
    }
    Some(())
}

/// Sends one notification, or goes on to the next peer; 1 ends the loop.
///
/// # Safety
/// `cursor` is a [`NotifCursor`].
#[inline(never)]
unsafe extern "C" fn take_one(_: u64, cursor: *mut NotifCursor) -> i64 {
    // SAFETY: by contract.
    let cursor = unsafe { &mut *cursor };
    if cursor.node == 0 {
        return 1;
    }
    let Some(messages) = vector(cursor.node + NODE_VECTOR, STRING_BYTES as u32) else { return 1 };
    if cursor.next < messages.count {
        // What the ring has no room for is counted there.
        let _ = notif(cursor.header, cursor.node + NODE_KEY, messages.begin + cursor.next * STRING_BYTES);
        cursor.next += 1;
        cursor.sent += 1;
        return 0;
    }
    let Some(node) = read(cursor.node) else { return 1 };
    cursor.node = node;
    cursor.next = 0;
    0
}
