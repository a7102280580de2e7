//! How much of the paths a finding is about.

use std::collections::HashMap;

use crate::path::Walker;
use crate::path::category::Category;

/// Where on paths the time lies that a finding is about.
#[derive(Debug, Clone)]
pub(super) struct OnPath {
    /// Of these requests, in order.
    pub(super) requests: Vec<i32>,
    /// Where it is spent: `stages.stage_id`.
    pub(super) stage_ids: Vec<i32>,
    /// What on.
    pub(super) categories: &'static [Category],
}

/// Of each the time on the paths of its requests, ns; none where it has no place, or none of its requests has a path.
pub(super) fn of(places: &[Option<&OnPath>], walker: &Walker) -> Vec<Option<i64>> {
    let mut wanted: HashMap<i32, Vec<usize>> = HashMap::new();
    for (at, place) in places.iter().enumerate() {
        for request in place.iter().flat_map(|place| &place.requests) {
            wanted.entry(*request).or_default().push(at);
        }
    }
    let mut sums = vec![None; places.len()];
    walker.each(
        |request| wanted.contains_key(&request.number),
        |path, segments| {
            for at in &wanted[&path.request] {
                let Some(place) = places[*at] else { continue };
                let is_of_place = |category: &str| place.categories.iter().any(|own| own.name() == category);
                let own = segments
                    .iter()
                    .filter(|segment| segment.stage_id.is_some_and(|id| place.stage_ids.contains(&id)))
                    .filter(|segment| is_of_place(&segment.category));
                let ns = own.fold(0, |sum: i64, segment| sum.saturating_add(segment.dur_ns));
                sums[*at] = Some(sums[*at].unwrap_or(0i64).saturating_add(ns));
            }
        },
    );
    sums
}
