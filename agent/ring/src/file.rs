//! Ring files: where they lie, who holds them, when one can go.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use kvpath_schema::wire::ring::{EXTENSION, Shape};

use crate::map::{self, Map};
use crate::producer::{Producer, ProducerInfo};
use crate::reader::{ReadError, Reader};

/// Variable that names the folder of ring files.
pub const FOLDER_VARIABLE: &str = "KVPATH_RING_DIR";
/// Variable that names the level at which recording starts.
pub const LEVEL_VARIABLE: &str = "KVPATH_LEVEL";
/// Variable with the size of the lane for GPU records, MiB.
pub const SIZE_VARIABLE: &str = "KVPATH_RING_MIB";
/// Variable that names a libcupti to use instead of the process's own.
pub const CUPTI_VARIABLE: &str = "KVPATH_CUPTI";

/// The folder that is used where none is named.
#[must_use]
pub fn default_folder(uid: u32) -> PathBuf {
    PathBuf::from(format!("/dev/shm/kvpath-{uid}"))
}

/// Makes the folder (mode 0700) if it is not there.
///
/// # Errors
/// It cannot be made, or is something else than a folder of `uid`.
pub fn make_folder(folder: &Path, uid: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != uid {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a folder of this user"));
    }
    Ok(())
}

/// Makes a ring file (mode 0600) and its writing end. The file is marked as alive for as long as the end is there.
///
/// # Errors
/// There is no room, or the system refuses; then there is no file.
pub fn create(folder: &Path, shape: Shape, about: ProducerInfo) -> io::Result<(PathBuf, Producer<Map>)> {
    let path = folder.join(format!("{}-{}.{EXTENSION}", about.pid, about.created_ns));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(&path)?;
    let made = map::mark_alive(&file)
        .and_then(|()| Map::of_new_file(&file, shape.file_words()))
        .and_then(|map| Producer::new(map, shape, about).ok_or_else(|| io::ErrorKind::InvalidInput.into()));
    match made {
        Ok(producer) => Ok((path, producer)),
        Err(error) => {
            let _ = fs::remove_file(&path);
            Err(error)
        }
    }
}

/// The ring files of a folder, by path; none if there is no such folder.
#[must_use]
pub fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_ring_name(path)).collect();
    found.sort();
    found
}

fn is_ring_name(path: &Path) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    path.extension().is_some_and(|extension| extension == EXTENSION)
        && path
            .file_stem()
            .and_then(|stem| stem.to_str()?.split_once('-'))
            .is_some_and(|(pid, created)| digits(pid) && digits(created))
}

/// Why a ring file cannot be read now.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another reader has it.
    #[error("another agent reads it")]
    Taken,
    /// Not a plain file of the folder's owner.
    #[error("not a plain file of the user that the folder belongs to")]
    Foreign,
    /// Not a ring that can be read.
    #[error(transparent)]
    Ring(#[from] ReadError),
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn open_plain(path: &Path) -> Result<File, OpenError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != fs::symlink_metadata(folder)?.uid() {
        return Err(OpenError::Foreign);
    }
    Ok(file)
}

/// Opens a ring file as its one reader. The system gives the place free when the reader ends, however it ends.
///
/// # Errors
/// It has a reader, or is no ring that can be read.
pub fn open(path: &Path) -> Result<Reader<File>, OpenError> {
    let file = open_plain(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Reader::new(file)?),
        Err(TryLockError::WouldBlock) => Err(OpenError::Taken),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Opens a ring file beside its reader, to look at it and to ask for a level, not to drain it.
///
/// # Errors
/// It is no ring that can be read.
pub fn open_beside(path: &Path) -> Result<Reader<File>, OpenError> {
    Ok(Reader::new(open_plain(path)?)?)
}

/// Whether the process that made it still has it mapped.
///
/// # Errors
/// The system refuses.
pub fn is_alive(reader: &Reader<File>) -> io::Result<bool> {
    map::is_alive(reader.medium())
}

/// Removes the files of processes that have ended, save for those that have a reader and those that are younger than
/// `keep_ns`: somebody may be about to read them. Gives how many went.
#[must_use]
pub fn sweep(folder: &Path, now_ns: u64, keep_ns: u64) -> usize {
    let mut gone = 0;
    for path in list(folder) {
        let created = path.file_stem().and_then(|stem| stem.to_str()?.split_once('-')?.1.parse::<u64>().ok());
        let Ok(file) = open_plain(&path) else { continue };
        let old = created.is_some_and(|created| now_ns.saturating_sub(created) >= keep_ns);
        if old && file.try_lock().is_ok() && matches!(map::is_alive(&file), Ok(false)) {
            gone += usize::from(fs::remove_file(&path).is_ok());
        }
    }
    gone
}
