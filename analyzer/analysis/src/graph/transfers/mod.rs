//! Hand-offs as a walk needs them: when bytes were on their way, when notifications arrived, who registered with whom.

mod carried;
mod contacts;
mod link;
mod lost;

pub use carried::Carried;
pub use contacts::Contact;

use std::collections::{BTreeMap, HashMap, HashSet};

use kvpath_schema::tables::nixl::{NotifDirection, XferOp, XferStatus};

use super::{Method, Op, Request, op};
use crate::facts::agents::AgentNames;
use crate::facts::arrivals::{self, is_sent};
use crate::facts::received::Received;
use crate::facts::{self, Facts, PeerCopy};
use crate::serving::notifications::is_registration;
use crate::structure::carriers::{Carriers, number_alike};
use crate::timeline::build::nixl_key;
use crate::timeline::{Class, LaneAt, LaneId, LaneKind, Timeline};

/// A transfer.
#[derive(Debug, Clone, Default)]
struct Transfer {
    poster: i64,
    tid: i32,
    sender: Option<i64>,
    receiver: Option<i64>,
    is_pulled: bool,
    made: i64,
    posted: i64,
    chunk: Option<i32>,
    wire: (i64, i64),
    uncertain_ns: i64,
    arrival: Option<i64>,
    /// How it is known that the arrival is its own; by time where records are missing.
    arrived_by: Option<Method>,
    /// When the program received its notification, ns.
    taken: Option<i64>,
    bytes: i64,
    /// Mean size of its descriptors, bytes.
    piece: i64,
    /// When its first copy began, where the GPU made them, ns.
    copied_from: Option<i64>,
    behind: Option<u32>,
    has_failed: bool,
    /// Its receiver is told of it, and such arrivals are recorded there.
    is_told: bool,
}

/// A registration of decode with a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// When it was sent, ns.
    pub sent_ns: i64,
    /// When it arrived, ns. A stage that computes takes it later, when it is free; that delay is not the message's.
    pub arrived_ns: i64,
    /// Decode's process, where the sending was recorded.
    pub from: Option<i64>,
    /// The stage's process.
    pub with: i64,
    /// Row of `nixl_notifs` where it arrived; its text names the request.
    pub notif: usize,
}

/// The part of a request's KV that a transfer carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CarriedKv {
    /// Chunk; `None` for all.
    pub pass: Option<i32>,
    /// Not written later than this, ns: the end of its layers.
    pub until: Option<i64>,
    /// Whether the recording names the chunk, or the numbers of transfers and passes leave no choice.
    pub is_known: bool,
}

/// A thread, and the calls by which it waited for its GPU, by end: (end, position).
type ThreadWaits = (LaneAt, Vec<(i64, u32)>);

/// All of a run.
#[derive(Debug, Default)]
pub struct Transfers {
    /// Those of `nixl_transfers`, and after them those whose records were lost.
    rows: Vec<Transfer>,
    /// Texts of the notifications of the latter.
    lost: Vec<String>,
    /// Registrations by time.
    pub registrations: Vec<Registration>,
    contacts: contacts::Contacts,
    /// Copies into the device of a process by another one, by end: (end, operation).
    copied_in: BTreeMap<i64, Vec<(i64, Op)>>,
    /// Copies that a process made itself from another one's device, by process and `correlation_id`: whose it was.
    fetched: HashMap<(i64, i64), i64>,
    /// Waits for their GPU of the processes that others fetched from.
    waited: BTreeMap<i64, Vec<ThreadWaits>>,
}

impl Transfers {
    /// Joins the tables of a run.
    #[must_use]
    pub fn of(facts: &Facts, timeline: &Timeline, stages: &[(i64, Option<i32>)]) -> Self {
        let names = AgentNames::of(facts);
        let lost = facts::lost::of(facts, &names);
        let arrivals = arrivals::of(facts, &names, &lost);
        let arrival = |row: usize| arrivals.get(&row).map(|(time, _)| *time);
        let recorded = facts.transfers.transfer_id.len();
        let mut rows: Vec<Transfer> = (0..recorded).map(|row| transfer(facts, row, &names, arrival(row))).collect();
        let takes = lost::usual_notify_ns(&rows);
        let of_lost = (recorded..).zip(&lost);
        rows.extend(of_lost.map(|(row, lost)| lost::transfer(lost, arrival(row), &takes)));
        let received = Received::of(facts, &names);
        let texts = facts.transfers.notif.iter().map(Option::as_deref).chain(lost.iter().map(|lost| Some(lost.text)));
        for (row, (own, text)) in rows.iter_mut().zip(texts).enumerate() {
            own.take(&received, text, arrival(row));
            own.arrived_by = arrivals.get(&row).map(|(_, method)| *method);
        }
        let told = told(facts);
        for row in &mut rows {
            row.is_told &= row.receiver.is_some_and(|receiver| told.contains(&receiver));
        }
        link::queue(&mut rows);
        let carriers = Carriers::of(facts, timeline, stages);
        let registrations = registrations(facts, &names);
        let fetched = fetched(facts, stages, &carriers);
        Self {
            contacts: contacts::Contacts::of(facts, &rows, &registrations),
            rows,
            lost: lost.iter().map(|lost| lost.text.to_owned()).collect(),
            registrations,
            copied_in: copied_in(facts, timeline, stages, &carriers),
            waited: waited(timeline, fetched.values()),
            fetched,
        }
    }

