//! What we need of an ELF file: its Build ID, where in the file a function starts, which functions call each other, and its texts.

mod calls;
mod texts;

use std::collections::HashSet;

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, SegmentFlags, elf};

/// Why a file cannot be probed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Not ELF.
    #[error("not an ELF file: {0}")]
    NotElf(String),
    /// Neither symbol table has the symbol.
    #[error("no symbol of that name")]
    NoSymbol,
    /// The symbol does not say how long its function is.
    #[error("a function of unknown length")]
    NoSize,
    /// The symbol's address is in no executable segment.
    #[error("its address {0:#x} is in no executable segment")]
    NotCode(u64),
}

/// How the CPU is kept away from the instruction under a probe; it decides the cost of a hit. The dearest
/// is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum First {
    /// Five-byte nop: replaced by a call on kernels that can.
    Nop5,
    /// One-byte nop: emulated.
    Nop,
    /// Push of a register: emulated.
    Push,
    /// Anything else: single-stepped out of line.
    Stepped,
}

impl First {
    fn of(code: &[u8]) -> Self {
        match code {
            [0x0f, 0x1f, 0x44, 0x00, 0x00, ..] => Self::Nop5,
            [0x90, ..] => Self::Nop,
            [0x50..=0x57, ..] | [0x41, 0x50..=0x57, ..] => Self::Push,
            _ => Self::Stepped,
        }
    }

    /// Name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nop5 => "nop5",
            Self::Nop => "nop",
            Self::Push => "push",
            Self::Stepped => "other",
        }
    }
}

/// `endbr64`, which starts functions built for indirect-branch tracking.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// Where a probe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Offset in the file.
    pub offset: u64,
    /// The instruction there.
    pub first: First,
}

/// An ELF file in memory.
pub struct Elf<'a> {
    file: object::File<'a>,
    data: &'a [u8],
}

impl<'a> Elf<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// Not an ELF file.
    pub fn parse(data: &'a [u8]) -> Result<Self, ElfError> {
        let file = object::File::parse(data).map_err(|error| ElfError::NotElf(error.to_string()))?;
        Ok(Self { file, data })
    }

    /// Build ID, hexadecimal, if the file has one.
    pub fn build_id(&self) -> Option<String> {
        use std::fmt::Write as _;
        let id = self.file.build_id().ok()??;
        Some(id.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    /// Where to probe the function with that mangled name, its entry as its return: at this point the arguments are in
    /// their registers and the return address is on top of the stack.
    ///
    /// # Errors
    /// There is no such symbol, or it is not in code.
    pub fn entry(&self, symbol: &str) -> Result<Point, ElfError> {
        self.point(self.defined(symbol)?.address())
    }

    fn defined(&self, symbol: &str) -> Result<object::Symbol<'_, '_>, ElfError> {
        let defined = |s: &object::Symbol<'_, '_>| s.is_definition() && s.name() == Ok(symbol);
        let found = self.file.dynamic_symbols().find(defined).or_else(|| self.file.symbols().find(defined));
        found.ok_or(ElfError::NoSymbol)
    }

    /// The functions that are exported with names that start so, each with where to probe it; those of one address are one.
    pub fn exports(&self, prefix: &str) -> Vec<(String, Point)> {
        let mut seen = HashSet::new();
        let functions = self.file.dynamic_symbols().filter(object::ObjectSymbol::is_definition);
        functions
            .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.address())))
            .filter(|(name, address)| name.starts_with(prefix) && seen.insert(*address))
            .filter_map(|(name, address)| Some((name, self.point(address).ok()?)))
            .collect()
    }

    fn point(&self, address: u64) -> Result<Point, ElfError> {
        let offset = self.code_offset(address).ok_or(ElfError::NotCode(address))?;
        let code = usize::try_from(offset).ok().and_then(|at| self.data.get(at..)).unwrap_or(&[]);
        // After endbr64 the arguments are where they were; if a push or nop follows, its emulation saves the single step
        // that endbr64 itself would need.
        if let Some(rest) = code.strip_prefix(&ENDBR64)
            && First::of(rest) != First::Stepped
        {
            return Ok(Point { offset: offset + 4, first: First::of(rest) });
        }
        Ok(Point { offset, first: First::of(code) })
    }

    fn code_offset(&self, address: u64) -> Option<u64> {
        self.file.segments().find_map(|segment| {
            let SegmentFlags::Elf { p_flags } = segment.flags() else {
                return None;
            };
            let (start, size) = segment.file_range();
            let at = address.checked_sub(segment.address())?;
            (p_flags & elf::PF_X != 0 && at < size).then_some(start + at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_instruction_decides_the_cost() {
        for (code, first) in [
            (&[0x55u8][..], First::Push),
            (&[0x41, 0x57], First::Push),
            (&[0x41, 0x89], First::Stepped),
            (&[0x0f, 0x1f, 0x44, 0, 0], First::Nop5),
            (&[0x90], First::Nop),
            (&ENDBR64, First::Stepped),
            (&[], First::Stepped),
        ] {
            assert_eq!(First::of(code), first, "{code:02x?}");
        }
    }

    #[test]
    fn this_test_program_has_a_build_id_or_none_and_its_main_is_code() {
        let data = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::parse(&data).unwrap();
        assert!(elf.build_id().is_none_or(|id| id.len() == 40));
        let point = elf.entry("main").unwrap();
        assert!(point.offset > 0 && usize::try_from(point.offset).unwrap() < data.len());
        assert_eq!(elf.entry("no such symbol"), Err(ElfError::NoSymbol));
    }

    #[test]
    fn what_is_not_elf_is_refused() {
        assert!(matches!(Elf::parse(b"#!/bin/sh"), Err(ElfError::NotElf(_))));
        assert!(matches!(Elf::parse(&[]), Err(ElfError::NotElf(_))));
    }
}
