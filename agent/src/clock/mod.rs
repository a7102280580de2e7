//! Two-way clock probes between hosts, 20 a second to each peer: what lets an analyzer put recordings of several hosts on one axis.
//!
//! A thread of its own sends and answers, so that it never waits for the recording, nor the recording for it. Every packet carries an
//! HMAC-SHA-256 under a key that the hosts share; what does not is dropped and counted, and so is what was seen before. Times are
//! `CLOCK_MONOTONIC`, read before a packet is handed to the kernel and after it was taken from it: what either host does meanwhile
//! only makes the way longer, and a bound looser, never wrong. Costs: 40 packets of 144 bytes a second and peer, either way.

mod packet;
mod prober;
mod settings;
mod source;

pub use settings::{Clocking, KeyError, key, peer};
pub use source::ClockSource;
