//! CUPTI's numbers in words.

/// `CUpti_ActivitySynchronizationType`.
pub fn sync_kind(number: u32) -> &'static str {
    match number {
        1 => "event",
        2 => "stream_wait_event",
        3 => "stream",
        4 => "context",
        _ => "unknown",
    }
}

/// `CUpti_ActivityOverheadKind`.
pub fn overhead_kind(number: u32) -> &'static str {
    match number {
        1 => "driver_compiler",
        0x1_0000 => "buffer_flush",
        0x2_0000 => "instrumentation",
        0x3_0000 => "resource",
        0x4_0000 => "module_loading",
        0x5_0000 => "lazy_function_loading",
        0x6_0000 => "command_buffer_full",
        0x7_0000 => "buffer_request",
        0x8_0000 => "uvm_init",
        _ => "unknown",
    }
}