    fn row(&self, row: u32) -> &Transfer {
        &self.rows[row as usize]
    }

    /// When the bytes of a transfer left (the post had returned), or when they were there, ns. The latter is the end of
    /// its last copy where the GPU made the copies, else the first sign that it was over.
    #[must_use]
    pub fn wire(&self, row: u32, is_end: bool) -> i64 {
        let wire = self.row(row).wire;
        if is_end { wire.1 } else { wire.0 }
    }

    /// How much earlier the bytes may have been there, ns.
    #[must_use]
    pub fn uncertain_ns(&self, row: u32) -> i64 {
        self.row(row).uncertain_ns
    }

    /// When its first copy began, where the GPU made its copies and these are its bytes exactly, ns.
    #[must_use]
    pub fn copied_from(&self, row: u32) -> Option<i64> {
        self.row(row).copied_from
    }

    /// Whether the arrival of its notification was recorded.
    #[must_use]
    pub fn has_arrived(&self, row: u32) -> bool {
        self.row(row).arrival.is_some()
    }

    /// Those whose own records were lost, with the texts of their notifications.
    pub fn lost(&self) -> impl Iterator<Item = (u32, &str)> {
        let first = self.rows.len() - self.lost.len();
        self.lost
            .iter()
            .enumerate()
            .filter_map(move |(at, text)| Some((u32::try_from(first + at).ok()?, text.as_str())))
    }

    /// Whether its receiver was told of it, for all that is known, though no arrival of its own was recorded: when is not known.
    #[must_use]
    pub fn is_untold(&self, row: u32) -> bool {
        let own = self.row(row);
        own.is_told && own.arrival.is_none() && !own.has_failed
    }

    /// Whether its own record was lost.
    #[must_use]
    pub fn is_lost(&self, row: u32) -> bool {
        row as usize >= self.rows.len() - self.lost.len()
    }

    /// The thread that posted it.
    #[must_use]
    pub fn thread(&self, row: u32, timeline: &Timeline) -> Option<LaneAt> {
        let own = self.row(row);
        timeline.find(LaneId { process: own.poster, kind: LaneKind::Thread(own.tid) })
    }

    /// The transfer that its thread posted before it, if that was over shortly before.
    #[must_use]
    pub fn before_on_thread(&self, row: u32) -> Option<u32> {
        /// Transfers that other threads post meanwhile.
        const LOOK: u32 = 1024;
        /// A thread that waited for one takes so long until the next, ns: longer, it waited for something else.
        const GOES_ON_NS: i64 = 10_000_000;
        let own = self.row(row);
        let before = (row.saturating_sub(LOOK)..row).rev();
        let last = before.into_iter().find(|other| {
            let other = self.row(*other);
            (other.poster, other.tid) == (own.poster, own.tid) && other.posted < own.posted
        });
        let is_followed = |other: &u32| (0..=GOES_ON_NS).contains(&(own.posted - self.row(*other).wire.1));
        last.filter(is_followed)
    }

    /// How the arrival of its notification is known, if it was recorded.
    #[must_use]
    pub fn arrived_by(&self, row: u32) -> Option<Method> {
        self.row(row).arrived_by
    }

    /// When its notification arrived; when its bytes were there, if that was not recorded, ns.
    #[must_use]
    pub fn arrival(&self, row: u32) -> i64 {
        self.row(row).arrival.unwrap_or(self.row(row).wire.1)
    }

    /// When the program received its notification, ns; `None` where no record shows it. This is no gate of its own: of several
    /// notifications that one call receives, the last to arrive was waited for.
    #[must_use]
    pub fn taken(&self, row: u32) -> Option<i64> {
        self.row(row).taken
    }

    /// When it was made, else posted, ns.
    #[must_use]
    pub fn made(&self, row: u32) -> i64 {
        self.row(row).made
    }

