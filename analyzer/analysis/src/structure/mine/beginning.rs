//! Where between the last mark of a layer and the first of the next one a layer begins.

use super::pattern::{Lead, Pattern, StreamPosition};
use super::{Kernel, mode};

/// Ends of passes by which the beginning of a layer is judged.
const ENDS: usize = 64;

/// Kernels between the last mark of a layer and the first of the next, which is at `to`.
struct Wrap {
    from: usize,
    to: usize,
    /// Whether a pass ends in it.
    is_end: bool,
}

/// Idle before a kernel, ns.
pub(super) fn pause(sample: &[Kernel], at: usize) -> i64 {
    at.checked_sub(1)
        .zip(sample.get(at))
        .map_or(0, |(before, kernel)| kernel.span.0.saturating_sub(sample[before].span.1))
}

/// The place at which most of the widest pauses lie, and whether more lie there than elsewhere: a twentieth of the layers, about
/// as many as passes begin in.
pub(super) fn widest(mut pauses: Vec<(i64, usize)>, layers: usize) -> (usize, bool) {
    pauses.retain(|(pause, _)| *pause > 0);
    pauses.sort_unstable_by(|a, b| b.cmp(a));
    pauses.truncate((layers / 20).max(4));
    let places: Vec<usize> = pauses.into_iter().map(|(_, place)| place).collect();
    let (place, count) = mode(&places);
    (place, count * 2 > places.len())
}

/// Finds where between the last mark and the next first one a layer begins. `is_first_known` says whether it is known which mark
/// comes first: if not, a layer of `usual` kernels may begin anywhere.
pub(super) fn find(pattern: &mut Pattern, sample: &[Kernel], is_first_known: bool, usual: usize) {
    let last = pattern.marks - 1;
    let mut wraps: Vec<Wrap> = Vec::new();
    let mut since: Option<usize> = None;
    let mut is_end = false;
    for (i, kernel) in sample.iter().enumerate() {
        is_end |= pattern.ends_before(kernel);
        match pattern.place(kernel) {
            StreamPosition::Mark(rank) => {
                if let Some(from) = since.filter(|_| rank == 0) {
                    wraps.push(Wrap { from, to: i, is_end });
                }
                since = (rank == last).then_some(i + 1);
                is_end = false;
            }
            StreamPosition::Between => is_end = true,
            StreamPosition::Body | StreamPosition::Layer(_) => {}
        }
    }
    let inner: Vec<&Wrap> = wraps.iter().filter(|wrap| !wrap.is_end).collect();
    let fits = if pattern.is_marked { by_likeness(sample, &wraps) } else { by_pauses(sample, &inner) };
    pattern.trail = fits.0;
    pattern.seam = if is_first_known { fits.1 - fits.0 } else { usual };
    pattern.leads = leads(pattern, sample);
    let firsts: Vec<usize> = inner
        .iter()
        .filter_map(|wrap| sample[wrap.from..wrap.to].get(pattern.trail))
        .map(|k| k.symbol as usize)
        .collect();
    if !firsts.is_empty() {
        pattern.first = u32::try_from(mode(&firsts).0).ok();
    }
}

/// How many kernels of a layer run before each mark, in layers that follow another one of their pass.
fn leads(pattern: &Pattern, sample: &[Kernel]) -> Vec<Lead> {
    let last = pattern.marks - 1;
    let mut counts: Vec<Vec<usize>> = vec![Vec::new(); usize::from(pattern.marks)];
    let mut begin: Option<usize> = None;
    for (i, kernel) in sample.iter().enumerate() {
        if pattern.ends_before(kernel) {
            begin = None;
        }
        match pattern.place(kernel) {
            StreamPosition::Mark(rank) => {
                if let Some(before) = begin.and_then(|begin| i.checked_sub(begin)) {
                    counts[usize::from(rank)].push(before);
                }
                if rank == last {
                    begin = Some(i + 1 + pattern.trail);
                }
            }
            StreamPosition::Between => begin = None,
            StreamPosition::Body | StreamPosition::Layer(_) => {}
        }
    }
    counts.into_iter().map(Lead::of).collect()
}

/// Kernels of a layer after its last mark, the least and the most that fit best, by what precedes and follows a pass: the last
/// layer goes on as the layers before it do, the first begins as those after it do.
fn by_likeness(sample: &[Kernel], wraps: &[Wrap]) -> (usize, usize) {
    let mut scores: Vec<usize> = Vec::new();
    let ends =
        (1..wraps.len().saturating_sub(1)).filter(|i| wraps[*i].is_end && !wraps[i - 1].is_end && !wraps[i + 1].is_end);
    for i in ends.take(ENDS) {
        let of = |wrap: &Wrap| &sample[wrap.from..wrap.to];
        let (before, end, after) = (of(&wraps[i - 1]), of(&wraps[i]), of(&wraps[i + 1]));
        let alike = |a: &Kernel, b: &Kernel| usize::from(a.symbol == b.symbol);
        let widest = before.len().min(after.len());
        scores.resize(scores.len().max(widest + 1), 0);
        // From all of it before the first layer to all of it after the last.
        let mut score: usize = after.iter().rev().zip(end.iter().rev()).map(|(a, b)| alike(a, b)).sum();
        for (trail, sum) in scores.iter_mut().enumerate().take(widest + 1) {
            if trail > 0 {
                score += before.get(trail - 1).zip(end.get(trail - 1)).map_or(0, |(a, b)| alike(a, b));
                let back = after.len() - (trail - 1);
                score -= end.len().checked_sub(back).map_or(0, |at| alike(&after[trail - 1], &end[at]));
            }
            *sum += score;
        }
    }
    let best = scores.iter().copied().max();
    let is_best = |score: &usize| Some(*score) == best;
    let ends = scores.iter().position(is_best).zip(scores.iter().rposition(is_best));
    // No pass is whole: all of it fits.
    ends.unwrap_or((0, wraps.iter().filter(|wrap| !wrap.is_end).map(|wrap| wrap.to - wrap.from).max().unwrap_or(0)))
}

/// The same where nothing runs between passes: a layer begins after the widest pauses.
fn by_pauses(sample: &[Kernel], inner: &[&Wrap]) -> (usize, usize) {
    let places = inner.iter().flat_map(|wrap| (wrap.from..=wrap.to).map(|at| (pause(sample, at), at - wrap.from)));
    let (place, is_clear) = widest(places.collect(), inner.len());
    if is_clear {
        return (place, place);
    }
    let lengths: Vec<usize> = inner.iter().map(|wrap| wrap.to - wrap.from).collect();
    (place, place.max(mode(&lengths).0))
}
