//! What a worker computes on and keeps KV blocks in: a CPU, or a GPU.

pub mod cpu;
mod cuda;

use std::any::Any;
use std::time::Duration;

use nixl_sys::MemType;

use crate::cli::{Compute, Knobs};
use crate::plan::Plan;
use cuda::{Cuda, Shape};

/// Llama 3 8B: its keys and values take 4 KiB a token and layer.
const HIDDEN: u32 = 4096;
const HEADS: u32 = 32;
const KV_HEADS: u32 = 8;
const INTERMEDIATE: u32 = 14_336;

/// A process that computes on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputeRole {
    /// A prefill stage.
    Stage(u32),
    /// A decode worker, which computes next to nothing.
    Decode(u32),
}

/// The device of a process: on GPUs, stages have the first ones, decode workers the next.
///
/// # Errors
/// There is none.
pub fn open(knobs: &Knobs, plan: &Plan, who: ComputeRole) -> anyhow::Result<Box<dyn Device>> {
    let (number, shape) = match (knobs.device, who) {
        (Compute::Cpu, _) => return Ok(Box::new(cpu::Cpu::default())),
        (Compute::Cuda, ComputeRole::Stage(rank)) => {
            let parts: Vec<_> = (0..knobs.requests).flat_map(|request| plan.parts(knobs, request)).collect();
            let most = |of: fn(&Chunk) -> u32| parts.iter().map(|part| of(&part.chunk)).max().unwrap_or(1);
            let shape = Shape {
                hidden: HIDDEN,
                heads: HEADS,
                kv_heads: KV_HEADS,
                intermediate: INTERMEDIATE,
                max_tokens: most(|chunk| chunk.tokens),
                max_prefix: most(|chunk| chunk.prefix),
                graphs: knobs.graphs,
            };
            (rank, shape)
        }
        (Compute::Cuda, ComputeRole::Decode(rank)) => {
            let most = plan.requests.iter().map(|request| request.blocks * knobs.block_tokens).max().unwrap_or(1);
            let small = Shape {
                hidden: 64,
                heads: 8,
                kv_heads: 8,
                intermediate: 64,
                max_tokens: 8,
                max_prefix: most,
                graphs: false,
            };
            (knobs.stages + rank, small)
        }
    };
    let count = cuda::devices()?;
    anyhow::ensure!(
        (number as usize) < count,
        "{who:?} wants GPU {number}, there are {count}: a stage and a decode worker each take one"
    );
    Ok(Box::new(Cuda::new(number as usize, shape)?))
}

/// Tokens before a chunk at which attention costs as much as the rest of a layer.
pub fn even_tokens(device: Compute) -> u32 {
    match device {
        Compute::Cpu => cpu::EVEN,
        // Multiply-adds a token: of all matrices, against one for queries and one for values with each token before it.
        Compute::Cuda => {
            let kv = HIDDEN / HEADS * KV_HEADS;
            (HIDDEN * (HIDDEN + 2 * kv) + HIDDEN * HIDDEN + 3 * HIDDEN * INTERMEDIATE) / (2 * HIDDEN)
        }
    }
}

/// Part of a prompt that is computed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Position in the prompt, from 0.
    pub index: u32,
    /// Tokens before it.
    pub prefix: u32,
    /// Its tokens.
    pub tokens: u32,
}

/// KV blocks of one layer, or of its keys or its values.
pub struct Region {
    /// Where it lies, in the process or on its device.
    pub address: usize,
    /// Size, bytes.
    pub bytes: usize,
    /// Kind of memory.
    pub memory: MemType,
    /// Device (0 for DRAM).
    pub device_id: u64,
    /// The memory itself; it goes with this.
    pub owner: Box<dyn Any + Send>,
}

/// A block in a region and what is in it: word `i` of 8 bytes is `layout::mix(seed + i)`, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Offset in the region, bytes; a multiple of 8.
    pub offset: usize,
    /// Size, bytes; a multiple of 8.
    pub bytes: usize,
    /// Seed.
    pub seed: u64,
}

/// A device. Work is enqueued in order; [`Device::finish`] waits for all of it. One is used by one thread alone.
pub trait Device {
    /// Zeroed memory for KV blocks, all of it there.
    ///
    /// # Errors
    /// There is not as much.
    fn region(&mut self, bytes: usize) -> anyhow::Result<Region>;

    /// Makes the activations that enter the first layer.
    ///
    /// # Errors
    /// The device fails.
    fn embed(&mut self, request: u32, chunk: &Chunk) -> anyhow::Result<()>;

    /// One layer on the activations of a chunk: norm, projections, attention to all tokens before it and in it, MLP.
    ///
    /// # Errors
    /// The device fails.
    fn layer(&mut self, layer: u32, chunk: &Chunk) -> anyhow::Result<()>;

    /// Keeps the device busy for so long: a layer that is too slow.
    ///
    /// # Errors
    /// The device fails.
    fn spin(&mut self, time: Duration) -> anyhow::Result<()>;

    /// Writes KV blocks.
    ///
    /// # Errors
    /// The device fails.
    fn fill(&mut self, region: &mut Region, blocks: &[Filled]) -> anyhow::Result<()>;

    /// Waits until all that was enqueued is done.
    ///
    /// # Errors
    /// The device fails.
    fn finish(&mut self) -> anyhow::Result<()>;

    /// The activations, for the next stage's device: themselves, or where it finds them. They are not touched again until
    /// [`BUFFERS`] later ones were given.
    ///
    /// # Errors
    /// The device fails.
    fn give(&mut self) -> anyhow::Result<Vec<u8>>;

    /// Takes activations that another stage's device gave; returns once they are here.
    ///
    /// # Errors
    /// The device fails, or that is none of its messages.
    fn take(&mut self, given: &[u8]) -> anyhow::Result<()>;

    /// How many bytes of these blocks are not what they should be.
    ///
    /// # Errors
    /// The device fails.
    fn wrong_bytes(&mut self, region: &Region, blocks: &[Filled]) -> anyhow::Result<u64>;
}

/// Activations that a stage may have given before the next has taken the first of them.
pub const BUFFERS: usize = 4;
