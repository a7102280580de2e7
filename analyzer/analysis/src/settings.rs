//! What the user may set.

use crate::spill::Memory;

/// What the user may set.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Ceiling of a hand-off's rate, bytes a second; else the best seen in the run.
    pub ceiling_bytes_per_s: Option<f64>,
    /// Memory of what ran.
    pub memory: Memory,
}
