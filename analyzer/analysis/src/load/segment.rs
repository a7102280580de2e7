//! One segment of a run.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kvpath_schema::segment::{self, Builder, Meta};
use kvpath_schema::store::{Location, Store};
use kvpath_schema::table::Columns;
use kvpath_schema::tables;

use super::SegmentError;
use super::find::Object;

/// A segment of a run.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Where: its file, or its address.
    pub path: PathBuf,
    /// Where it is stored.
    pub store: Store,
    /// Where it lies there.
    pub location: Location,
    /// What its footer says.
    pub meta: Meta,
    /// Rows.
    pub rows: i64,
    /// Least and greatest time that its rows are sorted by, ns, where the footer says it.
    pub extent: Option<(i64, i64)>,
    // Copies of a run share it.
    reads: Arc<AtomicUsize>,
}

impl Segment {
    /// Reads the footer of an object.
    pub(super) fn of(object: Object) -> Result<Self, SegmentError> {
        let Object { path, store, location, .. } = object;
        let (meta, builder) = segment::open_at(&store, &location)?;
        let rows = builder.metadata().file_metadata().num_rows();
        let extent = tables::raw(&meta.table).and_then(|table| segment::extent(&builder, table));
        Ok(Self { path, store, location, meta, rows, extent, reads: Arc::default() })
    }

    /// Opens it, for its rows to be read.
    ///
    /// # Errors
    /// It changed since the run was opened.
    pub fn open(&self) -> Result<Builder, SegmentError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.open_uncounted()
    }

    /// The same to see whether it can be read at all.
    pub(super) fn open_uncounted(&self) -> Result<Builder, SegmentError> {
        Ok(segment::open_at(&self.store, &self.location)?.1)
    }

    /// Appends all its rows to `columns`.
    ///
    /// # Errors
    /// It does not decode, or not to this table's columns.
    pub fn read_into<C: Columns>(&self, columns: &mut C) -> Result<(), SegmentError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        segment::read_into_at(&self.store, &self.location, columns).map(drop)
    }

    /// How often its rows were read.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}
