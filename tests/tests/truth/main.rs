//! The engine's answers held against the simulator's truth.

mod layers;
mod path;
mod properties;
mod same;
mod simulated;
mod sizes;
mod walks;
