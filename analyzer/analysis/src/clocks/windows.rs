//! Stretches of time in which one line satisfies the constraints. Where none does, the constraints are halved down to a smallest
//! stretch; what contradicts its neighbours there beyond any drift, few among many, is wrong and left out; what remains is split
//! into as few stretches as possible.

use std::ops::Range;

use super::bounds::{Bounds, Constraint, DRIFT_ONE_IN, Side};

/// Constraints of the smallest stretch that is looked at for wrong ones, with as many before and after it.
const SMALLEST: usize = 16;
/// More that have to go for the rest to agree are no errors of observation: the clock itself changed.
const MOST_WRONG: usize = 3;

/// A stretch of time in which both clocks ran steadily, for all that is known.
#[derive(Debug, Clone)]
pub struct Window {
    /// Its first constraint, ns.
    pub first: i64,
    /// Its last constraint, ns.
    pub last: i64,
    /// What they say.
    pub bounds: Bounds,
    /// How many there are.
    pub observations: usize,
    /// How many more lie between it and the next window and agree with both.
    pub shared: usize,
    /// How many more contradict the others, and were left out.
    pub violations: usize,
}

/// Splits constraints that are sorted by time; as few windows as possible, in order. O(n log n).
#[must_use]
pub fn split(constraints: &[Constraint]) -> Vec<Window> {
    let wrong = wrong(constraints);
    let (kept, left_out): (Vec<_>, Vec<_>) =
        constraints.iter().copied().zip(wrong).partition(|(_, is_wrong)| !is_wrong);
    let kept: Vec<Constraint> = kept.into_iter().map(|(constraint, _)| constraint).collect();
    let mut ranges: Vec<Range<usize>> = Vec::new();
    while let start = ranges.last().map_or(0, |range| range.end)
        && start < kept.len()
    {
        let count = longest(kept.len() - start, |count| Bounds::of(&kept[start..start + count]).is_some());
        ranges.push(start..start + count);
    }
    // Where exactly the clock changed is not known: what also agrees with all that comes after may be of either side, and is left
    // to what lies between the two. A window gives up half of its constraints at most.
    for at in 1..ranges.len() {
        let (own, next) = (ranges[at - 1].clone(), ranges[at].clone());
        let most = own.len() / 2;
        let shared = longest(most + 1, |count| Bounds::of(&kept[next.start - (count - 1)..next.end]).is_some()) - 1;
        ranges[at - 1].end -= shared;
    }
    let ends: Vec<usize> = ranges.iter().skip(1).map(|range| range.start).chain([kept.len()]).collect();
    let mut windows: Vec<Window> = ranges
        .into_iter()
        .zip(ends)
        .filter_map(|(range, end)| {
            let shared = end - range.end;
            let own = &kept[range];
            let (first, last, observations) = (own.first()?.at, own.last()?.at, own.len());
            Some(Window { first, last, bounds: Bounds::of(own)?, observations, shared, violations: 0 })
        })
        .collect();
    for (constraint, _) in left_out {
        let at = windows.partition_point(|window| window.last < constraint.at).min(windows.len().saturating_sub(1));
        if let Some(window) = windows.get_mut(at) {
            window.violations += 1;
        }
    }
    windows
}

/// The most, up to `all`, for which `fits` holds, which holds for 1 and for all that is less than one for which it does: all, or
/// doubled until it fails and then halved.
fn longest(all: usize, fits: impl Fn(usize) -> bool) -> usize {
    if fits(all) {
        return all;
    }
    let (mut good, mut bad) = (1, all);
    while good * 2 < bad {
        if fits(good * 2) { good *= 2 } else { bad = good * 2 }
    }
    while good + 1 < bad {
        let middle = good.midpoint(bad);
        if fits(middle) { good = middle } else { bad = middle }
    }
    good
}

/// Which constraints are wrong.
fn wrong(constraints: &[Constraint]) -> Vec<bool> {
    let mut wrong = vec![false; constraints.len()];
    let mut open: Vec<Range<usize>> = std::iter::once(0..constraints.len()).collect();
    while let Some(range) = open.pop() {
        if Bounds::of(&constraints[range.clone()]).is_some() {
            continue;
        }
        if range.len() > SMALLEST {
            let middle = range.start.midpoint(range.end);
            open.extend([range.start..middle, middle..range.end]);
            continue;
        }
        let from = range.start.saturating_sub(SMALLEST);
        let until = (range.end + SMALLEST).min(constraints.len());
        for at in few_wrong(&constraints[from..until]) {
            wrong[from + at] = true;
        }
    }
    wrong
}

