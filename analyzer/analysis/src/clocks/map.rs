//! From the time of one clock to that of another: straight pieces, with what is known of their error.

use std::ops::RangeInclusive;

use super::bounds::{Bounds, Constraint};
use super::windows::{self, Window};

/// Drifts are kept in 2^-62.
const SCALE: u32 = 62;
/// What rounding adds to an error, ns: of the line, of its drift, and of the time that is moved, which is a whole ns too.
const ROUNDING_NS: i64 = 3;

/// What a piece rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Messages in both directions.
    TwoWay,
    /// Two windows around it, either of which may hold.
    Between,
    /// Messages in one direction only: no bound.
    OneWay,
    /// Before the first message, or after the last one: the window next to it, drawn on.
    Outside,
}

/// A straight piece: `o(t)`, what the other clock shows more than this one at this one's time `t`.
#[derive(Debug, Clone)]
pub struct Piece {
    /// From then on, ns.
    pub start: i64,
    /// Until then, ns.
    pub end: i64,
    /// What it rests on.
    pub basis: Basis,
    /// Messages in it.
    pub observations: usize,
    /// Messages that were left out.
    pub violations: usize,
    /// Offset at `start`, ns.
    offset: i64,
    /// 2^-62.
    drift: i64,
    /// The other clock showed this before: it never runs backwards.
    floor: i64,
    /// Of the window; of both, for [`Basis::Between`].
    bounds: Vec<Bounds>,
}

impl Piece {
    fn of(window: &Window, line: (i64, i64), basis: Basis) -> Self {
        let Window { first, last, bounds, observations, violations, shared: _ } = window;
        let bounds = vec![bounds.clone()];
        let (observations, violations) = (*observations, *violations);
        Self { observations, violations, ..Self::straight((*first, *last), line, basis, bounds) }
    }

    fn straight((start, end): (i64, i64), line: (i64, i64), basis: Basis, bounds: Vec<Bounds>) -> Self {
        let (rise, run) = (i128::from(line.1) - i128::from(line.0), i128::from(end) - i128::from(start));
        // Between windows a step may be as steep as it likes; a drift that does not fit is as good as the largest that does.
        let drift = if run == 0 { 0 } else { narrow((rise << SCALE).div_euclid(run)) };
        let (offset, floor) = (line.0, i64::MIN);
        Self { start, end, basis, observations: 0, violations: 0, offset, drift, floor, bounds }
    }

    /// The line at `t`.
    fn line(&self, t: i64) -> i64 {
        let along = i128::from(t) - i128::from(self.start);
        let rise = along.checked_mul(i128::from(self.drift)).map_or(0, |product| product >> SCALE);
        narrow(i128::from(self.offset) + rise)
    }

    /// What the other clock shows at `t`.
    fn time(&self, t: i64) -> i64 {
        t.saturating_add(self.line(t)).max(self.floor)
    }

    /// The least and the most that the offset can be at `t`, ns; `None` where that is not bounded.
    #[must_use]
    pub fn range(&self, t: i64) -> (Option<i64>, Option<i64>) {
        let lowest = self.bounds.iter().map(|bounds| bounds.lowest(t)).collect::<Option<Vec<i64>>>();
        let highest = self.bounds.iter().map(|bounds| bounds.highest(t)).collect::<Option<Vec<i64>>>();
        (lowest.and_then(|all| all.into_iter().min()), highest.and_then(|all| all.into_iter().max()))
    }

    /// The largest error between `from` and `until`, ns: the bounds are convex, the line is straight, so it is at an end; where
    /// the line is below what was shown before, the step up to that is added.
    fn worst(&self, from: i64, until: i64) -> Option<i64> {
        let at = |t: i64| -> Option<i64> {
            let (lowest, highest) = self.range(t);
            let (lowest, highest, line) = (lowest?, highest?, self.line(t));
            let raised = self.time(t).saturating_sub(t.saturating_add(line));
            Some(highest.saturating_sub(line).max(line.saturating_add(raised).saturating_sub(lowest)).max(0))
        };
        Some(at(from)?.max(at(until)?).saturating_add(ROUNDING_NS))
    }
}

