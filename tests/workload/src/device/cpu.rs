//! A CPU: a stand-in for attention and GEMMs, whose cost grows with the prefix as theirs does; KV blocks lie in DRAM.
#![expect(clippy::cast_precision_loss, reason = "small numbers, and only their arithmetic matters")]

use std::time::{Duration, Instant};

use anyhow::Context as _;
use nixl_sys::MemType;

use super::{Chunk, Device, Filled, Region};
use crate::ffi;
use crate::layout;

/// Width of the activations of a chunk.
const WIDTH: usize = 2048;
/// Passes over the activations for a chunk of [`EVEN`] tokens without a prefix.
const PASSES: u64 = 24;
/// Tokens before a chunk at which attention costs as much as the rest of the layer.
pub const EVEN: u32 = 256;

/// A CPU that computes in place of a GPU.
#[derive(Debug, Default)]
pub struct Cpu {
    activations: Vec<f32>,
}

/// Passes for a layer of a chunk: `24 * tokens / 256 * (1 + prefix / 256)`.
fn passes(chunk: &Chunk) -> u64 {
    let (tokens, even) = (u64::from(chunk.tokens), u64::from(EVEN));
    (PASSES * tokens * (even + u64::from(chunk.prefix)) / (even * even)).max(1)
}

impl Device for Cpu {
    fn region(&mut self, bytes: usize) -> anyhow::Result<Region> {
        let memory = ffi::touched(bytes);
        Ok(Region {
            address: memory.as_ptr().addr(),
            bytes,
            memory: MemType::Dram,
            device_id: 0,
            owner: Box::new(memory),
        })
    }

    fn embed(&mut self, request: u32, chunk: &Chunk) -> anyhow::Result<()> {
        let seed = request.wrapping_mul(31).wrapping_add(chunk.index);
        self.activations = (0..WIDTH).map(|i| (i % 97) as f32 * 0.01 + (seed % 13) as f32).collect();
        Ok(())
    }

    fn layer(&mut self, layer: u32, chunk: &Chunk) -> anyhow::Result<()> {
        let weight = 1.0 / (3.0 + layer as f32);
        for _ in 0..passes(chunk) {
            let mut carry = self.activations.iter().sum::<f32>() / WIDTH as f32;
            for value in &mut self.activations {
                // The constant keeps values away from zero, where subnormal numbers are slow. Not `mul_add`: without the CPU's
                // instruction it is a call of a hundred cycles.
                carry = *value * weight + carry * 0.5 + 1.0;
                *value = carry;
            }
        }
        Ok(())
    }

    fn spin(&mut self, time: Duration) -> anyhow::Result<()> {
        let since = Instant::now();
        while since.elapsed() < time {
            std::hint::spin_loop();
        }
        Ok(())
    }

    fn fill(&mut self, region: &mut Region, blocks: &[Filled]) -> anyhow::Result<()> {
        let memory: &mut Vec<u8> = region.owner.downcast_mut().context("a region of another device")?;
        for block in blocks {
            let to =
                memory.get_mut(block.offset..block.offset + block.bytes).context("a block outside of its region")?;
            for (word, index) in to.as_chunks_mut::<8>().0.iter_mut().zip(0u64..) {
                *word = layout::mix(block.seed.wrapping_add(index)).to_le_bytes();
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn give(&mut self) -> anyhow::Result<Vec<u8>> {
        Ok(self.activations.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn take(&mut self, given: &[u8]) -> anyhow::Result<()> {
        let (words, rest) = given.as_chunks();
        anyhow::ensure!(words.len() == WIDTH && rest.is_empty(), "activations of {} bytes", given.len());
        self.activations = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        Ok(())
    }

    fn wrong_bytes(&mut self, region: &Region, blocks: &[Filled]) -> anyhow::Result<u64> {
        let memory: &Vec<u8> = region.owner.downcast_ref().context("a region of another device")?;
        let mut wrong = 0;
        for block in blocks {
            let found =
                memory.get(block.offset..block.offset + block.bytes).context("a block outside of its region")?;
            for (word, index) in found.as_chunks::<8>().0.iter().zip(0u64..) {
                let right = layout::mix(block.seed.wrapping_add(index)).to_le_bytes();
                wrong += word.iter().zip(right).filter(|(a, b)| **a != *b).count() as u64;
            }
        }
        Ok(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: Chunk = Chunk { index: 1, prefix: 256, tokens: 256 };

    #[test]
    fn attention_costs_more_with_the_prefix() {
        let cost = |prefix, tokens| passes(&Chunk { index: 0, prefix, tokens });
        assert_eq!((cost(0, 256), cost(256, 256), cost(768, 256), cost(0, 512)), (24, 48, 96, 48));
        assert_eq!(cost(0, 1), 1);
    }

    #[test]
    fn activations_survive_the_wire_and_change_in_a_layer() {
        let (mut here, mut there) = (Cpu::default(), Cpu::default());
        here.embed(1, &CHUNK).unwrap();
        there.take(&here.give().unwrap()).unwrap();
        assert_eq!(here.activations, there.activations);
        there.layer(0, &CHUNK).unwrap();
        assert_ne!(here.activations, there.activations);
        assert!(there.activations.iter().all(|value| value.is_finite()));
        assert!(there.take(&[0; 5]).is_err());
    }

    #[test]
    fn every_block_is_its_own_and_a_flipped_byte_shows() {
        let mut cpu = Cpu::default();
        let mut region = cpu.region(4096).unwrap();
        let block = Filled { offset: 1024, bytes: 1024, seed: 7 };
        cpu.fill(&mut region, &[block]).unwrap();
        assert_eq!(cpu.wrong_bytes(&region, &[block]).unwrap(), 0);
        region.owner.downcast_mut::<Vec<u8>>().unwrap()[2000] ^= 1;
        assert_eq!(cpu.wrong_bytes(&region, &[block]).unwrap(), 1);
        for other in [Filled { seed: 8, ..block }, Filled { offset: 0, ..block }] {
            assert!(cpu.wrong_bytes(&region, &[other]).unwrap() > 900);
        }
        assert!(cpu.fill(&mut region, &[Filled { offset: 4000, ..block }]).is_err());
    }

    #[test]
    fn spinning_lasts_as_long_as_it_should() {
        let since = Instant::now();
        Cpu::default().spin(Duration::from_millis(3)).unwrap();
        assert!(since.elapsed() >= Duration::from_millis(3));
    }
}
