//! Which of some functions call which others of them: x86-64 code, by the targets of its calls and jumps.
//!
//! Nothing is disassembled: each byte that may be the opcode of a call or jump is taken for one. A target that is just the start of a
//! wanted function, or of the stub that jumps there, is hardly met by chance.

use std::collections::HashMap;

use object::{Object as _, ObjectSymbol as _, ObjectSymbolTable as _, RelocationTarget};

use super::{ENDBR64, Elf, ElfError};

/// The functions that are looked at, by address, and the slots of the global offset table that hold these addresses.
struct Targets {
    functions: HashMap<u64, usize>,
    slots: HashMap<u64, usize>,
}

impl Elf<'_> {
    /// Pairs of caller and callee among these functions, as positions in `symbols`; a function's calls of itself are left out. Jumps are
    /// calls too.
    ///
    /// # Errors
    /// A function is not there, is not in code, or does not say how long it is.
    pub fn calls(&self, symbols: &[&str]) -> Result<Vec<(usize, usize)>, ElfError> {
        let mut bodies = Vec::new();
        for symbol in symbols {
            let defined = self.defined(symbol)?;
            let (address, size) = (defined.address(), defined.size());
            let code = self.code_at(address).ok_or(ElfError::NotCode(address))?;
            let size = usize::try_from(size).ok().filter(|size| *size > 0 && *size <= code.len());
            bodies.push((address, &code[..size.ok_or(ElfError::NoSize)?]));
        }
        let functions = bodies.iter().enumerate().map(|(at, (address, _))| (*address, at)).collect();
        let targets = Targets { slots: self.slots(symbols, &functions), functions };
        let mut found = Vec::new();
        for (caller, (address, code)) in bodies.iter().enumerate() {
            let called = (0..code.len()).filter_map(|at| self.target(&targets, &code[at..], address + at as u64));
            found.extend(called.filter(|callee| *callee != caller).map(|callee| (caller, callee)));
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Which function the instruction at an address leads to, if it is a call or jump.
    fn target(&self, targets: &Targets, code: &[u8], address: u64) -> Option<usize> {
        match *code {
            [0xff, 0x15 | 0x25, a, b, c, d, ..] => targets.slots.get(&relative(address + 6, [a, b, c, d])).copied(),
            [0xe8 | 0xe9, a, b, c, d, ..] => {
                let target = relative(address + 5, [a, b, c, d]);
                targets.functions.get(&target).copied().or_else(|| self.stub(targets, target))
            }
            // A jump to a function that follows at once.
            [0xeb, distance, ..] => {
                let target = (address + 2).wrapping_add_signed(i64::from(distance.cast_signed()));
                targets.functions.get(&target).copied()
            }
            [0x0f, 0x80..=0x8f, a, b, c, d, ..] => targets.functions.get(&relative(address + 6, [a, b, c, d])).copied(),
            _ => None,
        }
    }

    /// Which function a stub of the procedure linkage table jumps to.
    fn stub(&self, targets: &Targets, address: u64) -> Option<usize> {
        let code = self.code_at(address)?;
        let (code, address) = code.strip_prefix(&ENDBR64).map_or((code, address), |rest| (rest, address + 4));
        // A prefix for bounds, which old linkers wrote.
        let (code, address) = code.strip_prefix(&[0xf2]).map_or((code, address), |rest| (rest, address + 1));
        match *code {
            [0xff, 0x25, a, b, c, d, ..] => targets.slots.get(&relative(address + 6, [a, b, c, d])).copied(),
            _ => None,
        }
    }

    fn slots(&self, symbols: &[&str], functions: &HashMap<u64, usize>) -> HashMap<u64, usize> {
        let table = self.file.dynamic_symbol_table();
        let function = |target: RelocationTarget, addend: i64| match target {
            RelocationTarget::Symbol(index) => {
                let symbol = table.as_ref()?.symbol_by_index(index).ok()?;
                symbols.iter().position(|wanted| symbol.name() == Ok(wanted))
            }
            RelocationTarget::Absolute => functions.get(&u64::try_from(addend).ok()?).copied(),
            _ => None,
        };
        let relocations = self.file.dynamic_relocations().into_iter().flatten();
        relocations.filter_map(|(slot, by)| Some((slot, function(by.target(), by.addend())?))).collect()
    }

    fn code_at(&self, address: u64) -> Option<&[u8]> {
        self.data.get(usize::try_from(self.code_offset(address)?).ok()?..)
    }
}

fn relative(next: u64, distance: [u8; 4]) -> u64 {
    next.wrapping_add_signed(i32::from_le_bytes(distance).into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    const CODE: &str = "int leaf(int n) { return n * 3; }
        int direct(int n) { return leaf(n) + 1; }
        int tail(int n) { return leaf(n + 1); }
        int self(int n) { return n > 0 ? self(n - 1) + n * self(n - 2) : 1; }
        int alone(int n) { return n - 1; }";

    /// Compiles it with these options; `None` without a compiler.
    fn library(folder: &Path, options: &[&str]) -> Option<Vec<u8>> {
        std::fs::write(folder.join("l.c"), CODE).unwrap();
        let args = ["-O2", "-fno-inline", "-fno-ipa-icf", "-fPIC", "-shared", "-o", "l.so", "l.c"];
        let status = Command::new("cc").args(args).args(options).current_dir(folder).status();
        status.is_ok_and(|status| status.success()).then(|| std::fs::read(folder.join("l.so")).unwrap())
    }

    #[test]
    fn calls_are_seen_however_they_are_linked() {
        let folder = tempfile::tempdir().unwrap();
        for options in
            [&[][..], &["-fno-plt"], &["-Wl,-Bsymbolic"], &["-fcf-protection=full"], &["-fno-semantic-interposition"]]
        {
            let Some(data) = library(folder.path(), options) else {
                eprintln!("SKIPPED calls_are_seen_however_they_are_linked: no cc for {options:?}");
                return;
            };
            let elf = Elf::parse(&data).unwrap();
            let calls = elf.calls(&["leaf", "direct", "tail", "self", "alone"]).unwrap();
            assert_eq!(calls, [(1, 0), (2, 0)], "{options:?}");
            assert_eq!(elf.calls(&["leaf", "none"]), Err(ElfError::NoSymbol));
        }
    }
}
