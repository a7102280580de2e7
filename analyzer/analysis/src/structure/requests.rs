//! The requests of a run, and which hand-off is whose; [`super::division`] tells which forward pass is.
//!
//! Request ids (from NIXL's notif texts) decide where they were recorded. Without them hand-offs themselves tell ([`nameless`]), and
//! where only copies were recorded, activity: the forward passes of all prefill stages are grouped where no stage computes for
//! [`GROUP_GAP_NS`], and a burst of copies belongs to the last group that began before it. Several of a stage while its group still
//! computes are one request's; each one after the group's end is a further request whose compute was not recorded or ran within the
//! same group. Groups that nothing hands over (warm-up, dummy runs) are no requests.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::lanes::Pass;
use super::posts::Post;
use super::stages::StageWork;
use super::{division, fills, nameless};
use crate::facts::Facts;
use crate::intervals::{ByStart, Span, Union};
use crate::serving::told::{ClientReports, RequestReport, client_reports};

/// No prefill stage computing for this long separates groups of activity.
const GROUP_GAP_NS: i64 = 200_000_000;

/// A request's work.
#[derive(Debug, Default)]
pub struct RequestWork<'a> {
    /// Request id, if recorded; else as its client has it.
    pub id: Option<String>,
    /// What its client says of it.
    pub told: Option<&'a RequestReport>,
    /// Whether only its client tells it apart.
    pub is_by_client: bool,
    /// Hand-overs: (position in the stage list, position in its posts).
    pub posts: Vec<(usize, usize)>,
    /// Forward passes of each stage of the stage list, by time.
    pub passes: Vec<Vec<&'a Pass>>,
    /// Of each pass, by stage and start: the share of its tokens that are the request's, where that is known.
    pub shares: BTreeMap<(usize, i64), f64>,
    /// The last group of activity that began before its first hand-off.
    pub(super) group: Option<usize>,
    /// Its KV, in a unit that is the same for all requests of the run.
    pub(super) bytes: Option<i64>,
    /// Of each stage of the stage list whether records of its hand-offs are missing: they come to less KV than those of
    /// another stage.
    is_short: Vec<bool>,
}

/// Whether the stage's last forward pass has fewer layers than its others, and a hand-off came after it.
#[must_use]
pub fn breaks_off(stage: &StageWork) -> bool {
    let Some(last) = stage.lane.and_then(|lane| lane.passes.last()) else { return false };
    let fewer = stage.row.layers.is_some_and(|layers| i32::try_from(last.layers.len()).is_ok_and(|n| n < layers));
    fewer && stage.posts.last().is_some_and(|post| post.at > last.span.1)
}

impl<'a> RequestWork<'a> {
    /// Forward passes alone, of each stage of the stage list, by time.
    #[must_use]
    pub fn of_passes(passes: Vec<Vec<&'a Pass>>) -> Self {
        Self { passes, ..Self::default() }
    }
}

