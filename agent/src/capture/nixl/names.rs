//! How NIXL calls its own numbers.

use kvpath_schema::cell::Name;

/// `nixl_status_t`: the name of an error.
pub fn error(status: i32) -> Name {
    match status {
        -1 => "NIXL_ERR_NOT_POSTED".into(),
        -2 => "NIXL_ERR_INVALID_PARAM".into(),
        -3 => "NIXL_ERR_BACKEND".into(),
        -4 => "NIXL_ERR_NOT_FOUND".into(),
        -5 => "NIXL_ERR_MISMATCH".into(),
        -6 => "NIXL_ERR_NOT_ALLOWED".into(),
        -7 => "NIXL_ERR_REPOST_ACTIVE".into(),
        -8 => "NIXL_ERR_UNKNOWN".into(),
        -9 => "NIXL_ERR_NOT_SUPPORTED".into(),
        -10 => "NIXL_ERR_REMOTE_DISCONNECT".into(),
        -11 => "NIXL_ERR_CANCELED".into(),
        -12 => "NIXL_ERR_NO_TELEMETRY".into(),
        other => format!("NIXL status {other}").into(),
    }
}

/// `nixl_status_t` of a call that may have succeeded.
pub fn status(status: i32) -> Name {
    match status {
        0 => "NIXL_SUCCESS".into(),
        1 => "NIXL_IN_PROG".into(),
        other => error(other),
    }
}

/// `nixl_mem_t`, without its `_SEG`.
pub fn memory(kind: i32) -> Name {
    match kind {
        0 => "DRAM".into(),
        1 => "VRAM".into(),
        2 => "BLK".into(),
        3 => "OBJ".into(),
        4 => "FILE".into(),
        other => other.to_string().into(),
    }
}

/// `nixl_xfer_op_t`.
pub fn op(op: i32) -> Name {
    match op {
        0 => "READ".into(),
        1 => "WRITE".into(),
        other => other.to_string().into(),
    }
}
