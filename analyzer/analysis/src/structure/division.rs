//! Which forward pass serves which request.
//!
//! A pipeline computes its requests one after another, in the same order on every stage, and hands each over when it is
//! computed: so the order of the hand-offs is that of the passes ([`order`] says where it is not). How many passes a request has, notifs that
//! name its chunks say; else the bytes handed over tell, because KV grows with the tokens and all chunks but a request's last
//! are equally long: for the passes that there are, only one division is possible. It holds if every stage agrees: a
//! request's last pass ends before its last hand-off is made, a request's passes follow each other without a long pause,
//! and none takes much less than the one before it, for attention grows with the prompt (the last chunk may be short).
//!
//! Where no division holds (records are lost) that of each half is tried, and so on; what no part has is nobody's. Where none
//! holds at all (a pass serves several requests), a pass belongs to the request of its group of activity which the stage hands
//! over next; [`super::requests::overlapping`] says where that may be wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::lanes::Pass;
use super::order;
use super::posts::Post;
use super::requests::RequestWork;
use super::stages::StageWork;
use crate::intervals::Span;

/// Groups from which the requests may begin; those before are warm-up.
const MOST_WARM_UP: usize = 64;

/// Requests that a division must hold for to say anything: fewer agree with many.
const FEWEST: usize = 4;

/// Passes of a stage.
type Slice<'a> = (usize, &'a [Pass]);

/// Gives each request its passes on each stage; `groups` are the times in which some prefill stage computes.
pub fn give_passes<'a>(stages: &[StageWork<'a>], groups: &[Span], requests: &mut [RequestWork<'a>]) {
    let run = Run { stages, groups };
    let everyone: Vec<usize> = (0..requests.len()).collect();
    let first_group = requests.iter().filter_map(|request| request.group).min().unwrap_or(0);
    let mut given = (0..=first_group.min(MOST_WARM_UP))
        .find_map(|from| run.divide(requests, &everyone, groups.get(from)?.0, i64::MAX))
        .unwrap_or_default();
    if given.is_empty() {
        for (group, span) in groups.iter().enumerate() {
            let own: Vec<usize> = everyone.iter().copied().filter(|r| requests[*r].group == Some(group)).collect();
            given.extend(run.divide_parts(requests, &own, *span));
        }
    }
    let mut divided: BTreeSet<(usize, i64)> = BTreeSet::new();
    for ServedPasses { stage, request, passes } in given {
        divided.extend(passes.iter().map(|pass| (stage, pass.span.0)));
        requests[request].passes[stage].extend(passes);
    }
    let left = |stage: usize, group: Span| {
        let passes = run.passes(stage, group.0, group.1);
        passes.iter().all(|pass| !divided.contains(&(stage, pass.span.0)))
    };
    for s in (0..stages.len()).filter(|s| stages[*s].is_prefill()) {
        for (group, span) in groups.iter().enumerate().filter(|(_, span)| left(s, **span)) {
            by_next_handoff(&run, s, (group, *span), requests);
        }
    }
}

struct Run<'r, 'a> {
    stages: &'r [StageWork<'a>],
    groups: &'r [Span],
}

/// Passes that serve a request on a stage.
struct ServedPasses<'a> {
    stage: usize,
    request: usize,
    passes: &'a [Pass],
}

