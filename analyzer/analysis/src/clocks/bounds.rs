//! All straight lines `o(t)` that pass below every upper constraint and above every lower one: linear programming in two
//! dimensions (offset and drift), solved exactly on the constraints' convex hulls. O(n log n); integers throughout, and what is
//! rounded is rounded outward.
//!
//! A line `c + b t` satisfies all constraints with drift `b` if `c` is at most `min(u - b x)` and at least `max(l - b x)`; only
//! corners of the lower hull of upper constraints, and of the upper hull of lower ones, attain these. Their difference is concave
//! in `b` and linear between the slopes of the hulls' edges, so the drifts that are possible are an interval, whose ends are
//! lines through one constraint of each side (A. Duda et al., "Estimating clock offset in distributed systems"; S. Moon,
//! P. Skelly, D. Towsley, "Estimation and removal of clock skew from network delay measurements", INFOCOM 1999).

use std::cmp::Ordering;

/// Two clocks are taken to differ in rate by 1 in this at most: 500 ppm, the largest frequency error that the kernel's clock
/// discipline corrects (`MAXFREQ` of `adjtimex`), many times what quartz does (below 100 ppm).
pub const DRIFT_ONE_IN: i128 = 2_000;

/// On which side of the line a constraint lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The line is at most there.
    Upper,
    /// The line is at least there.
    Lower,
}

/// A point that the line must pass on the side that is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Constraint {
    /// Time, ns.
    pub at: i64,
    /// Side.
    pub side: Side,
    /// Offset, ns.
    pub limit: i64,
}

/// A drift as a fraction; the denominator is above 0.
#[derive(Debug, Clone, Copy)]
struct Drift {
    rise: i128,
    run: i128,
}

impl Drift {
    const MOST: Self = Self { rise: 1, run: DRIFT_ONE_IN };
    const LEAST: Self = Self { rise: -1, run: DRIFT_ONE_IN };

    fn between((x0, y0): Point, (x1, y1): Point) -> Self {
        let (rise, run) = (i128::from(y1) - i128::from(y0), i128::from(x1) - i128::from(x0));
        if run < 0 { Self { rise: -rise, run: -run } } else { Self { rise, run } }
    }

    fn negated(self) -> Self {
        Self { rise: -self.rise, run: self.run }
    }

    /// Rises are below 2^65 and runs below 2^63 in size.
    fn order(self, other: Self) -> Ordering {
        (self.rise * other.run).cmp(&(other.rise * self.run))
    }
}

type Point = (i64, i64);

/// A line by a point and its drift.
#[derive(Debug, Clone, Copy)]
struct Line {
    through: Point,
    drift: Drift,
}

impl Line {
    /// The value at `t`, rounded down and up.
    fn at(&self, t: i64) -> (i64, i64) {
        // Drifts are below 1/2000: the product has less than 2^116.
        let rise = self.drift.rise * (i128::from(t) - i128::from(self.through.0));
        let down = i128::from(self.through.1) + rise.div_euclid(self.drift.run);
        let up = down + i128::from(rise.rem_euclid(self.drift.run) > 0);
        (narrow(down), narrow(up))
    }
}

fn narrow(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// The lower convex hull of points that are sorted by time.
struct Hull(Vec<Point>);

impl Hull {
    fn of(points: impl Iterator<Item = Point>) -> Self {
        let mut hull: Vec<Point> = Vec::new();
        for point in points {
            if let Some(last) = hull.last()
                && last.0 == point.0
            {
                if last.1 <= point.1 {
                    continue;
                }
                hull.pop();
            }
            while let [.., a, b] = hull.as_slice()
                && Drift::between(*a, *b).order(Drift::between(*b, point)) != Ordering::Less
            {
                hull.pop();
            }
            hull.push(point);
        }
        Self(hull)
    }

    fn edges(&self) -> impl Iterator<Item = Drift> {
        self.0.windows(2).map(|pair| Drift::between(pair[0], pair[1]))
    }

    /// The corner below which no line of that drift touches; of the two ends of an edge of that drift the one that also serves
    /// smaller (else larger) drifts.
    fn touched(&self, drift: Drift, for_smaller: bool) -> Point {
        let (mut low, mut high) = (0, self.0.len() - 1);
        while low < high {
            let middle = low.midpoint(high);
            let passes = match Drift::between(self.0[middle], self.0[middle + 1]).order(drift) {
                Ordering::Less => true,
                Ordering::Equal => !for_smaller,
                Ordering::Greater => false,
            };
            if passes { low = middle + 1 } else { high = middle }
        }
        self.0[low]
    }
}

/// The lines that satisfy all constraints, by the corners of their polygon.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    /// Lines that are highest somewhere; empty where nothing bounds from above.
    upper: Vec<Line>,
    /// Lines that are lowest somewhere; empty where nothing bounds from below.
    lower: Vec<Line>,
}