impl RequestWork<'_> {
    /// Time of its first hand-off.
    fn first_post(&self, stages: &[StageWork]) -> i64 {
        self.posts.iter().map(|(stage, post)| stages[*stage].posts[*post].at).min().unwrap_or(i64::MAX)
    }

    /// When it began, for all that is known.
    fn began(&self, stages: &[StageWork]) -> i64 {
        let sent = || self.told.filter(|_| self.posts.is_empty()).map(|told| told.arrival_ns);
        self.compute_start().or_else(sent).unwrap_or(self.first_post(stages))
    }

    /// First forward pass's start.
    #[must_use]
    pub fn compute_start(&self) -> Option<i64> {
        self.passes.iter().flatten().map(|pass| pass.span.0).min()
    }

    /// From its first forward pass on any stage to its last one on any.
    #[must_use]
    pub fn window(&self) -> Option<Span> {
        self.compute_start().zip(self.compute_end())
    }

    /// Positions of the prefill stages that computed for it or handed it over.
    pub fn participants<'s>(&'s self, stages: &'s [StageWork]) -> impl Iterator<Item = usize> + 's {
        (0..stages.len()).filter(|s| {
            let hands_over = self.posts.iter().any(|(stage, _)| stage == s);
            stages[*s].is_prefill() && (hands_over || !self.passes[*s].is_empty())
        })
    }

    /// Whether the stage's passes for this request are there to the end, or the stage recorded none for anybody (then
    /// nothing was lost: its GPU was not recorded).
    ///
    /// None at all is a loss, unless another request of the same group has some: one pass may have served both. If the
    /// stage's records are known to break off, it is a loss all the same.
    #[must_use]
    pub fn has_all_passes(&self, stage: usize, stages: &[StageWork], all: &[Self]) -> bool {
        if self.passes[stage].is_empty() {
            let recorded = all.iter().any(|other| !other.passes[stage].is_empty());
            let served_by_another = all
                .iter()
                .any(|other| other.group == self.group && self.group.is_some() && !other.passes[stage].is_empty());
            return !recorded || served_by_another && !breaks_off(&stages[stage]);
        }
        let last = stages[stage].lane.and_then(|lane| lane.passes.last());
        let own_is_last = self.passes[stage].last().map(|pass| pass.span) == last.map(|pass| pass.span);
        !(own_is_last && breaks_off(&stages[stage]))
    }

    /// Whether records of its hand-offs by a stage are missing.
    pub(super) fn is_short(&self, stage: usize) -> bool {
        self.is_short.get(stage).copied().unwrap_or(false)
    }

    /// Last forward pass's end.
    #[must_use]
    pub fn compute_end(&self) -> Option<i64> {
        self.passes.iter().flatten().map(|pass| pass.span.1).max()
    }
}

/// Tells the requests of a run apart, ordered by time, and joins them with what their clients say.
#[must_use]
pub fn of<'a>(facts: &Facts, stages: &[StageWork<'a>], told: &'a [RequestReport]) -> Vec<RequestWork<'a>> {
    let groups = groups(stages);
    let numbers = nameless::numbers(facts, stages, &groups);
    let mut by_key: BTreeMap<RequestKey, RequestWork> = BTreeMap::new();
    for (s, stage) in stages.iter().enumerate() {
        let mut after_end: BTreeMap<usize, usize> = BTreeMap::new();
        for (p, post) in stage.posts.iter().enumerate() {
            let key = match (&post.request, numbers.get(&(s, p))) {
                (Some(id), _) => RequestKey::Id(id.clone()),
                (None, Some(number)) => RequestKey::Number(*number),
                (None, None) => activity(&groups, post.at, &mut after_end),
            };
            let request = by_key.entry(key).or_default();
            request.id.clone_from(&post.request);
            request.posts.push((s, p));
        }
    }
    let mut requests: Vec<RequestWork> = by_key.into_values().collect();
    requests.sort_by_key(|request| request.first_post(stages));
    for request in &mut requests {
        request.passes = vec![Vec::new(); stages.len()];
        let at = request.first_post(stages);
        request.group = groups.partition_point(|(start, _)| *start <= at).checked_sub(1);
    }
    bytes(stages, facts, &mut requests);
    let unmatched = join(facts, stages, &mut requests, told);
    division::give_passes(stages, &groups, &mut requests);
    for s in (0..stages.len()).filter(|s| stages[*s].is_prefill()) {
        give_by_tokens((stages, s), &groups, &mut requests);
    }
    for request in &mut requests {
        let Some(told) = request.told else { continue };
        // What ran for the most part before it was sent is not its own: warm-up. Clocks of clients differ by less than a pass.
        for passes in &mut request.passes {
            passes.retain(|pass| pass.span.0 + (pass.span.1 - pass.span.0) / 2 > told.arrival_ns);
        }
    }
    add_left(stages, &mut requests);
    add_prefilled(stages, &groups, &mut requests, &unmatched);
    requests.sort_by_key(|request| request.began(stages));
    requests
}

