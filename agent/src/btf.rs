//! Where this kernel keeps a member of a structure, by its own description (BTF:
//! <https://docs.kernel.org/bpf/btf.html>). Only what finding members needs is read. Pure.

use crate::bytes::u32_at;

/// The kernel's description of its types.
pub const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Why a member was not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// Not BTF, or cut.
    #[error("not BTF, or cut short")]
    Damaged,
    /// No such structure or member.
    #[error("no member `{0}`")]
    NoMember(String),
}

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
/// Anonymous members nest; never this deep in a kernel.
const DEPTH: u32 = 8;

/// The description of a kernel's types.
pub struct Btf<'a> {
    /// Offset of each type, by id less one.
    types: Vec<usize>,
    section: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Btf<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// Not BTF.
    pub fn parse(data: &'a [u8]) -> Result<Self, BtfError> {
        Self::read(data).ok_or(BtfError::Damaged)
    }

    fn read(data: &'a [u8]) -> Option<Self> {
        let magic = u16::from_ne_bytes(data.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let word = |at: usize| usize::try_from(u32_at(data, at)?).ok();
        let part = |start: usize, len: usize| data.get(word(4)?.checked_add(start)?..)?.get(..len);
        let section = part(word(8)?, word(12)?)?;
        let strings = part(word(16)?, word(20)?)?;
        let (mut types, mut at) = (Vec::new(), 0);
        while at < section.len() {
            types.push(at);
            at = at.checked_add(12)?.checked_add(tail(u32_at(section, at + 4)?)?)?;
        }
        Some(Self { types, section, strings })
    }

    /// Offset of a member of a structure, bytes; those of its anonymous members are its own.
    ///
    /// # Errors
    /// There is none.
    pub fn offset_of(&self, structure: &str, member: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::NoMember(format!("{structure}.{member}"));
        let named = |at: usize| {
            let (kind, _) = self.info(at)?;
            (kind == STRUCT && self.name(u32_at(self.section, at)?)? == structure.as_bytes()).then_some(at)
        };
        let at = self.types.iter().find_map(|at| named(*at)).ok_or_else(missing)?;
        let bits = self.member(at, member.as_bytes(), DEPTH).ok_or_else(missing)?;
        if bits % 8 == 0 { Ok(bits / 8) } else { Err(missing()) }
    }

    /// Kind, and number of members, of the type at an offset.
    fn info(&self, at: usize) -> Option<(u32, u32)> {
        let info = u32_at(self.section, at + 4)?;
        Some((info >> 24 & 0x1f, info & 0xffff))
    }

    fn member(&self, at: usize, wanted: &[u8], depth: u32) -> Option<u32> {
        let (kind, count) = self.info(at)?;
        if depth == 0 || !matches!(kind, STRUCT | UNION) {
            return None;
        }
        let is_bitfield = u32_at(self.section, at + 4)? >> 31 == 1;
        (0..count as usize).find_map(|i| {
            let entry = at + 12 + 12 * i;
            let offset = u32_at(self.section, entry + 8)?;
            let offset = if is_bitfield { offset & 0x00ff_ffff } else { offset };
            let name = self.name(u32_at(self.section, entry)?)?;
            if name == wanted {
                return Some(offset);
            }
            let inner = usize::try_from(u32_at(self.section, entry + 4)?).ok()?.checked_sub(1)?;
            let inner = name.is_empty().then(|| self.types.get(inner))??;
            offset.checked_add(self.member(*inner, wanted, depth - 1)?)
        })
    }

    fn name(&self, at: u32) -> Option<&'a [u8]> {
        self.strings.get(usize::try_from(at).ok()?..)?.split(|byte| *byte == 0).next()
    }
}

/// What follows a type of that info, bytes.
fn tail(info: u32) -> Option<usize> {
    let count = usize::try_from(info & 0xffff).ok()?;
    Some(match info >> 24 & 0x1f {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        // ARRAY
        3 => 12,
        // STRUCT, UNION, DATASEC, ENUM64
        4 | 5 | 15 | 19 => 12 * count,
        // ENUM, FUNC_PROTO
        6 | 13 => 8 * count,
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `struct s { int a; union { int b; struct { char pad; char c; }; }; }`, without its base types' descriptions.
    fn sample() -> Vec<u8> {
        let strings = b"\0s\0a\0b\0pad\0c\0";
        let kind = |kind: u32, count: u32| kind << 24 | count;
        let section: Vec<u8> = [
            // 1: int
            [0, kind(1, 0), 4].as_slice(),
            &[32],
            // 2: struct { pad @0; c @1 }
            &[0, kind(STRUCT, 2), 2, 7, 1, 0, 11, 1, 8],
            // 3: union { b @0; anonymous 2 @0 }
            &[0, kind(UNION, 2), 4, 5, 1, 0, 0, 2, 0],
            // 4: struct s { a @0; anonymous 3 @4 }
            &[1, kind(STRUCT, 2), 8, 3, 1, 0, 0, 3, 32],
        ]
        .concat()
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
        let mut data = MAGIC.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        for word in [24, 0, len(&section), len(&section), len(strings)] {
            data.extend(word.to_ne_bytes());
        }
        data.extend(section);
        data.extend(strings);
        data
    }

    #[test]
    fn members_of_anonymous_members_are_found() {
        let data = sample();
        let btf = Btf::parse(&data).unwrap();
        let found = |member| btf.offset_of("s", member);
        assert_eq!((found("a"), found("b"), found("c")), (Ok(0), Ok(4), Ok(5)));
        assert_eq!(found("d"), Err(BtfError::NoMember("s.d".to_owned())));
        assert!(btf.offset_of("t", "a").is_err());
    }

    #[test]
    fn what_is_no_btf_or_cut_is_refused() {
        let data = sample();
        assert!(Btf::parse(&data[..60]).is_err());
        assert!(Btf::parse(b"\x7fELF").is_err());
        assert!(Btf::parse(&[]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(changes in proptest::collection::vec((0usize..140, any::<u8>()), 1..6), more in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut data = sample();
            for (at, byte) in changes {
                let at = at % data.len();
                data[at] = byte;
            }
            for bytes in [&data, &more] {
                if let Ok(btf) = Btf::parse(bytes) {
                    let _ = btf.offset_of("s", "c");
                }
            }
        }
    }
}
