//! Which keys a chunk's tokens attend to, part by part, so that scores fit in memory and half of the chunk's own, which
//! lie ahead of the token, are mostly not computed. Pure.

use crate::device::Chunk;

/// Most keys of a part before the chunk: what a row of `softmax` in kernels.cu can hold.
pub const EARLIER: usize = 8192;
/// Most keys of a part of the chunk itself.
pub const OWN: usize = 1024;

/// Keys that some of the chunk's tokens attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttendedKeys {
    /// The keys are the chunk's own: the n-th token of the part sees its first n keys.
    pub own: bool,
    /// First key: a position in the prompt, or in the chunk if they are its own.
    pub first_key: usize,
    /// How many keys.
    pub keys: usize,
    /// First of the chunk's tokens that attends to them; all after it do.
    pub first_token: usize,
}

/// The parts of a chunk's attention. All tokens take part in the first.
pub fn parts(chunk: &Chunk) -> Vec<AttendedKeys> {
    let (prefix, tokens) = (chunk.prefix as usize, chunk.tokens as usize);
    let earlier = (0..prefix).step_by(EARLIER).map(|first_key| AttendedKeys {
        own: false,
        first_key,
        keys: EARLIER.min(prefix - first_key),
        first_token: 0,
    });
    let own = (0..tokens).step_by(OWN).map(|first_key| AttendedKeys {
        own: true,
        first_key,
        keys: OWN.min(tokens - first_key),
        first_token: first_key,
    });
    earlier.chain(own).collect()
}

/// From one row of scores to the next: a multiple of 8 values, as kernels.cu wants it.
pub fn pitch(keys: usize) -> usize {
    keys.next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_sees_every_key_before_it_once() {
        for (prefix, tokens) in [(0, 1), (0, 2500), (8192, 1024), (20_000, 1500)] {
            let parts = parts(&Chunk { index: 0, prefix, tokens });
            assert_eq!(parts[0].first_token, 0);
            for token in [0, 1, tokens as usize / 2, tokens as usize - 1] {
                if token >= tokens as usize {
                    continue;
                }
                let seen: usize = parts
                    .iter()
                    .filter(|part| token >= part.first_token)
                    .map(|part| if part.own { part.keys.min(token - part.first_token + 1) } else { part.keys })
                    .sum();
                assert_eq!(seen, prefix as usize + token + 1);
            }
        }
    }

    #[test]
    fn the_work_is_that_of_causal_attention() {
        for prefix in [0, 32_768, 122_880] {
            let done: usize = parts(&Chunk { index: 0, prefix, tokens: 8192 })
                .iter()
                .map(|part| part.keys * (8192 - part.first_token))
                .sum();
            let due = 8192 * (prefix as usize + 4096);
            assert!(done >= due && done - due <= 8192 * 1024 / 2, "{done} {due}");
        }
    }
}