impl<'a> Run<'_, 'a> {
    /// The passes of a stage that begin within a time.
    fn passes(&self, stage: usize, from: i64, to: i64) -> &'a [Pass] {
        let all = self.stages[stage].lane.map_or(&[] as &[Pass], |lane| &lane.passes);
        let first = all.partition_point(|pass| pass.span.0 < from);
        let end = all.partition_point(|pass| pass.span.0 < to);
        &all[first..end.max(first)]
    }

    /// Divides the passes that begin within a time among requests; none if no division holds.
    fn divide(&self, requests: &[RequestWork], own: &[usize], from: i64, to: i64) -> Option<Vec<ServedPasses<'a>>> {
        let (order, slices) = self.to_divide(requests, own, from, to)?;
        self.divide_among(requests, &order, &slices)
    }

    /// The same; where it does not hold for all of them, of those parts for which it does. Of a request of which too much is lost
    /// the others are not to suffer.
    fn divide_parts(&self, requests: &[RequestWork], own: &[usize], (from, to): Span) -> Vec<ServedPasses<'a>> {
        let mut given = Vec::new();
        if let Some((order, slices)) = self.to_divide(requests, own, from, to) {
            self.halve(requests, &order, &slices, &mut given);
        }
        given
    }

    fn halve(
        &self,
        requests: &[RequestWork],
        order: &[usize],
        slices: &[Slice<'a>],
        given: &mut Vec<ServedPasses<'a>>,
    ) {
        if let Some(found) = self.divide_among(requests, order, slices) {
            given.extend(found);
            return;
        }
        let (one, other) = order.split_at(order.len() / 2);
        if one.len() < FEWEST {
            return;
        }
        // The last pass of the first half is over when its last hand-off is made, or but for its last layer.
        let ready = |pass: &Pass| pass.layers.last().map_or(pass.span.1, |layer| layer.span.0);
        let cut = |(stage, passes): &Slice<'a>| {
            let made = one.last().and_then(|r| last_pass(self.stages, &requests[*r], *stage))?;
            let (before, behind) = passes.split_at(passes.partition_point(|pass| ready(pass) <= made));
            Some(((*stage, before), (*stage, behind)))
        };
        let Some(halves) = slices.iter().map(cut).collect::<Option<Vec<_>>>() else { return };
        let (before, behind): (Vec<Slice>, Vec<Slice>) = halves.into_iter().unzip();
        self.halve(requests, one, &before, given);
        self.halve(requests, other, &behind, given);
    }

    /// Requests in the order in which they were handed over, and for each prefill stage the passes that begin within a time and not
    /// after the last pass of any; none if the stages are of several pipelines.
    fn to_divide(
        &self,
        requests: &[RequestWork],
        own: &[usize],
        from: i64,
        to: i64,
    ) -> Option<(Vec<usize>, Vec<Slice<'a>>)> {
        let stages: Vec<usize> = (0..self.stages.len()).filter(|s| self.stages[*s].is_prefill()).collect();
        if own.is_empty() || !self.is_pipeline(&stages) {
            return None;
        }
        let mut order = own.to_vec();
        let sent = order::groups_of_sent(self.stages, requests, own, self.groups);
        let group: BTreeMap<usize, usize> = own.iter().copied().zip(sent.into_iter().flatten()).collect();
        order.sort_by_key(|r| (group.get(r).copied(), first_made(self.stages, &requests[*r]), *r));
        let slice = |s: usize| {
            let last = own.iter().map(|r| last_pass(self.stages, &requests[*r], s)).max().flatten();
            let passes = self.passes(s, from, to);
            (s, &passes[..passes.partition_point(|pass| last.is_none_or(|at| pass.span.0 <= at))])
        };
        Some((order, stages.into_iter().map(slice).collect()))
    }

    /// Divides passes among requests that are in order; none if no division holds.
    fn divide_among(
        &self,
        requests: &[RequestWork],
        order: &[usize],
        slices: &[Slice<'a>],
    ) -> Option<Vec<ServedPasses<'a>>> {
        let mut counts: Option<Vec<usize>> = None;
        let mut given = Vec::new();
        for (s, passes) in slices {
            let passes = *passes;
            if passes.is_empty() && self.stages[*s].lane.is_none_or(|lane| lane.passes.is_empty()) {
                continue;
            }
            let found = chunks(self.stages, requests, order, passes.len())?;
            if counts.as_ref().is_some_and(|counts| *counts != found) {
                return None;
            }
            let mut rest = passes;
            for (r, n) in order.iter().zip(&found) {
                let (mine, others) = rest.split_at(*n);
                rest = others;
                if !self.may_serve(&requests[*r], *s, mine) {
                    return None;
                }
                given.push(ServedPasses { stage: *s, request: *r, passes: mine });
            }
            counts = Some(found);
        }
        Some(given)
    }

    /// Whether all stages are of one pipeline, or ranks of one stage: then every request runs on each of them.
    fn is_pipeline(&self, stages: &[usize]) -> bool {
        let ranks: BTreeSet<_> =
            stages.iter().map(|s| (self.stages[*s].row.pp_rank, self.stages[*s].row.tp_rank)).collect();
        let of_one = stages.iter().all(|s| self.stages[*s].row.stage == self.stages[stages[0]].row.stage);
        of_one || ranks.len() == stages.len() && ranks.iter().all(|(pp, _)| pp.is_some())
    }

    /// Whether these passes, which follow each other, may be all of a request's.
    fn may_serve(&self, request: &RequestWork, stage: usize, passes: &[Pass]) -> bool {
        let Some(last) = passes.last() else { return false };
        let group = |pass: &Pass| self.groups.partition_point(|(start, _)| *start <= pass.span.0);
        let grows = passes.windows(2).rev().skip(1).all(|pair| busy(&pair[1]) >= busy(&pair[0]) / 5 * 4);
        let posts = request.posts.iter().filter(|(s, _)| *s == stage).count();
        // A layer is handed over before the pass ends.
        let ready = if posts > passes.len() {
            last.layers.last().map_or(last.span.0, |layer| layer.span.0)
        } else {
            last.span.1
        };
        grows
            && passes.iter().all(|pass| group(pass) == group(&passes[0]))
            && deadline(self.stages, request, stage).is_none_or(|at| ready <= at)
    }
}

