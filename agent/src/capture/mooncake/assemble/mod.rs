//! Events to rows. Pure: no I/O and no clock of its own.

use std::borrow::Cow;
use std::collections::HashMap;

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{
    Library, NixlAgent, NixlAgents, NixlDescriptor, NixlDescriptors, NixlRegion, NixlRegions, NixlTransfer,
    NixlTransfers,
};
use kvpath_schema::wire::mooncake::BUFFER_RECORDS;

use super::decode::{Buffer, Ending, Event, Request};
use super::memory::{self, Place};
use crate::capture::nixl::decode::TracedText;
use crate::capture::nixl::names;
use crate::losses::{Cause, Losses};

/// Ids of transfers, which those of NIXL never reach: both are in one table.
const FIRST_TRANSFER: i64 = 1 << 40;
/// What `openSegment` gives for a peer that cannot be opened.
const NO_SEGMENT: u64 = u64::MAX;
/// The status of what failed; Mooncake has no names for why.
const FAILED: &str = "failed";

/// Rows that are ready to be written.
#[derive(Debug, Default)]
pub struct MooncakeRows {
    pub agents: NixlAgents,
    pub regions: NixlRegions,
    pub transfers: NixlTransfers,
    pub descriptors: NixlDescriptors,
}

/// What a recording saw, for its summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Transfers.
    pub transfers: u64,
    /// Of these, done.
    pub done: u64,
    /// Bytes of those that are done.
    pub bytes: u64,
    /// Peers that could not be opened.
    pub unopened: u64,
}

/// Who made a call, and when.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Its process.
    pub process_id: i64,
    /// Its thread.
    pub tid: i32,
    /// When, ns.
    pub time_ns: i64,
}

/// What one submit sends one peer one way: a transfer.
#[derive(Debug)]
struct Part {
    row: NixlTransfer,
    op: i32,
    target: u64,
    bytes: u64,
    count: u64,
}

/// A submit whose batch was not freed.
#[derive(Debug)]
struct Submit {
    caller: Caller,
    engine: u64,
    total: u64,
    /// Requests that have come.
    seen: u64,
    room: Option<u64>,
    parts: Vec<Part>,
}

/// Memory that a process has registered.
#[derive(Debug, Clone, Copy)]
struct Registered {
    start: u64,
    end: u64,
    memory: &'static str,
}

/// What is known of a process.
#[derive(Debug, Default)]
struct Traced {
    /// Names of its engines, by address.
    engines: HashMap<u64, Name>,
    /// Names of peers, by engine and segment.
    peers: HashMap<(u64, u64), Name>,
    registered: Vec<Registered>,
    next_region: i32,
    /// Batches that were not freed.
    open: HashMap<u64, Vec<Submit>>,
    /// Transfers so far, by batch id.
    epochs: HashMap<u64, i64>,
}

/// The state machine.
#[derive(Debug)]
pub struct Assembler {
    rows: MooncakeRows,
    losses: Losses,
    totals: Totals,
    next_transfer: i64,
    processes: HashMap<i64, Traced>,
    library: Name,
}

impl Default for Assembler {
    fn default() -> Self {
        Self {
            rows: MooncakeRows::default(),
            losses: Losses::default(),
            totals: Totals::default(),
            next_transfer: FIRST_TRANSFER,
            processes: HashMap::new(),
            library: Library::Mooncake.text().into(),
        }
    }
}