/// Gives requests what their clients say of them: by id, and those without one by order and time ([`in_order`]). Returns what is said
/// of others that may be of this recording, if the client's log is of it at all.
fn join<'a>(
    facts: &Facts,
    stages: &[StageWork],
    requests: &mut [RequestWork<'a>],
    told: &'a [RequestReport],
) -> Vec<&'a RequestReport> {
    let ids: Vec<&str> = requests.iter().map(|request| request.id.as_deref().unwrap_or("")).collect();
    let ClientReports { of, mut others, .. } = client_reports(&ids, told);
    let mut is_of_run = !of.is_empty();
    for (r, told) in of {
        requests[r].told = Some(told);
    }
    let extent = extent(facts, stages);
    others.retain(|told| told.may_be_within(extent));
    let nameless: Vec<usize> = (0..requests.len()).filter(|r| requests[*r].id.is_none()).collect();
    let found = in_order(stages, requests, &nameless, &others);
    let is_whole = found.len() == nameless.len();
    is_of_run |= !found.is_empty();
    let given: HashSet<*const RequestReport> = found.iter().map(|(_, told)| std::ptr::from_ref(*told)).collect();
    others.retain(|told| !given.contains(&std::ptr::from_ref(*told)));
    for (r, told) in found {
        let request = &mut requests[r];
        (request.id, request.told, request.is_by_client) = (Some(told.id.clone()), Some(told), true);
    }
    // Of requests that are not told apart, any may be the one that is meant.
    if is_of_run && is_whole { others } else { Vec::new() }
}

/// From the first record of what stages did to the last.
fn extent(facts: &Facts, stages: &[StageWork]) -> Span {
    let passes = stages.iter().filter_map(|stage| stage.lane).flat_map(|lane| &lane.passes).map(|pass| pass.span);
    let posts = stages.iter().flat_map(|stage| stage.posts).map(|post| (post.made.unwrap_or(post.at), post.end()));
    let notifs = facts.notifs.time_ns.iter().map(|time| (*time, *time));
    let all = passes.chain(posts).chain(notifs);
    all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((i64::MIN, i64::MAX))
}

/// Which of the requests without an id each report is of. They are handed over in the order in which they were sent, and their first
/// tokens come in the order in which they are there; each report is of a request that was handed over between. It is known where both
/// orders leave but one choice, and they agree.
fn in_order<'a>(
    stages: &[StageWork],
    requests: &[RequestWork],
    nameless: &[usize],
    others: &[&'a RequestReport],
) -> Vec<(usize, &'a RequestReport)> {
    let posts = |r: usize| requests[r].posts.iter().map(|(stage, post)| &stages[*stage].posts[*post]);
    let first = |r: usize| requests[r].first_post(stages);
    let last = |r: usize| posts(r).map(|post| post.at).max().unwrap_or(i64::MAX);
    let may_be = |r: usize, told: &RequestReport| {
        told.arrival_ns <= first(r) && told.first_token_ns.is_none_or(|token| last(r) <= token)
    };
    let mut by_post = nameless.to_vec();
    by_post.sort_by_key(|r| (first(*r), *r));
    let by_arrival = only_choice(&by_post, others, may_be);
    if by_arrival.is_empty() || others.iter().any(|told| told.first_token_ns.is_none()) {
        return by_arrival;
    }
    let mut by_end = nameless.to_vec();
    by_end.sort_by_key(|r| (posts(*r).map(Post::end).max(), *r));
    let mut by_token = others.to_vec();
    by_token.sort_by_key(|told| (told.first_token_ns, told.arrival_ns));
    let by_token: BTreeMap<usize, &RequestReport> = only_choice(&by_end, &by_token, may_be).into_iter().collect();
    let agrees = |(r, told): &(usize, &RequestReport)| by_token.get(r).is_some_and(|own| std::ptr::eq(*own, *told));
    by_arrival.into_iter().filter(agrees).collect()
}

/// Pairs requests with reports, both in their order, where only one report may be of a request: the first that it can be of and the last.
/// Nothing, if some request has none.
fn only_choice<'a>(
    requests: &[usize],
    reports: &[&'a RequestReport],
    may_be: impl Fn(usize, &RequestReport) -> bool,
) -> Vec<(usize, &'a RequestReport)> {
    let mut next = 0;
    let mut earliest = Vec::new();
    for r in requests {
        let Some(at) = (next..reports.len()).find(|at| may_be(*r, reports[*at])) else { return Vec::new() };
        earliest.push(at);
        next = at + 1;
    }
    let mut end = reports.len();
    let mut found = Vec::new();
    for (r, earliest) in requests.iter().zip(earliest).rev() {
        let Some(at) = (0..end).rev().find(|at| may_be(*r, reports[*at])) else { return Vec::new() };
        end = at;
        found.extend((at == earliest).then(|| (*r, reports[at])));
    }
    found.reverse();
    found
}

