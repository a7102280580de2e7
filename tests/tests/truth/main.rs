//! The engine's answers held against the simulator's truth.

mod layers;
mod path;
mod same;
mod simulated;
mod walks;
