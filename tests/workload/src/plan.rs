//! What a run will do, as every process of it knows beforehand: requests, their chunks, and the pieces in which their KV goes
//! over. Pure, but for reading a trace.

use std::ops::Range;
use std::time::Duration;

use crate::cli::{Chunking, HandoffEach, Knobs};
use crate::device::{self, Chunk};
use crate::layout;
use crate::trace;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// When it comes, after the first; without a trace when another has ended.
    pub after: Duration,
    /// KV blocks in each layer.
    pub blocks: u32,
    /// Its first slot, where blocks are not scattered.
    pub slot: u32,
}

/// What is computed, and where its KV goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputedPart {
    /// The chunk.
    pub chunk: Chunk,
    /// Its blocks, by position in the request.
    pub blocks: Range<u32>,
    /// Whether it is the last of its request.
    pub is_last: bool,
}

/// What goes over in one transfer: some blocks of some layers of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Text of its notification.
    pub notif: String,
    /// Layers of the stage.
    pub layers: Range<u32>,
    /// Positions of blocks in the request.
    pub blocks: Range<u32>,
}

/// The requests of a run.
#[derive(Debug)]
pub struct Plan {
    /// In the order of their arrival.
    pub requests: Vec<Request>,
}

impl Plan {
    /// As the knobs say.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub fn new(knobs: &Knobs) -> anyhow::Result<Self> {
        let count = knobs.requests as usize;
        let mut requests = Vec::with_capacity(count);
        let mut slot = 0;
        let mut add = |after, blocks| {
            requests.push(Request { after, blocks, slot });
            slot += blocks;
        };
        match &knobs.trace {
            None => (0..count).for_each(|_| add(Duration::ZERO, knobs.blocks)),
            Some(path) => {
                for arrival in trace::read(path, count)? {
                    let after = arrival.after.div_f64(knobs.speed);
                    add(after, arrival.tokens.div_ceil(knobs.block_tokens).max(1));
                }
            }
        }
        Ok(Self { requests })
    }

    /// Slots of a region: all requests have theirs, so none is written twice.
    pub fn slots(&self) -> u32 {
        self.requests.iter().map(|request| request.blocks).sum()
    }

    /// The chunks of a request that are not empty.
    pub fn parts(&self, knobs: &Knobs, request: u32) -> Vec<ComputedPart> {
        let blocks = self.requests[request as usize].blocks;
        let chunks = knobs.chunks;
        let edge = |chunk: u32| match knobs.chunking {
            Chunking::Even => u32::try_from(u64::from(blocks) * u64::from(chunk) / u64::from(chunks)).unwrap_or(blocks),
            Chunking::Dynamic => dynamic_edge(
                blocks,
                chunk,
                chunks,
                f64::from(device::even_tokens(knobs.device)) / f64::from(knobs.block_tokens),
            ),
        };
        let ranges = (0..chunks).map(|chunk| edge(chunk)..edge(chunk + 1)).filter(|range| !range.is_empty());
        let part = |(index, range): (u32, Range<u32>)| ComputedPart {
            chunk: Chunk {
                index,
                prefix: range.start * knobs.block_tokens,
                tokens: (range.end - range.start) * knobs.block_tokens,
            },
            is_last: range.end == blocks,
            blocks: range,
        };
        (0..).zip(ranges).map(part).collect()
    }

    /// The transfers of a part on a stage: the part's own, or, with its last, the whole request's.
    pub fn units(&self, knobs: &Knobs, request: u32, part: &ComputedPart, stage: u32) -> Vec<Unit> {
        let id = layout::request_id(knobs, request);
        let layers = knobs.layers_of(stage);
        let (chunk, is_last) = (part.chunk.index, u32::from(part.is_last));
        match knobs.handoff {
            HandoffEach::Request if part.is_last => {
                let blocks = 0..self.requests[request as usize].blocks;
                vec![Unit { notif: format!("{id}:1"), layers: 0..layers, blocks }]
            }
            HandoffEach::Request => Vec::new(),
            HandoffEach::Chunk => {
                let notif = format!("{id}_kv_{chunk}_{is_last}_{stage}");
                vec![Unit { notif, layers: 0..layers, blocks: part.blocks.clone() }]
            }
            HandoffEach::Layer => (0..layers)
                .map(|layer| Unit {
                    notif: format!("{id}_kv_{chunk}_{is_last}_{stage}_part_{layer}_{layers}"),
                    layers: layer..layer + 1,
                    blocks: part.blocks.clone(),
                })
                .collect(),
        }
    }

    /// Every notification that tells decode of a request's KV: its text, and how many stages send it.
    pub fn notifs(&self, knobs: &Knobs, request: u32) -> Vec<(String, usize)> {
        let mut all: Vec<(String, usize)> = Vec::new();
        for stage in 0..knobs.stages {
            for part in self.parts(knobs, request) {
                for unit in self.units(knobs, request, &part, stage) {
                    match all.iter_mut().find(|(text, _)| *text == unit.notif) {
                        Some((_, count)) => *count += 1,
                        None => all.push((unit.notif, 1)),
                    }
                }
            }
        }
        all
    }
}

