//! The one definition of every event and table of kvpath.
//!
//! * [`wire`]: `repr(C)` layouts that the BPF programs write and the agent reads (`no_std`).
//! * [`tables`] (feature `tables`): every raw and derived table. A column's name, type, unit and documentation are
//!   written once there; the Arrow schema, the Parquet encoding, the SQL table and the documentation derive from it.
//! * [`values`]: columns that hold one of a few values, whose spellings are written once.
//! * [`segment`]: Parquet files of those tables, with a footer that says version, clock, host and losses.
//! * [`version`]: which versions can be read.
#![cfg_attr(not(feature = "tables"), no_std)]

pub mod wire;

#[cfg(feature = "tables")]
pub mod cell;
#[cfg(feature = "tables")]
pub mod docs;
#[cfg(feature = "tables")]
pub mod segment;
#[cfg(feature = "tables")]
pub mod table;
#[cfg(feature = "tables")]
pub mod tables;
#[cfg(feature = "tables")]
pub mod values;
#[cfg(feature = "tables")]
pub mod version;
