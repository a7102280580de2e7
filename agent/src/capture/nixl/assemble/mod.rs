//! Events to rows: the state machine of transfers, keyed (process, handle) with an epoch for each use of an address.
//! Pure: no I/O and no clock of its own.

mod calls;
mod prepared;

use std::borrow::Cow;
use std::collections::HashMap;

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{
    CallName, LayoutSource, Library, NixlAgent, NixlAgents, NixlCalls, NixlDescriptor, NixlDescriptors, NixlNotif,
    NixlNotifs, NixlPrepared, NixlRegion, NixlRegions, NixlTransfer, NixlTransfers,
};
use kvpath_schema::wire::nixl::{DESCRIPTOR_LIMIT, Kind, Polls, REGION_RECORDS};

use super::decode::{Event, HandleInfo, Range, TracedText};
use super::names;
use crate::losses::{Cause, Losses};

/// `NIXL_ERR_REPOST_ACTIVE`: the post did nothing.
const REPOST_ACTIVE: i32 = -7;
/// `NIXL_IN_PROG`.
const IN_PROGRESS: i32 = 1;
/// How long a transfer that has ended waits for its release before its row is written without one.
pub const RELEASE_WAIT_NS: i64 = 10_000_000_000;

/// Rows that are ready to be written.
#[derive(Debug, Default)]
pub struct NixlRows {
    pub agents: NixlAgents,
    pub calls: NixlCalls,
    pub regions: NixlRegions,
    pub prepared: NixlPrepared,
    pub transfers: NixlTransfers,
    pub descriptors: NixlDescriptors,
    pub notifs: NixlNotifs,
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
    /// Notifications sent.
    pub notifs_sent: u64,
    /// Notifications that arrived.
    pub notifs_arrived: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransferPhase {
    Made,
    InProgress,
    Ended { at_ns: i64 },
}

#[derive(Debug)]
struct Open {
    row: NixlTransfer,
    phase: TransferPhase,
    /// The size of a post whose handle does not tell it, as far as its descriptors have come.
    sum: Option<Sum>,
}

/// Descriptors so far, and their bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    descriptors: u64,
    bytes: u64,
}

/// The state machine.
#[derive(Debug, Default)]
pub struct Assembler {
    rows: NixlRows,
    losses: Losses,
    totals: Totals,
    next_transfer: i64,
    open: HashMap<(i64, u64), Open>,
    /// Uses of each handle address so far.
    epochs: HashMap<(i64, u64), i64>,
    agents: HashMap<(i64, u64), Name>,
    next_region: HashMap<i64, i32>,
    /// Whether polls are not recorded now.
    misses_polls: bool,
    /// Lists of `registerMem` calls that have not returned, by (process, thread, entry).
    registering: HashMap<(i64, i32, i64), Vec<NixlRegion>>,
    prepared: prepared::Lists,
    calls: calls::Begun,
    /// How the layout of a process's library is known, if not by the table.
    layouts: HashMap<i64, LayoutSource>,
}

impl Assembler {
    /// How the layout of the library that a process uses is known.
    pub fn layout_is(&mut self, process_id: i64, known: LayoutSource) {
        self.layouts.insert(process_id, known);
    }

    /// Polls of a transfer were not all recorded.
    pub fn polls_missed(&mut self, process_id: i64, handle: u64) {
        if let Some(open) = self.open.get_mut(&(process_id, handle)) {
            open.row.pending_polls = None;
        }
    }

