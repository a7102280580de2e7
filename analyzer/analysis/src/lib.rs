//! From the segments of a run to answers. Nothing is printed here.
//!
//! Data climbs a stair once; a floor imports only what lies below it:
//!
//! 1. [`load`] opens a run and reads its tables: the only floor that reads.
//! 2. [`clocks`] puts the clocks of its hosts on one axis.
//! 3. [`facts`] holds what raw tables say by themselves.
//! 4. [`serving`] is all that is known of serving engines.
//! 5. [`timeline`] holds everything that ran.
//! 6. [`structure`] finds stages, forward passes, layers, requests and chunks in it.
//! 7. [`graph`] says what waited for what.
//! 8. Answers, one question each, none of which imports another: [`path`], [`audit`], [`bubbles`], [`handoffs`], [`requests`], [`contacts`],
//!    [`heartbeats`], [`others`], [`coverage`], [`joins`], [`gpu_clock`].
//! 9. [`findings`] says what the tables justify saying.
//! 10. [`model`] makes and keeps all of these for a run.
//!
//! [`spill`], [`intervals`], [`method`], [`number`], [`settings`], and [`units`] and [`title`] for sentences, serve all floors.

pub mod audit;
pub mod bubbles;
pub mod clocks;
pub mod contacts;
pub mod coverage;
pub mod error;
pub mod facts;
pub mod findings;
pub mod gpu_clock;
pub mod graph;
pub mod handoffs;
pub mod heartbeats;
pub mod intervals;
pub mod joins;
pub mod load;
pub mod method;
pub mod model;
pub mod number;
pub mod others;
pub mod path;
pub mod requests;
pub mod serving;
pub mod settings;
pub mod spill;
pub mod steps;
pub mod structure;
pub mod stuck;
#[cfg(test)]
mod synthetic;
pub mod timeline;
pub mod title;
pub mod units;
