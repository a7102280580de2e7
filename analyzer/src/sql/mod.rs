//! SQL over a run: one `DataFusion` session whose tables are the schema's.
//!
//! * [`session`] plans and runs; [`segments`] serves raw tables from the run's files, [`absent`] what old ones lack, [`named`] adds what the texts of serving
//!   engines say, [`derived`] computes the others
//!   when a query scans them, [`functions`] those of one request, [`catalog`] makes the library and the schema queryable.
//! * [`library`] holds the queries of `queries/`, [`header`] reads what they say of themselves, [`params`] binds values.
//! * [`several`] makes several runs one, with a column that says whose each row is.
//! * [`statement`] refuses what would write; [`format`](mod@format) encodes answers; [`memory`] reads sizes.
//!
//! A run is only ever read. Memory of the query engine is bounded and spills to the temporary folder; derived tables are
//! computed outside of that bound, in the memory that `kvpath report` needs for the same run.

pub mod absent;
pub mod catalog;
pub mod derived;
pub mod error;
pub mod format;
pub mod functions;
pub mod header;
pub mod library;
pub mod memory;
pub mod named;
pub mod params;
pub mod segments;
pub mod session;
pub mod several;
pub mod statement;

#[cfg(test)]
mod answers;
#[cfg(test)]
mod contract;

pub use error::SqlError;
pub use session::Session;
