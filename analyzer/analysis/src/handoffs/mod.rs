//! Each request's hand-off from each stage: what was asked for, what was copied, how fast, and whether small pieces
//! explain it.

mod ceilings;
mod ended;
mod polled;
mod relaid;
mod staged;
mod written;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kvpath_schema::table::Columns;
use kvpath_schema::tables::derived::{
    Cause, CeilingMethod, Completeness, Handoff, HandoffFinding, HandoffWay, Handoffs, Role,
};
use kvpath_schema::tables::nixl::{NotifDirection, XferOp};

use crate::facts::Copy;
use crate::facts::Facts;
use crate::facts::agents::AgentNames;
use crate::facts::arrivals;
use crate::facts::regions::{Regions, TouchedRegions};
use crate::facts::set::Set;
use crate::facts::staging::Staging;
use crate::intervals::Union;
use crate::serving::notifications::{Registered, Registrations, is_registration};
use crate::settings::Settings;
use crate::structure::carriers::Carriers;
use crate::structure::held_layers::{self, HeldLayers, RegionLayerMap};
use crate::structure::posts::Post;
use crate::structure::requests::RequestWork;
use crate::structure::stages::StageWork;
use crate::timeline::Timeline;
use crate::timeline::threads::Threads;
use ended::Ended;
use written::{PostWithCopies, WrittenCopies};

/// A piece below this is small: a copy of 1 MiB runs near full rate on NVLink, one of 64 KiB does not.
pub const SMALL_PIECE_BYTES: i64 = 1 << 20;

/// Fills the table.
#[must_use]
pub fn of(
    (facts, timeline, staging): (&Facts, &Timeline, &Staging),
    stages: &[StageWork],
    requests: &[RequestWork],
    regions: (&Regions, &RegionLayerMap),
    carriers: &Carriers,
    settings: &Settings,
) -> Handoffs {
    let written = WrittenCopies::of(facts, carriers, stages);
    let arrivals = Arrivals::of(facts);
    let mut table = Handoffs::default();
    let mut shortest = Vec::new();
    for (r, request) in requests.iter().enumerate() {
        for ((s, _), posts) in by_receiver(stages, request) {
            let made = |post: &'_ usize| {
                let post = &stages[s].posts[*post];
                PostWithCopies { post, copies: written.of_post(post, stages[s].row.process_id) }
            };
            let posts: Vec<PostWithCopies> = posts.iter().map(made).collect();
            let inputs = (facts, &timeline.threads, stages);
            let mut row = handoff(inputs, &stages[s], (&posts, &written), regions, &arrivals);
            row.request = i32::try_from(r).unwrap_or(i32::MAX);
            shortest.push(written::open_ns(&posts, |post| post.done_after));
            table.push(row);
        }
    }
    relaid::fill(timeline, &mut table);
    staged::fill(staging, stages, requests, &mut table);
    ceilings::judge(&mut table, &shortest, stages, settings);
    table
}

/// The hand-offs of a request: by stage and receiver, if a stage has several; positions of posts.
fn by_receiver(stages: &[StageWork], request: &RequestWork) -> BTreeMap<(usize, Option<i64>), Vec<usize>> {
    let receiver = |s: usize, post: usize| stages[s].posts[post].to;
    let mut of_stage: BTreeMap<usize, BTreeSet<i64>> = BTreeMap::new();
    for (s, post) in &request.posts {
        of_stage.entry(*s).or_default().extend(receiver(*s, *post));
    }
    let mut found: BTreeMap<(usize, Option<i64>), Vec<usize>> = BTreeMap::new();
    for (s, post) in &request.posts {
        let are_several = of_stage[s].len() > 1;
        found.entry((*s, receiver(*s, *post).filter(|_| are_several))).or_default().push(*post);
    }
    found
}

/// What agents told each other.
struct Arrivals<'a> {
    names: AgentNames<'a>,
    /// When the notifications of transfers arrived, by row of `nixl_transfers`.
    of_transfers: HashMap<usize, i64>,
    /// Notifs that register a request with a stage.
    registrations: Vec<usize>,
    /// What they say, in the same order.
    registered: Registrations<'a>,
}

impl<'a> Arrivals<'a> {
    fn of(facts: &'a Facts) -> Self {
        let names = AgentNames::of(facts);
        let of_transfers = arrivals::of_transfers(facts, &names);
        let (notifs, is_arrival) =
            (&facts.notifs, |row: &usize| *facts.notifs.direction[*row] == NotifDirection::Arrived);
        let arrived = (0..notifs.time_ns.len()).filter(is_arrival);
        let registrations: Vec<usize> = arrived.filter(|row| is_registration(&notifs.message[*row])).collect();
        let registered = Registrations::of(registrations.iter().map(|row| Registered::of(notifs, *row)));
        Self { names, of_transfers, registrations, registered }
    }
}

