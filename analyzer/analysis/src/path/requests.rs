//! The requests whose paths can be walked, with what belongs to each.

use std::collections::{BTreeMap, HashMap, HashSet};

use kvpath_schema::tables::derived::{StepUnit, Steps};

use super::Inputs;
use crate::graph::transfers::{Carried, Registration};
use crate::graph::{Node, PassOf, Passes, Request, Transfers, Unit, op};
use crate::intervals::Span;
use crate::serving::ids::Texts;
use crate::serving::notifications::{Registered, Registrations};
use crate::serving::told::{ClientReports, RequestReport, client_reports};
use crate::timeline::{LaneAt, Timeline};

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
                first_token_ns: said.and_then(|told| told.first_token_ns),
                failed_ns: said.and_then(|told| told.failed_ns),
                has_failed: inputs.requests.state[row].is_given_up(),
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
        request.decode = receiver(request, transfers);
        request.pullers = pullers(request, transfers);
    }
    let registered = |registration: &Registration| Registered::of(&inputs.facts.notifs, registration.notif);
    let registrations = Registrations::of(transfers.registrations.iter().map(registered));
    for request in requests.values_mut() {
        let Some(id) = &request.id else { continue };
        let found = registrations.naming(id).into_iter();
        request.registrations = found.filter_map(|at| u32::try_from(at).ok()).collect();
        let met = request.transfers.rows().iter().filter_map(|row| transfers.contact_before_make(*row));
        let registered = request.registrations.iter().filter_map(|at| transfers.contact_before_registration(*at));
        request.contacts = met.chain(registered).collect();
        request.senders = senders(inputs.timeline, transfers, request);
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
    let stages = inputs.stages.process_id.iter().copied().zip(inputs.stages.stage.iter());
    let first_of = stages.filter_map(|(process, stage)| Some((process, *process_of.get(stage)?))).collect();
    let shared = sharing_decode(requests.values(), transfers, &first_of);
    let waits_for_prefill = waits_for_prefill(requests.values(), transfers);
    for request in requests.values_mut() {
        request.decode_is_shared = shared.contains(&request.number);
        request.waits_for_prefill =
            waits_for_prefill && registered_after(request, transfers).is_none_or(|own| own >= 0);
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
                first_token_ns: told.first_token_ns,
                failed_ns: told.failed_ns,
                has_failed: told.has_failed,
                ..Request::default()
            },
        );
    }
    (requests.into_values().collect(), ambiguous)
}

/// The processes that pull its KV.
fn pullers(request: &Request, transfers: &Transfers) -> Vec<i64> {
    let pulled = request.transfers.rows().iter().filter(|row| transfers.is_pulled(**row));
    let mut found: Vec<i64> = pulled.map(|row| transfers.poster(*row)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The process that received its KV; of several, as ranks of a decode stage, the one that had its part last: they begin together then.
fn receiver(request: &Request, transfers: &Transfers) -> Option<i64> {
    let received = request.transfers.rows().iter().rev().filter(|row| transfers.receiver(**row).is_some());
    let latest = received.max_by_key(|row| transfers.wire(**row, true))?;
    transfers.receiver(*latest)
}

/// The requests whose decode worker had been handed over some of another one before it had all of theirs. Ranks of a worker, given by the
/// first of each, are one.
fn sharing_decode<'a>(
    requests: impl Iterator<Item = &'a Request>,
    transfers: &Transfers,
    first_of: &HashMap<i64, i64>,
) -> HashSet<i32> {
    let mut by_worker: HashMap<i64, Vec<(i64, i64, i32)>> = HashMap::new();
    for request in requests {
        let Some(decode) = request.decode else { continue };
        let over = || request.transfers.rows().iter().map(|row| transfers.wire(*row, true));
        if let (Some(first), Some(last)) = (over().min(), over().max()) {
            let worker = first_of.get(&decode).copied().unwrap_or(decode);
            by_worker.entry(worker).or_default().push((first, last, request.number));
        }
    }
    let mut found = HashSet::new();
    for mut own in by_worker.into_values() {
        own.sort_unstable();
        // All but the first follow another one, and so does that if the second began before it was whole.
        let (Some(first), second) = (own.first(), own.get(1)) else { continue };
        found.extend(second.filter(|second| second.0 < first.1).map(|_| first.2));
        found.extend(own[1..].iter().map(|(.., number)| *number));
    }
    found
}

/// The threads that post what a request's stages push, and launch none of its passes.
fn senders(timeline: &Timeline, transfers: &Transfers, request: &Request) -> Vec<LaneAt> {
    let pushed = request.transfers.rows().iter().filter(|row| !transfers.is_pulled(**row));
    let mut threads: Vec<LaneAt> = pushed.filter_map(|row| transfers.thread(*row, timeline)).collect();
    threads.sort_unstable();
    threads.dedup();
    let launches = |pass: &PassOf| {
        let main = timeline.lane(timeline.processes.get(&pass.process)?.main?);
        let first = main.start.partition_point(|start| *start < pass.span.0);
        let key = (first < main.len()).then(|| main.key[first])?;
        timeline.call(pass.process, key).map(|(thread, _)| thread)
    };
    let launching: Vec<LaneAt> = request.passes.iter().filter_map(launches).collect();
    threads.retain(|thread| !launching.contains(thread));
    threads
}

/// By how long decode's first registration came after the end of all prefill, ns; below 0 if before.
fn registered_after(request: &Request, transfers: &Transfers) -> Option<i64> {
    let prefilled = request.passes.iter().map(|pass| pass.span.1).max()?;
    let first = request.registrations.iter().map(|at| transfers.registration(*at, false)).min()?;
    Some(first.saturating_sub(prefilled))
}

/// Whether decode registers because prefill is done: it mostly does so after that, and not at a fixed time after the request's
/// arrival. By most of them, so that no request decides for the others: one that was aborted, or whose two ends met for the first time.
fn waits_for_prefill<'a>(requests: impl Iterator<Item = &'a Request>, transfers: &Transfers) -> bool {
    let (mut after_arrival, mut after_prefill) = (Vec::new(), Vec::new());
    let (mut all, mut before) = (0, 0);
    for request in requests {
        let Some(after) = registered_after(request, transfers) else { continue };
        (all, before) = (all + 1, before + usize::from(after < 0));
        // Who meets for the first time takes longer, for another reason.
        if request.has_arrival && !request.registrations.iter().any(|at| transfers.is_first(*at)) {
            after_prefill.push(after);
            let first = request.registrations.iter().map(|at| transfers.registration(*at, false)).min();
            after_arrival.extend(first.map(|sent| sent.saturating_sub(request.source_ns)));
        }
    }
    if 4 * before > all {
        return false;
    }
    !is_by_arrival(&after_arrival, &after_prefill)
}

