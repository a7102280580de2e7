//! Kinds of events: `nixl_telemetry_event_type_t` of NIXL 1.4 and 1.5 (`src/core/telemetry/telemetry_event.h`).

use std::borrow::Cow;

/// Its name in the table.
pub fn name(kind: u32) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        0 => "tx_bytes",
        1 => "rx_bytes",
        2 => "tx_requests",
        3 => "rx_requests",
        4 => "mem_registered",
        5 => "mem_deregistered",
        6 => "xfer_time",
        7 => "post_time",
        20 => "dropped",
        other => return Cow::Owned(format!("error {other}")),
    })
}