impl Assembler {
    /// Takes one event. `place` tells where an address of the process is, for memory whose registration leaves it open.
    pub fn push(&mut self, caller: Caller, event: Event, place: impl FnMut(u64) -> Place) {
        match event {
            Event::Opened { engine, segment, name } => self.opened(caller, engine, segment, name),
            Event::Registered { engine, total, first, own, location, buffers } => {
                self.engine(caller, engine, own);
                self.check_buffers(caller, total, first, buffers.len());
                self.registered(caller, engine, &location, &buffers, place);
            }
            Event::Submitted { engine, batch, total, limit, is_first, room, own } => {
                self.engine(caller, engine, own);
                if is_first {
                    // The address was given out again, so the freeing of the one before was lost.
                    self.close(caller.process_id, batch, None);
                }
                let over = total.saturating_sub(limit);
                self.lose("nixl_descriptors", format!("over the limit of {limit} a post"), caller.process_id, over);
                let submit = Submit { caller, engine, total, seen: 0, room, parts: Vec::new() };
                let traced = self.processes.entry(caller.process_id).or_default();
                traced.open.entry(batch).or_default().push(submit);
            }
            Event::Requests { batch, first, requests } => self.requests(caller, batch, first, &requests),
            Event::Freed { batch, ending } => {
                if !self.close(caller.process_id, batch, Some((caller.time_ns, ending))) && ending.tasks > 0 {
                    let reason = "submitted before recording began, or its submit was lost";
                    self.lose("nixl_transfers", reason, caller.process_id, 1);
                }
            }
        }
    }

    /// A process runs another program: what was known of its memory holds no more.
    pub fn image_replaced(&mut self, process_id: i64) {
        self.close_all(process_id);
        if let Some(traced) = self.processes.get_mut(&process_id) {
            let (next_region, epochs) = (traced.next_region, std::mem::take(&mut traced.epochs));
            *traced = Traced { next_region, epochs, ..Traced::default() };
        }
    }

    /// Ends what a process leaves open, and forgets it.
    pub fn process_ended(&mut self, process_id: i64) {
        self.close_all(process_id);
        self.processes.remove(&process_id);
    }

    /// Ends what is open, whose ends will not be seen; what is known of engines and peers stays.
    pub fn leave_open(&mut self) {
        for process in self.traced() {
            self.close_all(process);
        }
    }

    fn traced(&self) -> Vec<i64> {
        let mut processes: Vec<i64> = self.processes.keys().copied().collect();
        processes.sort_unstable();
        processes
    }

    fn close_all(&mut self, process_id: i64) {
        let Some(traced) = self.processes.get(&process_id) else { return };
        let mut batches: Vec<(i64, u64)> =
            traced.open.iter().filter_map(|(batch, submits)| Some((submits.first()?.caller.time_ns, *batch))).collect();
        batches.sort_unstable();
        for (_, batch) in batches {
            self.close(process_id, batch, None);
        }
    }

    /// Ends everything that is open.
    pub fn finish(&mut self) {
        for process in self.traced() {
            self.process_ended(process);
        }
    }

    /// The rows that are ready, which are forgotten here.
    pub fn take_rows(&mut self) -> MooncakeRows {
        std::mem::take(&mut self.rows)
    }

    /// What those rows lack; forgotten here.
    pub fn take_losses(&mut self) -> Losses {
        std::mem::take(&mut self.losses)
    }