    /// When it was posted, ns.
    #[must_use]
    pub fn posted(&self, row: u32) -> i64 {
        self.row(row).posted
    }

    /// The process whose KV it carries.
    #[must_use]
    pub fn sender(&self, row: u32) -> Option<i64> {
        self.row(row).sender
    }

    /// The process that gets it.
    #[must_use]
    pub fn receiver(&self, row: u32) -> Option<i64> {
        self.row(row).receiver
    }

    /// The process that posted it.
    #[must_use]
    pub fn poster(&self, row: u32) -> i64 {
        self.row(row).poster
    }

    /// Whether the receiver posted it.
    #[must_use]
    pub fn is_pulled(&self, row: u32) -> bool {
        self.row(row).is_pulled
    }

    /// The process with whose stage decode registered.
    #[must_use]
    pub fn registered_with(&self, at: u32) -> i64 {
        self.registrations[at as usize].with
    }

    /// When a registration was sent, or arrived, ns.
    #[must_use]
    pub fn registration(&self, at: u32, is_end: bool) -> i64 {
        let registration = &self.registrations[at as usize];
        if is_end { registration.arrived_ns } else { registration.sent_ns }
    }

    /// Where two agents met.
    #[must_use]
    pub fn contact(&self, at: u32) -> Contact {
        self.contacts.all[at as usize]
    }

    /// The contact that a transfer is the first to follow.
    #[must_use]
    pub fn contact_before_make(&self, row: u32) -> Option<u32> {
        self.contacts.of_transfer.get(&row).copied()
    }

    /// The contact that a registration is the first to follow.
    #[must_use]
    pub fn contact_before_registration(&self, at: u32) -> Option<u32> {
        self.contacts.of_registration.get(&at).copied()
    }

    /// Whether a registration is the first that its process had to do with that one's.
    #[must_use]
    pub fn is_first(&self, registration: u32) -> bool {
        self.contacts.first.contains(&registration)
    }

    /// The transfer whose bytes had the link until this one's could go ([`link`]).
    #[must_use]
    pub fn behind(&self, row: u32) -> Option<u32> {
        self.row(row).behind
    }

    /// The call that posted it.
    #[must_use]
    pub fn post(&self, row: u32, timeline: &Timeline) -> Option<(LaneAt, usize)> {
        let own = self.row(row);
        let lane = self.thread(row, timeline)?;
        let ops = timeline.lane(lane);
        let from = ops.start.partition_point(|start| *start < own.posted);
        let same = (from..ops.len()).take_while(|at| ops.start[*at] == own.posted);
        let key = nixl_key(row as usize);
        let post = same.into_iter().find(|at| ops.key[*at] == key && timeline.class(lane, *at) == Class::Post);
        post.map(|at| (lane, at))
    }

    /// Which part of the request's KV a transfer carries: by the chunk that its notification names, else by its place among
    /// the request's transfers from that stage, if there are as many as passes, or several a pass.
    #[must_use]
    pub fn part(&self, row: u32, request: &Request) -> CarriedKv {
        if let Some(chunk) = self.row(row).chunk {
            return CarriedKv { pass: Some(chunk), until: None, is_known: true };
        }
        let Some(place) = request.transfers.place(row) else { return CarriedKv::default() };
        if place.of <= 1 {
            return CarriedKv { is_known: true, ..CarriedKv::default() };
        }
        let passes = request.passes.of_process(self.sender(row));
        if passes.is_empty() || !place.of.is_multiple_of(passes.len()) {
            return CarriedKv::default();
        }
        let each = place.of / passes.len();
        CarriedKv { pass: Some(passes[place.at / each].chunk), until: None, is_known: each == 1 }
    }

    /// The process from whose device the call with that number copied into its own.
    #[must_use]
    pub fn fetched_from(&self, process: i64, correlation: i64) -> Option<i64> {
        self.fetched.get(&(process, correlation)).copied()
    }

    /// The call, of any thread of a process that others fetch from, that waited for its GPU and was over last at or before a
    /// time. A process that did so only long ago says in another way what it has done.
    #[must_use]
    pub fn waited_by(&self, process: i64, by: i64, timeline: &Timeline) -> Option<(LaneAt, usize)> {
        // Launches of some passes.
        const LONG_AGO: usize = 65_536;
        let last = self.waited.get(&process)?.iter().filter_map(|(thread, waits)| {
            let (end, at) = *waits[..waits.partition_point(|(end, _)| *end <= by)].last()?;
            let since = timeline.lane(*thread).started_before(by)?.saturating_sub(at as usize);
            (since < LONG_AGO).then_some((end, *thread, at))
        });
        last.max().map(|(_, thread, at)| (thread, at as usize))
    }