fn narrow(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// From one clock to another. The first piece goes back, and the last one goes on, for ever; their errors grow there.
#[derive(Debug, Clone, Default)]
pub struct Map {
    pieces: Vec<Piece>,
}

impl Map {
    /// Of constraints on `o(t)`, sorted by time, with pieces for all of `extent`, where records of the host lie. `None` if no two
    /// messages in opposite directions agree: then nothing is known of the offset.
    #[must_use]
    pub fn of(constraints: &[Constraint], extent: Option<(i64, i64)>) -> Option<Self> {
        let windows = windows::split(constraints);
        let lines: Vec<Option<(i64, i64)>> =
            windows.iter().map(|window| window.bounds.middle(window.first, window.last)).collect();
        let anchor = lines.iter().position(Option::is_some)?;
        let mut pieces: Vec<Piece> = Vec::new();
        for (at, window) in windows.iter().enumerate() {
            let (line, basis) = if let Some(line) = lines[at] {
                (line, Basis::TwoWay)
            } else {
                // Nothing bounds it: the offset is taken to stay as it was next to it.
                let next = || lines[anchor].map_or(0, |line| line.0);
                let offset = pieces.last().map_or_else(next, |piece| piece.line(piece.end));
                let offset_at = |t| clamped(&window.bounds, t, offset);
                ((offset_at(window.first), offset_at(window.last)), Basis::OneWay)
            };
            let piece = Piece::of(window, line, basis);
            if let Some(before) = pieces.last()
                && before.end.saturating_add(1) < piece.start
            {
                let bounds = [before.bounds.as_slice(), &piece.bounds].concat();
                let line = (before.line(before.end), piece.line(piece.start));
                let observations = windows[at - 1].shared;
                let between = Piece::straight((before.end + 1, piece.start - 1), line, Basis::Between, bounds);
                pieces.push(Piece { observations, ..between });
            }
            pieces.push(piece);
        }
        let mut pieces = reaching(pieces, extent);
        let mut floor = i64::MIN;
        for piece in &mut pieces {
            piece.floor = floor;
            floor = piece.time(piece.end);
        }
        Some(Self { pieces })
    }

    /// Pieces in order; none for a clock and itself.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    fn at(&self, t: i64) -> Option<&Piece> {
        let next = self.pieces.partition_point(|piece| piece.end < t);
        self.pieces.get(next).or(self.pieces.last())
    }

    /// What the other clock shows at `t`, ns; never less for a later `t`.
    #[must_use]
    pub fn time(&self, t: i64) -> i64 {
        self.at(t).map_or(t, |piece| piece.time(t))
    }

    /// Offset and drift (billionths) of the line at `t`.
    #[must_use]
    pub fn line(&self, t: i64) -> (i64, i64) {
        let billionths = |piece: &Piece| narrow((i128::from(piece.drift) * 1_000_000_000) >> SCALE);
        self.at(t).map_or((0, 0), |piece| (piece.line(t), billionths(piece)))
    }

    /// The least and the most that the offset can be at `t`, ns.
    #[must_use]
    pub fn range(&self, t: i64) -> (Option<i64>, Option<i64>) {
        self.at(t).map_or((Some(0), Some(0)), |piece| piece.range(t))
    }

    /// The largest error of [`Map::time`] in a stretch of time, ns; `None` if there is no bound.
    #[must_use]
    pub fn worst(&self, times: RangeInclusive<i64>) -> Option<i64> {
        let (from, until) = times.into_inner();
        let parts = self.touched(from, until).map(|piece| {
            // Before the first piece and after the last one their lines go on.
            let start = if self.pieces.first().is_some_and(|first| first.start == piece.start) {
                from
            } else {
                piece.start.max(from)
            };
            let end =
                if self.pieces.last().is_some_and(|last| last.end == piece.end) { until } else { piece.end.min(until) };
            piece.worst(start, end)
        });
        parts.collect::<Option<Vec<i64>>>().map(|worst| worst.into_iter().max().unwrap_or(0))
    }

    /// By how much more than its argument [`Map::time`] can rise over `by` ns, anywhere in a stretch of time.
    #[must_use]
    pub fn spread(&self, times: RangeInclusive<i64>, by: i64) -> i64 {
        let (from, until) = times.into_inner();
        let pieces: Vec<&Piece> = self.touched(from, until).collect();
        let steepest = pieces.iter().map(|piece| piece.drift.max(0)).max().unwrap_or(0);
        let steps =
            pieces.windows(2).map(|two| two[1].time(two[1].start).saturating_sub(two[0].time(two[0].end)).max(0));
        let rise = narrow((i128::from(by) * i128::from(steepest)) >> SCALE);
        steps.fold(rise.saturating_add(1), i64::saturating_add)
    }

    fn touched(&self, from: i64, until: i64) -> impl Iterator<Item = &Piece> {
        let first = self.pieces.partition_point(|piece| piece.end < from).min(self.pieces.len().saturating_sub(1));
        let last = self.pieces.partition_point(|piece| piece.start <= until).max(first + 1);
        self.pieces[first.min(self.pieces.len())..last.min(self.pieces.len())].iter()
    }
}

