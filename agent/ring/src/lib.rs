//! Both ends of the ring file whose layout is [`kvpath_schema::wire::ring`].
//!
//! * [`Producer`]: in the traced process; maps the file, writes atomic words, never waits, never calls the system once the
//!   file is there.
//! * [`Reader`]: in the agent; reads with `pread`, believes nothing, writes the tails and the control words alone.
//! * [`file`]: where the files lie, who holds them, and when one can go.

pub mod file;
mod map;
mod producer;
mod reader;

pub use map::Map;
pub use producer::{About, Producer};
pub use reader::{Drained, Medium, Names, ReadError, Reader, Record};
