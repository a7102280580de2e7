//! Hand-offs that failed or that somebody waited for in vain: the table `stuck`.

mod leases;
mod memory;
mod messages;
mod requests;
mod transfers;

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Handoffs, Requests, Stages};
use kvpath_schema::tables::heartbeats::Heartbeats;
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
    /// What decode asks prefill to keep.
    pub heartbeats: &'a Heartbeats,
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
    /// The last that any record of hand-offs or passes tells of, ns.
    end: i64,
}

impl<'a> Context<'a> {
    fn of(inputs: &'a Inputs<'a>) -> Self {
        let facts = inputs.facts;
        let processes = facts.processes.process_id.iter().zip(&facts.processes.end_ns);
        let ended: BTreeMap<i64, i64> = processes.filter_map(|(process, end)| Some((*process, (*end)?))).collect();
        let t = &facts.transfers;
        let of_transfers = [&t.posted_ns, &t.post_end_ns, &t.last_pending_poll_ns, &t.done_poll_ns, &t.released_ns];
        let times = of_transfers.into_iter().flatten().flatten();
        let passes = inputs.passes.values().flatten().map(|pass| &pass.1);
        let end = times.chain(&facts.notifs.time_ns).chain(&facts.received.time_ns).chain(passes).chain(ended.values());
        let end = end.copied().max().unwrap_or(0);
        Self { inputs, facts, names: AgentNames::of(facts), ended, end }
    }

    /// Until when a process lived, as far as it was recorded, ns.
    fn life_end(&self, process: i64) -> i64 {
        self.ended.get(&process).copied().unwrap_or(self.end)
    }

    /// Whether a process ended until then, and when.
    fn ended_by(&self, process: Option<i64>, time: i64) -> Option<i64> {
        process.and_then(|process| self.ended.get(&process).copied()).filter(|end| *end <= time)
    }

    /// `VLLM::Worker_PP0 (4730)`.
    fn process(&self, process: Option<i64>) -> String {
        let Some(process) = process else { return "a process that is not known".to_owned() };
        let processes = &self.facts.processes;
        let row = processes.process_id.iter().position(|other| *other == process);
        row.map_or_else(
            || format!("process {process}"),
            |row| format!("{} ({})", title::short(&processes.name[row]), processes.pid[row]),
        )
    }

    /// `request 3 (cmpl-7)`.
    fn request(&self, request: i32) -> String {
        let requests = self.inputs.requests;
        let id = requests
            .request
            .iter()
            .position(|other| *other == request)
            .and_then(|row| requests.request_id[row].as_ref());
        id.map_or_else(|| format!("request {request}"), |id| format!("request {request} ({id})"))
    }
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
