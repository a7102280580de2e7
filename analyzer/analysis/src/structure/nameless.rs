//! Which hand-offs are of one request where no text names it.
//!
//! Who hands over whole prompts (every pull; an engine that is known to push so) makes one transfer for each pair of ranks and request:
//! the n-th from one rank to another is of the same request as the n-th of any other pair of the same pipeline and receiver. Where
//! records are missing, bytes and times tell which are.
//!
//! Others hand over chunk by chunk, or layer by layer. There a request ends with what is handed over of host memory (its metadata);
//! else before a chunk that is longer than the one before it, for only the last of a prompt is shorter, or takes less for its length, for
//! attention grows with the prompt; and with the group of activity.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::posts::Post;
use super::stages::StageWork;
use crate::facts::Facts;
use crate::intervals::Span;
use crate::serving::titles;

/// Bytes that differ by no more are of as many tokens, as a share.
const SAME: f64 = 0.02;
/// How many before and after it in time are looked at for the one that is of the same request.
const NEAR: usize = 64;
/// A pass that takes less for its length than this share of what the one before it did does not go on with its prompt.
const GROWS: f64 = 0.8;

/// Numbers of requests by hand-off: position in the stage list, position in its posts.
pub(super) type Numbers = HashMap<(usize, usize), usize>;

/// What one rank hands over to one, of one request.
#[derive(Debug, Clone)]
struct Part {
    stage: usize,
    posts: Vec<usize>,
    at: i64,
    bytes: i64,
}

/// Ranks of one pipeline, and those of the receiving one, if they are known.
type Way = (usize, Option<usize>);

/// From which rank to which one; where the first is not known, with its agent's name.
type Pair<'f> = (usize, Option<i64>, Option<&'f str>);

/// Of all hand-offs that name no request and of which more than copies is recorded. Numbers rise with nothing.
pub(super) fn numbers(facts: &Facts, stages: &[StageWork], groups: &[Span]) -> Numbers {
    let pipelines = pipelines(stages);
    let prefill: BTreeSet<usize> =
        (0..stages.len()).filter(|s| stages[*s].is_prefill()).map(|s| pipelines[s]).collect();
    let mut whole: BTreeMap<Way, BTreeMap<Pair, Vec<Part>>> = BTreeMap::new();
    let mut parts: BTreeMap<Way, BTreeMap<Pair, Vec<Part>>> = BTreeMap::new();
    let of_process: HashMap<i64, usize> =
        stages.iter().zip(&pipelines).map(|(stage, pipeline)| (stage.row.process_id, *pipeline)).collect();
    for (s, stage) in stages.iter().enumerate() {
        let is_own = |post: &Post| post.request.is_none() && post.posted.is_some();
        let is_whole = |post: &Post| {
            post.pulled || post.by != stage.row.process_id || titles::hands_over_whole_prompts(&stage.row.name)
        };
        // Of which one it is not known, it is of one of these ranks.
        let name = |post: &Post| {
            let row = post.transfer.filter(|_| post.pulled && prefill.len() == 1)?;
            facts.transfers.peer[row].as_deref()
        };
        let mut in_parts: BTreeMap<Option<i64>, Vec<usize>> = BTreeMap::new();
        for (p, post) in stage.posts.iter().enumerate().filter(|(_, post)| is_own(post)) {
            if !is_whole(post) {
                in_parts.entry(post.to).or_default().push(p);
                continue;
            }
            let way = (pipelines[s], post.to.and_then(|to| of_process.get(&to).copied()));
            let own = whole.entry(way).or_default().entry((s, post.to, name(post))).or_default();
            let part = Part { stage: s, posts: vec![p], at: post.made.unwrap_or(post.at), bytes: bytes(facts, post) };
            match own.last_mut() {
                // What is made again is of the same request.
                Some(last) if stage.posts[last.posts[0]].failed && last.bytes == part.bytes => last.posts.push(p),
                _ => own.push(part),
            }
        }
        for (to, posts) in in_parts {
            let way = (pipelines[s], to.and_then(|to| of_process.get(&to).copied()));
            let own = Cut { facts, stage, groups }.parts(s, &posts);
            parts.entry(way).or_default().insert((s, to, None), own);
        }
    }
    let mut found = Numbers::new();
    let mut next = 0;
    for pairs in whole.into_values().chain(parts.into_values()) {
        next = number(pairs.into_values().collect(), next, &mut found);
    }
    found
}

