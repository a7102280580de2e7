//! The requests whose paths can be walked, with what belongs to each.

use std::collections::{BTreeMap, HashMap};

use super::Inputs;
use crate::graph::transfers::{Carried, Registration};
use crate::graph::{Node, PassOf, Passes, Request, Transfers, op};
use crate::serving::ids::Texts;
use crate::serving::notifications::{Registered, Registrations};
use crate::serving::without_suffix;
use crate::timeline::{LaneAt, Timeline};

/// The times of a request as a client, router or engine logged them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestReport {
    /// Id, as the recording has it.
    pub id: String,
    /// When it arrived, ns.
    pub arrival_ns: i64,
    /// When its first token was out, ns.
    pub first_token_ns: i64,
}

/// Collects the requests of a run, and counts those that a client tells of by an id that several recorded ones hold: which of
/// them it means is not known.
#[must_use]
pub fn of(inputs: &Inputs, told: &[RequestReport]) -> (Vec<Request>, usize) {
    let transfers = &inputs.links.transfers;
    let process_of: HashMap<i32, i64> =
        inputs.stages.stage_id.iter().copied().zip(inputs.stages.process_id.iter().copied()).collect();
    let ids: Vec<&str> = inputs.requests.request_id.iter().map(|id| id.as_deref().unwrap_or("")).collect();
    let ClientReports { of: said, others, ambiguous } = client_reports(&ids, told);
    let mut requests: BTreeMap<i32, Request> = BTreeMap::new();
    for row in 0..inputs.requests.request.len() {
        let number = inputs.requests.request[row];
        let id = inputs.requests.request_id[row].clone();
        let said = said.get(&row);
        requests.insert(
            number,
            Request {
                number,
                source_ns: said.map_or(inputs.requests.start_ns[row], |told| told.arrival_ns),
                has_arrival: said.is_some(),
                first_token_ns: said.map(|told| told.first_token_ns),
                decode_start_ns: inputs.requests.decode_start_ns[row],
                is_incomplete: Some(inputs.requests.incomplete[row]),
                id,
                ..Request::default()
            },
        );
    }
    let mut passes: BTreeMap<i32, Vec<PassOf>> = BTreeMap::new();
    for row in 0..inputs.chunks.request.len() {
        let Some(process) = process_of.get(&inputs.chunks.stage_id[row]) else { continue };
        let start = inputs.chunks.start_ns[row];
        passes.entry(inputs.chunks.request[row]).or_default().push(PassOf {
            process: *process,
            stage: inputs.chunks.stage_id[row],
            chunk: inputs.chunks.chunk[row],
            span: (start, start.saturating_add(inputs.chunks.dur_ns[row])),
        });
    }
    let mut carried: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
    for (row, number) in inputs.of_transfer {
        if let Ok(row) = u32::try_from(*row) {
            carried.entry(*number).or_default().push(row);
        }
    }
    // Those whose records were lost carry the KV of the request that their notifications name.
    let texts: Vec<(u32, &str)> = transfers.lost().collect();
    let lost = Texts::of(texts.iter().map(|(_, text)| *text));
    for (number, request) in &mut requests {
        let named = request.id.as_deref().map(|id| lost.naming(id)).into_iter().flatten();
        carried.entry(*number).or_default().extend(named.map(|at| texts[at].0));
        request.passes = Passes::of(passes.remove(number).unwrap_or_default());
        request.transfers = Carried::of(carried.remove(number).unwrap_or_default(), transfers);
        request.decode = request.transfers.rows().iter().find_map(|row| transfers.receiver(*row));
    }
    let registered = |registration: &Registration| Registered::of(&inputs.facts.notifs, registration.notif);
    let registrations = Registrations::of(transfers.registrations.iter().map(registered));
    for request in requests.values_mut() {
        let Some(id) = &request.id else { continue };
        let found = registrations.naming(id).into_iter();
        request.registrations = found.filter_map(|at| u32::try_from(at).ok()).collect();
        if !request.has_arrival {
            let first = request.registrations.iter().map(|at| transfers.registration(*at, false)).min();
            request.source_ns = request.source_ns.min(first.unwrap_or(i64::MAX));
        }
    }
    // Without NIXL's calls the copies show who received.
    for row in 0..inputs.handoffs.request.len() {
        if let Some(request) = requests.get_mut(&inputs.handoffs.request[row]) {
            request.decode = request.decode.or(inputs.handoffs.peer_process_id[row]);
        }
    }
    let waits_for_prefill = waits_for_prefill(requests.values(), transfers);
    for request in requests.values_mut() {
        request.waits_for_prefill = waits_for_prefill;
    }
    // What the recording itself does not tell apart, the client does.
    let first = requests.keys().next_back().map_or(0, |last| last + 1);
    for (next, told) in (first..).zip(others) {
        requests.insert(
            next,
            Request {
                number: next,
                id: Some(told.id.clone()),
                source_ns: told.arrival_ns,
                has_arrival: true,
                first_token_ns: Some(told.first_token_ns),
                ..Request::default()
            },
        );
    }
    (requests.into_values().collect(), ambiguous)
}

