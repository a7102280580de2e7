//! Kineto's words for kinds, and ours (`cupti_strings.cpp` in Kineto's sources).

/// `memcpys.kind` of a copy's name: `Memcpy HtoD (Pageable -> Device)`.
pub(super) fn copy(name: &[u8]) -> &'static str {
    const KINDS: [&str; 10] = ["HtoD", "DtoH", "DtoD", "PtoP", "HtoH", "HtoA", "AtoH", "AtoA", "AtoD", "DtoA"];
    let word = name.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    KINDS.into_iter().find(|kind| kind.as_bytes() == word).unwrap_or("unknown")
}

/// `gpu_syncs.kind`.
pub(super) fn sync(kind: &[u8]) -> &'static str {
    match kind {
        b"Event Sync" => "event",
        b"Stream Wait Event" => "stream_wait_event",
        b"Stream Sync" => "stream",
        b"Context Sync" => "context",
        _ => "unknown",
    }
}

/// `cupti_overheads.kind`.
pub(super) fn overhead(name: &[u8]) -> &'static str {
    match name {
        b"Driver Compiler" => "driver_compiler",
        b"Buffer Flush" => "buffer_flush",
        b"Instrumentation" => "instrumentation",
        b"Resource" => "resource",
        b"Runtime Triggered Module Loading" => "module_loading",
        b"Lazy Function Loading" => "lazy_function_loading",
        b"Command Buffer Full" => "command_buffer_full",
        b"Activity Buffer Request" => "buffer_request",
        b"UVM Activity Init" => "uvm_init",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_told_by_the_second_word() {
        assert_eq!(copy(b"Memcpy PtoP (Device -> Device)"), "PtoP");
        assert_eq!(copy(b"Memcpy HtoD"), "HtoD");
        assert_eq!(copy(b"Memcpy Unknown (Device -> Device)"), "unknown");
        assert_eq!(copy(b""), "unknown");
    }
}
