//! Copies between a GPU and host memory, 44 bytes each, but for the small ones that every step of an engine makes.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::Memcpys;

use super::copy_rows::CopyRows;
use super::{Consumer, WantedColumns};
use crate::clocks::HostClock;
use crate::error::LoadError;
use crate::intervals::Span;
use crate::load::batches::Batch;
use crate::spill::Memory;

/// Numbers for a step, tokens that were sampled, are smaller; the KV of a block of tokens in a layer is not.
const SMALLEST_BYTES: i64 = 4096;

/// Copies of several processes: once they are [`HostCopies::finish`]ed by process, stream and direction, those of each by start.
#[derive(Debug, Default)]
pub struct HostCopies(CopyRows<HostRoute>);

/// What many copies have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostRoute {
    /// Process that asked for it.
    pub process: i64,
    /// CUDA context.
    pub context: i32,
    /// CUDA stream.
    pub stream: i32,
    /// To the host, not from it.
    pub is_out: bool,
}

/// A copy from a GPU to host memory, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCopy {
    /// Whose, and which way.
    pub way: HostRoute,
    /// When.
    pub span: Span,
    /// Size, bytes.
    pub bytes: i64,
    /// `correlation_id`.
    pub correlation: i64,
}

const MEMCPYS: [WantedColumns; 1] = [WantedColumns {
    table: Memcpys::DEF,
    columns: &["start_ns", "dur_ns", "process_id", "context_id", "stream_id", "correlation_id", "bytes", "kind"],
}];

const OUT: u32 = 0;
const IN: u32 = 1;

impl HostCopies {
    /// None yet.
    #[must_use]
    pub fn within(memory: &Memory) -> Self {
        Self(CopyRows::within(memory))
    }

    #[cfg(test)]
    pub(super) fn add(&mut self, copy: HostCopy) -> Result<(), LoadError> {
        self.0.push(copy.way, copy.span, copy.bytes, copy.correlation)
    }

    /// Puts all that was read in order.
    ///
    /// # Errors
    /// No room for files.
    pub fn finish(&mut self, memory: &Memory) -> Result<(), LoadError> {
        self.0.sort_by_key(memory, |own, at| (own.way(at), own.span(at), own.bytes[at], own.correlation[at]))
    }

    fn copy(&self, at: usize) -> HostCopy {
        let own = &self.0;
        HostCopy { way: own.way(at), span: own.span(at), bytes: own.bytes[at], correlation: own.correlation[at] }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = HostCopy> {
        (0..self.0.len()).map(|at| self.copy(at))
    }
}

impl Consumer for HostCopies {
    fn wants(&self) -> &'static [WantedColumns] {
        &MEMCPYS
    }

    fn take(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        let kind = |name: &str| match name {
            "DtoH" => Some(OUT),
            "HtoD" => Some(IN),
            _ => None,
        };
        let way = |(process, context, stream), kind, _| HostRoute { process, context, stream, is_out: kind == OUT };
        self.0.take(batch, host, kind, SMALLEST_BYTES, way)
    }
}
