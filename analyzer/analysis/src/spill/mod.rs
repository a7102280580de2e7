//! What does not fit into the memory that a run may take: columns of numbers that move to files and stay readable as slices.
//!
//! The system writes such a column out and reads it back by pages, as it needs the memory: a run is limited by the disk, and
//! what is asked of it stays the same.

mod column;
mod map;
mod numbers;
mod optional;
mod order;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::statfs;

pub use column::{Column, Number};
pub use numbers::Numbers;
pub use optional::Optional;
pub use order::sorted;

use crate::error::LoadError;

/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS: i64 = 0x0102_1994;

/// Columns up to this size stay in memory whatever the limit: there are many, and they are small in sum.
const SMALL_BYTES: usize = 64 << 10;

/// How much of a run may be in memory, shared by all that hold it.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<MemoryUse>);

#[derive(Debug)]
struct MemoryUse {
    limit: usize,
    held: AtomicUsize,
    spilled: AtomicUsize,
}

impl Default for MemoryUse {
    /// No limit.
    fn default() -> Self {
        Self { limit: usize::MAX, held: AtomicUsize::new(0), spilled: AtomicUsize::new(0) }
    }
}

impl Memory {
    /// At most so many bytes, but for small columns.
    #[must_use]
    pub fn of(limit: usize) -> Self {
        Self(Arc::new(MemoryUse { limit, ..MemoryUse::default() }))
    }

    /// Bytes that columns take in files now.
    #[must_use]
    pub fn spilled(&self) -> usize {
        self.0.spilled.load(Ordering::Relaxed)
    }

    /// Whether a column that has `own` bytes may have `more`; if so they are its.
    fn take(&self, own: usize, more: usize) -> bool {
        let is_small = own + more <= SMALL_BYTES;
        let sum = |held: usize| held.checked_add(more).filter(|sum| is_small || *sum <= self.0.limit);
        self.0.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
    }

    /// Takes what was given beyond a limit.
    fn force(&self, bytes: usize) {
        self.0.held.fetch_add(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    fn give(&self, bytes: usize) {
        self.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn spill(&self, bytes: usize) {
        self.0.spilled.fetch_add(bytes, Ordering::Relaxed);
    }

    fn drop_spilled(&self, bytes: usize) {
        self.0.spilled.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Where files go: `TMPDIR`, else `/tmp` or, where that is memory too, `/var/tmp`, which by the Filesystem Hierarchy Standard is
/// on a disk.
fn folder() -> PathBuf {
    let (usual, on_disk) = (std::env::temp_dir(), PathBuf::from("/var/tmp"));
    let is_memory = || statfs(&usual).is_ok_and(|of| of.f_type == TMPFS);
    if std::env::var_os("TMPDIR").is_none() && is_memory() && on_disk.is_dir() { on_disk } else { usual }
}

/// The error of a file that a column was to move to.
fn failed(bytes: usize, error: io::Error) -> LoadError {
    LoadError::Spill { mib: bytes.div_ceil(1 << 20), folder: folder(), error }
}
