//! NVTX 3: ranges, marks, domains, registered strings, thread names, payloads. Needs no GPU.
//!
//! Costs a clock read and one record an event. The ends of ranges are records of their own, so that a range whose process
//! was killed is there, without an end. Domains and strings belong to the process and outlive a fork, as the handles that
//! the program keeps do; their ids in the ring do not.

mod events;
mod ffi;
mod registry;
pub mod table;
mod texts;

pub use texts::Texts;