/// Adds what lies before the first piece and after the last one.
fn reaching(mut pieces: Vec<Piece>, extent: Option<(i64, i64)>) -> Vec<Piece> {
    let outside = |piece: &Piece, start: i64, end: i64| {
        let (offset, basis) =
            (piece.line(start), if piece.basis == Basis::OneWay { Basis::OneWay } else { Basis::Outside });
        Piece { start, end, offset, basis, observations: 0, violations: 0, ..piece.clone() }
    };
    let Some((from, until)) = extent else { return pieces };
    let before = pieces.first().filter(|first| from < first.start).map(|first| outside(first, from, first.start - 1));
    let after = pieces.last().filter(|last| last.end < until).map(|last| outside(last, last.end + 1, until));
    pieces.splice(0..0, before);
    pieces.extend(after);
    pieces
}

/// An offset within what one side says.
fn clamped(bounds: &Bounds, t: i64, offset: i64) -> i64 {
    let offset = bounds.highest(t).map_or(offset, |high| offset.min(high));
    bounds.lowest(t).map_or(offset, |low| offset.max(low))
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Side;
    use super::*;

    fn probes(times: std::ops::Range<i64>, truth: impl Fn(i64) -> i64) -> Vec<Constraint> {
        let each = times.flat_map(|i| {
            let at = i * 50_000_000;
            [(Side::Upper, 9_000), (Side::Lower, -13_000)].map(|(side, way)| Constraint {
                at,
                side,
                limit: truth(at) + way,
            })
        });
        each.collect()
    }

    #[test]
    fn a_clock_and_itself_need_nothing() {
        let map = Map::default();
        assert_eq!((map.time(7), map.line(7), map.worst(0..=9)), (7, (0, 0), Some(0)));
    }

    #[test]
    fn one_direction_gives_no_map() {
        let one: Vec<Constraint> = probes(0..10, |_| 0).into_iter().filter(|c| c.side == Side::Upper).collect();
        assert!(Map::of(&one, None).is_none());
        assert!(Map::of(&[], None).is_none());
    }

    #[test]
    fn an_error_grows_outside_of_the_observations() {
        let truth = |t: i64| 5_000_000 + t / 1_000_000 * 30;
        let map = Map::of(&probes(0..100, truth), None).unwrap();
        let end = 99 * 50_000_000;
        let (inside, outside) = (map.worst(0..=end).unwrap(), map.worst(0..=10 * end).unwrap());
        assert!((11_000..16_000).contains(&inside), "{inside}");
        assert!((inside + 1..20 * inside).contains(&outside), "{outside}");
        for t in [0, end, 10 * end, -end] {
            let t = t / 1_000_000 * 1_000_000;
            assert!((map.time(t) - t - truth(t)).abs() <= map.worst(t..=t).unwrap());
        }
    }

    #[test]
    fn time_never_runs_backwards_over_a_step_and_the_gap_is_as_uncertain_as_the_step() {
        for step in [3_000_000, -3_000_000, -200_000_000] {
            let truth = |t: i64| if t < 5_000_000_000 { 0 } else { step };
            let map = Map::of(&probes(0..200, truth), None).unwrap();
            let bases: Vec<Basis> = map.pieces().iter().map(|piece| piece.basis).collect();
            assert_eq!(bases, [Basis::TwoWay, Basis::Between, Basis::TwoWay]);
            let mut before = i64::MIN;
            for t in (4_900_000_000..5_300_000_000).step_by(1_000_000) {
                let now = map.time(t);
                assert!(now >= before, "{step}: {t}");
                let eps = map.worst(t..=t).unwrap();
                assert!((now - t - truth(t)).abs() <= eps, "{step}: {t}: {now} {eps}");
                before = now;
            }
            assert!(map.worst(4_960_000_000..=4_990_000_000).unwrap() >= step.abs() / 2);
            assert!(map.worst(9_000_000_000..=9_900_000_000).unwrap() >= 11_000);
        }
    }
}
