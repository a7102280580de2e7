//! For how long prefill keeps KV that nobody has pulled yet.

use super::vllm;

/// What a serving engine promises of KV that is to be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// From the end of prefill on, ns.
    pub ns: i64,
    /// From each heartbeat on that names the request, ns.
    pub extension_ns: i64,
}

impl Lease {
    /// That of the engines whose processes have these titles; none where they do not say, and it may be other than the default of engines
    /// that send heartbeats.
    pub fn of<'a>(titles: &(impl Iterator<Item = &'a str> + Clone), has_heartbeats: bool) -> Option<Self> {
        titles.clone().any(vllm::is_title).then(|| vllm::lease(titles, has_heartbeats)).flatten()
    }
}
