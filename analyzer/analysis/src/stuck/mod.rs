//! Hand-offs that failed or that somebody waited for in vain: the table `stuck`.

mod leases;
mod memory;
mod messages;
mod requests;
mod transfers;

use std::collections::{BTreeMap, HashMap};

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Handoffs, Requests, Stages};
use kvpath_schema::tables::stuck::{Stuck, StuckCause, StuckItem};

use crate::facts::Facts;
use crate::facts::agents::AgentNames;
use crate::intervals::Span;
use crate::title;

/// What shorter waits than this at the end of a recording or of a process may still have come to, ns. Engines ask for notifications and
/// poll transfers once a step; steps of long prompts last this long.
const SOON_NS: i64 = 1_000_000_000;

/// What it rests on.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Facts.
    pub facts: &'a Facts,
    /// Stages.
    pub stages: &'a Stages,
    /// Requests.
    pub requests: &'a Requests,
    /// Hand-offs.
    pub handoffs: &'a Handoffs,
    /// Request of each row of `nixl_transfers` that carries KV.
    pub of_transfer: &'a BTreeMap<usize, i32>,
    /// Forward passes of each process by time, ns.
    pub passes: &'a BTreeMap<i64, Vec<Span>>,
    /// Whether records of transfers and messages were lost.
    pub has_lost: bool,
}

/// Fills the table.
#[must_use]
pub fn of(inputs: &Inputs) -> Stuck {
    let run = Context::of(inputs);
    let mut items = transfers::of(&run);
    items.extend(requests::of(&run));
    items.extend(memory::of(&run));
    if !inputs.has_lost {
        items.extend(leases::of(&run));
        items.extend(messages::of(&run));
    }
    items.sort_by(|a, b| (a.since_ns, a.transfer_id, &a.text).cmp(&(b.since_ns, b.transfer_id, &b.text)));
    let mut table = Stuck::default();
    for (number, mut item) in (0i32..).zip(items) {
        item.item = number;
        table.push(item);
    }
    table
}

/// What all parts read.
struct Context<'a> {
    inputs: &'a Inputs<'a>,
    facts: &'a Facts,
    names: AgentNames<'a>,
    /// When processes were seen to end, ns.
    ended: BTreeMap<i64, i64>,
    /// From the first to the last that records of hand-offs and passes tell of each host, ns.
    hosts: BTreeMap<i64, Span>,
    /// Rows of `processes`.
    processes: HashMap<i64, usize>,
    /// Rows of `requests`.
    requests: HashMap<i32, usize>,
    /// Rows of `handoffs` of each request.
    handoffs: HashMap<i32, Vec<usize>>,
}

/// The host of a process, by its id.
const fn host(process: i64) -> i64 {
    process >> 48
}

impl<'a> Context<'a> {
    fn of(inputs: &'a Inputs<'a>) -> Self {
        let facts = inputs.facts;
        let processes = facts.processes.process_id.iter().zip(&facts.processes.end_ns);
        let ended: BTreeMap<i64, i64> = processes.filter_map(|(process, end)| Some((*process, (*end)?))).collect();
        let mut handoffs: HashMap<i32, Vec<usize>> = HashMap::new();
        for (row, request) in inputs.handoffs.request.iter().enumerate() {
            handoffs.entry(*request).or_default().push(row);
        }
        Self {
            inputs,
            facts,
            names: AgentNames::of(facts),
            hosts: recorded(inputs, &ended),
            ended,
            processes: facts.processes.process_id.iter().copied().zip(0..).collect(),
            requests: inputs.requests.request.iter().copied().zip(0..).collect(),
            handoffs,
        }
    }

    /// The time that was recorded on a process's host, ns.
    fn recorded(&self, process: i64) -> Span {
        self.hosts.get(&host(process)).copied().unwrap_or_default()
    }

    /// Until when a process lived, as far as it was recorded, ns.
    fn life_end(&self, process: i64) -> i64 {
        self.ended.get(&process).copied().unwrap_or_else(|| self.recorded(process).1)
    }

    /// Whether a process ended until then, and when.
    fn ended_by(&self, process: Option<i64>, time: i64) -> Option<i64> {
        process.and_then(|process| self.ended.get(&process).copied()).filter(|end| *end <= time)
    }

    /// `VLLM::Worker_PP0 (4730)`.
    fn process(&self, process: Option<i64>) -> String {
        let Some(process) = process else { return "a process that is not known".to_owned() };
        let processes = &self.facts.processes;
        let name = |row: &usize| format!("{} ({})", title::short(&processes.name[*row]), processes.pid[*row]);
        self.processes.get(&process).map_or_else(|| format!("process {process}"), name)
    }

    /// `request 3 (cmpl-7)`.
    fn request(&self, request: i32) -> String {
        let id = self.requests.get(&request).and_then(|row| self.inputs.requests.request_id[*row].as_ref());
        id.map_or_else(|| format!("request {request}"), |id| format!("request {request} ({id})"))
    }

    /// Rows of a request's hand-offs.
    fn handoffs_of(&self, request: i32) -> &[usize] {
        self.handoffs.get(&request).map_or(&[], Vec::as_slice)
    }
}

/// The time of each host's records.
fn recorded(inputs: &Inputs, ended: &BTreeMap<i64, i64>) -> BTreeMap<i64, Span> {
    let facts = inputs.facts;
    let mut hosts: BTreeMap<i64, Span> = BTreeMap::new();
    let mut add = |process: i64, time: i64| {
        let span = hosts.entry(host(process)).or_insert((time, time));
        *span = (span.0.min(time), span.1.max(time));
    };
    let t = &facts.transfers;
    for column in [&t.posted_ns, &t.post_end_ns, &t.last_pending_poll_ns, &t.done_poll_ns, &t.released_ns] {
        let known = t.process_id.iter().zip(column).filter_map(|(process, time)| Some((*process, (*time)?)));
        known.for_each(|(process, time)| add(process, time));
    }
    for notifs in [&facts.notifs, &facts.received] {
        notifs.process_id.iter().zip(&notifs.time_ns).for_each(|(process, time)| add(*process, *time));
    }
    for (process, passes) in inputs.passes {
        for pass in passes {
            add(*process, pass.0);
            add(*process, pass.1);
        }
    }
    for (process, time) in ended {
        add(*process, *time);
    }
    hosts
}

/// One without request, transfer and sizes.
fn item(
    kind: kvpath_schema::tables::stuck::StuckKind,
    cause: StuckCause,
    (since_ns, until_ns): Span,
    text: String,
) -> StuckItem {
    StuckItem {
        item: 0,
        kind,
        cause,
        request: None,
        transfer_id: None,
        process_id: None,
        peer_process_id: None,
        since_ns,
        until_ns: until_ns.max(since_ns),
        bytes: None,
        text,
    }
}

#[cfg(test)]
mod tests;
