//! Objects that are being written.

use std::io::{self, Write};
use std::sync::Arc;

use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};

use super::{Location, io_error, wait};

/// Bytes that are handed to a store at once; stores ask for 5 MiB at least.
const PART_BYTES: usize = 8 << 20;
/// The same where the store is a folder.
const FILE_PART_BYTES: usize = 256 << 10;

/// An object that is being written. Until it is published it does not exist; one that is dropped never will.
#[derive(Debug)]
pub struct Draft {
    objects: Arc<dyn ObjectStore>,
    location: Location,
    upload: Option<Box<dyn MultipartUpload>>,
    part: Vec<u8>,
    part_bytes: usize,
    bytes: u64,
}

impl Draft {
    /// `is_folder`: a file is made at once, so that a writer that is killed leaves a trace of what it was writing.
    pub(super) fn begin(objects: Arc<dyn ObjectStore>, location: &Location, is_folder: bool) -> io::Result<Self> {
        let part_bytes = if is_folder { FILE_PART_BYTES } else { PART_BYTES };
        let mut draft =
            Self { objects, location: location.clone(), upload: None, part: Vec::new(), part_bytes, bytes: 0 };
        if is_folder {
            draft.upload()?;
        }
        Ok(draft)
    }

    fn upload(&mut self) -> io::Result<&mut Box<dyn MultipartUpload>> {
        let upload = match self.upload.take() {
            Some(upload) => upload,
            None => wait(self.objects.put_multipart(&self.location)).map_err(io_error)?,
        };
        Ok(self.upload.insert(upload))
    }

    fn put_part(&mut self) -> io::Result<()> {
        let part = PutPayload::from(std::mem::take(&mut self.part));
        wait(self.upload()?.put_part(part)).map_err(io_error)
    }

    /// What was written so far, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it appear whole under its name.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn publish(mut self) -> io::Result<()> {
        if self.upload.is_none() {
            // Names are unique: one that is taken is a second writer's mistake.
            let options = PutOptions::from(PutMode::Create);
            let payload = PutPayload::from(std::mem::take(&mut self.part));
            wait(self.objects.put_opts(&self.location, payload, options)).map_err(io_error)?;
        } else {
            if !self.part.is_empty() {
                self.put_part()?;
            }
            wait(self.upload()?.complete()).map_err(io_error)?;
        }
        Ok(())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if self.part.len() >= self.part_bytes {
            self.put_part()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
