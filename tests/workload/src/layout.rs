//! Where the KV blocks of a request lie and what is in them. Both sides compute the same. Pure.

use crate::cli::Knobs;

/// A mixing function of 64 bits (splitmix64): a stream of these is random enough and needs no state.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Which side's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The prefill stage's.
    Prefill,
    /// The decode process's.
    Decode,
}

/// Size of a block, bytes.
pub fn block_bytes(knobs: &Knobs) -> usize {
    knobs.block_kib as usize * 1024
}

/// Blocks of a region: all requests have theirs, so none is written twice.
pub fn slots(knobs: &Knobs) -> u32 {
    knobs.requests * knobs.blocks
}

/// The slots of a request's blocks in every region of one side: in order, or scattered over the region so that
/// neighbours in the list are none in memory, on either side.
pub fn slots_of(knobs: &Knobs, request: u32, side: Side) -> Vec<u32> {
    let mine = (request * knobs.blocks) as usize..((request + 1) * knobs.blocks) as usize;
    let mut all: Vec<u32> = (0..slots(knobs)).collect();
    if knobs.scatter {
        let seed = if side == Side::Prefill { 1 } else { 2 };
        for i in (1..all.len()).rev() {
            let pick = mix(seed << 32 | i as u64) % (i as u64 + 1);
            all.swap(i, usize::try_from(pick).unwrap_or(0));
        }
    }
    all[mine].to_vec()
}

/// What a request hands over between two sides, as both of them list it: positions in lists of every block of every layer,
/// and addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Positions in the list of this side.
    pub here: Vec<i32>,
    /// Positions in the list of the other side.
    pub there: Vec<i32>,
    /// Address of each block on this side and on the other.
    pub pairs: Vec<(usize, usize)>,
}

/// Lists a request's blocks; `bases` are the addresses of the layers' regions on this side and on the other.
pub fn listed(knobs: &Knobs, request: u32, side: Side, bases: (&[usize], &[usize])) -> Listed {
    let other = if side == Side::Prefill { Side::Decode } else { Side::Prefill };
    let (here, there) = (slots_of(knobs, request, side), slots_of(knobs, request, other));
    let (bytes, slots) = (block_bytes(knobs), slots(knobs));
    let positions = |slots_of: &[u32]| -> Vec<i32> {
        (0..knobs.layers)
            .flat_map(|layer| slots_of.iter().map(move |slot| layer * slots + slot))
            .filter_map(|position| i32::try_from(position).ok())
            .collect()
    };
    let pairs = bases.0.iter().zip(bases.1).flat_map(|(from, to)| {
        here.iter().zip(&there).map(move |(a, b)| (from + *a as usize * bytes, to + *b as usize * bytes))
    });
    Listed { here: positions(&here), there: positions(&there), pairs: pairs.collect() }
}

/// The addresses of every block of every layer, layer by layer: as vLLM does, they are prepared once, and a request picks by
/// position.
pub fn every(knobs: &Knobs, bases: &[usize]) -> Vec<usize> {
    let (bytes, slots) = (block_bytes(knobs), slots(knobs) as usize);
    bases.iter().flat_map(|base| (0..slots).map(move |slot| base + slot * bytes)).collect()
}

/// One KV block, by what it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Stage.
    pub stage: u32,
    /// Layer of that stage.
    pub layer: u32,
    /// Request.
    pub request: u32,
    /// Position among the request's blocks.
    pub index: u32,
}

impl Block {
    fn seed(self) -> u64 {
        mix(u64::from(self.stage) << 32 | u64::from(self.layer))
            ^ mix(u64::from(self.request) << 32 | u64::from(self.index))
    }

    /// Writes the block's bytes.
    pub fn fill(self, to: &mut [u8]) {
        let seed = self.seed();
        for (word, index) in to.as_chunks_mut::<8>().0.iter_mut().zip(0u64..) {
            *word = mix(seed.wrapping_add(index)).to_le_bytes();
        }
    }