/// Passes that no request has, between its sending and its first hand-off, are of a request that was the only one by then: where KV
/// goes through host memory a stage may pause for longer between chunks than between requests.
fn add_left<'a>(stages: &[StageWork<'a>], requests: &mut [RequestWork<'a>]) {
    let span = |request: &RequestWork| Some((request.told?.arrival_ns, request.first_post(stages)));
    let spans = requests.iter().map(|request| span(request).filter(|span| span.1 < i64::MAX)).zip(0..);
    let mut waiting: Vec<(Span, usize)> = spans.filter_map(|(span, r)| Some((span?, r))).collect();
    waiting.sort_unstable();
    let by_start = ByStart::of(waiting.iter().map(|(span, _)| *span).collect::<Vec<Span>>());
    let given = given(requests);
    for (s, stage) in stages.iter().enumerate().filter(|(_, stage)| stage.is_prefill()) {
        let all: &'a [Pass] = stage.lane.map_or(&[], |lane| &lane.passes);
        for pass in all.iter().filter(|pass| !given.contains(&(s, pass.span.0))) {
            let near = waiting[by_start.near(pass.span)].iter();
            let mut owners = near.filter(|((from, to), _)| *from < pass.span.1 && pass.span.0 < *to);
            if let (Some(((from, to), r)), None) = (owners.next(), owners.next())
                && *from < pass.span.0
                && pass.span.1 <= *to
            {
                requests[*r].passes[s].push(pass);
            }
        }
    }
    for passes in requests.iter_mut().flat_map(|request| &mut request.passes) {
        passes.sort_by_key(|pass| pass.span);
    }
}

/// The passes that some request has: stage and start.
fn given(requests: &[RequestWork]) -> HashSet<(usize, i64)> {
    let of_stages = requests.iter().flat_map(|request| request.passes.iter().enumerate());
    of_stages.flat_map(|(s, passes)| passes.iter().map(move |pass| (s, pass.span.0))).collect()
}

/// Adds the requests of which only clients tell: with the passes that no other one has, from when they were sent until the next
/// was, if these are of one group of activity.
fn add_prefilled<'a>(
    stages: &[StageWork<'a>],
    groups: &[Span],
    requests: &mut Vec<RequestWork<'a>>,
    unmatched: &[&'a RequestReport],
) {
    let mut sent: Vec<i64> = requests.iter().filter_map(|request| Some(request.told?.arrival_ns)).collect();
    sent.extend(unmatched.iter().map(|told| told.arrival_ns));
    sent.sort_unstable();
    let given = given(requests);
    for told in unmatched {
        let until = sent.get(sent.partition_point(|at| *at <= told.arrival_ns)).copied().unwrap_or(i64::MAX);
        let until = told.failed_ns.map_or(until, |failed| failed.min(until));
        let group = groups.partition_point(|(_, end)| *end <= told.arrival_ns);
        let group = groups.get(group).filter(|(start, _)| *start < until);
        let of_stage = |(s, stage): (usize, &StageWork<'a>)| -> Vec<&'a Pass> {
            let all: &'a [Pass] = stage.lane.filter(|_| stage.is_prefill()).map_or(&[], |lane| &lane.passes);
            let Some((start, end)) = group else { return Vec::new() };
            let is_own = |pass: &&Pass| (told.arrival_ns.max(*start)..until.min(*end)).contains(&pass.span.0);
            all.iter().filter(is_own).filter(|pass| !given.contains(&(s, pass.span.0))).collect()
        };
        requests.push(RequestWork {
            id: Some(told.id.clone()),
            told: Some(told),
            is_by_client: true,
            passes: stages.iter().enumerate().map(of_stage).collect(),
            is_short: vec![false; stages.len()],
            ..RequestWork::default()
        });
    }
}

/// Gives the requests of a stage the passes that tokens tell are theirs, in place of those that order and bytes alone told.
fn give_by_tokens<'a>((stages, s): (&[StageWork<'a>], usize), groups: &[Span], requests: &mut [RequestWork<'a>]) {
    let fills = fills::of(stages, s, requests, groups);
    let Some(lane) = stages[s].lane else { return };
    let told: BTreeSet<usize> = fills.iter().map(|fill| fill.request).collect();
    let taken: BTreeSet<i64> = fills.iter().map(|fill| lane.passes[fill.pass].span.0).collect();
    for (r, request) in requests.iter_mut().enumerate() {
        let is_told = told.contains(&r);
        request.passes[s].retain(|pass| !is_told && !taken.contains(&pass.span.0));
    }
    for fill in fills {
        let (pass, request) = (&lane.passes[fill.pass], &mut requests[fill.request]);
        request.passes[s].push(pass);
        request.shares.insert((s, pass.span.0), fill.share);
    }
}