/// What the client logged, by request of the run.
#[derive(Debug, Default, PartialEq, Eq)]
struct ClientReports<'a> {
    /// Of each request of the recording, by position.
    of: HashMap<usize, &'a RequestReport>,
    /// Of requests that the recording does not tell apart.
    others: Vec<&'a RequestReport>,
    /// How often it named no request: several hold the id.
    ambiguous: usize,
}

/// What the client said of the requests with `ids`. Either may have what the engine puts around an id.
fn client_reports<'a>(ids: &[&str], told: &'a [RequestReport]) -> ClientReports<'a> {
    let texts = Texts::of(ids.iter().copied());
    let by_id: HashMap<&str, usize> = ids.iter().copied().zip(0..).filter(|(id, _)| !id.is_empty()).collect();
    let mut found = ClientReports::default();
    for told in told {
        let shorter = without_suffix(&told.id).and_then(|id| by_id.get(id)).copied();
        let same = by_id.get(told.id.as_str()).copied().or(shorter);
        let mut naming = texts.naming(&told.id);
        match (same, naming.next(), naming.next()) {
            (Some(at), ..) | (None, Some(at), None) => {
                found.of.entry(at).or_insert(told);
            }
            (None, None, _) => found.others.push(told),
            // A word that many ids hold (`0`) names none of them.
            (None, Some(_), Some(_)) => found.ambiguous += 1,
        }
    }
    found
}

/// Whether decode registers because prefill is done. It does not if it ever came earlier, nor if it comes the same time after
/// arrivals rather than after the ends of prefill.
fn waits_for_prefill<'a>(requests: impl Iterator<Item = &'a Request>, transfers: &Transfers) -> bool {
    let (mut after_arrival, mut after_prefill) = (Vec::new(), Vec::new());
    for request in requests {
        let prefilled = request.passes.iter().map(|pass| pass.span.1).max();
        let first = request.registrations.iter().map(|at| transfers.registration(*at, false)).min();
        let Some((sent, prefilled)) = first.zip(prefilled) else { continue };
        if sent < prefilled {
            return false;
        }
        if request.has_arrival {
            after_arrival.push(sent.saturating_sub(request.source_ns));
            after_prefill.push(sent.saturating_sub(prefilled));
        }
    }
    let spread = |times: &[i64]| times.iter().max().zip(times.iter().min()).map_or(0, |(most, least)| most - least);
    spread(&after_prefill) <= spread(&after_arrival)
}

/// A span of one process as if it were a request: from its start to the last work that ended in it.
#[must_use]
pub fn of_range(number: i32, text: &str, process: i64, (start, end): (i64, i64)) -> Request {
    Request {
        number,
        id: Some(text.to_owned()),
        source_ns: start,
        has_arrival: true,
        first_token_ns: Some(end),
        decode: Some(process),
        is_range: true,
        ..Request::default()
    }
}

/// Where a path begins its walk back, and how that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sink {
    /// The node.
    pub node: Node,
    /// `decode_pass` (the last kernel of decode's first pass), `before_first_token` (the last work that ended before the
    /// client had its token), `handoff`, `prefill_pass`.
    pub method: &'static str,
}

