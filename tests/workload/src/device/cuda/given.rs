//! The message that goes with activations: where another process's GPU finds them. Pure.

use anyhow::{Context as _, ensure};

/// First bytes of a message: what it is, and its version.
const MAGIC: [u8; 4] = *b"kva1";

/// Activations in memory that a process shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedActivations {
    /// What opens the memory.
    pub handle: [u8; 64],
    /// Where in it they begin, bytes.
    pub offset: usize,
    /// Their size, bytes.
    pub bytes: usize,
    /// Their tokens.
    pub tokens: u32,
}

impl SharedActivations {
    /// The message.
    pub fn to_bytes(self) -> Vec<u8> {
        let (offset, bytes) = (self.offset as u64, self.bytes as u64);
        let parts: [&[u8]; 5] =
            [&MAGIC, &self.tokens.to_le_bytes(), &offset.to_le_bytes(), &bytes.to_le_bytes(), &self.handle];
        parts.concat()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// It is none.
    pub fn from_bytes(message: &[u8]) -> anyhow::Result<Self> {
        let (magic, rest) = message.split_first_chunk().context("a message cut short")?;
        ensure!(*magic == MAGIC, "no message of a GPU stage");
        let (tokens, rest) = rest.split_first_chunk().context("a message cut short")?;
        let (offset, rest) = rest.split_first_chunk().context("a message cut short")?;
        let (bytes, rest) = rest.split_first_chunk().context("a message cut short")?;
        let handle = rest.try_into().context("a message of the wrong length")?;
        let size = |word: &[u8; 8]| usize::try_from(u64::from_le_bytes(*word));
        Ok(Self { handle, offset: size(offset)?, bytes: size(bytes)?, tokens: u32::from_le_bytes(*tokens) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_and_anything_else_is_refused() {
        let given = SharedActivations {
            handle: std::array::from_fn(|i| 3 * u8::try_from(i).unwrap()),
            offset: 1 << 33,
            bytes: 12,
            tokens: 3,
        };
        let message = given.to_bytes();
        assert_eq!(SharedActivations::from_bytes(&message).unwrap(), given);
        for length in 0..message.len() {
            assert!(SharedActivations::from_bytes(&message[..length]).is_err());
        }
        assert!(SharedActivations::from_bytes(&[message.as_slice(), b"x"].concat()).is_err());
        assert!(SharedActivations::from_bytes(&vec![0; message.len()]).is_err());
    }
}
