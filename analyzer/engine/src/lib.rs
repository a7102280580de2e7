//! kvpath's engine: from the segments of a run to tables. Nothing is printed here.
//!
//! * [`load`] opens a run and reads its tables.
//! * [`clocks`] puts the clocks of its hosts on one axis.
//! * [`analysis`] is pure: tables in, tables out.

pub mod analysis;
pub mod clocks;
pub mod error;
pub mod load;