/// The few whose absence leaves no two that contradict each other; none if there would have to be more than a few.
fn few_wrong(constraints: &[Constraint]) -> Vec<usize> {
    let mut wrong: Vec<usize> = Vec::new();
    loop {
        let against = |at: usize| {
            let others = (0..constraints.len()).filter(|other| !wrong.contains(other));
            others.filter(|other| contradict(constraints[at], constraints[*other])).count()
        };
        let counts: Vec<usize> =
            (0..constraints.len()).map(|at| if wrong.contains(&at) { 0 } else { against(at) }).collect();
        let most = counts.iter().copied().max().unwrap_or(0);
        if most == 0 {
            return wrong;
        }
        // Of two that contradict only each other nobody knows which is wrong: both go.
        wrong.extend((0..counts.len()).filter(|at| counts[*at] == most));
        if wrong.len() > MOST_WRONG {
            return Vec::new();
        }
    }
}

/// Whether no line of a drift that can be satisfies both.
fn contradict(a: Constraint, b: Constraint) -> bool {
    let (upper, lower) = match (a.side, b.side) {
        (Side::Upper, Side::Lower) => (a, b),
        (Side::Lower, Side::Upper) => (b, a),
        _ => return false,
    };
    let apart = (i128::from(upper.at) - i128::from(lower.at)).abs();
    (i128::from(lower.limit) - i128::from(upper.limit)) * DRIFT_ONE_IN > apart
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` probes 50 ms apart with ways of 10 us, on a clock that shows `truth`.
    fn probes(n: i64, truth: impl Fn(i64) -> i64) -> Vec<Constraint> {
        let at = |i: i64| i * 50_000_000;
        (0..n)
            .flat_map(|i| {
                let middle = truth(at(i));
                [(Side::Upper, 10_000), (Side::Lower, -10_000)].map(|(side, way)| Constraint {
                    at: at(i),
                    side,
                    limit: middle + way,
                })
            })
            .collect()
    }

    #[test]
    fn a_steady_clock_is_one_window() {
        let windows = split(&probes(200, |t| 5_000_000 + t / 1_000_000 * 30));
        assert_eq!(windows.len(), 1);
        assert_eq!((windows[0].observations, windows[0].violations), (400, 0));
        assert!(split(&[]).is_empty());
    }

    #[test]
    fn a_step_makes_two_windows_and_excludes_nothing() {
        let windows = split(&probes(200, |t| if t < 4_000_000_000 { 0 } else { 3_000_000 }));
        assert_eq!(windows.iter().map(|w| (w.observations, w.violations)).collect::<Vec<_>>(), [(159, 0), (239, 0)]);
        assert_eq!((windows[0].last, windows[1].first), (3_950_000_000, 4_000_000_000));
        assert!(windows[1].bounds.lowest(5_000_000_000).unwrap() > 2_900_000);
    }

    #[test]
    fn wrong_observations_are_left_out_and_counted() {
        for (at, by) in [(100, -1_000_000), (101, 1_000_000), (0, -1_000_000), (399, 2_000_000_000)] {
            let mut constraints = probes(200, |_| 7);
            constraints[at].limit += by;
            let windows = split(&constraints);
            assert_eq!(windows.len(), 1, "{at}");
            assert_eq!((windows[0].observations, windows[0].violations), (399, 1), "{at}");
            assert!(windows[0].bounds.lowest(0).unwrap() <= 7 && windows[0].bounds.highest(0).unwrap() >= 7);
        }
    }

    #[test]
    fn two_that_contradict_only_each_other_both_go() {
        let mut constraints = probes(1, |_| 0);
        constraints[0].limit = -50_000;
        let windows = split(&constraints);
        assert!(windows.is_empty(), "nothing is left: {windows:?}");
    }

    #[test]
    fn a_wandering_clock_is_split_where_it_must_be() {
        // A parabola: +-50 ppm about the mean within 100 s.
        let windows = split(&probes(2_000, |t| {
            let ms = t / 1_000_000;
            ms * ms / 2_000_000 * 1_000
        }));
        assert!((2..40).contains(&windows.len()), "{}", windows.len());
        assert_eq!(windows.iter().map(|w| w.observations + w.shared + w.violations).sum::<usize>(), 4_000);
    }
}
