//! Clocks one behind another: from a host's to that of the next, and on to the reference's.

use std::ops::RangeInclusive;

use super::map::Map;

/// Maps one behind another; none for the reference itself.
#[derive(Debug, Clone, Default)]
pub struct Chain(Vec<Map>);

impl Chain {
    /// `first`, and on from there.
    #[must_use]
    pub fn new(first: Map, rest: &Self) -> Self {
        Self([vec![first], rest.0.clone()].concat())
    }

    /// The map to the next clock.
    #[must_use]
    pub fn first(&self) -> Option<&Map> {
        self.0.first()
    }

    /// Whether it leads through a third clock.
    #[must_use]
    pub fn is_composed(&self) -> bool {
        self.0.len() > 1
    }

    /// What the last clock shows at `t` of the first, ns; never less for a later `t`.
    #[must_use]
    pub fn time(&self, t: i64) -> i64 {
        self.0.iter().fold(t, |t, map| map.time(t))
    }

    /// The largest error of [`Chain::time`] in a stretch of time, ns; `None` if there is no bound. No clock runs backwards, so an
    /// error of the first map moves the second's result by what the second rises over it, and its own error comes on top.
    #[must_use]
    pub fn worst(&self, times: RangeInclusive<i64>) -> Option<i64> {
        let (mut from, mut until) = times.into_inner();
        let mut error = 0i64;
        for map in &self.0 {
            let spread = map.spread(from..=until, error);
            let own = map.worst(from..=until)?;
            error = error.saturating_add(if error == 0 { 0 } else { spread }).saturating_add(own);
            (from, until) = (map.time(from).saturating_sub(error), map.time(until).saturating_add(error));
        }
        Some(error)
    }

    /// The least and the most that the last clock can show at `t` of the first, ns.
    #[must_use]
    pub fn range(&self, t: i64) -> (Option<i64>, Option<i64>) {
        if let [map] = self.0.as_slice() {
            let (lowest, highest) = map.range(t);
            return (lowest.map(|o| t.saturating_add(o)), highest.map(|o| t.saturating_add(o)));
        }
        let (time, error) = (self.time(t), self.worst(t..=t));
        (error.map(|ns| time.saturating_sub(ns)), error.map(|ns| time.saturating_add(ns)))
    }
}