/// Where chunk `chunk` of `chunks` starts so that all cost the same: a token behind `x` others costs `even + x`, so the first
/// `x` cost `R(x) = even * x + x^2 / 2`, and `R(edge) = R(blocks) * chunk / chunks`. In blocks.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the number of blocks")]
fn dynamic_edge(blocks: u32, chunk: u32, chunks: u32, even: f64) -> u32 {
    let all = f64::from(blocks);
    let share = (even * all + all * all / 2.0) * f64::from(chunk) / f64::from(chunks);
    let edge = (even * even + 2.0 * share).sqrt() - even;
    (edge.round() as u32).min(blocks)
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
    fn chunks_cover_every_block_once() {
        for chunking in ["even", "dynamic"] {
            for (blocks, chunks) in [(64, 4), (7, 3), (2, 5), (65_535, 65_535), (8192, 16)] {
                let knobs = knobs(&format!("--blocks {blocks} --chunks {chunks} --chunking {chunking}"));
                let parts = Plan::new(&knobs).unwrap().parts(&knobs, 0);
                assert_eq!((parts[0].blocks.start, parts.last().unwrap().blocks.end), (0, blocks));
                assert!(parts.windows(2).all(|pair| pair[0].blocks.end == pair[1].blocks.start && !pair[0].is_last));
                assert!(parts.last().unwrap().is_last);
                let tokens: u32 = parts.iter().map(|part| part.chunk.tokens).sum();
                assert_eq!(tokens, blocks * 16);
            }
        }
    }

    #[test]
    fn dynamic_chunks_cost_the_same() {
        let knobs = knobs("--blocks 8192 --chunks 8 --chunking dynamic");
        let parts = Plan::new(&knobs).unwrap().parts(&knobs, 0);
        let cost = |part: &ComputedPart| {
            let (tokens, prefix) = (f64::from(part.chunk.tokens), f64::from(part.chunk.prefix));
            tokens * (256.0 + prefix + tokens / 2.0)
        };
        let costs: Vec<f64> = parts.iter().map(cost).collect();
        assert!(costs.iter().all(|cost| (cost / costs[0] - 1.0).abs() < 0.01), "{costs:?}");
        assert!(parts.windows(2).all(|pair| pair[0].chunk.tokens > pair[1].chunk.tokens));
    }

    #[test]
    fn units_carry_every_block_of_every_layer_once() {
        for each in ["request", "chunk", "layer"] {
            let knobs = knobs(&format!("--layers 3,2 --blocks 10 --chunks 4 --handoff {each}"));
            let plan = Plan::new(&knobs).unwrap();
            for stage in 0..2 {
                let mut seen = Vec::new();
                for part in plan.parts(&knobs, 1) {
                    for unit in plan.units(&knobs, 1, &part, stage) {
                        for layer in unit.layers {
                            seen.extend(unit.blocks.clone().map(|block| (layer, block)));
                        }
                    }
                }
                seen.sort_unstable();
                let layers = knobs.layers_of(stage);
                let all: Vec<_> = (0..layers).flat_map(|layer| (0..10).map(move |block| (layer, block))).collect();
                assert_eq!(seen, all, "{each}");
            }
        }
        let texts = |each: &str| {
            let knobs = knobs(&format!("--chunks 2 --layers 3 --handoff {each}"));
            Plan::new(&knobs).unwrap().notifs(&knobs, 0)
        };
        let counts = |each| texts(each).iter().map(|(_, count)| *count).collect::<Vec<_>>();
        assert_eq!((counts("request"), counts("chunk"), counts("layer")), (vec![2], vec![1; 4], vec![1; 12]));
        assert!(texts("layer")[11].0.ends_with("_kv_1_1_1_part_2_3"));
    }

    #[test]
    fn a_trace_says_when_and_how_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        std::fs::write(&path, "{\"timestamp\": 0, \"input_length\": 33}\n{\"timestamp\": 500, \"input_length\": 16}\n")
            .unwrap();
        let knobs = knobs(&format!("--requests 2 --speed 5 --trace {}", path.display()));
        let plan = Plan::new(&knobs).unwrap();
        let second = Request { after: Duration::from_millis(100), blocks: 1, slot: 3 };
        assert_eq!(plan.requests, [Request { after: Duration::ZERO, blocks: 3, slot: 0 }, second]);
        assert_eq!(plan.slots(), 4);
    }
}