/// Whether delays are those of something that follows a request's arrival, and the end of prefill only by chance: they differ less
/// from the arrival on, and either by less than a tenth of what prefills differ by (a router's own delay differs by more than that), or
/// by less than half of it and a thousandth of the delay, as only a timer's does. Where prefills take the same time, neither can be told.
fn is_by_arrival(after_arrival: &[i64], after_prefill: &[i64]) -> bool {
    let prefills = after_arrival.iter().zip(after_prefill).map(|(arrival, prefill)| arrival - prefill);
    let between = deviation(&mut prefills.collect::<Vec<i64>>());
    let (by_arrival, by_prefill) = (deviation(&mut after_arrival.to_vec()), deviation(&mut after_prefill.to_vec()));
    let shortest = after_arrival.iter().min().copied().unwrap_or(0);
    let is_timed = by_arrival < between / 2 && by_arrival < shortest / 1_000;
    by_arrival < by_prefill && (by_arrival < between / 10 || is_timed)
}

/// How far three quarters of times lie from their median at most, ns. Of four, all count: by chance two or three are often close.
fn deviation(times: &mut [i64]) -> i64 {
    let at_share = |times: &mut [i64], quarters: usize| {
        times.sort_unstable();
        times.get(quarters * times.len() / 4).copied().unwrap_or(0)
    };
    let middle = at_share(times, 2);
    for time in times.iter_mut() {
        *time = (*time - middle).abs();
    }
    at_share(times, 3)
}

/// A span of some processes as if it were a request: from its start to the last work that ended in it.
#[must_use]
pub fn of_span(unit: Unit, (number, text): (i32, Option<&str>), members: Vec<i64>, (start, end): Span) -> Request {
    Request {
        number,
        id: text.map(str::to_owned),
        source_ns: start,
        has_arrival: true,
        first_token_ns: Some(end),
        unit,
        members,
        ..Request::default()
    }
}

/// The steps of a run, with the processes of each.
#[must_use]
pub fn of_steps((steps, processes): (&Steps, &[Vec<i64>])) -> Vec<Request> {
    let of_step = |(row, members): (usize, &Vec<i64>)| {
        let unit = if steps.unit[row] == StepUnit::Pass { Unit::Pass } else { Unit::Range };
        let id = (steps.request[row], steps.name[row].as_deref());
        let span = (steps.start_ns[row], steps.end_ns[row]);
        let incomplete = Some(steps.incomplete[row]);
        Request { is_incomplete: incomplete, ..of_span(unit, id, members.clone(), span) }
    };
    processes.iter().enumerate().map(of_step).collect()
}