    /// How many bytes differ from the block's.
    pub fn wrong_bytes(self, found: &[u8]) -> usize {
        let mut right = vec![0; found.len()];
        self.fill(&mut right);
        found.iter().zip(&right).filter(|(a, b)| a != b).count()
    }
}

/// The decode side's id of a request: as vLLM makes it, the external id and 8 hexadecimal digits.
pub fn request_id(request: u32) -> String {
    format!("{}-{:08x}", external_id(request), mix(u64::from(request)) & 0xffff_ffff)
}

/// The id that a client would see.
pub fn external_id(request: u32) -> String {
    format!("cmpl-req-{request}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn knobs(words: &str) -> Knobs {
        let words = format!("x run --nixl n --truth t {words}");
        match crate::cli::Cli::parse_from(words.split_whitespace()).command {
            crate::cli::Command::Run(run) => run.knobs,
            crate::cli::Command::Worker(_) | crate::cli::Command::Calls(_) => panic!("not run"),
        }
    }

    #[test]
    fn requests_share_no_slot() {
        for words in ["--requests 4 --blocks 8", "--requests 4 --blocks 8 --scatter"] {
            let knobs = knobs(words);
            for side in [Side::Prefill, Side::Decode] {
                let mut all: Vec<u32> = (0..4).flat_map(|request| slots_of(&knobs, request, side)).collect();
                all.sort_unstable();
                assert_eq!(all, (0..32).collect::<Vec<_>>(), "{words}");
            }
        }
    }

    #[test]
    fn scattering_leaves_few_neighbours() {
        let knobs = knobs("--requests 3 --blocks 64 --scatter");
        let both = slots_of(&knobs, 1, Side::Prefill).into_iter().zip(slots_of(&knobs, 1, Side::Decode));
        let both: Vec<_> = both.collect();
        let neighbours = both.windows(2).filter(|w| w[1].0 == w[0].0 + 1 && w[1].1 == w[0].1 + 1).count();
        assert_eq!(neighbours, 0);
    }

    #[test]
    fn both_sides_list_the_same_blocks() {
        let knobs = knobs("--requests 3 --blocks 8 --layers 2 --scatter");
        let (prefill, decode) = ([1 << 20, 2 << 20], [3 << 20, 4 << 20]);
        let pushed = listed(&knobs, 1, Side::Prefill, (&prefill, &decode));
        let pulled = listed(&knobs, 1, Side::Decode, (&decode, &prefill));
        assert_eq!((&pushed.here, &pushed.there), (&pulled.there, &pulled.here));
        assert_eq!(pushed.pairs, pulled.pairs.iter().map(|(a, b)| (*b, *a)).collect::<Vec<_>>());
        let all = every(&knobs, &prefill);
        let addresses: Vec<usize> = pushed.here.iter().map(|at| all[usize::try_from(*at).unwrap()]).collect();
        assert_eq!(addresses, pushed.pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
    }

    #[test]
    fn every_block_is_its_own_and_a_flipped_byte_shows() {
        let block = Block { stage: 1, layer: 2, request: 0, index: 3 };
        let mut bytes = vec![0; 1024];
        block.fill(&mut bytes);
        assert_eq!(block.wrong_bytes(&bytes), 0);
        bytes[1000] ^= 1;
        assert_eq!(block.wrong_bytes(&bytes), 1);
        for other in [Block { stage: 2, layer: 1, ..block }, Block { request: 3, index: 0, ..block }] {
            assert!(other.wrong_bytes(&bytes) > 900);
        }
    }

    #[test]
    fn request_ids_are_as_vllm_makes_them() {
        let id = request_id(7);
        let (external, tail) = id.rsplit_once('-').unwrap();
        assert_eq!(external, "cmpl-req-7");
        assert!(tail.len() == 8 && tail.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
    }
}
