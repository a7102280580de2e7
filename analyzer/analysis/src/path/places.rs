//! Which stage, request, chunk and layer an operation belongs to.

use std::collections::HashMap;

use kvpath_schema::tables::derived::{Chunks, Layers, Stages};

use crate::graph::{Graph, Node, Op};
use crate::timeline::{Class, LaneKind};

/// The stage, request, chunk and layer that an operation belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepPlace {
    /// `stages.stage_id`.
    pub stage: Option<i32>,
    /// `requests.request`.
    pub request: Option<i32>,
    /// `chunks.chunk`.
    pub chunk: Option<i32>,
    /// `layers.layer`.
    pub layer: Option<i32>,
    /// First of the layers that it may be of, the last being `layer`.
    pub layer_from: Option<i32>,
}

/// A layer of a pass: ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Layer {
    start: i64,
    end: i64,
    /// What starts before this may be of the layer before as well.
    seam_end: i64,
}

/// A chunk on a stage, with its layers.
#[derive(Debug)]
struct Pass {
    span: (i64, i64),
    request: i32,
    chunk: i32,
    layers: Vec<Layer>,
}

/// Chunks and layers by process.
#[derive(Debug, Default)]
pub struct PassesByProcess {
    stages: HashMap<i64, i32>,
    passes: HashMap<i64, Vec<Pass>>,
}

impl PassesByProcess {
    /// From the derived tables.
    #[must_use]
    pub fn of(stages: &Stages, chunks: &Chunks, layers: &Layers) -> Self {
        let process_of: HashMap<i32, i64> =
            stages.stage_id.iter().copied().zip(stages.process_id.iter().copied()).collect();
        let mut of_layer: HashMap<(i32, i32, i32), Vec<Layer>> = HashMap::new();
        for row in 0..layers.request.len() {
            let pass = (layers.request[row], layers.stage_id[row], layers.chunk[row]);
            let start = layers.start_ns[row];
            of_layer.entry(pass).or_default().push(Layer {
                start,
                end: start.saturating_add(layers.dur_ns[row]),
                seam_end: start.saturating_add(layers.seam_ns[row]),
            });
        }
        let mut passes: HashMap<i64, Vec<Pass>> = HashMap::new();
        for row in 0..chunks.request.len() {
            let Some(process) = process_of.get(&chunks.stage_id[row]) else { continue };
            let key = (chunks.request[row], chunks.stage_id[row], chunks.chunk[row]);
            let start = chunks.start_ns[row];
            passes.entry(*process).or_default().push(Pass {
                span: (start, start.saturating_add(chunks.dur_ns[row])),
                request: key.0,
                chunk: key.2,
                layers: of_layer.remove(&key).unwrap_or_default(),
            });
        }
        for of_process in passes.values_mut() {
            of_process.sort_by_key(|pass| pass.span);
            for pass in of_process {
                pass.layers.sort_unstable();
            }
        }
        Self { stages: stages.process_id.iter().copied().zip(stages.stage_id.iter().copied()).collect(), passes }
    }

    /// Where an operation belongs, as far as that is known.
    #[must_use]
    pub fn of_op(&self, graph: &Graph, op: Op) -> StepPlace {
        match op {
            Op::Lane(lane, at) => self.of_lane(graph, lane, at),
            Op::Wire(row) | Op::Notif(row) => self.stage_of(graph.transfers.sender(row)),
            Op::Registration(at) => self.stage_of(Some(graph.transfers.registered_with(at))),
            Op::Contact(at) => self.stage_of(Some(graph.transfers.contact(at).process)),
            Op::OffCpu(_) | Op::Wake(_) => self.stage_of(graph.process(Node::start(op))),
        }
    }

    fn of_lane(&self, graph: &Graph, lane: u32, at: u32) -> StepPlace {
        let (timeline, at) = (graph.timeline, at as usize);
        let id = timeline.id(lane);
        let ops = timeline.lane(lane);
        let (start, end) = (ops.start[at], ops.end[at]);
        let stage = self.stage_of(Some(id.process));
        let class = timeline.class(lane, at);
        let passes = self.passes.get(&id.process).map_or(&[][..], Vec::as_slice);
        let place = |pass: Option<&Pass>| pass.map_or(stage, |pass| pass.place(stage, start));
        let begun = passes.partition_point(|pass| pass.span.0 <= start);
        match (id.kind, class) {
            (_, Class::PointToPoint) => {
                // What is received is for the pass that comes next, what is sent of the one that was.
                let pass = match graph.pairs.receives(lane, u32::try_from(at).unwrap_or(u32::MAX)) {
                    Some(true) => passes.get(passes.partition_point(|pass| pass.span.1 <= end)),
                    _ => begun.checked_sub(1).map(|at| &passes[at]),
                };
                StepPlace { layer: None, layer_from: None, ..place(pass) }
            }
            (LaneKind::Stream { .. }, _) => {
                place(begun.checked_sub(1).map(|at| &passes[at]).filter(|pass| start < pass.span.1))
            }
            (LaneKind::Thread(_), Class::Make | Class::Post) => stage,
            (LaneKind::Thread(_), _) => match timeline.started_by(id.process, ops.key[at]) {
                Some((stream, launched)) => self.of_lane(graph, stream, u32::try_from(launched).unwrap_or(u32::MAX)),
                None => stage,
            },
        }
    }

    fn stage_of(&self, process: Option<i64>) -> StepPlace {
        StepPlace { stage: process.and_then(|process| self.stages.get(&process)).copied(), ..StepPlace::default() }
    }
}

impl Pass {
    fn place(&self, stage: StepPlace, at: i64) -> StepPlace {
        let begun = self.layers.partition_point(|layer| layer.start <= at).checked_sub(1);
        // After the last layer's end come kernels of no layer.
        let begun = begun.filter(|layer| at < self.layers[*layer].end);
        let number = |layer: usize| i32::try_from(layer).ok();
        let layer = begun.and_then(number);
        let layer_from = begun.and_then(|layer| {
            let is_seam = at < self.layers[layer].seam_end;
            number(if is_seam { layer.saturating_sub(1) } else { layer })
        });
        StepPlace { request: Some(self.request), chunk: Some(self.chunk), layer, layer_from, ..stage }
    }
}