    /// Takes one event of thread `tid` of a process.
    pub fn push(&mut self, process_id: i64, tid: i32, time_ns: i64, event: Event) {
        match event {
            Event::Agent { agent_ptr, name } => self.agent(process_id, time_ns, agent_ptr, name),
            Event::Regions { agent_ptr, total, first, memory, ranges } => {
                self.call_begins((process_id, tid, time_ns), CallName::RegisterMem, agent_ptr, None);
                self.regions(process_id, tid, time_ns, agent_ptr, memory, &ranges);
                self.check_regions(process_id, total, first, ranges.len());
            }
            Event::PreparedRow(blocks) => self.prepared.take((process_id, tid, time_ns), blocks),
            Event::Prepared(list) => {
                let call = (process_id, tid, time_ns);
                self.call_begins(call, CallName::PrepXferDlist, list.agent_ptr, list.peer.text.as_deref());
                self.prepared(call, &list);
            }
            Event::RegionsEnd { entry_ns, agent_ptr, status } => {
                self.call_ends((process_id, tid, entry_ns), CallName::RegisterMem, agent_ptr, (time_ns, status));
                self.regions_end(process_id, tid, entry_ns, time_ns, status);
            }
            Event::Call { of, entry_ns, agent_ptr, peer } => {
                if peer.text.is_none() {
                    self.lose("nixl_calls", "peer could not be read", process_id, 1);
                }
                if let Some(name) = calls::name(of) {
                    self.call_begins((process_id, tid, entry_ns), name, agent_ptr, peer.text.as_deref());
                }
            }
            Event::CallEnd { of: Kind::Release, entry_ns, agent_ptr, handle, status } => {
                self.release_ends((process_id, tid, entry_ns), agent_ptr, handle, (time_ns, status));
            }
            Event::CallEnd { of, entry_ns, agent_ptr, status, .. } => {
                if let Some(name) = calls::name(of) {
                    self.call_ends((process_id, tid, entry_ns), name, agent_ptr, (time_ns, status));
                }
            }
            Event::Made { entry_ns, agent_ptr, handle, asked, about, .. } => {
                // The address can only be handed out again after its release, which was lost then.
                self.close(process_id, handle);
                let row = &mut self.begin(process_id, tid, agent_ptr, handle).row;
                row.made_ns = Some(entry_ns);
                row.make_dur_ns = Some(time_ns - entry_ns);
                row.made_descriptors = i64::try_from(asked).ok();
                describe(row, &about);
            }
            Event::Posted { entry_ns, agent_ptr, handle, earlier, status, about } => {
                let post = Post { tid, agent_ptr, handle, entry_ns, end_ns: time_ns, status };
                self.posted(process_id, &post, earlier, &about);
            }
            Event::Descriptors { handle, first, local, remote } => {
                self.descriptors(process_id, handle, first, &local, remote.as_deref());
            }
            Event::Status { handle, polls, status } => self.polled(process_id, handle, time_ns, polls, status),
            Event::Released { handle, polls, status } => {
                self.polls_left(process_id, handle, polls);
                if let Some(open) = self.open.get_mut(&(process_id, handle)) {
                    open.row.released_ns = Some(time_ns);
                    // The poll that saw the end was not recorded; the handle still knows what it said.
                    if open.phase == TransferPhase::InProgress
                        && let Some(status) = status.filter(|status| *status != IN_PROGRESS)
                    {
                        open.row.status = if status == 0 { "done".into() } else { names::error(status) };
                        open.row.pending_polls = None;
                        open.phase = TransferPhase::Ended { at_ns: time_ns };
                    }
                }
            }
            Event::NotifSent { peer, message } => {
                self.notif(process_id, tid, time_ns, "sent", peer, message);
                self.totals.notifs_sent += 1;
            }
            Event::NotifArrived { peer, message } => {
                self.notif(process_id, tid, time_ns, "arrived", peer, message);
                self.totals.notifs_arrived += 1;
            }
            Event::NotifTaken { peer, message } => {
                self.notif(process_id, tid, time_ns, "taken", peer, message);
            }
            // There is no call to make a row of.
            Event::Contradicted { .. } => {}
        }
    }

    /// A post that was entered and has not returned, found at the end of its process or of the recording.
    pub fn post_in_flight(&mut self, process_id: i64, tid: i32, agent_ptr: u64, handle: u64, entry_ns: i64) {
        if !self.open.get(&(process_id, handle)).is_some_and(|open| open.phase == TransferPhase::Made) {
            self.close(process_id, handle);
            self.begin(process_id, tid, agent_ptr, handle);
        }
        if let Some(open) = self.open.get_mut(&(process_id, handle)) {
            open.row.tid = tid;
            open.row.posted_ns = Some(entry_ns);
            open.phase = TransferPhase::InProgress;
        }
    }

    /// Polls of a transfer that was not seen to end.
    pub fn polls_left(&mut self, process_id: i64, handle: u64, polls: Polls) {
        if let Some(open) = self.open.get_mut(&(process_id, handle))
            && open.phase == TransferPhase::InProgress
        {
            count_polls(&mut open.row, polls);
        }
    }

