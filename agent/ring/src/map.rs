//! Memory that is shared with other processes, as atomic words: the one place of this crate with `unsafe`.
#![expect(unsafe_code, reason = "mmap, madvise and file locks")]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd as _;
use std::ptr;
use std::sync::atomic::AtomicU64;

/// A mapping. Everybody who maps or writes the file may change the words at any time, hence atomics.
#[derive(Debug)]
pub struct Map {
    base: *mut AtomicU64,
    words: usize,
}

// SAFETY: the mapping is reached through atomics only, and unmapped by its one owner.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Gives a new file its memory and maps it. The memory is there from the start, so that writing never fails for want
    /// of it (a full tmpfs would be SIGBUS). A process that is forked off does not have the mapping.
    ///
    /// # Errors
    /// No room, or the system refuses.
    pub fn of_new_file(file: &File, words: usize) -> io::Result<Self> {
        let bytes = words * 8;
        let length = libc::off_t::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: takes no pointer.
        let error = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: a fresh mapping at an address of the system's choice; the file is that long.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = Self { base: base.cast(), words };
        // SAFETY: the mapping just made.
        if unsafe { libc::madvise(base, bytes, libc::MADV_DONTFORK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(map)
    }

    /// One page of memory of this process that reads as zeros in every process that is forked off, however it is forked.
    ///
    /// # Errors
    /// The system refuses (Linux before 4.14).
    pub fn wiped_on_fork() -> io::Result<Self> {
        let bytes = 4096;
        // SAFETY: a fresh mapping at an address of the system's choice.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = Self { base: base.cast(), words: bytes / 8 };
        // SAFETY: the mapping just made.
        if unsafe { libc::madvise(base, bytes, libc::MADV_WIPEONFORK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(map)
    }
}

impl Deref for Map {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has that many words, aligned to a page, valid for every bit pattern, until `self` goes.
        unsafe { std::slice::from_raw_parts(self.base, self.words) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping that was made, of that size, once.
        unsafe { libc::munmap(self.base.cast(), self.words * 8) };
    }
}

/// Byte of a ring file that its producer holds locked while it lives; far beyond the file's end.
const LIFE_BYTE: libc::off_t = 1 << 60;

fn life_lock(command: libc::c_int, file: &File) -> io::Result<libc::flock> {
    // SAFETY: a plain struct of integers.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(libc::F_WRLCK).unwrap_or_default();
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default();
    lock.l_start = LIFE_BYTE;
    lock.l_len = 1;
    // SAFETY: both commands take a pointer to that struct, which outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(lock)
}

/// Marks the file as one of a living process. The mark goes when the mapping goes, at the latest with the process.
///
/// # Errors
/// The file system knows no such locks.
pub fn mark_alive(file: &File) -> io::Result<()> {
    life_lock(libc::F_OFD_SETLK, file).map(|_| ())
}

/// Whether the process that made the file still has it mapped; works across pid namespaces.
///
/// # Errors
/// The file system knows no such locks.
pub fn is_alive(file: &File) -> io::Result<bool> {
    Ok(life_lock(libc::F_OFD_GETLK, file)?.l_type != libc::c_short::try_from(libc::F_UNLCK).unwrap_or_default())
}
