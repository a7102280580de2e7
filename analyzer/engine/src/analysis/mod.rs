//! From raw tables to answers. Pure: no file is read and nothing is printed here.
//!
//! [`lanes`] (what ran, forward passes) and [`posts`] (what was handed over) give [`stages`]; these give [`requests`];
//! and from those come [`chunks`], [`bubbles`], [`handoffs`], [`summary`] and [`coverage`].

use kvpath_schema::tables::derived::{Bubbles, Chunks, Coverages, Handoffs, Layers, Requests, Stages};

pub mod bubbles;
pub mod ceilings;
pub mod chunks;
pub mod coverage;
pub mod handoffs;
pub mod intervals;
pub mod lanes;
pub mod made;
pub mod mine;
pub mod posts;
pub mod ranges;
pub mod raw;
pub mod requests;
pub mod serving;
#[cfg(test)]
mod serving_tests;
pub mod stages;
pub mod summary;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
pub mod titles;

pub use raw::Raw;

/// What the user may set.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Ceiling of a hand-off's rate, bytes a second; else the best seen in the run.
    pub ceiling_bytes_per_s: Option<f64>,
}

/// Every derived table of a run.
#[derive(Debug, Default)]
pub struct Analysis {
    /// Stages.
    pub stages: Stages,
    /// Requests.
    pub requests: Requests,
    /// Chunks.
    pub chunks: Chunks,
    /// Bubbles.
    pub bubbles: Bubbles,
    /// Layers.
    pub layers: Layers,
    /// Hand-offs.
    pub handoffs: Handoffs,
    /// Coverage.
    pub coverage: Coverages,
}

impl Analysis {
    /// Computes every derived table.
    #[must_use]
    pub fn of(raw: &Raw, settings: &Settings) -> Self {
        let lanes = lanes::of(raw);
        let posts = posts::of(raw, &lanes);
        let work = stages::of(raw, &lanes, &posts);
        let request_work = requests::of(raw, &work);
        let (chunks, layers) = chunks::of(&work, &request_work);
        let bubbles = bubbles::of(&work, &request_work, &chunks);
        let handoffs = handoffs::of(raw, &work, &request_work, settings);
        let requests = summary::requests(raw, &work, &request_work, &handoffs);
        let coverage = coverage::of(raw, &work, &request_work, &handoffs);
        let mut stages = stages::table(&work);
        summary::layer_medians(&mut stages, &layers);
        Self { stages, requests, chunks, bubbles, layers, handoffs, coverage }
    }
}
