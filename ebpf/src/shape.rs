//! Whether there is a string or a vector of libstdc++ at an address of the process, by what holds of every one of them.

use crate::user::read;

/// Longest text, and biggest vector, bytes, that is believed.
const LONGEST: u64 = 1 << 40;
/// Most bytes of a text that a `std::string` holds in itself, which begin at that offset.
const IN_PLACE: u64 = 15;
const IN_PLACE_AT: u64 = 16;

/// Address, length and capacity fit together, and a zero byte ends it.
#[inline(always)]
pub fn is_string(at: u64) -> bool {
    let Some([text, len, capacity]) = read::<[u64; 3]>(at) else { return false };
    let fits = if text == at.wrapping_add(IN_PLACE_AT) {
        len <= IN_PLACE
    } else {
        text != 0 && len <= capacity && capacity > IN_PLACE && capacity < LONGEST
    };
    fits && read::<u8>(text.wrapping_add(len)) == Some(0)
}

/// Begin, end and end of its memory follow each other, whole elements apart.
#[inline(always)]
pub fn is_vector(at: u64, element: u64) -> bool {
    let Some([begin, end, room]) = read::<[u64; 3]>(at) else { return false };
    let whole = |bytes: u64| bytes < LONGEST && bytes.checked_rem(element) == Some(0);
    begin % 8 == 0
        && begin <= end
        && end <= room
        && whole(end - begin)
        && whole(room - begin)
        && (begin != 0 || end == 0)
}
