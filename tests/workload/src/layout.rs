//! Where the KV blocks of a request lie and what is in them. Both sides compute the same. Pure.

use std::ops::Range;

use crate::cli::{HandoffEach, Knobs};
use crate::device::Filled;
use crate::plan::{Plan, Unit};

/// A mixing function of 64 bits (splitmix64): a stream of these is random enough and needs no state.
pub fn mix(mut x: u64) -> u64 {
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

/// Where blocks lie in each region of a side.
#[derive(Debug)]
pub struct Layout {
    /// Size of a block in a region, bytes.
    pub block_bytes: usize,
    /// Blocks of a region.
    pub slots: u32,
    planes: u32,
    /// Slot of each block, request by request, in order or scattered over the region so that neighbours in the list are none in memory,
    /// on either side.
    prefill: Vec<u32>,
    decode: Vec<u32>,
    /// Where each request's begin.
    first: Vec<u32>,
}

/// What a unit hands over, as one side lists it: positions in lists of every block of every region, and addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Positions in the list of this side.
    pub here: Vec<i32>,
    /// Positions in the list of the other side.
    pub there: Vec<i32>,
    /// Address of each block on this side and on the other.
    pub pairs: Vec<(usize, usize)>,
}

impl Layout {
    /// As the knobs say.
    pub fn new(knobs: &Knobs, plan: &Plan) -> Self {
        let slots = plan.slots();
        let shuffled = |seed: u64| {
            let mut all: Vec<u32> = (0..slots).collect();
            if knobs.scatter {
                for i in (1..all.len()).rev() {
                    let pick = mix(seed << 32 | i as u64) % (i as u64 + 1);
                    all.swap(i, usize::try_from(pick).unwrap_or(0));
                }
            }
            all
        };
        Self {
            block_bytes: knobs.block_kib as usize * 1024 / knobs.planes() as usize,
            slots,
            planes: knobs.planes(),
            prefill: shuffled(1),
            decode: shuffled(2),
            first: plan.requests.iter().map(|request| request.slot).collect(),
        }
    }

    /// Size of a region, bytes.
    pub fn region_bytes(&self) -> usize {
        self.slots as usize * self.block_bytes
    }

    /// The regions of some layers.
    pub fn regions(&self, layers: &Range<u32>) -> Range<usize> {
        (layers.start * self.planes) as usize..(layers.end * self.planes) as usize
    }

    /// Slots of some blocks of a request.
    fn slots_of(&self, request: u32, blocks: &Range<u32>, side: Side) -> &[u32] {
        let all = match side {
            Side::Prefill => &self.prefill,
            Side::Decode => &self.decode,
        };
        let first = self.first[request as usize];
        &all[(first + blocks.start) as usize..(first + blocks.end) as usize]
    }

    /// Lists a unit's blocks; `bases` are the addresses of the stage's regions on this side and on the other.
    pub fn listed(&self, request: u32, unit: &Unit, side: Side, bases: (&[usize], &[usize])) -> Listed {
        let other = if side == Side::Prefill { Side::Decode } else { Side::Prefill };
        let here = self.slots_of(request, &unit.blocks, side);
        let there = self.slots_of(request, &unit.blocks, other);
        let regions = self.regions(&unit.layers);
        let positions = |slots: &[u32]| -> Vec<i32> {
            let of_region = |region: usize| slots.iter().map(move |slot| region * self.slots as usize + *slot as usize);
            regions.clone().flat_map(of_region).filter_map(|position| i32::try_from(position).ok()).collect()
        };
        let address = |base: usize, slot: u32| base + slot as usize * self.block_bytes;
        let pairs = regions.clone().flat_map(|region| {
            here.iter().zip(there).map(move |(a, b)| (address(bases.0[region], *a), address(bases.1[region], *b)))
        });
        Listed { here: positions(here), there: positions(there), pairs: pairs.collect() }
    }

    /// The addresses of every block of every region, one region after another: as vLLM does, they are prepared once, and a request picks by
    /// position.
    pub fn every(&self, bases: &[usize]) -> Vec<usize> {
        bases.iter().flat_map(|base| (0..self.slots).map(move |slot| base + slot as usize * self.block_bytes)).collect()
    }

    /// What is in some blocks of a request, in one region of a stage.
    pub fn filled(&self, stage: u32, region: usize, request: u32, blocks: &Range<u32>, side: Side) -> Vec<Filled> {
        let slots = self.slots_of(request, blocks, side);
        let block = |(index, slot): (u32, &u32)| Filled {
            offset: *slot as usize * self.block_bytes,
            bytes: self.block_bytes,
            // Not a sum or a difference of two mixes: block 1 of region 0 would be block 0 of region 1.
            seed: mix(mix(u64::from(stage) << 32 | region as u64) ^ (u64::from(request) << 32 | u64::from(index))),
        };
        (blocks.start..).zip(slots).map(block).collect()
    }
}