/// The last operation on a request's way to its first token.
#[must_use]
pub fn sink(
    timeline: &Timeline,
    transfers: &Transfers,
    request: &Request,
    decode_pass: impl Fn(i64, i64) -> Option<i64>,
) -> Option<Sink> {
    let latest = request.first_token_ns.unwrap_or(i64::MAX);
    let main = |process: i64| timeline.processes.get(&process).and_then(|process| process.main);
    if let (Some(process), Some(start)) = (request.decode, request.decode_start_ns)
        && let Some(lane) = main(process)
    {
        let ended = |by: i64| timeline.lane(lane).ended_by(by).filter(|at| timeline.lane(lane).start[*at] >= start);
        let of = |at: usize, method| Some(Sink { node: Node::end(op(lane, at)), method });
        let pass_end = decode_pass(process, start).filter(|end| *end <= latest);
        if let Some(at) = pass_end.and_then(ended) {
            return of(at, "decode_pass");
        }
        if let Some(at) = request.first_token_ns.and_then(ended) {
            return of(at, "before_first_token");
        }
    }
    if request.decode.is_some()
        && let Some(sink) = last_before_first_token(timeline, request, request.decode)
    {
        return Some(sink);
    }
    let arrived = request.transfers.rows().iter().filter(|row| transfers.arrival(**row) <= latest.min(i64::MAX - 1));
    if let Some(row) = arrived.max_by_key(|row| (transfers.arrival(**row), **row)) {
        return Some(Sink { node: Node::end(crate::graph::Op::Notif(*row)), method: "handoff" });
    }
    if let Some(pass) = request.passes.iter().max_by_key(|pass| pass.span.1)
        && let Some(lane) = main(pass.process)
        && let Some(at) = timeline.lane(lane).ended_by(pass.span.1.min(latest))
    {
        return Some(Sink { node: Node::end(op(lane, at)), method: "prefill_pass" });
    }
    last_before_first_token(timeline, request, None)
}

/// The last work on any stream (of `process`, if given) that ended before the client had its token.
fn last_before_first_token(timeline: &Timeline, request: &Request, process: Option<i64>) -> Option<Sink> {
    let of = timeline.processes.iter().filter(|(id, _)| process.is_none_or(|process| process == **id));
    let streams = of.flat_map(|(_, lanes)| &lanes.streams);
    let last = streams.filter_map(|lane: &LaneAt| {
        let at = timeline.lane(*lane).ended_by(request.first_token_ns?)?;
        let end = timeline.lane(*lane).end[at];
        (end > request.source_ns).then_some((end, *lane, at))
    });
    last.max().map(|(_, lane, at)| Sink { node: Node::end(op(lane, at)), method: "before_first_token" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_and_engines_are_the_same_request() {
        let is_told = |id: &str, told: &str| {
            let told = [RequestReport { id: told.to_owned(), arrival_ns: 0, first_token_ns: 1 }];
            let said = client_reports(&[id], &told);
            assert_eq!(said.of.len() + said.others.len(), 1);
            said.of.contains_key(&0)
        };
        assert!(is_told("cmpl-req-1-0", "req-1"));
        assert!(is_told("cmpl-req-1", "cmpl-req-1-89025cc1"));
        assert!(is_told("req-1", "req-1"));
        assert!(!is_told("cmpl-req-1", "cmpl-req-10-89025cc1"));
        assert!(!is_told("req-1", "req-1-2") && !is_told("", "-89025cc1") && !is_told("req-10", "req-1"));
    }

    #[test]
    fn a_word_that_many_ids_hold_names_none_of_them_and_is_counted() {
        let told = ["0", "cmpl-req-2-0", "req", "other"];
        let told = told.map(|id| RequestReport { id: id.to_owned(), arrival_ns: 0, first_token_ns: 1 });
        let said = client_reports(&["cmpl-req-1-0", "cmpl-req-2-0", "cmpl-req-3-0"], &told);
        assert_eq!(said, ClientReports { of: HashMap::from([(1, &told[1])]), others: vec![&told[3]], ambiguous: 2 });
    }
}
