//! Where in our own file a function of ours lies.

use std::fs;

use crate::discover::maps;

/// The offset in the file of code at an address of this process.
pub fn offset_of(address: u64) -> Option<u64> {
    let text = fs::read("/proc/self/maps").ok()?;
    maps::file_offset(&String::from_utf8_lossy(&text), address)
}

#[cfg(test)]
mod tests {
    #[test]
    fn own_code_has_a_place_and_the_stack_has_none_in_a_file() {
        let code = super::offset_of as fn(u64) -> Option<u64> as usize as u64;
        let offset = super::offset_of(code).unwrap();
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(usize::try_from(offset).unwrap() < file.len());
        assert_eq!(super::offset_of(1), None);
    }
}
