//! The engine's answers held against the simulator's truth.

mod path;
mod same;
mod walks;
