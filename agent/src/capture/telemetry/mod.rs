//! NIXL's own telemetry: files of counts that an agent writes where `NIXL_TELEMETRY_DIR` says, read as a second account of what the
//! probes see. Each file is a ring with one reader, which frees what it has read; so it is read only if asked for.

mod events;
mod file;
pub mod source;
