//! As much of msgpack as it takes to find a text in a map.

/// The text at a key of a map with text keys; `None` if it is not there, is no text, or the bytes end before it does.
pub(super) fn text_at<'a>(bytes: &'a [u8], key: &str) -> Option<&'a str> {
    let mut rest = Rest(bytes);
    let pairs = match rest.byte()? {
        head @ 0x80..=0x8f => u64::from(head & 0x0f),
        0xde => rest.number(2)?,
        0xdf => rest.number(4)?,
        _ => return None,
    };
    for _ in 0..pairs {
        let own = rest.text()?;
        if own == key {
            return rest.text();
        }
        rest.skip()?;
    }
    None
}

/// Bytes that have not been read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn number(&mut self, bytes: u64) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn text(&mut self) -> Option<&'a str> {
        let count = match self.byte()? {
            head @ 0xa0..=0xbf => u64::from(head & 0x1f),
            0xd9 => self.number(1)?,
            0xda => self.number(2)?,
            0xdb => self.number(4)?,
            _ => return None,
        };
        std::str::from_utf8(self.take(count)?).ok()
    }

    /// Passes one value over, with all that it holds.
    fn skip(&mut self) -> Option<()> {
        let mut values = 1u64;
        while values > 0 {
            values -= 1;
            let (bytes, held) = match self.byte()? {
                0x00..=0x7f | 0xc0..=0xc3 | 0xe0..=0xff => (0, 0),
                head @ 0x80..=0x8f => (0, 2 * u64::from(head & 0x0f)),
                head @ 0x90..=0x9f => (0, u64::from(head & 0x0f)),
                head @ 0xa0..=0xbf => (u64::from(head & 0x1f), 0),
                0xc4 | 0xd9 => (self.number(1)?, 0),
                0xc5 | 0xda => (self.number(2)?, 0),
                0xc6 | 0xdb => (self.number(4)?, 0),
                // Of extensions the type comes after the size.
                0xc7 => (self.number(1)? + 1, 0),
                0xc8 => (self.number(2)? + 1, 0),
                0xc9 => (self.number(4)? + 1, 0),
                0xcc | 0xd0 => (1, 0),
                0xcd | 0xd1 => (2, 0),
                0xca | 0xce | 0xd2 => (4, 0),
                0xcb | 0xcf | 0xd3 => (8, 0),
                head @ 0xd4..=0xd8 => (1 + (1 << (head - 0xd4)), 0),
                0xdc => (0, self.number(2)?),
                0xdd => (0, self.number(4)?),
                0xde => (0, 2 * self.number(2)?),
                0xdf => (0, 2 * self.number(4)?),
            };
            self.take(bytes)?;
            values = values.checked_add(held)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_behind_values_of_every_kind() {
        for value in [
            &[0x7f][..],
            &[0xe0],
            &[0xc0],
            &[0xcb, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xcd, 0x16, 0x44],
            &[0xd3, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xa2, b'i', b'd'],
            &[0xd9, 2, b'i', b'd'],
            &[0xc4, 3, 0xff, 0xa2, 0x00],
            &[0x92, 0x01, 0x91, 0xa1, b'x'],
            &[0xdc, 0, 2, 0x93, 1, 2, 3, 0x90],
            &[0x81, 0xa2, b'i', b'd', 0xa1, b'x'],
            &[0xde, 0, 1, 0xa1, b'k', 0xcc, 0xff],
            &[0xd4, 1, 0],
            &[0xd8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xc7, 2, 1, 0, 0],
        ] {
            let mut bytes = vec![0x82, 0xa5];
            bytes.extend(b"other");
            bytes.extend(value);
            bytes.extend([0xa2, b'i', b'd', 0xd9, 1, b'7']);
            assert_eq!(text_at(&bytes, "id"), Some("7"), "{value:?}");
            assert_eq!(text_at(&bytes[..bytes.len() - 1], "id"), None, "cut, {value:?}");
        }
    }

    #[test]
    fn what_is_no_map_or_holds_no_such_text_gives_none() {
        for bytes in [
            &[][..],
            b"id",
            &[0x80],
            &[0x81, 0xa2, b'i', b'd'],
            &[0x81, 0xa2, b'i', b'd', 0x01],
            &[0x81, 0xa1, b'x', 0xa2, b'i', b'd'],
            &[0x81, 0xa2, b'i', b'd', 0xa1, 0xff],
            // Arrays that say they hold more than there is.
            &[0x82, 0xa1, b'x', 0xdd, 0xff, 0xff, 0xff, 0xff, 0xdd, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(text_at(bytes, "id"), None, "{bytes:?}");
        }
    }
}
