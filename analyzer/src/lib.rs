//! kvpath's analyzer: from recorded or imported segments to answers.
//!
//! * [`kvpath_analysis`] opens a run and computes; [`kvpath_import`] makes runs from other tools' files.
//! * [`check`] says whether a run is whole; [`report`] prints; [`sql`] answers queries; [`json`] says what programs can rely on; [`cli`] is one file a command.

pub mod check;
pub mod cli;
pub mod error;
pub mod json;
pub mod report;
pub mod sql;