/// Of each request whether another one's window overlaps its own.
#[must_use]
pub fn overlapping(requests: &[RequestWork]) -> Vec<bool> {
    let windows: Vec<Option<Span>> = requests.iter().map(RequestWork::window).collect();
    let mut by_start: Vec<(Span, usize)> =
        windows.iter().zip(0..).filter_map(|(span, r)| Some(((*span)?, r))).collect();
    by_start.sort_unstable();
    // Of those up to each the two latest ends: one may be the request's own.
    let mut latest: Vec<[(i64, usize); 2]> = Vec::new();
    for ((_, end), r) in &by_start {
        let before = latest.last().copied().unwrap_or([(i64::MIN, usize::MAX); 2]);
        let mut ends = [before[0], before[1], (*end, *r)];
        ends.sort_unstable_by(|a, b| b.cmp(a));
        latest.push([ends[0], ends[1]]);
    }
    let is_met = |(r, window): (usize, &Option<Span>)| {
        let Some((start, end)) = *window else { return false };
        let earlier = by_start.partition_point(|((from, _), _)| *from < end);
        let Some(ends) = earlier.checked_sub(1).and_then(|at| latest.get(at)) else { return false };
        ends.iter().any(|(to, other)| *other != r && *other != usize::MAX && start < *to)
    };
    windows.iter().enumerate().map(is_met).collect()
}