    /// The last copy on each stream into the device of a process by another one that ended after `since` and not after `until`.
    #[must_use]
    pub fn copied_in(&self, process: i64, since: i64, until: i64) -> Vec<Op> {
        let copies = self.copied_in.get(&process).map_or(&[][..], Vec::as_slice);
        let ended = |by: i64| copies.partition_point(|(end, _)| *end <= by);
        let mut last: Vec<Op> = Vec::new();
        let stream = |op: &Op| if let Op::Lane(lane, _) = op { Some(*lane) } else { None };
        for (_, copy) in copies[ended(since)..ended(until).max(ended(since))].iter().rev() {
            if last.iter().all(|other| stream(other) != stream(copy)) {
                last.push(*copy);
            }
        }
        last
    }
}

/// Peer copies that bring what another stage made: of each prefill stage those into its own device.
fn fetched(facts: &Facts, stages: &[(i64, Option<i32>)], carriers: &Carriers) -> HashMap<(i64, i64), i64> {
    let mut found = HashMap::new();
    if !number_alike(stages) {
        return found;
    }
    let activations = facts.device_copies.peer_copies().filter(|copy| !carriers.is_of_whole_stream(&copy.way));
    for PeerCopy { way, correlation, .. } in activations {
        let is_own = stages.contains(&(way.process, way.to)) && way.to.is_some();
        let from = |(of, device): &&(i64, Option<i32>)| *of != way.process && *device == way.from;
        if let (true, Some((from, _))) = (is_own && correlation > 0, stages.iter().find(from)) {
            found.insert((way.process, correlation), *from);
        }
    }
    found
}

/// What threads of some processes waited for their GPU by.
fn waited<'a>(timeline: &Timeline, processes: impl Iterator<Item = &'a i64>) -> BTreeMap<i64, Vec<ThreadWaits>> {
    let mut found = BTreeMap::new();
    for process in processes {
        let waits = |thread: &LaneAt| {
            let calls = timeline.lane(*thread);
            let is_wait =
                |at: &usize| calls.key[*at] > 0 && timeline.waits.of_call(*process, calls.key[*at]).next().is_some();
            let waits =
                (0..calls.len()).filter(is_wait).filter_map(|at| Some((calls.end[at], u32::try_from(at).ok()?)));
            let mut waits: Vec<(i64, u32)> = waits.collect();
            waits.sort_unstable();
            (*thread, waits)
        };
        let threads = timeline.processes.get(process).map_or(&[][..], |lanes| &lanes.threads);
        found.entry(*process).or_insert_with(|| threads.iter().map(waits).collect());
    }
    found
}

impl Transfer {
    /// Notes when its notification, which had arrived then, was taken.
    fn take(&mut self, received: &Received, text: Option<&str>, arrived_ns: Option<i64>) {
        let told = if self.is_pulled { self.sender } else { self.receiver };
        let (Some(told), Some(text), Some(arrived_ns)) = (told, text, arrived_ns) else { return };
        self.taken = received.of_arrival(told, self.poster, text, arrived_ns);
    }
}

fn transfer(facts: &Facts, row: usize, names: &AgentNames, arrival: Option<i64>) -> Transfer {
    let table = &facts.transfers;
    let poster = table.process_id[row];
    let is_pulled = *table.op[row] == XferOp::Read;
    let posted_ns = table.posted_ns[row].or(table.made_ns[row]).unwrap_or(i64::MAX);
    let made = table.made_ns[row].unwrap_or(posted_ns);
    let peer = table.peer[row].as_deref().and_then(|name| names.at(name, made));
    let post_end = table.post_end_ns[row].unwrap_or(posted_ns);
    let released = table.released_ns[row].filter(|_| *table.status[row] == XferStatus::Done);
    // Its notification goes out when it is over.
    let over = [table.done_poll_ns[row].or(released), arrival].into_iter().flatten().min();
    let pending = table.last_pending_poll_ns[row].unwrap_or(posted_ns).max(posted_ns);
    let copied = |(over, bytes)| facts.device_copies.span_of(poster, (posted_ns, over), bytes);
    let span = over.zip(table.bytes[row]).and_then(copied);
    let (end, uncertain_ns) = match (over, span) {
        (Some(_), Some((_, last))) => (last, 0),
        (Some(over), None) => (over, over.saturating_sub(pending).max(0)),
        (None, _) => (i64::MAX, 0),
    };
    Transfer {
        poster,
        tid: table.tid[row],
        sender: if is_pulled { peer } else { Some(poster) },
        receiver: if is_pulled { Some(poster) } else { peer },
        is_pulled,
        made,
        posted: posted_ns,
        chunk: table.chunk[row],
        wire: (post_end.min(end), end),
        uncertain_ns,
        arrival: arrival.map(|arrival| arrival.max(end)),
        arrived_by: None,
        taken: None,
        bytes: table.bytes[row].unwrap_or(0),
        piece: table.bytes[row].unwrap_or(0) / table.descriptors[row].unwrap_or(1).max(1),
        copied_from: span.map(|(start, _)| start),
        behind: None,
        has_failed: over.is_some() && XferStatus::from_text(&table.status[row]).is_none(),
        is_told: table.notif[row].is_some() && is_sent(facts, row),
    }
}

