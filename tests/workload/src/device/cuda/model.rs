//! One layer of a dense transformer on a GPU: norm, projections, attention, MLP, in bf16.
//!
//! The arithmetic is a layer's, the values are no model's: weights are random and the same in all layers, so are the keys
//! and values of earlier chunks, and the softmax runs over each part of the keys by itself; parts count the same.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::ensure;

use super::THREADS;
use super::attention::{self, AttendedKeys};
use super::ffi::{Blas, Buffer, Context, Graph, Kernel, Matrix, Module, Product, Stream};
use crate::device::Chunk;

/// Blocks of threads that fill memory.
const FILLERS: u32 = 1024;
/// Most tokens of a chunk: rows of a grid.
const MOST_TOKENS: u32 = 65_535;
/// Size of a value, bytes.
const BF16: usize = 2;

/// Size of the model, and how it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width of the activations, a multiple of 8.
    pub hidden: u32,
    /// Query heads; each is `hidden / heads` wide, a multiple of 8.
    pub heads: u32,
    /// Key and value heads; they divide `heads`.
    pub kv_heads: u32,
    /// Width of the MLP, a multiple of 8.
    pub intermediate: u32,
    /// Tokens of the largest chunk.
    pub max_tokens: u32,
    /// Most tokens before a chunk.
    pub max_prefix: u32,
    /// Replays all of a layer but its attention as CUDA graphs.
    pub graphs: bool,
}

impl Shape {
    /// # Errors
    /// The kernels cannot do it.
    pub fn check(&self) -> anyhow::Result<()> {
        let sizes = [self.hidden, self.heads, self.kv_heads, self.intermediate, self.max_tokens];
        ensure!(!sizes.contains(&0), "a model of size 0: {self:?}");
        let divides = self.hidden.is_multiple_of(self.heads) && self.heads.is_multiple_of(self.kv_heads);
        ensure!(divides, "heads do not divide: {self:?}");
        let eights = (self.hidden / self.heads).is_multiple_of(8) && self.intermediate.is_multiple_of(8);
        ensure!(eights, "widths are no multiples of 8: {self:?}");
        ensure!(self.max_tokens <= MOST_TOKENS, "chunks of {} tokens; {MOST_TOKENS} is the most", self.max_tokens);
        Ok(())
    }

    /// Size of the activations of so many tokens, bytes.
    pub fn bytes_of(&self, tokens: u32) -> usize {
        tokens as usize * self.hidden as usize * BF16
    }

    /// Size of the largest chunk's activations, bytes.
    pub fn activation_bytes(&self) -> usize {
        self.bytes_of(self.max_tokens)
    }

    /// Width of a head.
    fn head(&self) -> usize {
        (self.hidden / self.heads) as usize
    }

    /// Width of all keys of a token; that of its values is the same.
    fn kv_width(&self) -> usize {
        self.head() * self.kv_heads as usize
    }

    /// Width of a token's queries, keys and values.
    fn qkv_width(&self) -> usize {
        self.hidden as usize + 2 * self.kv_width()
    }
}

/// What of a layer does not depend on the tokens before the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Half {
    BeforeAttention,
    AfterAttention,
}

/// A model's memory on a GPU, and what computes on it.
pub struct Model {
    /// Size.
    pub shape: Shape,
    /// Where it computes, in order.
    pub stream: Rc<Stream>,
    /// What enters and leaves a layer, a row a token.
    pub activations: Buffer,
    normed: Buffer,
    qkv: Buffer,
    attended: Buffer,
    scores: Buffer,
    gate_up: Buffer,
    acted: Buffer,
    earlier_keys: Buffer,
    earlier_values: Buffer,
    qkv_weights: Buffer,
    out_weights: Buffer,
    gate_up_weights: Buffer,
    down_weights: Buffer,
    blas: Blas,
    embed: Kernel<4>,
    rms_norm: Kernel<3>,
    softmax: Kernel<5>,
    act_and_mul: Kernel<3>,
    /// By half and tokens; `None` where it has run only once.
    graphs: HashMap<(Half, u32), Option<Graph>>,
}