/// The request of each transfer, by row of `nixl_transfers`.
#[must_use]
pub fn of_transfers(stages: &[StageWork], requests: &[RequestWork]) -> BTreeMap<usize, i32> {
    let mut found = BTreeMap::new();
    for (number, request) in requests.iter().enumerate() {
        for (stage, post) in &request.posts {
            if let Some(row) = stages[*stage].posts[*post].transfer {
                found.insert(row, i32::try_from(number).unwrap_or(i32::MAX));
            }
        }
    }
    found
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum RequestKey {
    Id(String),
    /// By the order of hand-offs.
    Number(usize),
    /// Group, and how many hand-offs of the same stage came between the group's end and this one.
    Activity(Option<usize>, usize),
}

fn activity(groups: &[Span], at: i64, after_end: &mut BTreeMap<usize, usize>) -> RequestKey {
    let group = groups.partition_point(|(start, _)| *start <= at).checked_sub(1);
    let late = group.is_none_or(|group| groups[group].1 <= at);
    let slot = after_end.entry(group.map_or(0, |group| group + 1)).or_default();
    let ordinal = *slot;
    if late {
        *slot += 1;
    }
    RequestKey::Activity(group, ordinal)
}

/// Groups of activity of the prefill stages.
fn groups(stages: &[StageWork]) -> Vec<Span> {
    let passes = stages.iter().filter(|stage| stage.is_prefill()).filter_map(|stage| stage.lane);
    let compute = Union::of(passes.flat_map(|lane| lane.passes.iter().map(|pass| pass.span)));
    let mut groups: Vec<Span> = Vec::new();
    for (start, end) in compute.spans().iter().copied() {
        match groups.last_mut() {
            Some(group) if start - group.1 <= GROUP_GAP_NS => group.1 = end,
            _ => groups.push((start, end)),
        }
    }
    groups
}

/// KV of each request, bytes of one stage: of the stage that handed over most of them, or what another one's come to there.
/// The most that any stage shows counts, for records of the others may be lost.
fn bytes(stages: &[StageWork], facts: &Facts, requests: &mut [RequestWork]) {
    let mut by_stage: Vec<Vec<i64>> = vec![vec![0; requests.len()]; stages.len()];
    let mut least: Vec<Vec<Option<i64>>> = vec![vec![None; requests.len()]; stages.len()];
    // Where nothing is on a GPU, KV is not either.
    let has_gpu = (0..facts.transfers.bytes.len()).any(|row| facts.is_on_gpu(row));
    for (r, request) in requests.iter().enumerate() {
        for (s, p) in &request.posts {
            let post = &stages[*s].posts[*p];
            let row = post.transfer.filter(|row| !post.failed && facts.is_on_gpu(*row) == has_gpu);
            let Some(bytes) = row.and_then(|row| facts.transfers.bytes[row]) else { continue };
            let (sum, least) = (&mut by_stage[*s][r], &mut least[*s][r]);
            *sum = sum.saturating_add(bytes);
            *least = Some(least.unwrap_or(bytes).min(bytes));
        }
    }
    let known = |of_stage: &Vec<i64>| of_stage.iter().filter(|bytes| **bytes > 0).count();
    let Some(most) = (0..stages.len()).max_by_key(|s| (known(&by_stage[*s]), std::cmp::Reverse(*s))) else { return };
    let scales: Vec<Option<(i64, i64)>> = by_stage.iter().map(|own| scale(own, &by_stage[most])).collect();
    for (r, request) in requests.iter_mut().enumerate() {
        let come_to = |own: i64, scale: Option<(i64, i64)>| {
            let (own_bytes, bytes) = scale?;
            i64::try_from(i128::from(own) * i128::from(bytes) / i128::from(own_bytes)).ok()
        };
        let shown = by_stage.iter().zip(&scales).filter_map(|(own, scale)| come_to(own[r], *scale));
        request.bytes = shown.max().filter(|bytes| *bytes > 0);
        // Stages round differently, by less than a transfer.
        let lacks = |s: usize| {
            let (own, all) = (come_to(by_stage[s][r], scales[s])?, request.bytes?);
            let least = come_to(least[s][r]?, scales[s])?;
            Some(all - own > least / 2)
        };
        request.is_short = (0..stages.len()).map(|s| lacks(s).unwrap_or(false)).collect();
    }
}

/// Bytes of one stage and what they come to on another: the median of the requests that both handed over.
fn scale(own: &[i64], other: &[i64]) -> Option<(i64, i64)> {
    let mut pairs: Vec<(i64, i64)> =
        own.iter().copied().zip(other.iter().copied()).filter(|(a, b)| *a > 0 && *b > 0).collect();
    pairs.sort_by_key(|(a, b)| (i128::from(*b) << 32) / i128::from(*a));
    pairs.get(pairs.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn requests_overlap_if_their_windows_do(spans in prop::collection::vec(prop::option::of((0i64..40, 0i64..12)), 0..12)) {
            let pass = |(start, dur): (i64, i64)| Pass { span: (start, start + dur), kernels: 0, layers: Vec::new(), tokens: None };
            let passes: Vec<Option<Pass>> = spans.iter().map(|span| span.map(pass)).collect();
            let of = |pass: &'_ Option<Pass>| pass.iter().map(|pass| pass.span).next();
            let requests: Vec<RequestWork> = passes
                .iter()
                .map(|pass| RequestWork { passes: vec![pass.iter().collect()], ..RequestWork::default() })
                .collect();
            let met = |own: usize| {
                let Some((start, end)) = of(&passes[own]) else { return false };
                let others = passes.iter().enumerate().filter(|(r, _)| *r != own).filter_map(|(_, other)| of(other));
                others.into_iter().any(|(from, to)| from < end && start < to)
            };
            prop_assert_eq!(overlapping(&requests), (0..passes.len()).map(met).collect::<Vec<_>>());
        }
    }
}