fn handoff(
    (facts, threads, stages): (&Facts, &Threads, &[StageWork]),
    stage: &StageWork,
    (all, written): (&[PostWithCopies], &WrittenCopies),
    (regions, held): (&Regions, &RegionLayerMap),
    arrivals: &Arrivals,
) -> Handoff {
    let made = parts(all);
    let posts: Vec<&Post> = made.iter().map(|made| made.post).collect();
    let copies: Vec<Copy> = made.iter().flat_map(|made| made.copies.iter()).collect();
    let transfers: Vec<usize> = posts.iter().filter_map(|post| post.transfer).collect();
    let sum = |column: &[Option<i64>]| -> Option<i64> {
        let known: Vec<i64> = transfers.iter().filter_map(|row| column[*row]).collect();
        total(known.iter().copied().map(Some)).filter(|_| !known.is_empty())
    };
    let every: Vec<&Post> = all.iter().map(|made| made.post).collect();
    // While two hand-offs are open, a copy may be either's.
    let overlapping = written.are_mixed(&every, stage.row.process_id);
    let pieces: Vec<i64> = if copies.is_empty() || overlapping {
        let descriptors = transfers.iter().flat_map(|row| facts.descriptors.of(facts.transfers.transfer_id[*row]));
        descriptors.map(|descriptor| descriptor.bytes).collect()
    } else {
        copies.iter().map(|copy| copy.bytes).collect()
    };
    let copy_bytes = total(copies.iter().map(|copy| Some(copy.bytes))).unwrap_or(0);
    let ended = Ended::of(facts, arrivals, all, &posts);
    let asked = sum(&facts.transfers.bytes).map(|_| ended.bytes);
    let extent = copies.iter().map(|copy| copy.span).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let (copy_start_ns, copy_span_ns) = extent.map(|(start, end)| (start, end - start)).unzip();
    let posted_ns = all.iter().filter_map(|made| made.post.posted).min();
    let last_done = posts.iter().filter(|post| post.done_by.is_some()).max_by_key(|post| post.done_by);
    // Completion of the whole is known only if every part's is.
    let last_done = last_done.filter(|_| posts.iter().all(|post| post.done_by.is_some()));
    let done_by_ns = last_done.and_then(|post| post.done_by);
    let span_ns = if copies.is_empty() {
        written::open_ns(&made, |post| post.done_by)
    } else {
        let span = |made: &PostWithCopies| {
            let end = made.copies.iter().map(|copy| copy.span.1).max()?;
            Some((made.copies.iter().map(|copy| copy.span.0).min()?, end))
        };
        Some(Union::of(made.iter().filter_map(span)).len_ns())
    };
    // Who posts has no GPU copies at all: the KV moved another way, and the transfers' bytes stand for it.
    let by = all.first().map_or(stage.row.process_id, |made| made.post.by);
    // So does what was handed over from host memory, whatever else its process copies.
    let is_in_host_memory = !transfers.is_empty() && !transfers.iter().any(|row| facts.is_on_gpu(*row));
    let copies_expected = written.are_expected(by) && !(copies.is_empty() && is_in_host_memory);
    let descriptors = sum(&facts.transfers.descriptors);
    let all_pieces = if copies.is_empty() || overlapping { as_count(descriptors) } else { copies.len() };
    // Then only the transfers say how much it was.
    let bytes = asked.filter(|_| copies.is_empty() || overlapping).unwrap_or(copy_bytes);
    let gpus_bytes = transfers
        .iter()
        .filter(|row| facts.is_on_gpu(**row))
        .filter_map(|row| facts.transfers.bytes[*row])
        .reduce(i64::saturating_add);
    let is_missing = copies_expected && copy_bytes < gpus_bytes.unwrap_or(1) && !overlapping;
    let completeness = ended.completeness(is_missing, overlapping);
    let (touched, layers, peer_layers) = carried(facts, (regions, held), &transfers);
    #[expect(clippy::cast_precision_loss, reason = "bytes and ns of a hand-off are below 2^52")]
    let rate = span_ns.filter(|ns| *ns > 0 && bytes > 0).map(|ns| bytes as f64 * 1e9 / ns as f64);
    let (poll_off_ns, poll_off) = polled::off(facts, threads, &posts).unzip();
    Handoff {
        request: 0,
        stage_id: stage.row.stage_id,
        copy_process_id: copies_expected.then_some(by),
        peer_process_id: peer(facts, stages, &arrivals.names, &transfers),
        way: way(stage.row.process_id, all),
        peer_device_id: copies.first().and_then(|copy| copy.to),
        same_gpu: same_gpu(&copies).filter(|_| !overlapping),
        transfers: count(all.iter().filter(|made| made.post.transfer.is_some()).count()),
        bytes,
        made_descriptors: sum(&facts.transfers.made_descriptors),
        descriptors,
        regions: touched,
        layers_method: layers.as_ref().map(|held| held.method.into()),
        layers: layers.map(|held| held.layers.to_string()),
        peer_layers: peer_layers.map(|held| held.layers.to_string()),
        copies: copies_expected.then(|| count(copies.len())),
        piece_median_bytes: median(pieces.clone()),
        small_piece_bytes: small_bytes(&pieces, all_pieces, bytes),
        copy_start_ns,
        copy_span_ns,
        copy_busy_ns: copy_span_ns.map(|_| Union::of(copies.iter().map(|copy| copy.span)).len_ns()),
        ready_ns: ready(facts, arrivals, stage.row.process_id, &every),
        made_ns: all.iter().filter_map(|made| made.post.made).min(),
        make_ns: total(posts.iter().map(|post| post.make_ns)),
        posted_ns,
        post_ns: total(posts.iter().map(|post| Some(post.post_end? - post.posted?))),
        done_after_ns: last_done.and_then(|post| post.done_after),
        done_by_ns,
        poll_off_ns,
        poll_off,
        notif_arrived_ns: notif_arrived(arrivals, &transfers),
        relayout_start_ns: None,
        relayout_ns: None,
        staging_out_start_ns: None,
        staging_out_ns: None,
        staging_out_bytes: None,
        staging_in_start_ns: None,
        staging_in_ns: None,
        staging_in_bytes: None,
        staging_method: None,
        rate_bytes_per_s: rate.filter(|_| completeness == Completeness::Complete),
        span_ns: span_ns.filter(|_| completeness == Completeness::Complete),
        ceiling_bytes_per_s: None,
        ceiling_method: CeilingMethod::None,
        finding: HandoffFinding::of(completeness, Cause::Unknown),
        completeness,
        cause: Cause::Unknown,
    }
}

