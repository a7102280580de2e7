//! A library file that some process has mapped, opened so that neither its path nor its process matters any more.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat2};

use super::maps::Mapping;

/// What makes a file that file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
}

/// An open library.
#[derive(Debug)]
pub struct Library {
    file: File,
    /// Which file it is.
    pub id: FileId,
    /// Path to show: as the process that mapped it sees it, or as it was given.
    pub path: String,
    /// The process in whose root that path is.
    pid: Option<i32>,
    /// Size and time of change: with the inode, they tell one lower file of two overlay mounts.
    size: u64,
    changed: (i64, i64),
}

impl Library {
    /// Opens a file by its path.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?, path.display().to_string(), None)
    }

    /// Opens a file by its path as a process sees it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn in_root_of(pid: i32, path: &Path) -> io::Result<Self> {
        Self::of(File::open(in_root(pid, path))?, path.display().to_string(), Some(pid))
    }

    /// Opens the file behind a mapping of a process, whatever mount namespace it is in: by the mapping itself, which
    /// works for removed files too, else by the path in the process's root.
    ///
    /// # Errors
    /// Neither way works.
    pub fn of_mapping(pid: i32, mapping: &Mapping) -> io::Result<Self> {
        let by_mapping = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
        let file = File::open(by_mapping).or_else(|_| File::open(in_root(pid, Path::new(&mapping.path))))?;
        Self::of(file, mapping.path.clone(), Some(pid))
    }

    /// Opens another file of the same installation: `name` is relative to the folder of this library, in the root of the process that
    /// maps it, which no link leads out of.
    ///
    /// # Errors
    /// It cannot be opened, or is no plain file.
    pub fn beside(&self, name: &str) -> io::Result<Self> {
        let path = Path::new(&self.path).parent().unwrap_or(Path::new("")).join(name);
        // What is no plain file must not hold us up.
        let (how, mode) = (OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty());
        let file = if let Some(pid) = self.pid {
            let root = open(format!("/proc/{pid}/root"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, mode)?;
            openat2(root, &path, how, mode, ResolveFlags::IN_ROOT)?
        } else {
            openat2(CWD, &path, how, mode, ResolveFlags::empty())?
        };
        let file = File::from(file);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("no plain file"));
        }
        Self::of(file, path.display().to_string(), self.pid)
    }

    fn of(file: File, path: String, pid: Option<i32>) -> io::Result<Self> {
        let about = file.metadata()?;
        Ok(Self {
            file,
            id: FileId { device: about.dev(), inode: about.ino() },
            path,
            pid,
            size: about.size(),
            changed: (about.mtime(), about.mtime_nsec()),
        })
    }

    /// The whole file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        (&self.file).read_to_end(&mut data)?;
        Ok(data)
    }

    /// A path that leads to this very file, whatever has happened to its name.
    pub fn attach_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Whether `other` is the same file below. Two overlay mounts give one lower file two device numbers, without a real
    /// device behind them (major 0), but the same inode number, size and time; a probe on one of them fires in both.
    pub fn is_same_below(&self, other: &Self) -> bool {
        let virtual_device = |id: FileId| libc::major(id.device) == 0;
        self.id == other.id
            || virtual_device(self.id)
                && virtual_device(other.id)
                && (self.id.inode, self.size, self.changed) == (other.id.inode, other.size, other.changed)
    }
}

/// Whether a file of that name is a library: `STEM` and then `ending`, or, where a wheel bundles it and puts a hash into its name,
/// `STEM-HASH` and then `ending`.
pub fn is_named(file_name: &str, stem: &str, ending: &str) -> bool {
    file_name
        .strip_prefix(stem)
        .is_some_and(|rest| rest.starts_with(ending) || rest.starts_with('-') && rest.contains(ending))
}

/// A path of a process as we can open it.
fn in_root(pid: i32, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap_or(path))
}
