//! Activity records, as far as they are read: the prefix that CUDA 12.0 to 13.5 share. Newer records are longer, so one is
//! never copied whole or stepped over by its size.

macro_rules! prefix {
    ($(#[doc = $doc:literal])+ $name:ident { $( $field:ident: $ty:ty, )+ }) => {
        $(#[doc = $doc])+
        #[repr(C)]
        #[derive(Debug, Clone, Copy)]
        #[allow(missing_docs, reason = "the fields are CUPTI's, under its names")]
        pub struct $name { $( pub $field: $ty, )+ }
    };
}

/// The start of every record, aligned as all of them are.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
pub struct Activity {
    /// Which record it is: one of [`crate::kind`].
    pub kind: u32,
}

prefix! {
    /// `CUpti_ActivityKernel9` and later.
    Kernel {
        kind: u32,
        cache_config: u8,
        shared_memory_config: u8,
        registers_per_thread: u16,
        partitioned_requested: u32,
        partitioned_executed: u32,
        start: u64,
        end: u64,
        completed: u64,
        device_id: u32,
        context_id: u32,
        stream_id: u32,
        grid_x: i32,
        grid_y: i32,
        grid_z: i32,
        block_x: i32,
        block_y: i32,
        block_z: i32,
        static_shared_memory: i32,
        dynamic_shared_memory: i32,
        local_memory_per_thread: u32,
        local_memory_total: u32,
        correlation_id: u32,
        grid_id: i64,
        name: *const core::ffi::c_char,
        reserved0: *const core::ffi::c_void,
        queued: u64,
        submitted: u64,
        launch_type: u8,
        carveout_requested: u8,
        carveout: u8,
        padding: u8,
        shared_memory_executed: u32,
        graph_node_id: u64,
        shmem_limit_config: u32,
        graph_id: u32,
    }
}

prefix! {
    /// `CUpti_ActivityMemcpy5` and later.
    Memcpy {
        kind: u32,
        copy_kind: u8,
        src_kind: u8,
        dst_kind: u8,
        flags: u8,
        bytes: u64,
        start: u64,
        end: u64,
        device_id: u32,
        context_id: u32,
        stream_id: u32,
        correlation_id: u32,
        runtime_correlation_id: u32,
        pad: u32,
        reserved0: *const core::ffi::c_void,
        graph_node_id: u64,
    }
}

prefix! {
    /// `CUpti_ActivityMemcpyPtoP4`.
    MemcpyPtoP {
        kind: u32,
        copy_kind: u8,
        src_kind: u8,
        dst_kind: u8,
        flags: u8,
        bytes: u64,
        start: u64,
        end: u64,
        device_id: u32,
        context_id: u32,
        stream_id: u32,
        src_device_id: u32,
        src_context_id: u32,
        dst_device_id: u32,
        dst_context_id: u32,
        correlation_id: u32,
        reserved0: *const core::ffi::c_void,
        graph_node_id: u64,
    }
}

prefix! {
    /// `CUpti_ActivityMemset4` and later.
    Memset {
        kind: u32,
        value: u32,
        bytes: u64,
        start: u64,
        end: u64,
        device_id: u32,
        context_id: u32,
        stream_id: u32,
        correlation_id: u32,
    }
}

prefix! {
    /// `CUpti_ActivitySynchronization`: what versions before 12.8 have.
    Synchronization {
        kind: u32,
        sync_kind: u32,
        start: u64,
        end: u64,
        correlation_id: u32,
        context_id: u32,
        stream_id: u32,
        cuda_event_id: u32,
    }
}

prefix! {
    /// `CUpti_ActivitySynchronization2`, from [`crate::EVENT_SYNC_SINCE`] on.
    Synchronization2 {
        base: Synchronization,
        cuda_event_sync_id: u64,
    }
}

prefix! {
    /// `CUpti_ActivityCudaEvent`: what versions before 12.8 have.
    CudaEvent {
        kind: u32,
        correlation_id: u32,
        context_id: u32,
        stream_id: u32,
        event_id: u32,
    }
}

prefix! {
    /// `CUpti_ActivityCudaEvent2` and later, from [`crate::EVENT_SYNC_SINCE`] on.
    CudaEvent2 {
        base: CudaEvent,
        pad: u32,
        device_id: u32,
        pad2: u32,
        reserved0: *const core::ffi::c_void,
        device_timestamp: u64,
        cuda_event_sync_id: u64,
    }
}

prefix! {
    /// `CUpti_ActivityOverhead` and later.
    Overhead {
        kind: u32,
        overhead_kind: u32,
        object_kind: u32,
        object_process: u32,
        object_thread: u32,
        object_rest: u32,
        start: u64,
        end: u64,
    }
}

prefix! {
    /// `CUpti_ActivityGraphTrace` and later.
    GraphTrace {
        kind: u32,
        correlation_id: u32,
        start: u64,
        end: u64,
        device_id: u32,
        graph_id: u32,
        context_id: u32,
        stream_id: u32,
    }
}

prefix! {
    /// `CUpti_ActivityAPI`.
    Api {
        kind: u32,
        cbid: u32,
        start: u64,
        end: u64,
        process_id: u32,
        thread_id: u32,
        correlation_id: u32,
        return_value: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    /// Our offsets must be those that a C compiler prints for the headers of both versions.
    #[test]
    fn offsets_are_those_of_both_header_versions() {
        let ours: &[(&str, &str, usize)] = &[
            ("Kernel", "kind", offset_of!(Kernel, kind)),
            ("Kernel", "start", offset_of!(Kernel, start)),
            ("Kernel", "end", offset_of!(Kernel, end)),
            ("Kernel", "deviceId", offset_of!(Kernel, device_id)),
            ("Kernel", "contextId", offset_of!(Kernel, context_id)),
            ("Kernel", "streamId", offset_of!(Kernel, stream_id)),
            ("Kernel", "gridX", offset_of!(Kernel, grid_x)),
            ("Kernel", "gridY", offset_of!(Kernel, grid_y)),
            ("Kernel", "gridZ", offset_of!(Kernel, grid_z)),
            ("Kernel", "blockX", offset_of!(Kernel, block_x)),
            ("Kernel", "blockY", offset_of!(Kernel, block_y)),
            ("Kernel", "blockZ", offset_of!(Kernel, block_z)),
            ("Kernel", "correlationId", offset_of!(Kernel, correlation_id)),
            ("Kernel", "name", offset_of!(Kernel, name)),
            ("Kernel", "graphNodeId", offset_of!(Kernel, graph_node_id)),
            ("Kernel", "graphId", offset_of!(Kernel, graph_id)),
            ("Memcpy", "copyKind", offset_of!(Memcpy, copy_kind)),
            ("Memcpy", "bytes", offset_of!(Memcpy, bytes)),
            ("Memcpy", "start", offset_of!(Memcpy, start)),
            ("Memcpy", "end", offset_of!(Memcpy, end)),
            ("Memcpy", "deviceId", offset_of!(Memcpy, device_id)),
            ("Memcpy", "contextId", offset_of!(Memcpy, context_id)),
            ("Memcpy", "streamId", offset_of!(Memcpy, stream_id)),
            ("Memcpy", "correlationId", offset_of!(Memcpy, correlation_id)),
            ("Memcpy", "graphNodeId", offset_of!(Memcpy, graph_node_id)),
            ("MemcpyPtoP", "copyKind", offset_of!(MemcpyPtoP, copy_kind)),
            ("MemcpyPtoP", "bytes", offset_of!(MemcpyPtoP, bytes)),
            ("MemcpyPtoP", "start", offset_of!(MemcpyPtoP, start)),
            ("MemcpyPtoP", "end", offset_of!(MemcpyPtoP, end)),
            ("MemcpyPtoP", "deviceId", offset_of!(MemcpyPtoP, device_id)),
            ("MemcpyPtoP", "contextId", offset_of!(MemcpyPtoP, context_id)),
            ("MemcpyPtoP", "streamId", offset_of!(MemcpyPtoP, stream_id)),
            ("MemcpyPtoP", "srcDeviceId", offset_of!(MemcpyPtoP, src_device_id)),
            ("MemcpyPtoP", "dstDeviceId", offset_of!(MemcpyPtoP, dst_device_id)),
            ("MemcpyPtoP", "correlationId", offset_of!(MemcpyPtoP, correlation_id)),
            ("MemcpyPtoP", "graphNodeId", offset_of!(MemcpyPtoP, graph_node_id)),
            ("Memset", "bytes", offset_of!(Memset, bytes)),
            ("Memset", "start", offset_of!(Memset, start)),
            ("Memset", "end", offset_of!(Memset, end)),
            ("Memset", "deviceId", offset_of!(Memset, device_id)),
            ("Memset", "contextId", offset_of!(Memset, context_id)),
            ("Memset", "streamId", offset_of!(Memset, stream_id)),
            ("Memset", "correlationId", offset_of!(Memset, correlation_id)),
            ("Synchronization", "type", offset_of!(Synchronization, sync_kind)),
            ("Synchronization", "start", offset_of!(Synchronization, start)),
            ("Synchronization", "end", offset_of!(Synchronization, end)),
            ("Synchronization", "correlationId", offset_of!(Synchronization, correlation_id)),
            ("Synchronization", "contextId", offset_of!(Synchronization, context_id)),
            ("Synchronization", "streamId", offset_of!(Synchronization, stream_id)),
            ("Synchronization", "cudaEventId", offset_of!(Synchronization, cuda_event_id)),
            ("Synchronization", "cudaEventSyncId", offset_of!(Synchronization2, cuda_event_sync_id)),
            ("CudaEvent", "correlationId", offset_of!(CudaEvent, correlation_id)),
            ("CudaEvent", "contextId", offset_of!(CudaEvent, context_id)),
            ("CudaEvent", "streamId", offset_of!(CudaEvent, stream_id)),
            ("CudaEvent", "eventId", offset_of!(CudaEvent, event_id)),
            ("CudaEvent", "cudaEventSyncId", offset_of!(CudaEvent2, cuda_event_sync_id)),
            ("Overhead", "overheadKind", offset_of!(Overhead, overhead_kind)),
            ("Overhead", "objectKind", offset_of!(Overhead, object_kind)),
            ("Overhead", "objectId", offset_of!(Overhead, object_process)),
            ("Overhead", "start", offset_of!(Overhead, start)),
            ("Overhead", "end", offset_of!(Overhead, end)),
            ("GraphTrace", "correlationId", offset_of!(GraphTrace, correlation_id)),
            ("GraphTrace", "start", offset_of!(GraphTrace, start)),
            ("GraphTrace", "end", offset_of!(GraphTrace, end)),
            ("GraphTrace", "deviceId", offset_of!(GraphTrace, device_id)),
            ("GraphTrace", "graphId", offset_of!(GraphTrace, graph_id)),
            ("GraphTrace", "contextId", offset_of!(GraphTrace, context_id)),
            ("GraphTrace", "streamId", offset_of!(GraphTrace, stream_id)),
            ("Api", "cbid", offset_of!(Api, cbid)),
            ("Api", "start", offset_of!(Api, start)),
            ("Api", "end", offset_of!(Api, end)),
            ("Api", "threadId", offset_of!(Api, thread_id)),
            ("Api", "correlationId", offset_of!(Api, correlation_id)),
            ("Api", "returnValue", offset_of!(Api, return_value)),
        ];
        for printed in [include_str!("../layout/offsets-12.9.txt"), include_str!("../layout/offsets-13.5.txt")] {
            let mut compared = 0;
            for line in printed.lines() {
                let mut words = line.split(' ');
                let (record, field) = (words.next().unwrap(), words.next().unwrap());
                let value: usize = words.next().unwrap().parse().unwrap();
                if field == "size" {
                    let prefix = match record {
                        "Kernel" => size_of::<Kernel>(),
                        "Synchronization" => size_of::<Synchronization2>(),
                        "CudaEvent" => size_of::<CudaEvent2>(),
                        _ => 0,
                    };
                    assert!(prefix <= value, "{record} is longer than CUPTI's");
                    continue;
                }
                let known = ours.iter().find(|known| (known.0, known.1) == (record, field));
                assert_eq!(known.map(|known| known.2), Some(value), "{line}");
                compared += 1;
            }
            assert_eq!(compared, ours.len());
        }
    }
}
