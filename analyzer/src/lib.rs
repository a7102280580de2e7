//! kvpath's analyzer: from recorded or imported segments to answers.
//!
//! * [`load`] opens a run and reads its tables; [`import`] makes runs from other tools' files.
//! * [`analysis`] is pure: tables in, tables out.
//! * [`check`] says whether a run is whole; [`report`] prints; [`sql`] answers queries; [`cli`] is one file a command.

pub mod analysis;
pub mod check;
pub mod cli;
pub mod error;
pub mod import;
pub mod load;
pub mod report;
pub mod sql;