fn busy(pass: &Pass) -> i64 {
    pass.layers.iter().fold(0, |sum: i64, layer| sum.saturating_add(layer.busy_ns))
}

/// Hand-offs of a request that did not fail, with their stage.
fn posts<'s>(stages: &'s [StageWork], request: &'s RequestWork) -> impl Iterator<Item = (usize, &'s Post)> {
    let posts = request.posts.iter().map(|(s, p)| (*s, &stages[*s].posts[*p]));
    posts.filter(|(_, post)| !post.failed)
}

/// When anything of the request was first made to be handed over.
fn first_made(stages: &[StageWork], request: &RequestWork) -> i64 {
    request.posts.iter().map(|(s, p)| &stages[*s].posts[*p]).map(|post| post.made.unwrap_or(post.at)).min().unwrap_or(0)
}

/// When the last of the request was made to be handed over by a stage: it was computed by then. Not known where hand-offs are
/// missing, for the last may be among them.
fn deadline(stages: &[StageWork], request: &RequestWork, stage: usize) -> Option<i64> {
    last_made(stages, request, stage).filter(|_| !request.is_short(stage))
}

/// When the last pass of the request had begun on a stage: where hand-offs are missing, or all of them, what others handed
/// over tells.
fn last_pass(stages: &[StageWork], request: &RequestWork, stage: usize) -> Option<i64> {
    let is_short = request.is_short(stage) || last_made(stages, request, stage).is_none();
    let others = (0..stages.len()).filter(|other| *other == stage || is_short);
    others.filter_map(|stage| last_made(stages, request, stage)).max()
}

fn last_made(stages: &[StageWork], request: &RequestWork, stage: usize) -> Option<i64> {
    posts(stages, request).filter(|(s, _)| *s == stage).map(|(_, post)| post.made.unwrap_or(post.at)).max()
}

/// How many passes each request has, if there are so many in all.
fn chunks(stages: &[StageWork], requests: &[RequestWork], order: &[usize], passes: usize) -> Option<Vec<usize>> {
    let named: Option<Vec<usize>> = order.iter().map(|r| named_chunks(stages, &requests[*r])).collect();
    if let Some(named) = named {
        return (named.iter().sum::<usize>() == passes).then_some(named);
    }
    let bytes = order.iter().map(|r| requests[*r].bytes.filter(|bytes| *bytes > 0)).collect::<Option<Vec<i64>>>()?;
    let of = |chunk: i64| bytes.iter().map(move |bytes| usize::try_from((bytes - 1) / chunk + 1).unwrap_or(usize::MAX));
    // The shortest chunk that does not make more passes than there are.
    let (mut low, mut high) = (1i64, bytes.iter().copied().max()?);
    while low < high {
        let chunk = low + (high - low) / 2;
        if of(chunk).fold(0, usize::saturating_add) <= passes {
            high = chunk;
        } else {
            low = chunk + 1;
        }
    }
    let counts: Vec<usize> = of(low).collect();
    (counts.iter().copied().fold(0, usize::saturating_add) == passes).then_some(counts)
}

/// Chunks that the notifs of a request name, if they name any.
fn named_chunks(stages: &[StageWork], request: &RequestWork) -> Option<usize> {
    let last = posts(stages, request).filter_map(|(_, post)| post.chunk).max()?;
    usize::try_from(last).ok().map(|last| last + 1)
}

/// A pass belongs to the request of its group; of several, to the first that the stage hands over after it.
fn by_next_handoff<'a>(run: &Run<'_, 'a>, s: usize, (group, span): (usize, Span), requests: &mut [RequestWork<'a>]) {
    let owners: Vec<usize> = (0..requests.len()).filter(|r| requests[*r].group == Some(group)).collect();
    let last_post = |r: usize| {
        let own = requests[r].posts.iter().filter(|(stage, _)| *stage == s);
        own.map(|(_, p)| run.stages[s].posts[*p].at).max()
    };
    let mut by_post: Vec<(i64, usize)> = owners.iter().filter_map(|r| Some((last_post(*r)?, *r))).collect();
    by_post.sort_unstable();
    for pass in run.passes(s, span.0, span.1) {
        let next = by_post.partition_point(|(at, _)| *at < pass.span.1);
        if let Some(r) = by_post.get(next).map(|(_, r)| *r).or_else(|| owners.last().copied()) {
            requests[r].passes[s].push(pass);
        }
    }
}