/// Processes where arrivals of notifications were recorded.
fn told(facts: &Facts) -> HashSet<i64> {
    let rows = (0..facts.notifs.time_ns.len()).filter(|row| *facts.notifs.direction[*row] == NotifDirection::Arrived);
    rows.map(|row| facts.notifs.process_id[row]).collect()
}

/// Registrations, as sent by decode and arrived at a stage.
fn registrations(facts: &Facts, names: &AgentNames) -> Vec<Registration> {
    let rows = (0..facts.notifs.time_ns.len()).filter(|row| is_registration(&facts.notifs.message[*row]));
    let mut sent: BTreeMap<(i64, &str), Vec<(i64, i64)>> = BTreeMap::new();
    let mut arrived: BTreeMap<(i64, &str), Vec<(i64, usize)>> = BTreeMap::new();
    for row in rows {
        let (time, message) = (facts.notifs.time_ns[row], facts.notifs.message[row].as_str());
        if *facts.notifs.direction[row] == NotifDirection::Arrived {
            arrived.entry((facts.notifs.process_id[row], message)).or_default().push((time, row));
        } else if let Some(to) = facts.notifs.peer[row].as_deref().and_then(|name| names.at(name, time)) {
            sent.entry((to, message)).or_default().push((time, facts.notifs.process_id[row]));
        }
    }
    let mut found = Vec::new();
    for ((with, message), mut times) in arrived {
        times.sort_unstable();
        let mut sent = sent.remove(&(with, message)).unwrap_or_default();
        sent.sort_unstable();
        let is_whole = sent.len() == times.len();
        for (at, (arrived_ns, notif)) in times.into_iter().enumerate() {
            // Where records are missing the n-th need not be the n-th: the last that had left by then is the nearest.
            let by_then = sent.partition_point(|(time, _)| *time <= arrived_ns).checked_sub(1);
            let own = if is_whole { Some(at) } else { by_then };
            let own = own.and_then(|at| sent.get(at));
            let (sent_ns, from) = own.map_or((arrived_ns, None), |(time, from)| (*time, Some(*from)));
            let sent_ns = sent_ns.min(arrived_ns);
            found.push(Registration { sent_ns, arrived_ns, from, with, notif });
        }
    }
    let order = |own: &Registration| {
        (own.sent_ns, own.arrived_ns, own.from, own.with, facts.notifs.message[own.notif].as_str())
    };
    found.sort_by(|a, b| order(a).cmp(&order(b)));
    found
}

/// Peer copies by the device that they went to, if prefill stages see the same devices by the same numbers.
fn copied_in(
    facts: &Facts,
    timeline: &Timeline,
    stages: &[(i64, Option<i32>)],
    carriers: &Carriers,
) -> BTreeMap<i64, Vec<(i64, Op)>> {
    let mut found: BTreeMap<i64, Vec<(i64, Op)>> = BTreeMap::new();
    if !number_alike(stages) {
        return found;
    }
    let prefill: Vec<(i64, i32)> = stages.iter().filter_map(|(process, device)| Some((*process, (*device)?))).collect();
    let activations = facts.device_copies.peer_copies().filter(|copy| !carriers.is_of_whole_stream(&copy.way));
    for PeerCopy { way, start, .. } in activations {
        let from = way.process;
        if !prefill.iter().any(|(process, _)| *process == from) {
            continue;
        }
        let to = prefill.iter().find(|(process, device)| *process != from && Some(*device) == way.to);
        let Some((process, _)) = to else { continue };
        let kind = LaneKind::Stream { context: way.context, stream: way.stream };
        let Some(lane) = timeline.find(LaneId { process: from, kind }) else { continue };
        let ops = timeline.lane(lane);
        let at = ops.start.partition_point(|other| *other < start);
        if at < ops.len() && ops.start[at] == start {
            found.entry(*process).or_default().push((ops.end[at], op(lane, at)));
        }
    }
    for copies in found.values_mut() {
        copies.sort_unstable();
    }
    found
}