impl Model {
    /// Takes the memory and fills it; returns once that is done.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(context: &Arc<Context>, module: &Rc<Module>, shape: Shape) -> anyhow::Result<Self> {
        let stream = Rc::new(Stream::new(context)?);
        let blas = Blas::new(context, &stream)?;
        let init_weights = module.kernel::<4>("init_weights")?;
        let empty = |rows: usize, width: usize| Buffer::new(context, rows * width * BF16);
        // Uniform in (-scale, scale): the variance is a third of its square.
        let random = |rows: usize, width: usize, seed: u64, scale: f64| {
            let buffer = empty(rows, width)?;
            let parameters = [buffer.address, (rows * width) as u64, seed, scale.to_bits()];
            stream.launch(&init_weights, (FILLERS, 1), THREADS, parameters)?;
            anyhow::Ok(buffer)
        };
        let (hidden, intermediate) = (shape.hidden as usize, shape.intermediate as usize);
        let (tokens, prefix) = (shape.max_tokens as usize, shape.max_prefix as usize);
        let (narrow, wide) = ((3.0 / f64::from(shape.hidden)).sqrt(), (3.0 / f64::from(shape.intermediate)).sqrt());
        let row = attention::pitch(prefix.min(attention::EARLIER).max(tokens.min(attention::OWN)));
        let model = Self {
            shape,
            activations: empty(tokens, hidden)?,
            normed: empty(tokens, hidden)?,
            qkv: empty(tokens, shape.qkv_width())?,
            attended: empty(tokens, hidden)?,
            scores: empty(tokens * shape.kv_heads as usize, row)?,
            gate_up: empty(tokens, 2 * intermediate)?,
            acted: empty(tokens, intermediate)?,
            earlier_keys: random(prefix.max(1), shape.kv_width(), 1, 3f64.sqrt())?,
            earlier_values: random(prefix.max(1), shape.kv_width(), 2, 3f64.sqrt())?,
            qkv_weights: random(shape.qkv_width(), hidden, 3, narrow)?,
            out_weights: random(hidden, hidden, 4, narrow)?,
            gate_up_weights: random(2 * intermediate, hidden, 5, narrow)?,
            down_weights: random(hidden, intermediate, 6, wide)?,
            embed: module.kernel("embed")?,
            rms_norm: module.kernel("rms_norm")?,
            softmax: module.kernel("softmax")?,
            act_and_mul: module.kernel("act_and_mul")?,
            graphs: HashMap::new(),
            blas,
            stream,
        };
        model.stream.finish()?;
        Ok(model)
    }

    /// Enqueues random activations.
    ///
    /// # Errors
    /// There are more tokens than there is room for.
    pub fn embed(&self, seed: u64, tokens: u32) -> anyhow::Result<()> {
        ensure!((1..=self.shape.max_tokens).contains(&tokens), "a chunk of {tokens} tokens: {:?}", self.shape);
        let count = u64::from(tokens) * u64::from(self.shape.hidden);
        let parameters = [self.activations.address, count, seed, 1f64.to_bits()];
        self.stream.launch(&self.embed, (FILLERS, 1), THREADS, parameters)
    }

    /// Enqueues one layer.
    ///
    /// # Errors
    /// There are more tokens in the chunk or before it than there is room for.
    pub fn layer(&mut self, chunk: &Chunk) -> anyhow::Result<()> {
        let fits = (1..=self.shape.max_tokens).contains(&chunk.tokens) && chunk.prefix <= self.shape.max_prefix;
        ensure!(fits, "{chunk:?} is too large: {:?}", self.shape);
        self.half(Half::BeforeAttention, chunk.tokens)?;
        let parts = attention::parts(chunk);
        let weight = 1.0 / f32::from(u16::try_from(parts.len())?);
        for (index, part) in parts.iter().enumerate() {
            for member in 0..(self.shape.heads / self.shape.kv_heads) as usize {
                self.attend(part, chunk.tokens as usize, member, weight, index == 0)?;
            }
        }
        self.half(Half::AfterAttention, chunk.tokens)
    }

    /// Enqueues half a layer, as a graph where that is wanted. The first time it never is one: libraries load what they
    /// need then, which may not be captured.
    fn half(&mut self, half: Half, tokens: u32) -> anyhow::Result<()> {
        let key = (half, tokens);
        match self.graphs.get(&key) {
            Some(Some(graph)) => self.stream.replay(graph),
            Some(None) if self.shape.graphs => {
                let graph = self.stream.capture(|| self.enqueue(half, tokens))?;
                self.stream.replay(&graph)?;
                self.graphs.insert(key, Some(graph));
                Ok(())
            }
            _ => {
                self.enqueue(half, tokens)?;
                self.graphs.insert(key, None);
                Ok(())
            }
        }
    }

    fn enqueue(&self, half: Half, tokens: u32) -> anyhow::Result<()> {
        let (hidden, intermediate) = (self.shape.hidden as usize, self.shape.intermediate as usize);
        match half {
            Half::BeforeAttention => {
                self.norm(tokens)?;
                self.project(
                    tokens,
                    (&self.normed, hidden),
                    &self.qkv_weights,
                    (&self.qkv, self.shape.qkv_width()),
                    0.0,
                )
            }
            Half::AfterAttention => {
                self.project(tokens, (&self.attended, hidden), &self.out_weights, (&self.activations, hidden), 1.0)?;
                self.norm(tokens)?;
                let gate_up = (&self.gate_up, 2 * intermediate);
                self.project(tokens, (&self.normed, hidden), &self.gate_up_weights, gate_up, 0.0)?;
                let grid = (self.shape.intermediate.div_ceil(8 * THREADS), tokens);
                let parameters = [self.gate_up.address, self.acted.address, intermediate as u64];
                self.stream.launch(&self.act_and_mul, grid, THREADS, parameters)?;
                self.project(tokens, (&self.acted, intermediate), &self.down_weights, (&self.activations, hidden), 1.0)
            }
        }
    }

    fn norm(&self, tokens: u32) -> anyhow::Result<()> {
        let parameters = [self.activations.address, self.normed.address, u64::from(self.shape.hidden)];
        self.stream.launch(&self.rms_norm, (tokens, 1), THREADS, parameters)
    }

    /// `to = from * weights + keep * to`; buffers come with their widths, weights lie output by output.
    fn project(
        &self,
        tokens: u32,
        (from, inner): (&Buffer, usize),
        weights: &Buffer,
        (to, columns): (&Buffer, usize),
        keep: f32,
    ) -> anyhow::Result<()> {
        let matrix = |buffer: &Buffer, pitch| Matrix { address: buffer.address, pitch, stride: 0 };
        self.blas.multiply(&Product {
            from: matrix(from, inner),
            by: matrix(weights, inner),
            transposed: true,
            to: matrix(to, columns),
            rows: tokens as usize,
            columns,
            inner,
            batch: 1,
            scale: 1.0,
            keep,
        })
    }

    /// Attention to a part of the keys, by one of the query heads that share a key head: `weight` times what it finds
    /// takes the place of what is there, or comes on top.
    fn attend(
        &self,
        part: &AttendedKeys,
        tokens: usize,
        member: usize,
        weight: f32,
        first: bool,
    ) -> anyhow::Result<()> {
        let shape = &self.shape;
        let (hidden, head, kv_width, qkv_width) =
            (shape.hidden as usize, shape.head(), shape.kv_width(), shape.qkv_width());
        let (rows, kv_heads) = (tokens - part.first_token, shape.kv_heads as usize);
        let at = |buffer: &Buffer, value: usize, pitch: usize, stride: usize| {
            let address = buffer.address + (value * BF16) as u64;
            Matrix { address, pitch, stride }
        };
        // A query head's place in its group; the groups are as wide as this apart.
        let (place, group) = (member * head, hidden / kv_heads);
        let queries = at(&self.qkv, part.first_token * qkv_width + place, qkv_width, group);
        let found = at(&self.attended, part.first_token * hidden + place, hidden, group);
        let (keys, values) = if part.own {
            let row = part.first_key * qkv_width + hidden;
            (at(&self.qkv, row, qkv_width, head), at(&self.qkv, row + kv_width, qkv_width, head))
        } else {
            let row = part.first_key * kv_width;
            (at(&self.earlier_keys, row, kv_width, head), at(&self.earlier_values, row, kv_width, head))
        };
        let pitch = attention::pitch(part.keys);
        let scores = at(&self.scores, 0, pitch, rows * pitch);
        self.blas.multiply(&Product {
            from: queries,
            by: keys,
            transposed: true,
            to: scores,
            rows,
            columns: part.keys,
            inner: head,
            batch: kv_heads,
            scale: 1.0 / f32::from(u16::try_from(head)?).sqrt(),
            keep: 0.0,
        })?;
        let parameters = [self.scores.address, part.keys as u64, pitch as u64, rows as u64, u64::from(part.own)];
        self.stream.launch(&self.softmax, (u32::try_from(rows)?, shape.kv_heads), THREADS, parameters)?;
        self.blas.multiply(&Product {
            from: scores,
            by: values,
            transposed: false,
            to: found,
            rows,
            columns: head,
            inner: part.keys,
            batch: kv_heads,
            scale: weight,
            keep: if first { 0.0 } else { 1.0 },
        })
    }
}
