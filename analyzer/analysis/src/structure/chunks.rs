//! A request's chunks and layers on each prefill stage.

use kvpath_schema::table::Columns;
use kvpath_schema::tables::derived::{Chunk, Chunks, Layer, LayerResolution, Layers};

use super::lanes::{Lane, Pass};
use super::requests::RequestWork;
use super::stages::StageWork;
use crate::intervals::{Span, Union};
use crate::timeline::Timeline;

/// Fills both tables.
#[must_use]
pub fn of(timeline: &Timeline, stages: &[StageWork], requests: &[RequestWork]) -> (Chunks, Layers) {
    let mut chunks = Chunks::default();
    let mut layers = Layers::default();
    for (r, request) in requests.iter().enumerate() {
        let r = i32::try_from(r).unwrap_or(i32::MAX);
        // Sends and receives of a request run between its first pass anywhere and its last one on the stage.
        let Some(start) = request.compute_start() else {
            continue;
        };
        for (s, stage) in stages.iter().enumerate() {
            let (Some(lane), passes) = (stage.lane, &request.passes[s]) else {
                continue;
            };
            let comm = comm_of_chunks(lane, passes, start);
            for (c, pass) in passes.iter().enumerate() {
                let key = (r, stage.row.stage_id, i32::try_from(c).unwrap_or(i32::MAX));
                let mut row = chunk(timeline, (key, stage), lane, pass, &comm[c]);
                row.share = request.shares.get(&(s, pass.span.0)).copied();
                chunks.push(row);
                push_layers(&mut layers, key, pass, stage.resolution(pass));
            }
        }
    }
    (chunks, layers)
}

type ChunkKey = (i32, i32, i32);

fn chunk(
    timeline: &Timeline,
    ((request, stage_id, chunk), stage): (ChunkKey, &StageWork),
    lane: &Lane,
    pass: &Pass,
    comm: &[Span],
) -> Chunk {
    let comm = Union::of(comm.iter().copied());
    let dur_ns = pass.span.1 - pass.span.0;
    // Sends and receives of the chunk may lie outside of its kernels.
    let all = comm.spans().iter().copied().fold(pass.span, |all, span| (all.0.min(span.0), all.1.max(span.1)));
    let compute = lane.compute(timeline, all);
    let compute_ns = compute.within(pass.span);
    let p2p_exposed_ns = comm.outside(&compute);
    // Exposed communication may lie outside of the chunk; what lies inside is not idle.
    let busy = Union::of(comm.spans().iter().copied().chain(clip(compute.spans(), pass.span)));
    Chunk {
        request,
        stage_id,
        chunk,
        start_ns: pass.span.0,
        dur_ns,
        compute_ns,
        p2p_ns: comm.len_ns(),
        p2p_exposed_ns,
        idle_ns: dur_ns - busy.within(pass.span),
        kernels: pass.kernels,
        layers: i32::try_from(pass.layers.len()).ok().filter(|n| *n > 0 && !lane.is_of_periods),
        process_id: stage.row.process_id,
        device_id: stage.row.device_id,
        end_ns: pass.span.1,
        share: None,
    }
}

fn clip(spans: &[Span], window: Span) -> impl Iterator<Item = Span> {
    let from = spans.partition_point(|(_, end)| *end <= window.0);
    spans[from..]
        .iter()
        .take_while(move |(start, _)| *start < window.1)
        .map(move |(start, end)| (*start.max(&window.0), *end.min(&window.1)))
}

/// Sends and receives of each chunk. One that ends nearer to a chunk's start than it began after the chunk before is
/// that chunk's receive, else the send of the chunk before: receives come before compute, sends after it.
fn comm_of_chunks(lane: &Lane, passes: &[&Pass], start: i64) -> Vec<Vec<Span>> {
    let mut of_chunk = vec![Vec::new(); passes.len()];
    let Some(last) = passes.last() else {
        return of_chunk;
    };
    let first = lane.p2p.partition_point(|span| span.1 <= start);
    for span in lane.p2p[first..].iter().take_while(|span| span.0 <= last.span.1 + SEND_SLACK_NS) {
        let next = passes.partition_point(|pass| pass.span.0 < span.1);
        let chunk = if next == 0 {
            0
        } else if next == passes.len() {
            next - 1
        } else {
            let as_receive = passes[next].span.0 - span.1;
            let as_send = (span.0 - passes[next - 1].span.1).abs();
            if as_receive <= as_send { next } else { next - 1 }
        };
        // A receive can end after its chunk's first kernel was launched, inside the chunk: `next` is then past it.
        of_chunk[chunk].push(*span);
    }
    of_chunk
}

/// A send of the last chunk starts at most this long after it.
const SEND_SLACK_NS: i64 = 5_000_000;

fn push_layers(layers: &mut Layers, (request, stage_id, chunk): ChunkKey, pass: &Pass, resolution: LayerResolution) {
    for (l, layer) in pass.layers.iter().enumerate() {
        layers.push(Layer {
            request,
            stage_id,
            chunk,
            layer: i32::try_from(l).unwrap_or(i32::MAX),
            start_ns: layer.span.0,
            dur_ns: layer.span.1 - layer.span.0,
            compute_ns: layer.busy_ns,
            kernels: layer.kernels,
            method: layer.method,
            confidence: layer.confidence,
            seam_kernels: layer.seam,
            seam_ns: layer.seam_ns,
            layer_resolution: resolution,
        });
    }
}
