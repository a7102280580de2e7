//! Both ends of the ring file whose layout is [`kvpath_schema::wire::ring`].
//!
//! * [`Producer`]: in the traced process; maps the file, writes atomic words, never waits, never calls the system once the
//!   file is there.
//! * [`Reader`]: in the agent; reads with `pread`, believes nothing, writes the tails and the control words alone.
//! * [`mod@file`]: where the files lie, who holds them, and when one can go.
//!
//! ```
//! use kvpath_ring::{ProducerInfo, file};
//! use kvpath_schema::wire::ring::records::{End, RingRecord as _};
//! use kvpath_schema::wire::ring::{GPU_LANE, Shape};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let shape = Shape { lanes: 4, gpu_words: 256, thread_words: 256, names_words: 64 };
//! let (path, producer) = file::create(folder.path(), shape, ProducerInfo { pid: 7, start_ticks: 8, created_ns: 9 })?;
//! assert!(producer.push(GPU_LANE, 5, &End { time_ns: 10, id: 1 }, None));
//!
//! let mut reader = file::open(&path)?;
//! let mut ids = Vec::new();
//! reader.drain(20, |record| ids.extend(End::read(record.words).map(|end| end.id)))?;
//! assert_eq!(ids, [1]);
//! # Ok(())
//! # }
//! ```

pub mod file;
mod map;
mod producer;
mod reader;

pub use map::Map;
pub use producer::{Producer, ProducerInfo};
pub use reader::{Drained, Medium, RawRecord, ReadError, Reader, RingNames};
