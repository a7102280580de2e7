//! kvpath's engine: from the segments of a run to tables. Nothing is printed here.
//!
//! * [`load`] opens a run and reads its tables.
//! * [`analysis`] is pure: tables in, tables out.

pub mod analysis;
pub mod error;
pub mod load;