    /// Polls are recorded from now on, or no more. What is open then has polls that were not recorded.
    pub fn record_polls(&mut self, are_recorded: bool) {
        self.misses_polls = !are_recorded;
        for open in self.open.values_mut().filter(|open| open.phase == TransferPhase::InProgress) {
            open.row.pending_polls = None;
        }
    }

    /// Ends what a process leaves open.
    pub fn process_ended(&mut self, process_id: i64) {
        self.image_replaced(process_id);
        self.epochs.retain(|(process, _), _| *process != process_id);
        self.next_region.remove(&process_id);
        self.layouts.remove(&process_id);
        self.prepared.process_ended(process_id);
    }

    /// Ends what a process leaves open by `execve`. It keeps its id, so its counters go on.
    pub fn image_replaced(&mut self, process_id: i64) {
        for handle in self.handles(|process, _| process == process_id) {
            self.close(handle.0, handle.1);
        }
        let calls: Vec<_> = self.registering.keys().filter(|call| call.0 == process_id).copied().collect();
        for call in calls {
            for region in self.registering.remove(&call).unwrap_or_default() {
                self.write_region(region);
            }
        }
        self.calls_left(process_id);
        self.agents.retain(|(process, _), _| *process != process_id);
    }

    /// Ends transfers that ended long before `now_ns` and were not released, or whose release was not seen to return: their rows
    /// need not wait.
    pub fn settle(&mut self, now_ns: i64) {
        let old = |open: &Open| {
            let ended = match open.phase {
                TransferPhase::Ended { at_ns } => Some(at_ns),
                TransferPhase::Made | TransferPhase::InProgress => open.row.released_ns,
            };
            ended.is_some_and(|at_ns| now_ns - at_ns > RELEASE_WAIT_NS)
        };
        for handle in self.handles(|_, open| old(open)) {
            self.close(handle.0, handle.1);
        }
    }

    /// Ends everything.
    pub fn finish(&mut self) {
        let mut processes: Vec<i64> = self.open.keys().map(|key| key.0).collect();
        processes.extend(self.registering.keys().map(|call| call.0));
        processes.extend(self.calls.processes());
        processes.sort_unstable();
        processes.dedup();
        for process in processes {
            self.process_ended(process);
        }
    }