/// The posts that make up a hand-off: what failed and was made again is no part of it; where all failed, they are what there is to say.
fn parts<'a>(all: &[PostWithCopies<'a>]) -> Vec<PostWithCopies<'a>> {
    let has_failed = all.iter().all(|made| made.post.failed);
    all.iter().filter(|made| !made.post.failed || has_failed).copied().collect()
}

/// Bytes that went in small pieces. Where only the first descriptors of a long list were recorded, their share stands for
/// the rest, if that is in pieces as small on average; else it is unknown.
fn small_bytes(pieces: &[i64], all: usize, bytes: i64) -> Option<i64> {
    let sum = |values: &mut dyn Iterator<Item = &i64>| values.fold(0i64, |sum, piece| sum.saturating_add(*piece));
    let known = sum(&mut pieces.iter());
    let small = sum(&mut pieces.iter().filter(|piece| **piece < SMALL_PIECE_BYTES));
    let rest = i64::try_from(all.checked_sub(pieces.len())?).ok()?;
    if pieces.is_empty() || rest == 0 {
        return (rest == 0 && !pieces.is_empty()).then_some(small);
    }
    if bytes.saturating_sub(known) / rest >= SMALL_PIECE_BYTES {
        return None;
    }
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "an estimate of at most `bytes`")]
    let estimate = (small as f64 / known.max(1) as f64 * bytes as f64) as i64;
    Some(estimate.min(bytes))
}

