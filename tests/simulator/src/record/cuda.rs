//! Kernels and CUDA calls.

use kvpath_schema::tables::gpu::{ApiCall, CudaEvent, GpuSync, Kernel};

use super::Recorder;
use crate::engine::{Op, OpKind};
use crate::rig::Rig;

/// Context of every process: the first that it makes.
const CONTEXT: i32 = 1;

/// Adds a row of `$table` unless it is lost.
macro_rules! push {
    ($recorder:expr, $rig:expr, $process:expr, $table:ident, $name:literal, $row:expr) => {{
        let process = &$rig.processes[$process];
        if $recorder.is_lost($name) {
            let is_silent = $recorder.distort.is_silent;
            $recorder.hosts[process.host].$table.lose(process.process_id, is_silent);
        } else {
            let slot = $recorder.slot();
            let host = &mut $recorder.hosts[process.host];
            let now = host.last_ns;
            host.$table.push($row, slot, (process.host, &$recorder.disk, &mut host.drops, now));
        }
    }};
}
pub(super) use push;

pub(super) fn record(recorder: &mut Recorder, rig: &Rig, process: usize, op: &Op) {
    let label = &op.label;
    let lane = &rig.lanes[usize::from(op.lane)];
    let process_id = rig.processes[process].process_id;
    let correlation_id = i64::try_from(label.correlation).unwrap_or(0);
    let (name, is_wait) = match label.what {
        OpKind::Kernel | OpKind::SendKernel | OpKind::ReceiveKernel => return kernel(recorder, rig, process, op),
        OpKind::Launch => (recorder.words.launch.clone(), None),
        OpKind::GraphLaunch => (recorder.words.graph_launch.clone(), None),
        OpKind::EventRecord => (recorder.words.event_record.clone(), None),
        OpKind::StreamWait => (recorder.words.stream_wait.clone(), Some(recorder.words.kind_wait.clone())),
        OpKind::EventSync => (recorder.words.event_sync.clone(), Some(recorder.words.kind_event.clone())),
        _ => return,
    };
    let start_ns = recorder.clock(rig, process, op.start);
    let dur_ns = recorder.clock(rig, process, op.end) - start_ns;
    let call = ApiCall { start_ns, dur_ns, process_id, tid: lane.tid.unwrap_or(0), correlation_id, name };
    push!(recorder, rig, process, api_calls, "api_calls", call);
    let sync_id = i64::try_from(label.aux).ok().filter(|id| *id > 0);
    let handles = recorder.event_handles;
    // Handles of events start at a small number, as those of CUPTI do.
    let event_id = (label.aux > 0).then(|| i32::try_from(20 + label.aux % handles).unwrap_or(0));
    let stream_id = rig.lanes[usize::from(label.stream)].stream_id;
    if label.what == OpKind::EventRecord {
        let event = CudaEvent {
            process_id,
            context_id: CONTEXT,
            stream_id: stream_id.unwrap_or(0),
            event_id: event_id.unwrap_or(0),
            event_sync_id: sync_id,
            correlation_id,
        };
        push!(recorder, rig, process, cuda_events, "cuda_events", event);
    }
    if let Some(kind) = is_wait {
        // A thread that waits for an event names no stream.
        let stream_id = stream_id.filter(|_| label.what != OpKind::EventSync);
        let sync = GpuSync {
            start_ns,
            dur_ns,
            process_id,
            kind,
            context_id: CONTEXT,
            stream_id,
            event_id,
            event_sync_id: sync_id,
            correlation_id,
        };
        push!(recorder, rig, process, gpu_syncs, "gpu_syncs", sync);
    }
}

fn kernel(recorder: &mut Recorder, rig: &Rig, process: usize, op: &Op) {
    let label = &op.label;
    let of = &Rig::names()[usize::from(label.name)];
    let start_ns = recorder.clock(rig, process, op.start);
    let row = Kernel {
        start_ns,
        dur_ns: recorder.clock(rig, process, op.end) - start_ns,
        process_id: rig.processes[process].process_id,
        device_id: rig.processes[process].device_id,
        context_id: CONTEXT,
        stream_id: rig.lanes[usize::from(op.lane)].stream_id.unwrap_or(0),
        correlation_id: i64::try_from(label.correlation).unwrap_or(0),
        name: recorder.words.kernels[usize::from(label.name)].clone(),
        graph_node_id: i64::try_from(label.aux).ok().filter(|node| *node > 0),
        grid_x: Some(of.grid_x),
        grid_y: Some(1),
        grid_z: Some(1),
        block_x: Some(of.block_x),
        block_y: Some(1),
        block_z: Some(1),
    };
    push!(recorder, rig, process, kernels, "kernels", row);
}