    /// What was seen so far. Transfers count when their row is ready.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn lose(&mut self, table: &'static str, reason: impl Into<Cow<'static, str>>, process_id: i64, count: u64) {
        self.losses.add(Cause::of(table, reason).in_process(process_id), count);
    }

    /// An engine that makes a call says its name; the first time it is a row.
    fn engine(&mut self, caller: Caller, engine: u64, own: TracedText) {
        let Some(name) = own.text.filter(|name| !name.is_empty()) else {
            self.lose("nixl_agents", "name could not be read", caller.process_id, 1);
            return;
        };
        let engines = &mut self.processes.entry(caller.process_id).or_default().engines;
        if engines.get(&engine).is_some_and(|known| **known == *name) {
            return;
        }
        let name: Name = name.into();
        engines.insert(engine, name.clone());
        let Caller { process_id, time_ns, .. } = caller;
        let library = self.library.clone();
        self.rows.agents.push(NixlAgent { time_ns, process_id, agent_ptr: engine, name, library });
    }

    fn opened(&mut self, caller: Caller, engine: u64, segment: u64, name: TracedText) {
        if segment == NO_SEGMENT {
            self.totals.unopened += 1;
            return;
        }
        let Some(name) = name.text else {
            self.lose("nixl_transfers", "peer could not be read", caller.process_id, 1);
            return;
        };
        let peers = &mut self.processes.entry(caller.process_id).or_default().peers;
        peers.insert((engine, segment), name.into());
    }

    /// Counts buffers that could not be read and, once a call, those beyond the limit.
    fn check_buffers(&mut self, caller: Caller, total: u32, first: u32, here: usize) {
        if here == 0 && total > first {
            self.lose("nixl_regions", "a part of the list could not be read", caller.process_id, 1);
        }
        let per = u32::try_from(here).unwrap_or(0);
        let limit = per * BUFFER_RECORDS;
        if first == 0 && per < total && total > limit && per > 0 {
            let over = u64::from(total - limit);
            self.lose("nixl_regions", format!("over the limit of {limit} a call"), caller.process_id, over);
        }
    }

    fn registered(
        &mut self,
        caller: Caller,
        engine: u64,
        location: &TracedText,
        buffers: &[Buffer],
        mut place: impl FnMut(u64) -> Place,
    ) {
        let said = location.text.as_deref().and_then(memory::said);
        let traced = self.processes.entry(caller.process_id).or_default();
        let agent = traced.engines.get(&engine).cloned();
        for Buffer { addr, bytes } in buffers {
            let Place { memory, device } = said.unwrap_or_else(|| place(*addr));
            self.rows.regions.push(NixlRegion {
                time_ns: caller.time_ns,
                dur_ns: None,
                process_id: caller.process_id,
                agent_ptr: engine,
                agent: agent.clone(),
                region: traced.next_region,
                addr: *addr,
                bytes: i64::try_from(*bytes).unwrap_or(i64::MAX),
                device_id: device,
                memory: memory.into(),
                library: self.library.clone(),
            });
            traced.next_region += 1;
            traced.registered.retain(|known| known.start != *addr);
            traced.registered.push(Registered { start: *addr, end: addr.saturating_add(*bytes), memory });
        }
    }

    fn requests(&mut self, caller: Caller, batch: u64, first: u32, requests: &[Request]) {
        let Self { processes, rows, next_transfer, library, .. } = self;
        let traced = processes.entry(caller.process_id).or_default();
        let Traced { engines, peers, registered, open, epochs, .. } = traced;
        let Some(submit) = open.get_mut(&batch).and_then(|submits| submits.last_mut()) else {
            let lost = requests.len() as u64;
            return self.lose("nixl_descriptors", "of a post that was lost", caller.process_id, lost);
        };
        submit.seen += requests.len() as u64;
        for (at, request) in (u64::from(first)..).zip(requests) {
            let is_same = |part: &Part| (part.op, part.target) == (request.op, request.target);
            let known = submit.parts.iter().position(is_same);
            let index = known.unwrap_or_else(|| {
                let epoch = epochs.entry(batch).or_default();
                let names = Names {
                    agent: engines.get(&submit.engine).cloned(),
                    peer: peers.get(&(submit.engine, request.target)).cloned(),
                    library: library.clone(),
                };
                let row = NixlTransfer {
                    op: names::op(request.op),
                    local_memory: memory_of(registered, request.source).map(Name::from),
                    ..blank(submit, batch, *epoch, *next_transfer, names)
                };
                *epoch += 1;
                *next_transfer += 1;
                submit.parts.push(Part { row, op: request.op, target: request.target, bytes: 0, count: 0 });
                submit.parts.len() - 1
            });
            let part = &mut submit.parts[index];
            rows.descriptors.push(NixlDescriptor {
                transfer_id: part.row.transfer_id,
                position: i32::try_from(part.count).unwrap_or(i32::MAX),
                local_addr: request.source,
                remote_addr: Some(request.remote),
                bytes: i64::try_from(request.bytes).unwrap_or(i64::MAX),
                device_id: 0,
            });
            part.count += 1;
            part.bytes = part.bytes.saturating_add(request.bytes);
            // The row with the room is in the host's memory. 0 is the room of no request.
            if at + 1 == submit.total && memory_of(registered, request.source) == Some("DRAM") {
                part.row.request = submit.room.filter(|room| *room != 0).map(|room| room.to_string());
            }
        }
    }

    /// Writes the rows of a batch: freed at a time and in that state, or never. Gives whether it was open.
    fn close(&mut self, process_id: i64, batch: u64, freed: Option<(i64, Ending)>) -> bool {
        let Some(traced) = self.processes.get_mut(&process_id) else { return false };
        let Some(submits) = traced.open.remove(&batch) else { return false };
        for mut submit in submits {
            if submit.parts.is_empty() && submit.total > 0 {
                // All of its requests were lost, and counted.
                let epoch = traced.epochs.entry(batch).or_default();
                let agent = traced.engines.get(&submit.engine).cloned();
                let names = Names { agent, peer: None, library: self.library.clone() };
                let row = blank(&submit, batch, *epoch, self.next_transfer, names);
                *epoch += 1;
                self.next_transfer += 1;
                submit.parts.push(Part { row, op: -1, target: 0, bytes: 0, count: 0 });
            }
            let is_whole = submit.seen == submit.total;
            let is_one = submit.parts.len() == 1;
            for Part { mut row, bytes, count, .. } in submit.parts {
                row.bytes = is_whole.then(|| i64::try_from(bytes).unwrap_or(i64::MAX));
                let count = if is_one { Some(submit.total) } else { is_whole.then_some(count) };
                row.descriptors = count.and_then(|count| i64::try_from(count).ok());
                if let Some((at_ns, ending)) = freed {
                    row.released_ns = Some(at_ns);
                    row.status = ending.status().into();
                    row.done_poll_ns = (&*row.status == "done").then_some(at_ns);
                }
                self.totals.transfers += 1;
                if &*row.status == "done" {
                    self.totals.done += 1;
                    self.totals.bytes += row.bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
                }
                self.rows.transfers.push(row);
            }
        }
        true
    }
}

