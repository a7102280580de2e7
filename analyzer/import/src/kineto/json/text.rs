//! Strings, as they lie in the file and as they read.

use std::borrow::Cow;

/// A string of the file, without its quotes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::kineto) struct Text<'a> {
    /// Its bytes, escapes as they are.
    pub(in crate::kineto) raw: &'a [u8],
    /// Whether there are any.
    pub(in crate::kineto) escaped: bool,
}

impl<'a> Text<'a> {
    /// As it reads. Bytes that are no UTF-8 and halves of surrogate pairs read as U+FFFD, unknown escapes as they stand.
    pub(in crate::kineto) fn decoded(&self) -> Cow<'a, str> {
        let plain = String::from_utf8_lossy(self.raw);
        if !self.escaped {
            return plain;
        }
        let mut out = String::with_capacity(plain.len());
        let mut rest = &*plain;
        while let Some(at) = rest.find('\\') {
            out.push_str(&rest[..at]);
            rest = unescape(&rest[at + 1..], &mut out);
        }
        out.push_str(rest);
        Cow::Owned(out)
    }
}

/// Appends what the escape after a backslash stands for, and returns what follows it.
fn unescape<'a>(after: &'a str, out: &mut String) -> &'a str {
    let mut chars = after.chars();
    let Some(kind) = chars.next() else { return "" };
    let plain = match kind {
        '"' | '\\' | '/' => kind,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return code_point(&after[1..], out),
        _ => {
            out.push('\\');
            kind
        }
    };
    out.push(plain);
    chars.as_str()
}

/// The same after `\u`.
fn code_point<'a>(digits: &'a str, out: &mut String) -> &'a str {
    let Some(first) = hex(digits) else {
        out.push_str("\\u");
        return digits;
    };
    let rest = &digits[4..];
    if let Some(plain) = char::from_u32(first) {
        out.push(plain);
        return rest;
    }
    let second = rest.strip_prefix("\\u").and_then(hex).filter(|low| (0xdc00..0xe000).contains(low));
    if let Some(low) = second.filter(|_| first < 0xdc00) {
        let pair = 0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00);
        out.push(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
        return &rest[6..];
    }
    out.push(char::REPLACEMENT_CHARACTER);
    rest
}

fn hex(digits: &str) -> Option<u32> {
    let four = digits.get(..4).filter(|four| four.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(four, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(raw: &str) -> String {
        Text { raw: raw.as_bytes(), escaped: true }.decoded().into_owned()
    }

    #[test]
    fn escapes_read_as_the_standard_says() {
        assert_eq!(decoded(r#"a\"\\\/\b\f\n\r\tz"#), "a\"\\/\u{8}\u{c}\n\r\tz");
        assert_eq!(decoded(r"\u00e9\uD83D\uDE00!"), "é😀!");
    }

    #[test]
    fn what_is_no_escape_stays_or_is_replaced() {
        assert_eq!(decoded(r"C:\path"), r"C:\path");
        assert_eq!(decoded(r"\u12"), r"\u12");
        assert_eq!(decoded(r"\uD83D\uD83D"), "\u{fffd}\u{fffd}");
        assert_eq!(decoded(r"\uDE00"), "\u{fffd}");
        assert_eq!(decoded("\\"), "");
        assert_eq!(Text { raw: b"a\xffb", escaped: false }.decoded(), "a\u{fffd}b");
    }

    proptest! {
        #[test]
        fn no_text_panics(raw in r"[a\\uD8cE0é]{0,40}") {
            decoded(&raw);
        }
    }
}
