//! What GPUs did: kernels, copies, memsets, and the API calls that were chosen to be recorded.

use crate::cell::Name;

crate::define_table! {
    /// A GPU of a recorded host.
    Raw gpus: Gpu, Gpus, sorted by [device_id] {
        /// Number of the GPU on its host: its position by PCI bus id. Imported, as the profiler numbers it.
        device_id: i32 => Delta,
        /// Product name.
        name: Option<String> => Plain,
        /// UUID or, where that was not recorded, the PCI bus id.
        uuid: Option<String> => Plain,
        /// Device memory, bytes.
        memory_bytes: Option<i64> => Delta,
    }
}

crate::define_table! {
    /// A kernel execution.
    Raw kernels: Kernel, Kernels, sorted by [start_ns] {
        /// Start on the GPU, ns.
        start_ns: i64 => Delta,
        /// Time on the GPU, ns.
        dur_ns: i64 => Split,
        /// Process that launched it: `processes.process_id`.
        process_id: i64 => Dict,
        /// GPU: `gpus.device_id`. In recordings of before 2026-12, and where the driver tells no UUIDs, the process's own number, which
        /// `CUDA_VISIBLE_DEVICES` makes another one.
        device_id: i32 => Dict,
        /// CUDA context.
        context_id: i32 => Dict,
        /// CUDA stream.
        stream_id: i32 => Dict,
        /// Joins the launch in `api_calls` of the same process; 0 where unknown.
        correlation_id: i64 => Delta,
        /// Function name as recorded (usually mangled).
        name: Name => Dict,
        /// Node in an instantiated CUDA graph; null outside graphs.
        graph_node_id: Option<i64> => Dict,
        /// Grid, x; null where not recorded (so the other five).
        grid_x: Option<i32> => Dict,
        /// Grid, y.
        grid_y: Option<i32> => Dict,
        /// Grid, z.
        grid_z: Option<i32> => Dict,
        /// Block, x.
        block_x: Option<i32> => Dict,
        /// Block, y.
        block_y: Option<i32> => Dict,
        /// Block, z.
        block_z: Option<i32> => Dict,
    }
}

crate::define_table! {
    /// A copy executed by a GPU; peer copies carry a KV hand-off over `cuda_ipc`.
    Raw memcpys: Memcpy, Memcpys, sorted by [start_ns] {
        /// Start on the GPU, ns.
        start_ns: i64 => Delta,
        /// Time on the GPU, ns.
        dur_ns: i64 => Split,
        /// Process that asked for it.
        process_id: i64 => Dict,
        /// GPU whose engine copied, as in `kernels`.
        device_id: i32 => Dict,
        /// CUDA context.
        context_id: i32 => Dict,
        /// CUDA stream.
        stream_id: i32 => Dict,
        /// Joins the call in `api_calls`; 0 where unknown.
        correlation_id: i64 => Delta,
        /// Size, bytes.
        bytes: i64 => Dict,
        /// `HtoD`, `DtoH`, `DtoD`, `PtoP` (peer), `HtoH`, `HtoA`, `AtoH`, `AtoA`, `AtoD`, `DtoA`, `unknown`.
        kind: Name => Dict,
        /// Source device of a peer copy.
        src_device_id: Option<i32> => Dict,
        /// Destination device of a peer copy.
        dst_device_id: Option<i32> => Dict,
        /// Node in an instantiated CUDA graph.
        graph_node_id: Option<i64> => Dict,
    }
}

crate::define_table! {
    /// A memset executed by a GPU.
    Raw memsets: Memset, Memsets, sorted by [start_ns] {
        /// Start on the GPU, ns.
        start_ns: i64 => Delta,
        /// Time on the GPU, ns.
        dur_ns: i64 => Split,
        /// Process that asked for it.
        process_id: i64 => Dict,
        /// GPU, as in `kernels`.
        device_id: i32 => Dict,
        /// CUDA context.
        context_id: i32 => Dict,
        /// CUDA stream.
        stream_id: i32 => Dict,
        /// Joins the call in `api_calls`; 0 where unknown.
        correlation_id: i64 => Delta,
        /// Size, bytes.
        bytes: i64 => Dict,
    }
}