/// Where a path begins its walk back, and how that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sink {
    /// The node.
    pub node: Node,
    /// `decode_pass` (the last kernel of decode's first pass), `before_first_token` (the last work that ended before the
    /// client had its token), `handoff`, `prefill_pass`; of a step `last_work`.
    pub method: &'static str,
}

/// The last operation on a request's way to its first token, which prefill may have sampled, so that decode only hands it on.
#[must_use]
pub fn sink(
    (timeline, transfers): (&Timeline, &Transfers),
    request: &Request,
    is_sampled_by_prefill: bool,
    decode_pass: impl Fn(i64, i64) -> Option<i64>,
) -> Option<Sink> {
    if request.unit != Unit::Request {
        let last = last_before_first_token(timeline, request, Some(&request.members));
        return last.map(|(_, sink)| Sink { method: "last_work", ..sink });
    }
    // What went on after the client had given up is not what it waited for.
    let latest = request.first_token_ns.or(request.failed_ns).unwrap_or(i64::MAX);
    let main = |process: i64| timeline.processes.get(&process).and_then(|process| process.main);
    let arrived = request.transfers.rows().iter().filter(|row| transfers.arrival(**row) <= latest.min(i64::MAX - 1));
    let arrived = arrived.max_by_key(|row| (transfers.arrival(**row), **row));
    // What decode computes until then is another request's, or this one's second token.
    let is_handed_on = is_sampled_by_prefill && arrived.is_some();
    let decode = request.decode.zip(request.decode_start_ns).filter(|_| !request.has_failed && !is_handed_on);
    if let Some((process, start)) = decode
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
    // Before the KV was there decode worked for others.
    let began = arrived.map_or(request.source_ns, |row| transfers.arrival(*row));
    if request.decode.is_some()
        && !is_handed_on
        && let Some((end, sink)) =
            last_before_first_token(timeline, request, request.decode.as_ref().map(std::slice::from_ref))
        && end > began
    {
        return Some(sink);
    }
    if let Some(row) = arrived {
        return Some(Sink { node: Node::end(crate::graph::Op::Notif(*row)), method: "handoff" });
    }
    if let Some(pass) = request.passes.iter().max_by_key(|pass| pass.span.1)
        && let Some(lane) = main(pass.process)
        && let Some(at) = timeline.lane(lane).ended_by(pass.span.1.min(latest))
    {
        return Some(Sink { node: Node::end(op(lane, at)), method: "prefill_pass" });
    }
    last_before_first_token(timeline, request, None).map(|(_, sink)| sink)
}

/// The last work on any stream (of `processes`, if given) that ended before the client had its token, and when that was.
fn last_before_first_token(timeline: &Timeline, request: &Request, processes: Option<&[i64]>) -> Option<(i64, Sink)> {
    let of = timeline.processes.iter().filter(|(id, _)| processes.is_none_or(|processes| processes.contains(id)));
    let streams = of.flat_map(|(_, lanes)| &lanes.streams);
    let last = streams.filter_map(|lane: &LaneAt| {
        let at = timeline.lane(*lane).ended_by(request.first_token_ns?)?;
        let end = timeline.lane(*lane).end[at];
        (end > request.source_ns).then_some((end, *lane, at))
    });
    let sink = |(end, lane, at)| (end, Sink { node: Node::end(op(lane, at)), method: "before_first_token" });
    last.max().map(sink)
}

#[cfg(test)]
mod tests {
    use super::is_by_arrival;

    #[test]
    fn delays_of_prompts_of_one_length_do_not_say_what_they_follow() {
        // ms: a router sends requests on after prefills of 130.4, 132.3, 130.0 and 131.1.
        let after_arrival = [144_500, 146_400, 145_300, 145_600];
        let after_prefill = [14_100, 14_100, 15_300, 14_500];
        assert!(!is_by_arrival(&after_arrival, &after_prefill));
        // By chance the arrival's differ less: four requests of vLLM.
        assert!(!is_by_arrival(&[144_410, 148_380, 148_290, 148_110], &[13_970, 16_110, 18_220, 17_060]));
        assert!(!is_by_arrival(&[154_330, 154_010, 154_400, 154_290], &[20_790, 18_420, 18_740, 21_070]));
    }

    #[test]
    fn who_registers_at_a_fixed_time_after_the_arrival_does_not_wait_for_prefill() {
        let after_arrival = [400_000, 401_000, 399_000, 400_500];
        let after_prefill = [300_000, 201_000, 99_000, 50_500];
        assert!(is_by_arrival(&after_arrival, &after_prefill));
        assert!(is_by_arrival(
            &[1_500_140, 1_500_340, 1_500_180, 1_500_110],
            &[890_950, 1_027_610, 1_024_400, 1_025_760]
        ));
        assert!(!is_by_arrival(&after_prefill, &[2_000, 2_100, 1_900, 2_000]));
        assert!(!is_by_arrival(&[], &[]));
    }
}
