//! Constants of a library that are texts.

use object::{Object as _, ObjectSection as _, SectionFlags, elf};

use super::Elf;

/// Most bytes of constants that are looked through.
const MOST: usize = 64 << 20;

impl Elf<'_> {
    /// The pieces between zero bytes of data that is loaded and neither written nor run. Most are texts; all bytes may come.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let constant = |flags: u64| {
            let [alloc, write, run] = [elf::SHF_ALLOC, elf::SHF_WRITE, elf::SHF_EXECINSTR].map(u64::from);
            flags & (alloc | write | run) == alloc
        };
        let sections = self.file.sections().filter(move |section| match section.flags() {
            SectionFlags::Elf { sh_flags } => constant(sh_flags),
            _ => false,
        });
        let data = sections.filter_map(|section| section.data().ok());
        data.flat_map(|data| data[..data.len().min(MOST)].split(|byte| *byte == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_of_this_program_is_found() {
        let data = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::parse(&data).unwrap();
        let wanted = std::hint::black_box("a constant that only this test has\0");
        let wanted = wanted.trim_end_matches('\0').as_bytes();
        assert!(elf.texts().any(|text| text.windows(wanted.len()).any(|part| part == wanted)));
    }
}