crate::define_table! {
    /// A CUDA API call; recorded for chosen functions only, never the whole API.
    Raw api_calls: ApiCall, ApiCalls, sorted by [start_ns] {
        /// Entry, ns.
        start_ns: i64 => Delta,
        /// Time in the call, ns.
        dur_ns: i64 => Split,
        /// Calling process.
        process_id: i64 => Dict,
        /// Calling thread.
        tid: i32 => Dict,
        /// Joins `kernels`, `memcpys` and `memsets` of the same process.
        correlation_id: i64 => Delta,
        /// Function name without its version suffix.
        name: Name => Dict,
    }
}

crate::define_table! {
    /// A synchronisation: a thread waited for the GPU, or a stream for an event.
    Raw gpu_syncs: GpuSync, GpuSyncs, sorted by [start_ns] {
        /// Start, ns.
        start_ns: i64 => Delta,
        /// Length, ns.
        dur_ns: i64 => Split,
        /// Process.
        process_id: i64 => Dict,
        /// `event`, `stream_wait_event`, `stream`, `context` or `unknown`.
        kind: Name => Dict,
        /// CUDA context.
        context_id: i32 => Dict,
        /// CUDA stream; null where none takes part.
        stream_id: Option<i32> => Dict,
        /// CUDA event; null where none takes part.
        event_id: Option<i32> => Dict,
        /// Which recording of the event was waited for: joins `cuda_events`. Null where there is none or CUPTI is older than
        /// 12.8.
        event_sync_id: Option<i64> => Dict,
        /// Joins the call in `api_calls`; 0 where unknown.
        correlation_id: i64 => Delta,
    }
}

crate::define_table! {
    /// An event was recorded into a stream. CUPTI gives it no time: that of its call in `api_calls` is the nearest.
    Raw cuda_events: CudaEvent, CudaEvents, sorted by [correlation_id] {
        /// Process.
        process_id: i64 => Dict,
        /// CUDA context.
        context_id: i32 => Dict,
        /// CUDA stream.
        stream_id: i32 => Dict,
        /// CUDA event.
        event_id: i32 => Dict,
        /// Which recording of the event this is; null if CUPTI is older than 12.8.
        event_sync_id: Option<i64> => Delta,
        /// Joins the call in `api_calls`; 0 where unknown.
        correlation_id: i64 => Delta,
    }
}

crate::define_table! {
    /// A launch of a CUDA graph as a whole; recorded at level `graph` in place of the kernels inside.
    Raw graph_launches: GraphLaunch, GraphLaunches, sorted by [start_ns] {
        /// Start of its first node on the GPU, ns.
        start_ns: i64 => Delta,
        /// Time on the GPU, ns.
        dur_ns: i64 => Split,
        /// Process that launched it.
        process_id: i64 => Dict,
        /// GPU, as in `kernels`.
        device_id: i32 => Dict,
        /// CUDA context.
        context_id: i32 => Dict,
        /// CUDA stream.
        stream_id: i32 => Dict,
        /// The instantiated graph.
        graph_id: i64 => Dict,
        /// Joins the launch in `api_calls`; 0 where unknown.
        correlation_id: i64 => Delta,
    }
}

crate::define_table! {
    /// Time that CUPTI or the driver took for itself: what the recording cost.
    Raw cupti_overheads: CuptiOverhead, CuptiOverheads, sorted by [start_ns] {
        /// Start, ns.
        start_ns: i64 => Delta,
        /// Length, ns.
        dur_ns: i64 => Split,
        /// Process.
        process_id: i64 => Dict,
        /// Thread that lost the time; null if unknown.
        tid: Option<i32> => Dict,
        /// `driver_compiler`, `buffer_flush`, `instrumentation`, `resource`, `module_loading`, `lazy_function_loading`,
        /// `command_buffer_full`, `buffer_request`, `uvm_init` or `unknown`.
        kind: Name => Dict,
    }
}

/// `memcpys.kind` of a number of `CUpti_ActivityMemcpyKind` (`cupti_activity.h`); `unknown` for any other.
#[must_use]
pub fn copy_kind(number: u32) -> &'static str {
    match number {
        1 => "HtoD",
        2 => "DtoH",
        3 => "HtoA",
        4 => "AtoH",
        5 => "AtoA",
        6 => "AtoD",
        7 => "DtoA",
        8 => "DtoD",
        9 => "HtoH",
        10 => "PtoP",
        _ => "unknown",
    }
}
