//! A trace cut into blocks of whole events, which threads read side by side.
//!
//! Where an event ends is guessed: at a `}` that a comma and a `{` follow. Whoever puts the blocks together again must check
//! each guess, by where the block before really ended ([`super::run`]); where blocks are cut depends on nothing but the trace.

use std::io::Read;

use super::document::State;
use super::json::LONGEST;

/// Part of a trace.
#[derive(Debug)]
pub(super) struct Block {
    /// Memory that begins with its bytes; to be used again.
    pub(super) memory: Vec<u8>,
    /// How many they are.
    length: usize,
    /// Where it begins in the trace, bytes.
    pub(super) offset: u64,
    /// What it begins with, if what comes before ends with whole events.
    pub(super) state: State,
}

impl Block {
    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

/// The blocks of a trace.
pub(super) struct Blocks<R> {
    reader: R,
    usual: usize,
    /// Behind the last cut.
    left: Vec<u8>,
    offset: u64,
    state: State,
    is_over: bool,
}

/// Bytes of a block: so many that little is done for each, so few that they stay in a core's cache.
const USUAL: usize = 1 << 19;

impl<R: Read> Blocks<R> {
    pub(super) fn new(reader: R) -> Self {
        Self::of_size(reader, USUAL)
    }

    fn of_size(reader: R, usual: usize) -> Self {
        Self { reader, usual, left: Vec::new(), offset: 0, state: State::Start, is_over: false }
    }

    /// The next block, in `memory` that holds nothing of use; none behind the last.
    pub(super) fn next(&mut self, mut memory: Vec<u8>) -> std::io::Result<Option<Block>> {
        if self.is_over {
            return Ok(None);
        }
        let mut length = self.left.len();
        memory.resize(self.usual.max(length * 2), 0);
        memory[..length].copy_from_slice(&self.left);
        self.left.clear();
        loop {
            length += fill(&mut self.reader, &mut memory[length..])?;
            self.is_over = length < memory.len();
            if self.is_over {
                break;
            }
            if let Some(end) = last_end(&memory) {
                self.left.extend_from_slice(&memory[end..]);
                length = end;
                break;
            }
            // What is longer than anything that is held is refused by whoever reads it.
            if length >= LONGEST {
                break;
            }
            memory.resize(length * 2, 0);
        }
        let (offset, state) = (self.offset, self.state);
        if state == State::Start {
            let bare = memory[..length].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
            self.state = State::Events { first: false, bare };
        }
        self.offset += length as u64;
        Ok(Some(Block { memory, length, offset, state }))
    }
}

/// Reads until `into` is full or nothing is left, and says how much that is.
pub(super) fn fill(reader: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < into.len() {
        match reader.read(&mut into[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Behind the last `}` that a comma and a `{` follow.
fn last_end(bytes: &[u8]) -> Option<usize> {
    memchr::memrchr_iter(b'{', bytes).find_map(|at| {
        let before = bytes[..at].trim_ascii_end().strip_suffix(b",")?.trim_ascii_end();
        before.ends_with(b"}").then_some(before.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(json: &str, usual: usize) -> Vec<(u64, State, String)> {
        let mut blocks = Blocks::of_size(json.as_bytes(), usual);
        let mut memory = Vec::new();
        let mut next = || {
            let block = blocks.next(std::mem::take(&mut memory)).unwrap()?;
            let text = String::from_utf8(block.bytes().to_vec()).unwrap();
            memory = block.memory;
            Some((block.offset, block.state, text))
        };
        std::iter::from_fn(&mut next).collect()
    }

    #[test]
    fn blocks_end_with_events_and_make_the_trace_again() {
        let event = r#"{"name": "a", "args": {"x": {}}}"#;
        let json = format!("[{}]", vec![event; 40].join(",\n  "));
        for usual in [1, 30, 100, 1_000, 10_000] {
            let blocks = cut(&json, usual);
            assert_eq!(blocks.iter().map(|(.., text)| text.as_str()).collect::<String>(), json);
            let mut offset = 0;
            for (at, (begin, state, text)) in blocks.iter().enumerate() {
                assert_eq!(*begin, offset);
                offset += text.len() as u64;
                let expected = if at == 0 { State::Start } else { State::Events { first: false, bare: true } };
                assert_eq!(*state, expected);
                assert!(text.ends_with(event) || at + 1 == blocks.len(), "{text}");
            }
            assert_eq!(blocks.len() > 1, usual < json.len());
        }
    }

    #[test]
    fn a_trace_without_events_is_one_block() {
        assert_eq!(cut("", 4), [(0, State::Start, String::new())]);
        assert_eq!(cut("{\"a\": [1, 2, 3]}", 4).len(), 1);
    }
}
