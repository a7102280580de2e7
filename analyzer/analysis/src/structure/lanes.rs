//! What each process ran on its GPU: compute, communication, peer copies, and its forward passes.

use std::collections::BTreeMap;

use super::ranges::Ranges;
use super::{mine, periods, tokens};
use kvpath_schema::tables::derived::LayerMethod;

use crate::facts::{Copy, Facts, Peers, prepared};
use crate::intervals::{Span, Union};
use crate::timeline::{Class, LaneAt, LaneKind, ProcessLanes, Timeline};

/// The GPU side of one process.
#[derive(Debug, Default)]
pub struct Lane<'a> {
    /// CUDA ordinal of most of its kernels.
    pub device_id: Option<i32>,
    /// Kernels, of any kind.
    pub kernels: i64,
    /// Its streams.
    pub streams: Vec<LaneAt>,
    /// NCCL sends and receives, by start.
    pub p2p: Vec<Span>,
    /// Other NCCL kernels, by start.
    pub collectives: Vec<Span>,
    /// Forward passes on the stream that computes most, by start.
    pub passes: Vec<Pass>,
    /// Whether only the number of registered regions told how many layers these have.
    pub is_by_regions: bool,
    /// Whether what repeats in them is no layer, but holds several.
    pub is_of_periods: bool,
    /// Peer copies, if there are any.
    pub copies: Option<Peers<'a>>,
    /// Start of the first and end of the last kernel.
    pub span: Option<Span>,
}

/// A forward pass.
#[derive(Debug, Clone)]
pub struct Pass {
    /// From its first to its last kernel.
    pub span: Span,
    /// Kernels on its stream.
    pub kernels: i64,
    /// Its layers.
    pub layers: Vec<PassLayer>,
    /// How many tokens it computed, in a unit of the stream's own, where kernels tell.
    pub tokens: Option<f64>,
}

/// A layer of a forward pass.
#[derive(Debug, Clone)]
pub struct PassLayer {
    /// From its first kernel to the next layer's first, or to its own last for the last layer.
    pub span: Span,
    /// Time in which a kernel of it ran, ns.
    pub busy_ns: i64,
    /// Kernels.
    pub kernels: i32,
    /// How it was found.
    pub method: LayerMethod,
    /// Share of its kernels of which a range or a graph node tells that they are of it; else of the kernels that run once in
    /// each layer, how many ran in it.
    pub confidence: f64,
    /// Kernels at its beginning that may as well be the end of the layer before.
    pub seam: i32,
    /// From its start to the end of the last of them, ns.
    pub seam_ns: i64,
}

/// The lanes of all processes that ran kernels or peer copies, by process id.
#[must_use]
pub fn of<'a>(facts: &'a Facts, timeline: &Timeline, ranges: &Ranges) -> BTreeMap<i64, Lane<'a>> {
    let mut lanes: BTreeMap<i64, Lane> = BTreeMap::new();
    for (process, own) in &timeline.processes {
        let lane = lane(timeline, own, ranges, regions(facts, *process));
        if lane.kernels > 0 {
            lanes.insert(*process, lane);
        }
    }
    for (process, peers) in facts.device_copies.peers() {
        lanes.entry(process).or_default().copies = Some(peers);
    }
    lanes
}

/// Memory regions that the process registered for KV; those in host memory hold something else if others are on the GPU. Where it
/// prepared its blocks, how many rows.
#[must_use]
pub fn regions(facts: &Facts, process: i64) -> Option<u32> {
    if let Some(rows) = prepared::own_rows(facts, process) {
        return Some(rows);
    }
    let own = |memory: Option<&str>| {
        let rows = (0..facts.regions.addr.len()).filter(|row| facts.regions.process_id[*row] == process);
        rows.filter(|row| memory.is_none_or(|memory| &*facts.regions.memory[*row] == memory)).count()
    };
    let count = if own(Some("VRAM")) > 0 { own(Some("VRAM")) } else { own(None) };
    u32::try_from(count).ok().filter(|n| *n > 0)
}

/// The layer within whose range a process made the call with that correlation id.
fn layer_of_call(timeline: &Timeline, ranges: &Ranges, (process, correlation): (i64, i64)) -> Option<u32> {
    if ranges.is_empty() {
        return None;
    }
    let (lane, call) = timeline.call(process, correlation)?;
    let LaneKind::Thread(tid) = timeline.id(lane).kind else { return None };
    ranges.layer((process, tid), timeline.lane(lane).start[call])
}

/// Kernels that are handed to the miner at a time.
const BLOCK: usize = 65_536;