/// The decode side's id of a request, as it stands in notifications. Handed over once: as vLLM makes it, the external id, here
/// that of a completion whose client sent a UUID of its own, and 8 hexadecimal digits. In parts: as SGLang does, the number of its room.
pub fn request_id(knobs: &Knobs, request: u32) -> String {
    let number = mix(u64::from(request));
    match knobs.handoff {
        HandoffEach::Request => {
            let high = mix(number);
            let uuid = format!(
                "{:08x}-{:04x}-4{:03x}-8{:03x}-{request:012}",
                high >> 32,
                high >> 16 & 0xffff,
                high & 0xfff,
                number >> 52
            );
            format!("cmpl-{uuid}-0-{:08x}", number & 0xffff_ffff)
        }
        HandoffEach::Chunk | HandoffEach::Layer => (number >> 2).to_string(),
    }
}

/// The message that registers a request with a stage that is to write its KV, as vLLM's push connector packs it: a msgpack map of
/// text keys.
pub fn registration(id: &str) -> Vec<u8> {
    let mut bytes = b"PUSH_REG:\x82".to_vec();
    for text in ["request_id", id, "decode_engine_id", "d0"] {
        match u8::try_from(text.len()) {
            Ok(count @ 0..=31) => bytes.push(0xa0 | count),
            Ok(count) => bytes.extend([0xd9, count]),
            Err(_) => unreachable!("ids are short"),
        }
        bytes.extend(text.bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn made(words: &str) -> (Knobs, Plan, Layout) {
        let words = format!("x run --nixl n --truth t {words}");
        let crate::cli::Command::Run(run) = crate::cli::Cli::parse_from(words.split_whitespace()).command else {
            panic!("not run")
        };
        let plan = Plan::new(&run.knobs).unwrap();
        let layout = Layout::new(&run.knobs, &plan);
        (run.knobs, plan, layout)
    }

    #[test]
    fn requests_share_no_slot() {
        for words in ["--requests 4 --blocks 8", "--requests 4 --blocks 8 --scatter"] {
            let (.., layout) = made(words);
            for side in [Side::Prefill, Side::Decode] {
                let mut all: Vec<u32> =
                    (0..4).flat_map(|request| layout.slots_of(request, &(0..8), side).to_vec()).collect();
                all.sort_unstable();
                assert_eq!(all, (0..32).collect::<Vec<_>>(), "{words}");
            }
        }
    }

    #[test]
    fn scattering_leaves_few_neighbours() {
        let (.., layout) = made("--requests 3 --blocks 64 --scatter");
        let (here, there) = (layout.slots_of(1, &(0..64), Side::Prefill), layout.slots_of(1, &(0..64), Side::Decode));
        let both: Vec<_> = here.iter().zip(there).collect();
        assert_eq!(both.windows(2).filter(|w| *w[1].0 == w[0].0 + 1 && *w[1].1 == w[0].1 + 1).count(), 0);
    }

    #[test]
    fn both_sides_list_the_same_blocks() {
        let (.., layout) = made("--requests 3 --blocks 8 --layers 2 --scatter --kv split");
        let (prefill, decode) = ([1 << 20, 2 << 20, 3 << 20, 4 << 20], [5 << 20, 6 << 20, 7 << 20, 8 << 20]);
        let unit = Unit { notif: String::new(), layers: 1..2, blocks: 2..7 };
        let pushed = layout.listed(1, &unit, Side::Prefill, (&prefill, &decode));
        let pulled = layout.listed(1, &unit, Side::Decode, (&decode, &prefill));
        assert_eq!((&pushed.here, &pushed.there), (&pulled.there, &pulled.here));
        assert_eq!(pushed.pairs, pulled.pairs.iter().map(|(a, b)| (*b, *a)).collect::<Vec<_>>());
        assert_eq!(pushed.pairs.len(), 10);
        let all = layout.every(&prefill);
        let addresses: Vec<usize> = pushed.here.iter().map(|at| all[usize::try_from(*at).unwrap()]).collect();
        assert_eq!(addresses, pushed.pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
        let offsets: Vec<usize> = layout.filled(0, 2, 1, &(2..7), Side::Prefill).iter().map(|b| b.offset).collect();
        assert_eq!(offsets, pushed.pairs[..5].iter().map(|pair| pair.0 - prefill[2]).collect::<Vec<_>>());
    }

    #[test]
    fn every_block_has_its_own_content() {
        let (.., layout) = made("--requests 2 --blocks 4");
        let mut seeds = Vec::new();
        for (stage, region, request) in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)] {
            seeds.extend(layout.filled(stage, region, request, &(0..4), Side::Decode).iter().map(|block| block.seed));
        }
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 16);
    }

    #[test]
    fn request_ids_are_as_engines_make_them() {
        let (knobs, ..) = made("");
        let id = request_id(&knobs, 7);
        let (external, tail) = id.rsplit_once('-').unwrap();
        assert!(external.starts_with("cmpl-") && external.ends_with("-000000000007-0"), "{external}");
        assert_eq!(id.len(), "cmpl-".len() + 36 + "-0-01234567".len());
        assert!(tail.len() == 8 && tail.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
        let (knobs, ..) = made("--handoff chunk");
        assert!(request_id(&knobs, 7).parse::<u64>().unwrap() < 1 << 62);
    }
}
