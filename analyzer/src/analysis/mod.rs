//! From raw tables to answers. Pure: no file is read and nothing is printed here.

use kvpath_schema::tables::derived::{Chunks, Coverages, Handoffs, Layers, Requests, Stages};

pub mod raw;

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
        let _ = (raw, settings);
        Self::default()
    }
}