/// The pipeline of each stage: all of a role and data rank, if they are different ranks; else those of each stage by themselves, for
/// nothing tells which of several replicas they are of.
fn pipelines(stages: &[StageWork]) -> Vec<usize> {
    let engine = |stage: &StageWork| (stage.row.role, titles::read(&stage.row.name).dp);
    let rank = |stage: &StageWork| (stage.row.pp_rank, stage.row.tp_rank);
    let pipeline = |stage: &StageWork| {
        let all: Vec<usize> = (0..stages.len()).filter(|s| engine(&stages[*s]) == engine(stage)).collect();
        let ranks: BTreeSet<_> = all.iter().map(|s| rank(&stages[*s])).collect();
        let first = all.iter().find(|s| ranks.len() == all.len() || stages[**s].row.stage == stage.row.stage);
        first.copied().unwrap_or_default()
    };
    stages.iter().map(pipeline).collect()
}

fn bytes(facts: &Facts, post: &Post) -> i64 {
    post.transfer.and_then(|row| facts.transfers.bytes[row]).unwrap_or(0)
}

/// Gives the parts of each pair numbers from `next` on: those of the pair with most are requests, those of others belong to them.
fn number(mut pairs: Vec<Vec<Part>>, mut next: usize, found: &mut Numbers) -> usize {
    pairs.sort_by_key(|parts| std::cmp::Reverse(parts.len()));
    let mut pairs = pairs.into_iter();
    let Some(base) = pairs.next() else { return next };
    let first = next;
    next += base.len();
    let mut give = |part: &Part, number: usize| found.extend(part.posts.iter().map(|p| ((part.stage, *p), number)));
    for (at, part) in base.iter().enumerate() {
        give(part, first + at);
    }
    for parts in pairs {
        let of = matching(&base, &parts);
        for (part, of) in parts.iter().zip(of) {
            let number = of.map_or(next, |of| first + of);
            next += usize::from(of.is_none());
            give(part, number);
        }
    }
    next
}

/// Of each of `other`, which is no longer than `base`, the one of `base` that is of the same request: the n-th, if they are as many
/// and of the same bytes, but for a factor; else of those with such bytes the nearest in time that no other has.
fn matching(base: &[Part], other: &[Part]) -> Vec<Option<usize>> {
    #[expect(clippy::cast_precision_loss, reason = "bytes of KV are far below 2^52")]
    let ratio = |a: &Part, b: &Part| (a.bytes > 0 && b.bytes > 0).then(|| b.bytes as f64 / a.bytes as f64);
    let around = |of: &Part| {
        let at = base.partition_point(|part| part.at < of.at);
        at.saturating_sub(NEAR)..base.len().min(at.saturating_add(NEAR))
    };
    let near = |of: &Part| base[around(of)].iter().min_by_key(|part| (part.at - of.at).abs());
    let mut ratios: Vec<f64> = if base.len() == other.len() {
        base.iter().zip(other).filter_map(|(a, b)| ratio(a, b)).collect()
    } else {
        other.iter().filter_map(|b| ratio(near(b)?, b)).collect()
    };
    ratios.sort_by(f64::total_cmp);
    let usual = ratios.get(ratios.len() / 2).copied();
    let is_alike = |a: &Part, b: &Part| match (usual, ratio(a, b)) {
        (Some(usual), Some(own)) => (own / usual - 1.0).abs() <= SAME,
        _ => true,
    };
    if base.len() == other.len() && base.iter().zip(other).all(|(a, b)| is_alike(a, b)) {
        return (0..base.len()).map(Some).collect();
    }
    let mut is_taken = vec![false; base.len()];
    let mut next = |of: &Part| {
        let alike = around(of).filter(|at| !is_taken[*at] && is_alike(&base[*at], of));
        let nearest = alike.min_by_key(|at| (base[*at].at - of.at).abs())?;
        is_taken[nearest] = true;
        Some(nearest)
    };
    other.iter().map(&mut next).collect()
}

/// What a stage hands over in parts, to be cut into requests.
struct Cut<'c, 'a> {
    facts: &'c Facts,
    stage: &'c StageWork<'a>,
    groups: &'c [Span],
}

