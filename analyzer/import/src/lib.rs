//! Runs made from other tools' files. An import writes the same segments as a live recording.

pub mod client;
pub mod kineto;
mod launched;
pub mod nsys;
