//! CUPTI's records to those of the ring.

use kvpath_cupti_sys::OBJECT_THREAD;
use kvpath_cupti_sys::records::{Api, Kernel, Memcpy, MemcpyPtoP, Memset};
use kvpath_ring::{Map, Producer};
use kvpath_schema::wire::calls::Domain;
use kvpath_schema::wire::ring::records::{self, RingRecord};
use kvpath_schema::wire::ring::{GPU_LANE, Kind, Loss};

use super::ffi::ActivityRecord;
use super::names::NameIds;

/// Writes what a record says into the lane of GPU records; an invalid time or an unknown kind is counted instead.
pub fn record(ring: &Producer<Map>, names: &mut NameIds, seen: &ActivityRecord<'_>) {
    match seen {
        ActivityRecord::Kernel(kernel, name) => {
            let record = of_kernel(kernel, || names.id(name, |name| ring.intern(name)));
            timed(ring, 0, (kernel.start, kernel.end), record);
        }
        ActivityRecord::Memcpy(copy) => timed(ring, 0, (copy.start, copy.end), || of_memcpy(copy)),
        ActivityRecord::MemcpyPtoP(copy) => timed(ring, 0, (copy.start, copy.end), || of_peer_memcpy(copy)),
        ActivityRecord::Memset(memset) => timed(ring, 0, (memset.start, memset.end), || of_memset(memset)),
        ActivityRecord::Sync(sync, event_sync) => timed(ring, 0, (sync.start, sync.end), || records::Sync {
            start_ns: sync.start,
            end_ns: sync.end,
            event_sync: *event_sync,
            sync_kind: sync.sync_kind,
            context: sync.context_id,
            stream: sync.stream_id,
            correlation: sync.correlation_id,
            event: sync.cuda_event_id,
        }),
        ActivityRecord::Event(event, event_sync) => {
            let record = records::Event {
                event_sync: *event_sync,
                event: event.event_id,
                correlation: event.correlation_id,
                context: event.context_id,
                stream: event.stream_id,
            };
            ring.push(GPU_LANE, 0, &record, None);
        }
        ActivityRecord::Overhead(overhead) => {
            let tid = if overhead.object_kind == OBJECT_THREAD { overhead.object_thread } else { 0 };
            timed(ring, tid, (overhead.start, overhead.end), || records::Overhead {
                start_ns: overhead.start,
                end_ns: overhead.end,
                overhead_kind: overhead.overhead_kind,
            });
        }
        ActivityRecord::Graph(graph) => timed(ring, 0, (graph.start, graph.end), || records::Graph {
            start_ns: graph.start,
            end_ns: graph.end,
            graph: graph.graph_id,
            correlation: graph.correlation_id,
            device: graph.device_id,
            context: graph.context_id,
            stream: graph.stream_id,
        }),
        ActivityRecord::Api(domain, api) => timed(ring, api.thread_id, (api.start, api.end), || of_call(*domain, api)),
        ActivityRecord::Unknown => ring.lose(Loss::UnknownKind, Kind::Other, 1),
    }
}

fn timed<R: RingRecord>(ring: &Producer<Map>, tid: u32, (start, end): (u64, u64), record: impl FnOnce() -> R) {
    if start == 0 || end < start {
        ring.lose(Loss::BadTime, R::KIND, 1);
    } else {
        ring.push(GPU_LANE, tid, &record(), None);
    }
}

fn of_kernel(kernel: &Kernel, name: impl FnOnce() -> u32) -> impl FnOnce() -> records::Kernel {
    let size = |value: i32| u32::try_from(value).unwrap_or(0);
    move || records::Kernel {
        start_ns: kernel.start,
        end_ns: kernel.end,
        graph_node: kernel.graph_node_id,
        name: name(),
        correlation: kernel.correlation_id,
        device: kernel.device_id,
        context: kernel.context_id,
        stream: kernel.stream_id,
        graph: kernel.graph_id,
        grid_x: size(kernel.grid_x),
        grid_y: size(kernel.grid_y),
        grid_z: size(kernel.grid_z),
        block_x: size(kernel.block_x),
        block_y: size(kernel.block_y),
        block_z: size(kernel.block_z),
    }
}

fn of_memcpy(copy: &Memcpy) -> records::Memcpy {
    records::Memcpy {
        start_ns: copy.start,
        end_ns: copy.end,
        bytes: copy.bytes,
        graph_node: copy.graph_node_id,
        device: copy.device_id,
        context: copy.context_id,
        stream: copy.stream_id,
        correlation: copy.correlation_id,
        copy_kind: u32::from(copy.copy_kind),
        src_device: 0,
        dst_device: 0,
    }
}

fn of_peer_memcpy(copy: &MemcpyPtoP) -> records::Memcpy {
    records::Memcpy {
        start_ns: copy.start,
        end_ns: copy.end,
        bytes: copy.bytes,
        graph_node: copy.graph_node_id,
        device: copy.device_id,
        context: copy.context_id,
        stream: copy.stream_id,
        correlation: copy.correlation_id,
        copy_kind: u32::from(copy.copy_kind),
        src_device: copy.src_device_id.wrapping_add(1),
        dst_device: copy.dst_device_id.wrapping_add(1),
    }
}

fn of_memset(memset: &Memset) -> records::Memset {
    records::Memset {
        start_ns: memset.start,
        end_ns: memset.end,
        bytes: memset.bytes,
        device: memset.device_id,
        context: memset.context_id,
        stream: memset.stream_id,
        correlation: memset.correlation_id,
    }
}

fn of_call(domain: Domain, api: &Api) -> records::Call {
    records::Call {
        start_ns: api.start,
        end_ns: api.end,
        correlation: api.correlation_id,
        cbid: api.cbid,
        domain: domain as u32,
        status: api.return_value,
    }
}
