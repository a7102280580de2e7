//! What a trace says of itself besides its events.

use kvpath_schema::tables::gpu::Gpu;
use serde_json::Value;

use super::json::{Text, integer};

/// Rank, GPUs, clock.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Rank of the process in its group.
    pub(super) rank: Option<i64>,
    /// Processes in the group.
    pub(super) world_size: Option<i64>,
    /// GPUs that the process could see.
    pub(super) gpus: Vec<Gpu>,
    /// Wall clock at the zero of its times, ns since 1970.
    pub(super) base_ns: Option<i64>,
    /// The host it ran on.
    pub(super) host: Option<String>,
}

/// Members of the trace that say something, as they are written: name and value.
pub(super) type Members = Vec<(Vec<u8>, Vec<u8>)>;

/// Whether a member of that name says something.
pub(super) fn says_something(name: &[u8]) -> bool {
    is_host(name) || matches!(name, b"distributedInfo" | b"deviceProperties" | b"baseTimeNanoseconds")
}

/// Whether a member of that name says which host it was.
pub(super) fn is_host(name: &[u8]) -> bool {
    matches!(name, b"host_name" | b"hostname")
}

/// The host that such a member names.
pub(super) fn host(value: &[u8]) -> Option<String> {
    let raw = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""))?;
    let host = Text { raw, escaped: raw.contains(&b'\\') }.decoded().into_owned();
    Some(host).filter(|host| !host.is_empty())
}

impl Facts {
    /// Takes a member of the trace; what cannot be read is unknown.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"distributedInfo" => {
                let info: Value = serde_json::from_slice(value).unwrap_or_default();
                self.rank = info["rank"].as_i64();
                self.world_size = info["world_size"].as_i64();
            }
            b"deviceProperties" => {
                let devices: Value = serde_json::from_slice(value).unwrap_or_default();
                self.gpus = devices.as_array().into_iter().flatten().filter_map(gpu).collect();
            }
            b"baseTimeNanoseconds" => self.base_ns = integer(value),
            _ if is_host(name) => self.host = host(value),
            _ => {}
        }
    }

    /// The rank for people: `(rank 1 of 8)`; empty where it is not known.
    pub(super) fn title(&self) -> String {
        match (self.rank, self.world_size) {
            (Some(rank), Some(size)) => format!("(rank {rank} of {size})"),
            (Some(rank), None) => format!("(rank {rank})"),
            _ => String::new(),
        }
    }
}

fn gpu(device: &Value) -> Option<Gpu> {
    let text = |key: &str| device[key].as_str().map(str::to_owned);
    Some(Gpu {
        device_id: device["id"].as_i64().and_then(|id| i32::try_from(id).ok())?,
        name: text("name"),
        uuid: text("uuid"),
        memory_bytes: device["totalGlobalMem"].as_i64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_gpus_are_read_and_odd_ones_are_unknown() {
        let mut facts = Facts::default();
        facts.take(b"distributedInfo", br#"{"backend": "nccl", "rank": 3, "world_size": 8}"#);
        facts.take(b"deviceProperties", br#"[{"id": 0, "name": "A100", "totalGlobalMem": 5}, {"id": "x"}, 7]"#);
        assert_eq!(facts.title(), "(rank 3 of 8)");
        assert_eq!(facts.gpus, [Gpu { device_id: 0, name: Some("A100".into()), uuid: None, memory_bytes: Some(5) }]);
        facts.take(b"distributedInfo", b"[inf]");
        facts.take(b"deviceProperties", b"{}");
        assert_eq!((facts.title(), facts.gpus.len()), (String::new(), 0));
    }
}