/// The passes of a stream, by the names of its kernels or, where these alone repeat nothing, by names and shapes.
fn passes(timeline: &Timeline, main: LaneAt, ranges: &Ranges, regions: Option<u32>) -> (Vec<Pass>, bool) {
    let from_host = timeline.names.find(Class::Copy, "HtoD");
    let by = |with_shapes: bool| {
        let mut miner = mine::Miner::new(regions);
        let mut found = Vec::new();
        let (id, own) = (timeline.id(main), timeline.lane(main));
        let mut is_step = false;
        let mut kernel = |at: usize| {
            let name = own.name[at];
            let node = own.node.get(at).copied().filter(|node| *node != 0);
            // A graph copies within a pass what it copied when it was captured.
            is_step |= node.is_none() && Some(name) == from_host;
            (timeline.names.class(name) == Class::Compute).then(|| mine::Kernel {
                symbol: if with_shapes { name } else { timeline.names.base(name) },
                span: (own.start[at], own.end[at]),
                node,
                is_step: std::mem::take(&mut is_step),
                range: layer_of_call(timeline, ranges, (id.process, own.key[at])),
            })
        };
        for from in (0..own.len()).step_by(BLOCK) {
            let block: Vec<mine::Kernel> = (from..(from + BLOCK).min(own.len())).filter_map(&mut kernel).collect();
            miner.feed(&block, &mut found);
        }
        miner.finish(&mut found);
        let pattern = miner.pattern();
        let passes = found.into_iter().map(|pass| Pass::of(&pass, pattern)).collect::<Vec<Pass>>();
        (passes, pattern.is_some_and(mine::Pattern::is_by_regions))
    };
    let found = by(false);
    if found.0.is_empty() { by(true) } else { found }
}

impl Pass {
    fn of(pass: &mine::Pass, pattern: Option<&mine::Pattern>) -> Self {
        Self {
            span: pass.span,
            kernels: i64::try_from(pass.kernels).unwrap_or(i64::MAX),
            layers: pass.layers.iter().map(|layer| PassLayer::of(layer, pattern)).collect(),
            tokens: None,
        }
    }
}

impl PassLayer {
    fn of(layer: &mine::Layer, pattern: Option<&mine::Pattern>) -> Self {
        let marks = pattern.map_or(0, mine::Pattern::marks);
        let seam = pattern.filter(|_| layer.ranges == 0).map_or(0, mine::Pattern::seam);
        let (method, part, whole) = if layer.ranges > 0 {
            (LayerMethod::Nvtx, layer.ranges, layer.kernels)
        } else if layer.nodes > 0 {
            (LayerMethod::Graph, layer.nodes, layer.kernels)
        } else {
            (LayerMethod::KernelSequence, layer.marks, u32::from(marks))
        };
        Self {
            span: (layer.start_ns, layer.end_ns),
            busy_ns: layer.busy_ns,
            kernels: i32::try_from(layer.kernels).unwrap_or(i32::MAX),
            method,
            confidence: f64::from(part.min(whole)) / f64::from(whole.max(1)),
            seam: i32::try_from(seam).unwrap_or(i32::MAX),
            seam_ns: if seam == 0 { 0 } else { layer.seam_end_ns - layer.start_ns },
        }
    }
}

fn lane(timeline: &Timeline, own: &ProcessLanes, ranges: &Ranges, regions: Option<u32>) -> Lane<'static> {
    let mut found = Lane { streams: own.streams.clone(), ..Lane::default() };
    let mut devices: BTreeMap<i32, usize> = BTreeMap::new();
    for at in &own.streams {
        let stream = timeline.lane(*at);
        for op in 0..stream.len() {
            let class = timeline.names.class(stream.name[op]);
            let span = (stream.start[op], stream.end[op]);
            match class {
                Class::Compute | Class::Relayout | Class::StagingGather | Class::StagingSpread => {}
                Class::PointToPoint => found.p2p.push(span),
                Class::Collective => found.collectives.push(span),
                _ => continue,
            }
            found.kernels += 1;
            found.span = Some(found.span.map_or(span, |all| (all.0.min(span.0), all.1.max(span.1))));
            if let (Class::Compute, Some(device)) = (class, stream.device) {
                *devices.entry(device).or_default() += 1;
            }
        }
    }
    found.p2p.sort_unstable();
    found.collectives.sort_unstable();
    found.device_id = devices.into_iter().max_by_key(|(_, count)| *count).map(|(device, _)| device);
    if let Some(main) = own.main {
        (found.passes, found.is_by_regions) = passes(timeline, main, ranges, regions);
        found.is_of_periods = periods::are_several_layers(timeline, main, &found.passes);
        tokens::tell(timeline, main, &mut found.passes);
    }
    found
}

impl Lane<'_> {
    /// Its peer copies, by start.
    pub fn copies(&self) -> impl Iterator<Item = Copy> {
        self.copies.into_iter().flat_map(Peers::iter)
    }

    /// Time within `window` in which a compute kernel ran, on any stream, or a graph of which only the whole is recorded.
    #[must_use]
    pub fn compute(&self, timeline: &Timeline, window: Span) -> Union {
        let spans = self.streams.iter().flat_map(|at| {
            let stream = timeline.lane(*at);
            let ops = stream.overlapping(window);
            let is_compute = |class| matches!(class, Class::Compute | Class::GraphRun);
            let computes = ops.filter(move |op| is_compute(timeline.names.class(stream.name[*op])));
            computes.map(|op| (stream.start[op].max(window.0), stream.end[op].min(window.1)))
        });
        Union::of(spans)
    }
}
