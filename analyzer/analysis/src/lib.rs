//! kvpath's engine: from the segments of a run to tables. Nothing is printed here.
//!
//! * [`load`] opens a run and reads its tables.
//! * [`clocks`] puts the clocks of its hosts on one axis.
//! * [`spill`] keeps what does not fit into memory in files.
//! * [`analysis`] is pure: tables in, tables out.
//! * [`timeline`] holds everything that ran, [`graph`] says what waited for what, and [`path`] walks back over it.
//! * [`joins`] counts what could be joined with what, and how.

pub mod analysis;
pub mod clocks;
pub mod error;
pub mod graph;
pub mod joins;
pub mod load;
pub mod path;
pub mod spill;
pub mod timeline;