impl Bounds {
    /// Of constraints sorted by time; `None` if no line satisfies all of them. Times must be within ±2^61, limits within ±2^63.
    #[must_use]
    pub fn of(constraints: &[Constraint]) -> Option<Self> {
        let of = |side| constraints.iter().filter(move |constraint| constraint.side == side);
        let above = Hull::of(of(Side::Upper).map(|c| (c.at, c.limit)));
        // Mirrored, so that it is a lower hull too.
        let below = Hull::of(of(Side::Lower).map(|c| (c.at, c.limit.saturating_neg())));
        let within = |drift: &Drift| {
            drift.order(Drift::LEAST) == Ordering::Greater && drift.order(Drift::MOST) == Ordering::Less
        };
        let mut drifts: Vec<Drift> = above.edges().chain(below.edges().map(Drift::negated)).filter(within).collect();
        drifts.extend([Drift::LEAST, Drift::MOST]);
        drifts.sort_by(|a, b| a.order(*b));
        let line = |hull: &Hull, drift: Drift| Line { through: hull.touched(drift, true), drift };
        if above.0.is_empty() || below.0.is_empty() {
            let lines = |hull: &Hull, mirror: bool| -> Vec<Line> {
                let lines = drifts.iter().filter(|_| !hull.0.is_empty());
                lines
                    .map(|drift| if mirror { mirrored(line(hull, drift.negated())) } else { line(hull, *drift) })
                    .collect()
            };
            return Some(Self { upper: lines(&above, false), lower: lines(&below, true) });
        }
        let corners = |drift: &Drift| (line(&above, *drift), mirrored(line(&below, drift.negated())));
        let fits = |drift: &Drift| {
            let (high, low) = corners(drift);
            let apart = i128::from(high.through.1) - i128::from(low.through.1);
            let along = i128::from(high.through.0) - i128::from(low.through.0);
            drift.run * apart - drift.rise * along >= 0
        };
        let (first, last) = (drifts.iter().position(fits)?, drifts.iter().rposition(fits)?);
        let (mut upper, mut lower): (Vec<Line>, Vec<Line>) = drifts[first..=last].iter().map(corners).unzip();
        // Where the interval ends within a segment, the line through the corners that are active there.
        let mut end = |drift: Drift, for_smaller: bool| {
            let (x, y) = below.touched(drift.negated(), !for_smaller);
            let (high, low) = (above.touched(drift, for_smaller), (x, y.saturating_neg()));
            let drift = Drift::between(high, low);
            upper.push(Line { through: high, drift });
            lower.push(Line { through: low, drift });
        };
        if first > 0 {
            end(drifts[first], true);
        }
        if last + 1 < drifts.len() {
            end(drifts[last], false);
        }
        Some(Self { upper, lower })
    }

    /// The most that the offset can be at `t`, ns, rounded up; `None` if nothing bounds it.
    #[must_use]
    pub fn highest(&self, t: i64) -> Option<i64> {
        self.upper.iter().map(|line| line.at(t).1).max()
    }

    /// The least that the offset can be at `t`, ns, rounded down; `None` if nothing bounds it.
    #[must_use]
    pub fn lowest(&self, t: i64) -> Option<i64> {
        self.lower.iter().map(|line| line.at(t).0).min()
    }

    /// Offsets at `start` and at `end` of a line in the middle of the bounds: through the middle at either end if that satisfies
    /// every constraint, else the mean of the lines that are highest and lowest at either, which does (to a ns). `None` where one
    /// side is open.
    #[must_use]
    pub fn middle(&self, start: i64, end: i64) -> Option<(i64, i64)> {
        let half = |t| Some(self.lowest(t)?.midpoint(self.highest(t)?));
        let (from, to) = (half(start)?, half(end)?);
        let through = (start, from);
        let line = Line { through, drift: Drift::between(through, (end.max(start.saturating_add(1)), to)) };
        let is_steady = line.drift.order(Drift::LEAST).is_ge() && line.drift.order(Drift::MOST).is_le();
        let is_below = || self.upper.iter().all(|upper| line.at(upper.through.0).0 <= upper.through.1);
        let is_above = || self.lower.iter().all(|lower| line.at(lower.through.0).1 >= lower.through.1);
        if is_steady && is_below() && is_above() {
            return Some((from, to));
        }
        let highest = |t| self.upper.iter().max_by_key(|line| line.at(t).1);
        let lowest = |t| self.lower.iter().min_by_key(|line| line.at(t).0);
        let four = [highest(start)?, lowest(start)?, highest(end)?, lowest(end)?];
        let mean = |t| narrow(four.iter().map(|line| i128::from(line.at(t).0)).sum::<i128>().div_euclid(4));
        Some((mean(start), mean(end)))
    }
}

