//! From a path to an open database: recognised by content, not by name.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::error::ImportError;

const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// An open database; a decompressed copy lives as long as this does.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) db: Connection,
    _copy: Option<tempfile::NamedTempFile>,
}

pub(super) fn open(path: &Path) -> Result<Opened, ImportError> {
    let io = |error| ImportError::Io { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(io)?;
    let mut head = Vec::new();
    file.by_ref().take(16).read_to_end(&mut head).map_err(io)?;
    if head.is_empty() {
        return Err(ImportError::Empty(path.to_owned()));
    }
    file.rewind().map_err(io)?;
    let copy = if head.starts_with(ZSTD_MAGIC) { Some(decompress(path, file)?) } else { None };
    let readable = copy.as_ref().map_or(path, |copy| copy.path());
    let mut magic = Vec::new();
    File::open(readable).and_then(|f| f.take(16).read_to_end(&mut magic)).map_err(io)?;
    if magic != SQLITE_MAGIC {
        return Err(ImportError::NotSqlite(path.to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // `immutable` reads a file on a read-only medium, without lock or journal beside it.
    let uri = format!("file:{}?immutable=1", percent_encoded(readable));
    let db = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
        .map_err(|error| ImportError::Damaged { path: path.to_owned(), error })?;
    Ok(Opened { path: path.to_owned(), db, _copy: copy })
}

fn decompress(path: &Path, file: File) -> Result<tempfile::NamedTempFile, ImportError> {
    let bad = |error| ImportError::Zstd { path: path.to_owned(), error };
    let mut copy = tempfile::NamedTempFile::new().map_err(bad)?;
    zstd::stream::copy_decode(file, &mut copy).map_err(bad)?;
    Ok(copy)
}

fn percent_encoded(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut out = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02x}");
        }
    }
    out
}