impl Cut<'_, '_> {
    fn parts(&self, s: usize, posts: &[usize]) -> Vec<Part> {
        let post = |p: usize| &self.stage.posts[p];
        let is_kv = |p: &usize| post(*p).transfer.is_none_or(|row| self.facts.is_on_gpu(row));
        let has_kv = posts.iter().any(is_kv);
        let ends_with_metadata = has_kv && !posts.iter().all(is_kv);
        let passes = self.passes(posts, |p| !has_kv || is_kv(p));
        let sizes = self.sizes(posts, &passes);
        let mut found: Vec<Part> = Vec::new();
        let (mut before, mut is_over): (Option<usize>, bool) = (None, false);
        for p in posts {
            let own = post(*p);
            let part = |bytes| Part { stage: s, posts: vec![*p], at: own.made.unwrap_or(own.at), bytes };
            if has_kv && !is_kv(p) {
                // Metadata follows the KV.
                is_over = true;
                match found.last_mut() {
                    Some(last) => last.posts.push(*p),
                    None => found.push(part(0)),
                }
                continue;
            }
            let is_new = before.is_none_or(|before| {
                let (last, own) = (passes.get(&before).copied().flatten(), passes.get(p).copied().flatten());
                is_over || !ends_with_metadata && self.begins(before, *p, (last, own), &sizes)
            });
            let bytes = bytes(self.facts, own);
            match found.last_mut().filter(|_| !is_new) {
                Some(last) => {
                    last.posts.push(*p);
                    last.bytes = last.bytes.saturating_add(bytes);
                }
                None => found.push(part(bytes)),
            }
            (before, is_over) = (Some(*p), false);
        }
        found
    }

    /// The pass that each of the posts hands over, if that is known: in a group of activity with as many of these as passes, or a
    /// multiple, in their order; else the last that had ended by then.
    fn passes(&self, posts: &[usize], is_kv: impl Fn(&usize) -> bool) -> HashMap<usize, Option<usize>> {
        let all = self.stage.lane.map_or(&[][..], |lane| &lane.passes);
        let mut of_group: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for p in posts.iter().filter(|p| is_kv(p)) {
            of_group.entry(self.group(self.stage.posts[*p].at)).or_default().push(*p);
        }
        let mut found = HashMap::new();
        for (group, own) in of_group {
            let span = group.map_or((0, 0), |group| self.groups[group]);
            let first = all.partition_point(|pass| pass.span.0 < span.0);
            let count = all.partition_point(|pass| pass.span.0 < span.1) - first;
            let each = if count > 0 && own.len().is_multiple_of(count) { own.len() / count } else { 0 };
            for (at, p) in own.iter().enumerate() {
                let post = &self.stage.posts[*p];
                let ended = || all.partition_point(|pass| pass.span.1 <= post.made.unwrap_or(post.at)).checked_sub(1);
                found.insert(*p, at.checked_div(each).map_or_else(ended, |pass| Some(first + pass)));
            }
        }
        found
    }

    /// Bytes that are handed over of each pass.
    fn sizes(&self, posts: &[usize], passes: &HashMap<usize, Option<usize>>) -> HashMap<usize, i64> {
        let mut found: HashMap<usize, i64> = HashMap::new();
        for p in posts {
            let Some(pass) = passes.get(p).copied().flatten() else { continue };
            let sum = found.entry(pass).or_default();
            *sum = sum.saturating_add(bytes(self.facts, &self.stage.posts[*p]));
        }
        found
    }

    fn group(&self, at: i64) -> Option<usize> {
        self.groups.partition_point(|(start, _)| *start <= at).checked_sub(1)
    }

    /// Whether a hand-off is not of the same request as the one before it.
    #[expect(clippy::cast_precision_loss, reason = "bytes and ns are far below 2^52")]
    fn begins(
        &self,
        before: usize,
        own: usize,
        passes: (Option<usize>, Option<usize>),
        sizes: &HashMap<usize, i64>,
    ) -> bool {
        let at = |p: usize| self.stage.posts[p].at;
        if self.group(at(before)) != self.group(at(own)) {
            return true;
        }
        let (Some(last), Some(next)) = passes else {
            // Of what nothing was computed that is recorded each is another one's.
            return true;
        };
        if last == next {
            // A layer of the same pass; if passes are not handed over in order, another request's.
            return self.is_late(own);
        }
        let size = |pass: usize| sizes.get(&pass).copied().unwrap_or(0) as f64;
        let all = self.stage.lane.map_or(&[][..], |lane| &lane.passes);
        let busy =
            |pass: usize| all[pass].layers.iter().fold(0i64, |sum, layer| sum.saturating_add(layer.busy_ns)) as f64;
        size(next) > size(last) * (1.0 + SAME) || busy(next) * size(last) < busy(last) * size(next) * GROWS
    }

    /// Whether its group had ended when it was made.
    fn is_late(&self, p: usize) -> bool {
        let at = self.stage.posts[p].at;
        self.group(at).is_none_or(|group| self.groups[group].1 <= at)
    }
}
