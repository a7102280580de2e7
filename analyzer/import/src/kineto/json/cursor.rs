//! A place in JSON text, and the steps from there.

use super::number::{integer, nanoseconds, plain};
use super::text::Text;

/// Why a step was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kineto) enum Fault {
    /// The bytes at hand end within the value: with more of them the same step may succeed.
    Ends,
    /// This is no JSON, whatever follows.
    Bad(&'static str),
}

/// A place in bytes of JSON.
#[derive(Debug, Clone, Copy)]
pub(in crate::kineto) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Brackets within brackets that are followed, as many as `serde_json` does.
const DEPTH: u32 = 128;

impl<'a> Cursor<'a> {
    pub(in crate::kineto) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes behind the cursor.
    pub(in crate::kineto) fn at(&self) -> usize {
        self.at
    }

    /// Bytes before it.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Steps over bytes that are there.
    #[inline]
    pub(super) fn step(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// The next byte that is no white space; stays before it.
    #[inline]
    pub(in crate::kineto) fn peek(&mut self) -> Result<u8, Fault> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(Fault::Ends),
            }
        }
    }

    /// Steps over `byte`, which must be next.
    #[inline]
    pub(in crate::kineto) fn take(&mut self, byte: u8, otherwise: &'static str) -> Result<(), Fault> {
        if self.peek()? != byte {
            return Err(Fault::Bad(otherwise));
        }
        self.at += 1;
        Ok(())
    }

    /// Steps over `byte` if it is next, and says whether it was.
    #[inline]
    pub(in crate::kineto) fn took(&mut self, byte: u8) -> Result<bool, Fault> {
        let there = self.peek()? == byte;
        self.at += usize::from(there);
        Ok(there)
    }

    /// The next key of an object whose `{` was taken, and the cursor before its value; none where `}` was taken.
    #[inline]
    pub(in crate::kineto) fn key(&mut self, first: &mut bool) -> Result<Option<Text<'a>>, Fault> {
        if !self.another(first, b'}')? {
            return Ok(None);
        }
        if self.peek()? != b'"' {
            return Err(Fault::Bad("a key in quotes was expected"));
        }
        let key = self.text()?;
        self.take(b':', "a colon was expected after a key")?;
        Ok(Some(key))
    }

    /// Whether an array whose `[` was taken, or an object, goes on; if not, its closing bracket was taken.
    #[inline]
    pub(in crate::kineto) fn another(&mut self, first: &mut bool, close: u8) -> Result<bool, Fault> {
        if self.took(close)? {
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.take(b',', "a comma or a closing bracket was expected")?;
        }
        Ok(true)
    }

    /// The string whose opening quote is next.
    #[inline]
    pub(in crate::kineto) fn text(&mut self) -> Result<Text<'a>, Fault> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            // An escape at the very end leaves `at` one beyond it.
            let rest = self.bytes.get(at..).ok_or(Fault::Ends)?;
            let found = end_or_escape(rest).ok_or(Fault::Ends)?;
            match rest[found] {
                b'"' => {
                    self.at = at + found + 1;
                    return Ok(Text { raw: &self.bytes[start..at + found], escaped });
                }
                b'\\' => escaped = true,
                _ => return Err(Fault::Bad("a zero byte is in a string")),
            }
            at += found + 2;
        }
    }

    /// The number or word that is next.
    #[inline]
    pub(in crate::kineto) fn scalar(&mut self) -> Result<&'a [u8], Fault> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|byte| SCALAR[usize::from(*byte)] != Some(true)) else {
            return Err(Fault::Ends);
        };
        if length == 0 || SCALAR[usize::from(rest[length])].is_none() {
            return Err(Fault::Bad("a value was expected"));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// The value that is next as an integer; none where it is anything else.
    #[inline]
    pub(in crate::kineto) fn integer(&mut self) -> Result<Option<i64>, Fault> {
        self.scaled(0, integer)
    }

    /// The value that is next, microseconds, as nanoseconds; none where it is no such number.
    #[inline]
    pub(in crate::kineto) fn nanoseconds(&mut self) -> Result<Option<i64>, Fault> {
        self.scaled(3, nanoseconds)
    }

    /// The number that is next times 10^`power`, in one go over plain digits; what is not that is left to `otherwise`.
    #[inline]
    fn scaled(&mut self, power: u32, otherwise: fn(&[u8]) -> Option<i64>) -> Result<Option<i64>, Fault> {
        self.peek()?;
        let rest = self.rest();
        if let Some((value, length)) = plain(rest, power)
            && rest.get(length).is_some_and(|next| SCALAR[usize::from(*next)] == Some(false))
        {
            self.at += length;
            return Ok(Some(value));
        }
        self.skip().map(otherwise)
    }

    /// Steps over a value of any kind, and returns its bytes.
    #[inline]
    pub(in crate::kineto) fn skip(&mut self) -> Result<&'a [u8], Fault> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => {
                self.text()?;
            }
            b'{' | b'[' => self.skip_nested()?,
            _ => {
                self.scalar()?;
            }
        }
        Ok(&self.bytes[start..self.at])
    }

    fn skip_nested(&mut self) -> Result<(), Fault> {
        // A bit an open bracket, the innermost lowest: set for objects.
        let mut open = 0_u128;
        let mut depth = 0;
        loop {
            let mut first = match self.peek()? {
                bracket @ (b'{' | b'[') if depth < DEPTH => {
                    self.at += 1;
                    depth += 1;
                    open = open << 1 | u128::from(bracket == b'{');
                    true
                }
                b'{' | b'[' => return Err(Fault::Bad("brackets are nested more than 128 deep")),
                b'"' => self.text().map(|_| false)?,
                _ => self.scalar().map(|_| false)?,
            };
            // To the next value, out of all that end here.
            loop {
                let more =
                    if open & 1 == 1 { self.key(&mut first)?.is_some() } else { self.another(&mut first, b']')? };
                if more {
                    break;
                }
                depth -= 1;
                open >>= 1;
                first = false;
                if depth == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// Where the next `"`, `\` or zero byte is: zeros are what a lost block of a file reads as. Most strings are a few bytes
/// long, for which a vector search takes longer to begin than a word of eight bytes to end.
#[inline]
fn end_or_escape(bytes: &[u8]) -> Option<usize> {
    match bytes.first_chunk::<8>().map(|word| ends(u64::from_le_bytes(*word))) {
        Some(found) if found != 0 => Some(found.trailing_zeros() as usize / 8),
        Some(_) => far_end_or_escape(&bytes[8..]).map(|at| at + 8),
        None => bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0)),
    }
}

#[inline(never)]
fn far_end_or_escape(bytes: &[u8]) -> Option<usize> {
    const WORDS: usize = 3;
    let (words, _) = bytes.as_chunks::<8>();
    let words = &words[..words.len().min(WORDS)];
    for (at, word) in words.iter().enumerate() {
        let found = ends(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let rest = words.len() * 8;
    memchr::memchr3(b'"', b'\\', 0, &bytes[rest..]).map(|at| at + rest)
}

/// The highest bit of each byte that is `"`, `\` or zero; right up to the first such byte.
#[inline]
fn ends(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    zeros(word) | zeros(word ^ u64::from_le_bytes([b'"'; 8])) | zeros(word ^ u64::from_le_bytes([b'\\'; 8]))
}

/// What a byte is to a number or word: part of it, its end, or neither.
static SCALAR: [Option<bool>; 256] = {
    let mut table = [None; 256];
    let mut byte = 0u8;
    loop {
        table[byte as usize] = match byte {
            b'0'..=b'9' | b'.' | b'-' | b'+' | b'a'..=b'z' | b'A'..=b'Z' => Some(true),
            b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t' => Some(false),
            _ => None,
        };
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    /// The value, read with the cursor's own steps.
    fn read(cursor: &mut Cursor) -> Result<Value, Fault> {
        Ok(match cursor.peek()? {
            b'{' => {
                cursor.take(b'{', "")?;
                let (mut map, mut first) = (Map::new(), true);
                while let Some(key) = cursor.key(&mut first)? {
                    map.insert(key.decoded().into_owned(), read(cursor)?);
                }
                Value::Object(map)
            }
            b'[' => {
                cursor.take(b'[', "")?;
                let (mut array, mut first) = (Vec::new(), true);
                while cursor.another(&mut first, b']')? {
                    array.push(read(cursor)?);
                }
                Value::Array(array)
            }
            b'"' => Value::String(cursor.text()?.decoded().into_owned()),
            _ => serde_json::from_slice(cursor.scalar()?).map_err(|_| Fault::Bad("not a scalar"))?,
        })
    }

    /// A number and where it ends.
    type ParsedNumber = Result<(Option<i64>, usize), Fault>;

    fn at_once<'a>(text: &'a str, read: impl Fn(&mut Cursor<'a>) -> Result<Option<i64>, Fault>) -> ParsedNumber {
        let mut cursor = Cursor::new(text.as_bytes());
        let value = read(&mut cursor)?;
        Ok((value, cursor.at()))
    }

    fn by_token(text: &str, value: impl Fn(&[u8]) -> Option<i64>) -> ParsedNumber {
        let mut cursor = Cursor::new(text.as_bytes());
        let token = cursor.skip()?;
        Ok((value(token), cursor.at()))
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // Numbers that serde's quick conversion takes exactly.
            any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
            any::<String>().prop_map(Value::from),
            "[a-z\"\\\\\u{1}\n/]{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_reads_as_serde_reads_it_and_is_skipped_to_its_end(value in json(), pretty: bool) {
            let mut text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
            let length = text.len();
            text.extend_from_slice(b" ,");
            let mut cursor = Cursor::new(&text);
            prop_assert_eq!(read(&mut cursor), Ok(value));
            prop_assert_eq!(cursor.at(), length);
            let mut cursor = Cursor::new(&text);
            prop_assert_eq!(cursor.skip(), Ok(&text[..length]));
        }

        #[test]
        fn what_is_cut_ends_and_is_never_bad(value in json(), cut: prop::sample::Index) {
            let text = serde_json::to_vec(&Value::Array(vec![value])).unwrap();
            let cut = cut.index(text.len());
            prop_assert_eq!(Cursor::new(&text[..cut]).skip(), Err(Fault::Ends));
            prop_assert_eq!(read(&mut Cursor::new(&text[..cut])), Err(Fault::Ends));
        }

        #[test]
        fn numbers_read_at_once_are_those_of_their_digits(text in "[ ]{0,2}[-+.eE0-9]{0,22}[]\\[{},} \":]?") {
            let whole = (at_once(&text, Cursor::integer), by_token(&text, integer));
            prop_assert_eq!(whole.0, whole.1);
            let times = (at_once(&text, Cursor::nanoseconds), by_token(&text, nanoseconds));
            prop_assert_eq!(times.0, times.1);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, soup in "[\\[\\]{}\",:\\\\ a1.-]{0,60}") {
            for bytes in [bytes.as_slice(), soup.as_bytes()] {
                let _ = Cursor::new(bytes).skip();
                let _ = read(&mut Cursor::new(bytes));
            }
        }
    }

    #[test]
    fn what_profilers_write_against_the_standard_is_taken() {
        for text in ["inf ", "-nan,", "\"a\u{1}\tb\" ", "[inf, {\"a\": -inf}]"] {
            assert!(Cursor::new(text.as_bytes()).skip().is_ok(), "{text}");
        }
        assert!(Cursor::new(b"\"\xff\" ").skip().is_ok());
    }

    #[test]
    fn deep_and_crossed_brackets_are_refused() {
        let deep = "[".repeat(129);
        assert!(matches!(Cursor::new(deep.as_bytes()).skip(), Err(Fault::Bad(_))));
        let whole = "[".repeat(128) + &"]".repeat(128);
        assert!(Cursor::new(whole.as_bytes()).skip().is_ok());
        assert!(matches!(Cursor::new(b"[}").skip(), Err(Fault::Bad(_))));
    }

    #[test]
    fn damage_in_what_is_skipped_is_found() {
        for text in
            ["{\"a\": [1, \0\0\0", "[\"a\0b\"]", "{\"a\" 1}", "[1 2]", "{\"a\": 1, {\"ph\": 2}}", "[1,]", "{,}", "[:]"]
        {
            assert!(matches!(Cursor::new(text.as_bytes()).skip(), Err(Fault::Bad(_))), "{text}");
        }
    }
}
