//! A GPU: a dense layer's arithmetic by cuBLAS and kernels of our own, KV blocks in its memory, activations handed to the
//! next stage's GPU through memory that it opens.
//!
//! * [`model`]: the layer; [`attention`]: its keys, part by part;
//! * [`lists`]: lists of KV blocks on their way to a kernel;
//! * [`given`]: the message that goes with activations;
//! * [`ffi`]: CUDA itself.

mod attention;
mod ffi;
mod given;
mod lists;
mod model;

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nixl_sys::MemType;

use super::{BUFFERS, Chunk, Device, Filled, Region};
use ffi::{Buffer, Context, Event, Kernel, Module, Opened, Pinned, Stream};
use given::SharedActivations;
use lists::Lists;
use model::Model;

pub use ffi::devices;
pub use model::Shape;

/// The kernels' source; they are compiled for the GPU that is there.
const KERNELS: &CStr = match CStr::from_bytes_with_nul(concat!(include_str!("../kernels.cu"), "\0").as_bytes()) {
    Ok(source) => source,
    Err(_) => panic!("a NUL in kernels.cu"),
};

/// Threads of a kernel's block: THREADS in kernels.cu.
const THREADS: u32 = 256;

/// A GPU that computes one stage, or keeps the decode side's KV blocks.
pub struct Cuda {
    context: Arc<Context>,
    device_id: u64,
    model: Model,
    /// Copies from another stage's GPU.
    copies: Stream,
    /// The end of the work that uses the activations.
    used: Event,
    lists: Lists,
    write_kv_blocks: Kernel<2>,
    compare_blocks: Kernel<3>,
    spin: Kernel<1>,
    /// What `compare_blocks` counts, on the device and here.
    wrong: Buffer,
    counted: Pinned,
    /// [`BUFFERS`] buffers for activations, as one allocation; its handle; the next of them.
    sent: Buffer,
    handle: [u8; 64],
    next: usize,
    /// Other stages' buffers, by handle.
    opened: HashMap<[u8; 64], Opened>,
    /// Tokens of the present activations; 0 if there are none.
    tokens: u32,
}

impl Cuda {
    /// Opens the GPU with this index among the visible ones, compiles the kernels, takes the model's memory, fills it.
    ///
    /// # Errors
    /// No driver, GPU, cuBLAS or NVRTC; not enough memory; a shape that the kernels cannot do.
    pub fn new(device: usize, shape: Shape) -> anyhow::Result<Self> {
        shape.check()?;
        let context = Context::open(device)?;
        let module = Module::compile(&context, KERNELS)?;
        let sent = Buffer::new(&context, BUFFERS * shape.activation_bytes())?;
        let handle = sent.share()?;
        Ok(Self {
            device_id: device as u64,
            copies: Stream::new(&context)?,
            used: Event::new(&context)?,
            lists: Lists::new(&context),
            write_kv_blocks: module.kernel("write_kv_blocks")?,
            compare_blocks: module.kernel("compare_blocks")?,
            spin: module.kernel("spin")?,
            wrong: Buffer::new(&context, 8)?,
            counted: Pinned::new(&context, 1)?,
            sent,
            handle,
            next: 0,
            opened: HashMap::new(),
            tokens: 0,
            model: Model::new(&context, &module, shape)?,
            context,
        })
    }

    /// Blocks lie in a region of this device.
    fn check(&self, region: &Region, blocks: &[Filled]) -> anyhow::Result<()> {
        let ours = matches!(region.memory, MemType::Vram) && region.device_id == self.device_id;
        ensure!(ours, "the region is not on GPU {}", self.device_id);
        let inside = |block: &Filled| {
            let end = block.offset.checked_add(block.bytes);
            block.offset.is_multiple_of(8)
                && block.bytes.is_multiple_of(8)
                && end.is_some_and(|end| end <= region.bytes)
        };
        let outside = blocks.iter().find(|block| !inside(block));
        ensure!(outside.is_none(), "a block is not in its region of {} bytes: {outside:?}", region.bytes);
        Ok(())
    }
}

