//! Cases 1 to 4: a pipeline without overheads. A unit is the time of a layer at the first chunk.

use super::{CaseSetup, CaseTruth, of_model};
use crate::distort::Random;
use crate::engine::Ns;
use crate::model::{Faults, Model, RunError};

/// A unit, ns.
const UNIT_NS: Ns = 1_000_000;
const STAGES: usize = 4;
const CHUNKS: usize = 16;
const LAYERS: i16 = 20;

pub(super) fn balanced(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    of_model(place, &Model::ideal(&[LAYERS; STAGES], &[UNIT_NS; CHUNKS]), |_| {})
}

/// From 1 unit to 4.47, evenly.
fn growing_chunks() -> Vec<Ns> {
    let last = Ns::try_from(CHUNKS - 1).unwrap_or(1);
    (0..=last).map(|j| UNIT_NS + 3_470_000 * j / last).collect()
}

pub(super) fn growing(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    of_model(place, &Model::ideal(&[LAYERS; STAGES], &growing_chunks()), |_| {})
}

pub(super) fn slow_layer(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    let faults = Faults { slow_layers: vec![(1, 7, 3000)], ..Faults::default() };
    of_model(place, &Model { faults, ..Model::ideal(&[LAYERS; STAGES], &[UNIT_NS; CHUNKS]) }, |_| {})
}

pub(super) fn random_costs(place: &CaseSetup) -> Result<CaseTruth, RunError> {
    let mut random = Random::new(place.seed, Random::MODEL);
    let (stages, chunks, layers) = (3, 5, 6);
    // Above what launching a pass takes, so that no host is late.
    let mut cost = || 200_000 + Ns::try_from(random.below(4_000_000)).unwrap_or(0);
    let stage_ns = (0..stages).map(|_| (0..chunks).map(|_| cost()).collect()).collect();
    let model = Model::ideal(&vec![layers; stages], &vec![UNIT_NS; chunks]);
    of_model(place, &Model { stage_ns: Some(stage_ns), ..model }, |_| {})
}