/// A number that is known, of things.
fn as_count(n: Option<i64>) -> usize {
    usize::try_from(n.unwrap_or(0)).unwrap_or(usize::MAX)
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Whether the copies stay within a GPU; none if some do and others do not.
fn same_gpu(copies: &[Copy]) -> Option<bool> {
    let is_within = |copy: &Copy| copy.from.is_none() || copy.from == copy.to;
    let first = is_within(copies.first()?);
    copies.iter().all(|copy| is_within(copy) == first).then_some(first)
}

/// Who asked for the transfers. What copies alone show is who made them.
fn way(owner: i64, posts: &[PostWithCopies]) -> HandoffWay {
    let Some(post) = posts.first().map(|made| made.post) else { return HandoffWay::Unknown };
    match (post.posted, post.by != owner || post.pulled) {
        (None, _) => HandoffWay::Unknown,
        (_, true) => HandoffWay::Pull,
        (_, false) => HandoffWay::Push,
    }
}

/// The sum, if every part is known.
fn total(parts: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    parts.into_iter().try_fold(0i64, |sum, part| Some(sum.saturating_add(part?)))
}

fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// The receiving process: the one whose agent the transfers name; else the only decode worker.
fn peer(facts: &Facts, stages: &[StageWork], agents: &AgentNames, transfers: &[usize]) -> Option<i64> {
    let named = transfers.iter().find_map(|row| {
        // A pull's poster receives.
        if *facts.transfers.op[*row] == XferOp::Read {
            return Some(facts.transfers.process_id[*row]);
        }
        let made = facts.transfers.made_ns[*row].or(facts.transfers.posted_ns[*row])?;
        agents.at(facts.transfers.peer[*row].as_deref()?, made)
    });
    let mut decode = stages.iter().filter(|stage| stage.row.role == Role::Decode);
    let only = decode.next().filter(|_| decode.next().is_none()).map(|stage| stage.row.process_id);
    named.or(only)
}

/// What the transfers carry: how many regions of the sender, which layers of it and how that is known, which layers of the
/// receiver.
fn carried(
    facts: &Facts,
    (regions, held): (&Regions, &RegionLayerMap),
    transfers: &[usize],
) -> (Option<i32>, Option<HeldLayers>, Option<HeldLayers>) {
    let kv: Vec<usize> = transfers.iter().copied().filter(|row| facts.is_on_gpu(*row)).collect();
    // Metadata in host memory is no KV, unless all is there.
    let transfers = if kv.is_empty() { transfers } else { &kv };
    let touches = || transfers.iter().map(|row| &regions.touches[*row]);
    let sent: Option<Vec<&Set>> = touches().map(TouchedRegions::sent).collect();
    let sent = sent.filter(|sets| !sets.is_empty()).map(|sets| union(sets.into_iter()));
    let sender = touches().find_map(|touch| touch.sender);
    let sent = sent.map(|set| sender.map_or(set.len(), |sender| regions.count(sender, &set)));
    let layers = touches().map(|touch| held.layers.get(&touch.sender?)?.held(touch.sent()?));
    let peers = touches().map(|touch| held.layers.get(&touch.receiver?)?.held(touch.received()?));
    (sent.and_then(|count| i32::try_from(count).ok()), all_held(layers), all_held(peers))
}

fn union<'a>(sets: impl Iterator<Item = &'a Set>) -> Set {
    sets.fold(Set::default(), |all, set| all.union(set))
}

/// The layers of all, if those of each are known; the method is that of the part that is least sure.
fn all_held(parts: impl Iterator<Item = Option<HeldLayers>>) -> Option<HeldLayers> {
    let parts = parts.collect::<Option<Vec<HeldLayers>>>()?;
    let layers = union(parts.iter().map(|part| &part.layers));
    let least_sure = parts.iter().map(|part| part.method).min_by(|a, b| {
        held_layers::confidence(a).total_cmp(&held_layers::confidence(b)).then((*a == "all").cmp(&(*b == "all")))
    });
    Some(HeldLayers { layers, method: least_sure? })
}

/// When decode's registration for the request arrived at the stage.
fn ready(facts: &Facts, arrivals: &Arrivals, process: i64, posts: &[&Post]) -> Option<i64> {
    let id = posts.iter().find_map(|post| post.request.as_deref())?;
    let rows = arrivals.registered.naming(id).into_iter().map(|at| arrivals.registrations[at]);
    rows.filter(|row| facts.notifs.process_id[*row] == process).map(|row| facts.notifs.time_ns[row]).min()
}

/// When the last notif of these transfers arrived at their receiver; `None` unless all arrived.
fn notif_arrived(arrivals: &Arrivals, transfers: &[usize]) -> Option<i64> {
    let arrived = transfers.iter().map(|row| arrivals.of_transfers.get(row).copied());
    arrived.collect::<Option<Vec<i64>>>()?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_part_stands_for_the_rest_only_if_that_is_as_small() {
        let small = vec![65_536; 4096];
        assert_eq!(small_bytes(&small, 4096, 4096 * 65_536), Some(4096 * 65_536));
        // As recorded on an H200: 36,000 descriptors of which the first 4,096 are known.
        assert_eq!(small_bytes(&small, 36_000, 36_000 * 65_536), Some(36_000 * 65_536));
        // The rest is in large pieces, or may be.
        assert_eq!(small_bytes(&small, 4100, 2_359_296_000), None);
        assert_eq!(small_bytes(&[], 18, 1 << 30), None);
        assert_eq!(small_bytes(&[2 << 20, 1 << 10], 2, (2 << 20) + (1 << 10)), Some(1 << 10));
        assert_eq!(small_bytes(&small, 10, 1), None, "more pieces than descriptors: another transfer's are among them");
    }
}
