//! The one definition of every event and table of kvpath.
//!
//! * [`wire`]: `repr(C)` layouts that the BPF programs write and the agent reads (`no_std`).
//! * [`tables`] (feature `tables`): every raw and derived table. A column's name, type, unit and documentation are
//!   written once there; the Arrow schema, the Parquet encoding, the SQL table and the documentation derive from it.
//! * [`values`]: columns that hold one of a few values, whose spellings are written once.
//! * [`segment`]: Parquet files of those tables, with a footer that says version, clock, host and losses.
//! * [`store`]: where segments lie, and how they appear there.
//! * [`version`]: which versions can be read.
//!
//! A table in memory is a struct of vectors, and an Arrow batch when it is asked for:
//!
//! ```
//! # #[cfg(feature = "tables")] {
//! use kvpath_schema::table::Columns as _;
//! use kvpath_schema::tables::nixl::{NixlAgent, NixlAgents};
//!
//! let mut agents = NixlAgents::default();
//! agents.push(NixlAgent { time_ns: 20, process_id: 7, agent_ptr: 0x1000, name: "prefill-0".into(), library: "nixl".into() });
//! let batch = agents.to_batch();
//! assert_eq!((agents.len(), batch.num_rows()), (1, 1));
//! assert_eq!(batch.schema(), NixlAgents::DEF.arrow_schema());
//! # }
//! ```
#![cfg_attr(not(feature = "tables"), no_std)]

pub mod wire;

#[cfg(feature = "tables")]
pub mod cell;
#[cfg(feature = "tables")]
pub mod docs;
#[cfg(feature = "tables")]
pub mod segment;
#[cfg(feature = "tables")]
pub mod store;
#[cfg(feature = "tables")]
pub mod table;
#[cfg(feature = "tables")]
pub mod tables;
#[cfg(feature = "tables")]
pub mod values;
#[cfg(feature = "tables")]
pub mod version;
