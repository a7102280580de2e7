//! What may lie at an address.

use super::ffi;

/// Address, size and device: how every element of a descriptor list starts.
pub type Piece = [u64; 3];

/// A word.
pub fn word(address: u64) -> Option<u64> {
    Some(u64::from_le_bytes(ffi::read(address, 8)?.try_into().ok()?))
}

/// The object behind a handle of the C interface, which is a struct whose first member points to it: its address and its bytes.
pub fn object(handle: u64) -> Result<(u64, Vec<u8>), String> {
    let address = word(handle).filter(|address| *address != 0).ok_or("a handle leads nowhere")?;
    let size = ffi::allocated(address);
    let data = if (16..=4096).contains(&size) { ffi::read(address, size) } else { None };
    Ok((address, data.ok_or_else(|| format!("no object behind a handle ({size} bytes)"))?))
}

/// A `std::string`: address, then length.
pub fn text(address: u64) -> Option<Vec<u8>> {
    let size = usize::try_from(word(address + 8)?).ok().filter(|size| (1..=4096).contains(size))?;
    ffi::read(word(address)?, size)
}

/// The size of the elements of a vector (begin, end) that holds just these pieces; `None` if there is no such vector.
pub fn elements(address: u64, pieces: &[Piece]) -> Option<u32> {
    let (begin, end) = (word(address)?, word(address + 8)?);
    let (bytes, count) = (end.checked_sub(begin)?, pieces.len() as u64);
    let size = bytes.checked_div(count).filter(|size| (24..=256).contains(size) && size * count == bytes)?;
    let is_there = |(at, piece): (u64, &Piece)| {
        let found: Option<Vec<u64>> = (0..3).map(|part| word(begin + at * size + 8 * part)).collect();
        found.as_deref() == Some(&piece[..])
    };
    (0..).zip(pieces).all(is_there).then(|| u32::try_from(size).ok())?
}

/// Where bytes lie in an object, aligned to their number.
pub fn places(data: &[u8], bytes: &[u8]) -> Vec<u32> {
    let found = data.chunks_exact(bytes.len()).enumerate().filter(|(_, chunk)| *chunk == bytes);
    found.filter_map(|(at, _)| u32::try_from(at * bytes.len()).ok()).collect()
}