impl Ending {
    /// What became of the transfers of the batch. A caller that has waited too long frees it while it goes on.
    fn status(self) -> &'static str {
        if self.is_done {
            "done"
        } else if self.tasks == 0 || self.failed > 0 {
            FAILED
        } else if self.ended == self.tasks {
            "done"
        } else {
            "pending"
        }
    }
}

/// What a row calls the ends of its transfer.
struct Names {
    agent: Option<Name>,
    peer: Option<Name>,
    library: Name,
}

/// A transfer of a submit, without what its requests and its end say.
fn blank(submit: &Submit, batch: u64, epoch: i64, transfer_id: i64, names: Names) -> NixlTransfer {
    NixlTransfer {
        transfer_id,
        process_id: submit.caller.process_id,
        tid: submit.caller.tid,
        handle: batch,
        epoch,
        agent_ptr: submit.engine,
        agent: names.agent,
        peer: names.peer,
        op: "unknown".into(),
        made_ns: None,
        make_dur_ns: None,
        made_descriptors: None,
        posted_ns: Some(submit.caller.time_ns),
        post_end_ns: None,
        last_pending_poll_ns: None,
        done_poll_ns: None,
        pending_polls: None,
        released_ns: None,
        status: "pending".into(),
        bytes: None,
        descriptors: None,
        local_memory: None,
        remote_memory: None,
        notif: None,
        notif_bytes: None,
        request: None,
        chunk: None,
        sender_rank: None,
        library: names.library,
        layout: None,
    }
}

/// The memory of the region that an address lies in.
fn memory_of(registered: &[Registered], address: u64) -> Option<&'static str> {
    let of = registered.iter().rev().find(|region| (region.start..region.end).contains(&address));
    of.map(|region| region.memory)
}

#[cfg(test)]
mod tests;