fn mirrored(line: Line) -> Line {
    Line { through: (line.through.0, line.through.1.saturating_neg()), drift: line.drift.negated() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn upper(at: i64, limit: i64) -> Constraint {
        Constraint { at, side: Side::Upper, limit }
    }

    fn lower(at: i64, limit: i64) -> Constraint {
        Constraint { at, side: Side::Lower, limit }
    }

    #[test]
    fn a_probe_at_either_end_bounds_offset_and_drift() {
        // Offset 1000 at 0 and 1100 at 10^6 (100 ppm), a way of 10 either side.
        let bounds =
            Bounds::of(&[lower(0, 990), upper(0, 1_010), lower(1_000_000, 1_090), upper(1_000_000, 1_110)]).unwrap();
        assert_eq!((bounds.lowest(0), bounds.highest(0)), (Some(990), Some(1_010)));
        assert_eq!((bounds.lowest(500_000), bounds.highest(500_000)), (Some(1_040), Some(1_060)));
        // Beyond, the drift's own bounds tell: 80 to 120 ppm.
        assert_eq!((bounds.lowest(2_000_000), bounds.highest(2_000_000)), (Some(1_170), Some(1_230)));
        assert_eq!(bounds.middle(0, 1_000_000), Some((1_000, 1_100)));
    }

    #[test]
    fn one_side_alone_bounds_that_side_by_the_largest_drift() {
        let bounds = Bounds::of(&[upper(0, 100), upper(1_000_000, 50)]).unwrap();
        assert_eq!((bounds.lowest(0), bounds.highest(0)), (None, Some(100)));
        assert_eq!(bounds.highest(2_000_000), Some(550));
        assert_eq!(bounds.middle(0, 1), None);
        let bounds = Bounds::of(&[lower(0, 100)]).unwrap();
        assert_eq!((bounds.lowest(-2_000), bounds.highest(-2_000)), (Some(99), None));
        let bounds = Bounds::of(&[]).unwrap();
        assert_eq!((bounds.lowest(0), bounds.highest(0)), (None, None));
    }

    #[test]
    fn what_no_line_satisfies_has_no_bounds() {
        assert!(Bounds::of(&[upper(0, 10), lower(0, 11)]).is_none());
        // 501 ppm would be needed.
        assert!(Bounds::of(&[upper(0, 0), lower(1_000_000, 501)]).is_none());
        assert!(Bounds::of(&[upper(0, 0), lower(1_000_000, 500)]).is_some());
        // Each pair agrees, the three do not.
        assert!(Bounds::of(&[lower(0, 0), upper(500_000, -1), lower(1_000_000, 0)]).is_none());
    }

    #[test]
    fn the_largest_times_do_not_overflow() {
        let far = 1 << 61;
        let bounds =
            Bounds::of(&[lower(-far, i64::MIN / 2), upper(-far, i64::MAX / 2), upper(far, i64::MAX / 2)]).unwrap();
        assert!(bounds.highest(far).unwrap() >= bounds.lowest(far).unwrap());
        assert!(Bounds::of(&[lower(-far, i64::MAX), upper(0, i64::MIN), upper(far, i64::MAX)]).is_none());
    }

    proptest! {
        /// Any line that satisfies the constraints lies within; each bound is attained by one that violates none by more than
        /// rounding.
        #[test]
        fn bounds_hold_every_line_and_are_tight(
            offset in -5_000_000i64..5_000_000,
            ppm in -400i64..400,
            ways in prop::collection::vec((0i64..60_000_000_000, 0i64..100_000, any::<bool>()), 2..60),
            asked in -10_000_000_000i64..70_000_000_000,
        ) {
            let truth = |t: i64| offset + t / 1_000_000 * ppm;
            let mut constraints: Vec<Constraint> = ways
                .iter()
                .map(|(at, way, up)| {
                    let at = at / 1_000_000 * 1_000_000;
                    if *up { upper(at, truth(at) + way) } else { lower(at, truth(at) - way) }
                })
                .collect();
            constraints.sort_unstable();
            let bounds = Bounds::of(&constraints).expect("the true line satisfies them");
            let asked = asked / 1_000_000 * 1_000_000;
            prop_assert!(bounds.highest(asked).is_none_or(|high| truth(asked) <= high));
            prop_assert!(bounds.lowest(asked).is_none_or(|low| low <= truth(asked)));
            for line in bounds.upper.iter().chain(&bounds.lower) {
                for c in &constraints {
                    let (down, up) = line.at(c.at);
                    let fits = if c.side == Side::Upper { down <= c.limit } else { up >= c.limit };
                    prop_assert!(fits, "{line:?} {c:?}");
                }
            }
            if let Some((from, to)) = bounds.middle(0, 60_000_000_000) {
                prop_assert!(bounds.lowest(0) <= Some(from + 1) && Some(from) <= bounds.highest(0));
                prop_assert!(bounds.lowest(60_000_000_000) <= Some(to + 1) && Some(to) <= bounds.highest(60_000_000_000));
            }
        }
    }
}