impl Device for Cuda {
    fn region(&mut self, bytes: usize) -> anyhow::Result<Region> {
        let owner = Buffer::new(&self.context, bytes)?;
        self.model.stream.zero(owner.address, bytes)?;
        self.model.stream.finish()?;
        let address = usize::try_from(owner.address)?;
        Ok(Region { address, bytes, memory: MemType::Vram, device_id: self.device_id, owner: Box::new(owner) })
    }

    fn embed(&mut self, request: u32, chunk: &Chunk) -> anyhow::Result<()> {
        self.model.embed(u64::from(request) << 32 | u64::from(chunk.index), chunk.tokens)?;
        self.tokens = chunk.tokens;
        Ok(())
    }

    fn layer(&mut self, _layer: u32, chunk: &Chunk) -> anyhow::Result<()> {
        ensure!(self.tokens == chunk.tokens, "activations of {} tokens, a chunk of {}", self.tokens, chunk.tokens);
        self.model.layer(chunk)
    }

    fn spin(&mut self, time: Duration) -> anyhow::Result<()> {
        self.model.stream.launch(&self.spin, (1, 1), 1, [u64::try_from(time.as_nanos())?])
    }

    fn fill(&mut self, region: &mut Region, blocks: &[Filled]) -> anyhow::Result<()> {
        self.check(region, blocks)?;
        let base = region.address as u64;
        self.lists.send(&self.model.stream, blocks, |list, grid| {
            self.model.stream.launch(&self.write_kv_blocks, grid, THREADS, [base, list])
        })
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.model.stream.finish()
    }

    fn give(&mut self) -> anyhow::Result<Vec<u8>> {
        ensure!(self.tokens > 0, "no activations to give");
        let offset = self.next * self.model.shape.activation_bytes();
        let bytes = self.model.shape.bytes_of(self.tokens);
        self.next = (self.next + 1) % BUFFERS;
        self.model.stream.copy(self.model.activations.address, self.sent.address + offset as u64, bytes)?;
        self.model.stream.finish()?;
        Ok(SharedActivations { handle: self.handle, offset, bytes, tokens: self.tokens }.to_bytes())
    }

    fn take(&mut self, given: &[u8]) -> anyhow::Result<()> {
        let shape = &self.model.shape;
        let given = SharedActivations::from_bytes(given).context("activations from another stage")?;
        let end = given.offset.checked_add(given.bytes);
        let ours = (1..=shape.max_tokens).contains(&given.tokens)
            && given.bytes == shape.bytes_of(given.tokens)
            && end.is_some_and(|end| end <= BUFFERS * shape.activation_bytes());
        ensure!(ours, "activations of another shape: {} tokens, {} bytes", given.tokens, given.bytes);
        if !self.opened.contains_key(&given.handle) {
            self.opened.insert(given.handle, Opened::new(&self.context, given.handle)?);
        }
        let from = self.opened[&given.handle].address + given.offset as u64;
        self.used.record(&self.model.stream)?;
        self.copies.wait_for(&self.used)?;
        self.copies.copy(from, self.model.activations.address, given.bytes)?;
        self.copies.finish()?;
        self.tokens = given.tokens;
        Ok(())
    }

    fn wrong_bytes(&mut self, region: &Region, blocks: &[Filled]) -> anyhow::Result<u64> {
        self.check(region, blocks)?;
        let (base, wrong, stream) = (region.address as u64, self.wrong.address, &self.model.stream);
        stream.zero(wrong, 8)?;
        self.lists.send(stream, blocks, |list, grid| {
            stream.launch(&self.compare_blocks, grid, THREADS, [base, list, wrong])
        })?;
        stream.download(wrong, &mut self.counted)?;
        Ok(self.counted.as_mut()[0])
    }
}