    /// The rows that are ready, which are forgotten here.
    pub fn take_rows(&mut self) -> NixlRows {
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

    fn handles(&self, which: impl Fn(i64, &Open) -> bool) -> Vec<(i64, u64)> {
        let mut handles: Vec<_> =
            self.open.iter().filter(|(key, open)| which(key.0, open)).map(|(key, _)| *key).collect();
        handles.sort_unstable();
        handles
    }

    fn lose(&mut self, table: &'static str, reason: impl Into<Cow<'static, str>>, process_id: i64, count: u64) {
        self.losses.add(Cause::of(table, reason).in_process(process_id), count);
    }

    fn agent(&mut self, process_id: i64, time_ns: i64, agent_ptr: u64, name: TracedText) {
        let Some(name) = name.text else {
            self.agents.remove(&(process_id, agent_ptr));
            self.lose("nixl_agents", "name could not be read", process_id, 1);
            return;
        };
        let name: Name = name.into();
        self.agents.insert((process_id, agent_ptr), name.clone());
        self.rows.agents.push(NixlAgent { time_ns, process_id, agent_ptr, name, library: Library::Nixl.text().into() });
    }

    fn regions(&mut self, process_id: i64, tid: i32, time_ns: i64, agent_ptr: u64, memory: i32, ranges: &[Range]) {
        let agent = self.agents.get(&(process_id, agent_ptr)).cloned();
        let rows = self.registering.entry((process_id, tid, time_ns)).or_default();
        rows.extend(ranges.iter().map(|range| NixlRegion {
            time_ns,
            dur_ns: None,
            process_id,
            agent_ptr,
            agent: agent.clone(),
            region: 0,
            addr: range.addr,
            bytes: i64::try_from(range.bytes).unwrap_or(i64::MAX),
            device_id: i64::try_from(range.device).unwrap_or(i64::MAX),
            memory: names::memory(memory),
            library: Library::Nixl.text().into(),
        }));
    }

    /// Counts regions that could not be read and, once a call, those beyond the limit.
    fn check_regions(&mut self, process_id: i64, total: u32, first: u32, here: usize) {
        if here == 0 && total > first {
            self.lose("nixl_regions", "a part of the list could not be read", process_id, 1);
        }
        let per = u32::try_from(here).unwrap_or(0);
        let limit = per * REGION_RECORDS;
        if first == 0 && per > 0 && per < total && total > limit {
            self.lose(
                "nixl_regions",
                format!("over the limit of {limit} a call"),
                process_id,
                u64::from(total - limit),
            );
        }
    }

    fn regions_end(&mut self, process_id: i64, tid: i32, entry_ns: i64, time_ns: i64, status: i32) {
        let Some(rows) = self.registering.remove(&(process_id, tid, entry_ns)) else {
            return;
        };
        // NIXL did not register them, so they are no regions.
        if status < 0 {
            return;
        }
        for row in rows {
            self.write_region(NixlRegion { dur_ns: Some(time_ns - entry_ns), ..row });
        }
    }

    fn write_region(&mut self, row: NixlRegion) {
        let next = self.next_region.entry(row.process_id).or_default();
        self.rows.regions.push(NixlRegion { region: *next, ..row });
        *next += 1;
    }

    /// What succeeds ends the transfer. What is refused does not, and is a row of its own.
    fn release_ends(&mut self, call: calls::Call, agent_ptr: u64, handle: u64, (end_ns, status): (i64, i32)) {
        let (process_id, _, entry_ns) = call;
        // Another use of the address has begun while this release was returning, or its beginning was lost.
        let is_of = |open: &&mut Open| open.row.released_ns == Some(entry_ns);
        let open = self.open.get_mut(&(process_id, handle)).filter(is_of);
        if status >= 0 {
            if open.is_some() {
                self.close(process_id, handle);
            }
            return;
        }
        let transfer_id = open.map(|open| {
            open.row.released_ns = None;
            // The kernel half has forgotten how many there were.
            open.row.pending_polls = None;
            open.row.transfer_id
        });
        self.call_begins(call, CallName::ReleaseXferReq, agent_ptr, None);
        self.calls.is_of_transfer(call, transfer_id);
        self.call_ends(call, CallName::ReleaseXferReq, agent_ptr, (end_ns, status));
    }

    fn begin(&mut self, process_id: i64, tid: i32, agent_ptr: u64, handle: u64) -> &mut Open {
        let uses = self.epochs.entry((process_id, handle)).or_default();
        let row = NixlTransfer {
            transfer_id: self.next_transfer,
            process_id,
            tid,
            handle,
            epoch: *uses,
            agent_ptr,
            agent: self.agents.get(&(process_id, agent_ptr)).cloned(),
            peer: None,
            op: "unknown".into(),
            made_ns: None,
            make_dur_ns: None,
            made_descriptors: None,
            posted_ns: None,
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
            // What the text says is for the analyzer to read.
            request: None,
            chunk: None,
            sender_rank: None,
            library: Library::Nixl.text().into(),
            layout: Some(self.layouts.get(&process_id).unwrap_or(&LayoutSource::Table).text().into()),
        };
        *uses += 1;
        self.next_transfer += 1;
        let row = NixlTransfer { pending_polls: (!self.misses_polls).then_some(0), ..row };
        let open = Open { row, phase: TransferPhase::Made, sum: None };
        self.open.entry((process_id, handle)).insert_entry(open).into_mut()
    }

    /// Writes the row of a transfer in the state that it is in.
    fn close(&mut self, process_id: i64, handle: u64) {
        let Some(Open { mut row, phase, .. }) = self.open.remove(&(process_id, handle)) else {
            return;
        };
        // Its post said everything else that it lacks; the size may have come after that. What failed at once has none to be
        // read, and that of a long list is lost with its descriptors.
        let is_whole =
            row.descriptors.is_none_or(|count| u64::try_from(count).is_ok_and(|count| count <= DESCRIPTOR_LIMIT));
        let has_descriptors = matches!(phase, TransferPhase::InProgress) || &*row.status == "done";
        if row.post_end_ns.is_some() && row.bytes.is_none() && is_whole && has_descriptors {
            self.lose("nixl_transfers", "bytes could not be read", process_id, 1);
        }
        match phase {
            TransferPhase::Made => row.status = "not_posted".into(),
            TransferPhase::InProgress => row.status = "pending".into(),
            TransferPhase::Ended { .. } => {}
        }
        self.totals.transfers += 1;
        if &*row.status == "done" {
            self.totals.done += 1;
            self.totals.bytes += row.bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        }
        self.rows.transfers.push(row);
    }

    fn posted(&mut self, process_id: i64, post: &Post, earlier: Polls, about: &HandleInfo) {
        let key = (process_id, post.handle);
        // The handle is another one, whose making was lost.
        if self.open.get(&key).is_some_and(|open| open.row.released_ns.is_some()) {
            self.close(process_id, post.handle);
        }
        match self.open.get(&key).map(|open| open.phase) {
            Some(TransferPhase::InProgress) if post.status == REPOST_ACTIVE => return,
            Some(TransferPhase::Made) => {}
            Some(TransferPhase::InProgress | TransferPhase::Ended { .. }) | None => {
                self.polls_left(process_id, post.handle, earlier);
                self.close(process_id, post.handle);
                self.begin(process_id, post.tid, post.agent_ptr, post.handle);
            }
        }
        let Some(open) = self.open.get_mut(&key) else {
            return;
        };
        let row = &mut open.row;
        row.tid = post.tid;
        row.posted_ns = Some(post.entry_ns);
        row.post_end_ns = Some(post.end_ns);
        describe(row, about);
        open.sum = about.bytes.is_none().then(Sum::default);
        open.phase = match post.status {
            0 => {
                row.done_poll_ns = Some(post.end_ns);
                row.status = "done".into();
                TransferPhase::Ended { at_ns: post.end_ns }
            }
            1.. => TransferPhase::InProgress,
            error => {
                row.status = names::error(error);
                TransferPhase::Ended { at_ns: post.end_ns }
            }
        };
        let transfer_id = row.transfer_id;
        if about.has_notif == Some(true) && post.status >= 0 {
            self.totals.notifs_sent += 1;
            self.rows.notifs.push(NixlNotif {
                time_ns: post.entry_ns,
                process_id,
                tid: post.tid,
                direction: "sent".into(),
                via: "transfer".into(),
                peer: about.peer.text.as_deref().map(Name::from),
                message: about.notif.text.clone().unwrap_or_default(),
                message_raw: about.notif.raw.clone(),
                message_bytes: i64::try_from(about.notif.len).unwrap_or(i64::MAX),
                transfer_id: Some(transfer_id),
            });
        }
        self.check_post(process_id, post.status, about);
    }

    /// Counts what a post's record lacks.
    fn check_post(&mut self, process_id: i64, status: i32, about: &HandleInfo) {
        let fields = [
            ("descriptors", about.descriptors.is_none()),
            ("op", about.op.is_none()),
            ("local_memory", about.local_memory.is_none()),
            ("remote_memory", about.remote_memory.is_none()),
            ("peer", about.peer.text.is_none()),
            ("notif", about.has_notif.is_none() || about.has_notif == Some(true) && about.notif.text.is_none()),
        ];
        for (field, _) in fields.into_iter().filter(|(_, missing)| *missing) {
            self.lose("nixl_transfers", format!("{field} could not be read"), process_id, 1);
        }
        let over = about.descriptors.map_or(0, |count| count.saturating_sub(DESCRIPTOR_LIMIT));
        if over > 0 && status >= 0 {
            self.lose("nixl_descriptors", format!("over the limit of {DESCRIPTOR_LIMIT} a post"), process_id, over);
        }
    }

    fn descriptors(&mut self, process_id: i64, handle: u64, first: u32, local: &[Range], remote: Option<&[Range]>) {
        let Some(open) = self.open.get_mut(&(process_id, handle)) else {
            // Their post was lost, and counted.
            self.lose("nixl_descriptors", "of a post that was lost", process_id, local.len() as u64);
            return;
        };
        add_up(open, first, local);
        let transfer_id = open.row.transfer_id;
        for (i, range) in local.iter().enumerate() {
            self.rows.descriptors.push(NixlDescriptor {
                transfer_id,
                position: i32::try_from(first as usize + i).unwrap_or(i32::MAX),
                local_addr: range.addr,
                remote_addr: remote.and_then(|remote| remote.get(i)).map(|range| range.addr),
                bytes: i64::try_from(range.bytes).unwrap_or(i64::MAX),
                device_id: i64::try_from(range.device).unwrap_or(i64::MAX),
            });
        }
        if remote.is_none() {
            self.lose("nixl_descriptors", "remote_addr could not be read", process_id, local.len() as u64);
        }
    }

    fn polled(&mut self, process_id: i64, handle: u64, time_ns: i64, polls: Polls, status: i32) {
        let Some(open) = self.open.get_mut(&(process_id, handle)) else {
            self.lose("nixl_transfers", "posted before recording began, or its post was lost", process_id, 1);
            return;
        };
        if matches!(open.phase, TransferPhase::Ended { .. }) {
            return;
        }
        count_polls(&mut open.row, polls);
        if status == 0 {
            open.row.done_poll_ns = Some(time_ns);
            open.row.status = "done".into();
        } else {
            open.row.status = names::error(status);
        }
        open.phase = TransferPhase::Ended { at_ns: time_ns };
    }

    fn notif(
        &mut self,
        process_id: i64,
        tid: i32,
        time_ns: i64,
        direction: &str,
        peer: TracedText,
        message: TracedText,
    ) {
        if peer.text.is_none() {
            self.lose("nixl_notifs", "peer could not be read", process_id, 1);
        }
        if message.text.is_none() {
            self.lose("nixl_notifs", "message could not be read", process_id, 1);
        }
        self.rows.notifs.push(NixlNotif {
            time_ns,
            process_id,
            tid,
            direction: direction.into(),
            via: if direction == "sent" { "genNotif" } else { "unknown" }.into(),
            peer: peer.text.map(Name::from),
            message: message.text.unwrap_or_default(),
            message_raw: message.raw,
            message_bytes: i64::try_from(message.len).unwrap_or(i64::MAX),
            transfer_id: None,
        });
    }
}

/// A post as its record tells it.
struct Post {
    tid: i32,
    agent_ptr: u64,
    handle: u64,
    entry_ns: i64,
    end_ns: i64,
    status: i32,
}

fn count_polls(row: &mut NixlTransfer, polls: Polls) {
    // Stays unknown where some are missing; that it had not ended by the last one holds all the same.
    row.pending_polls = row.pending_polls.map(|_| i64::try_from(polls.pending).unwrap_or(i64::MAX));
    row.last_pending_poll_ns = i64::try_from(polls.last_pending_ns).ok().filter(|ns| *ns > 0);
}

/// Adds descriptors to the size of a transfer whose handle does not tell it. It is known only if none is missing.
fn add_up(open: &mut Open, first: u32, local: &[Range]) {
    let Some(sum) = open.sum.take().filter(|sum| sum.descriptors == u64::from(first)) else {
        return;
    };
    let sum = Sum {
        descriptors: sum.descriptors + local.len() as u64,
        bytes: local.iter().fold(sum.bytes, |bytes, range| bytes.saturating_add(range.bytes)),
    };
    if open.row.descriptors.and_then(|count| u64::try_from(count).ok()) == Some(sum.descriptors) {
        open.row.bytes = i64::try_from(sum.bytes).ok();
    } else {
        open.sum = Some(sum);
    }
}

/// Fields that could be read replace those that an earlier record gave.
fn describe(row: &mut NixlTransfer, about: &HandleInfo) {
    let signed = |value: u64| i64::try_from(value).ok();
    row.bytes = about.bytes.and_then(signed).or(row.bytes);
    row.descriptors = about.descriptors.and_then(signed).or(row.descriptors);
    row.peer = about.peer.text.as_deref().map(Name::from).or_else(|| row.peer.take());
    row.local_memory = about.local_memory.map(names::memory).or_else(|| row.local_memory.take());
    row.remote_memory = about.remote_memory.map(names::memory).or_else(|| row.remote_memory.take());
    if let Some(op) = about.op {
        row.op = names::op(op);
    }
    if about.has_notif.is_some() {
        row.notif = about.has_notif.filter(|has| *has).and_then(|_| about.notif.text.clone());
        row.notif_bytes = row.notif.as_ref().and_then(|_| signed(about.notif.len));
    }
}

#[cfg(test)]
mod tests;
