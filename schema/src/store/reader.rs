//! Objects that are being read.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use parquet::errors::Result;
use parquet::file::reader::{ChunkReader, Length};

use super::Location;
use super::ranges::Ranges;

/// An object whose parts can be read.
#[derive(Debug)]
pub struct Reader(StoredBytes);

#[derive(Debug)]
enum StoredBytes {
    File(File),
    Ranges(Ranges),
}

impl Reader {
    /// A file.
    #[must_use]
    pub fn file(file: File) -> Self {
        Self(StoredBytes::File(file))
    }

    /// Size of the whole object, bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        Length::len(self)
    }

    pub(super) fn ranges(objects: Arc<dyn ObjectStore>, location: &Location) -> object_store::Result<Self> {
        Ok(Self(StoredBytes::Ranges(Ranges::of(objects, location)?)))
    }
}

impl Length for Reader {
    fn len(&self) -> u64 {
        match &self.0 {
            StoredBytes::File(file) => Length::len(file),
            StoredBytes::Ranges(ranges) => ranges.size(),
        }
    }
}

impl ChunkReader for Reader {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(match &self.0 {
            StoredBytes::File(file) => Box::new(file.get_read(start)?),
            StoredBytes::Ranges(ranges) => Box::new(ranges.read_from(start)),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match &self.0 {
            StoredBytes::File(file) => file.get_bytes(start, length),
            StoredBytes::Ranges(ranges) => Ok(ranges.bytes(start, length)?),
        }
    }
}
