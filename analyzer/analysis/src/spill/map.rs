//! Numbers in a file of our own, as a slice: the one place of this crate with `unsafe`.
#![expect(unsafe_code, reason = "mapping a file")]

use std::fs::File;
use std::io;
use std::marker::PhantomData;

use bytemuck::Pod;
use memmap2::MmapMut;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// A file without a name, as long as it was made, and gone with this. It is kept open by the mapping alone, so that thousands
/// of them take no descriptors.
#[derive(Debug)]
pub struct Mapped<T> {
    map: MmapMut,
    of: PhantomData<T>,
}

impl<T: Pod> Mapped<T> {
    /// A file for `count` numbers, all 0. The disk space is taken at once: a page that could not be written later would kill us.
    ///
    /// # Errors
    /// No room in the temporary folder, or no such folder.
    pub fn of_zeros(count: usize) -> io::Result<Self> {
        let bytes = count.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let file = tempfile::tempfile_in(super::folder())?;
        reserve(&file, bytes.max(1))?;
        // SAFETY: the file has no name and its descriptor is closed at the end of this function: nobody else writes or cuts it.
        let map = unsafe { MmapMut::map_mut(&file)? };
        Ok(Self { map, of: PhantomData })
    }

    /// The numbers.
    pub fn slice(&self) -> &[T] {
        let whole = self.map.len() / size_of::<T>() * size_of::<T>();
        bytemuck::cast_slice(&self.map[..whole])
    }

    /// The same, to be written.
    pub fn slice_mut(&mut self) -> &mut [T] {
        let whole = self.map.len() / size_of::<T>() * size_of::<T>();
        bytemuck::cast_slice_mut(&mut self.map[..whole])
    }
}

fn reserve(file: &File, bytes: usize) -> io::Result<()> {
    let length = u64::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
    match rustix::io::retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, length)) {
        // Some network file systems cannot reserve; zeros that are written take room as well.
        Err(Errno::OPNOTSUPP) => io::copy(&mut io::Read::take(io::repeat(0), length), &mut &*file).map(|_| ()),
        done => Ok(done?),
    }
}
