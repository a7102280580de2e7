//! From a path to JSON: recognised by content, not by name.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek as _, SeekFrom};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::blocks::fill;
use super::error::ImportError;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// The bytes of a trace.
pub(super) enum TraceBytes {
    Plain(File),
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
}

impl TraceBytes {
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let io = |error| ImportError::Io { path: path.to_owned(), error };
        let mut file = File::open(path).map_err(io)?;
        let mut magic = Vec::new();
        file.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic).map_err(io)?;
        file.rewind().map_err(io)?;
        match magic.as_slice() {
            [] => Err(ImportError::Empty(path.to_owned())),
            GZIP_MAGIC => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file))))),
            _ => Ok(Self::Plain(file)),
        }
    }

    /// The last `bytes` of the JSON, or all if there are not as many. Compressed data is inflated for it, which is some
    /// of the work of reading it, and none of what is said of it.
    pub(super) fn end(mut self, bytes: u64) -> std::io::Result<Vec<u8>> {
        let mut end = Vec::new();
        match &mut self {
            Self::Plain(file) => {
                let length = file.metadata()?.len();
                file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
                file.take(bytes).read_to_end(&mut end)?;
            }
            Self::Gzip(_) => {
                let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
                let mut block = vec![0; INFLATED_AT_ONCE];
                loop {
                    let read = fill(&mut self, &mut block)?;
                    if read == 0 {
                        break;
                    }
                    end.extend_from_slice(&block[..read]);
                    // What is too old is dropped now and then only: it is moved each time.
                    if end.len() > wanted.saturating_mul(4) {
                        end.drain(..end.len() - wanted);
                    }
                }
                end.drain(..end.len().saturating_sub(wanted));
            }
        }
        Ok(end)
    }
}

/// Bytes that stay in a core's cache.
const INFLATED_AT_ONCE: usize = 1 << 17;

impl Read for TraceBytes {
    /// Compressed data that ends early reads as ending: what was cut off is found where the JSON ends.
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(into),
            Self::Gzip(gzip) => match gzip.read(into) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}
