//! The BPF programs of sockets.

use std::fs;

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::{Ebpf, EbpfLoader};
use kvpath_schema::wire::sockets::{FAMILY, FLAGS, Flow, Offsets, PROTOCOL, RET, SK};

use crate::btf::{Btf, BtfError, KERNEL};
use crate::capture::error::AttachError;
use crate::capture::tracepoints::{self, Field};

static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kvpath-ebpf-sockets"));
const TRACEPOINTS: [&str; 2] = ["sock_send_length", "sock_recv_length"];

/// A connection: socket, and process below ports; see `FlowKey`.
pub type FlowKeyWords = [u64; 2];
/// Its words; see [`Flow`].
pub type FlowWords = [u64; Flow::WORDS];

/// The programs in the kernel; dropping this detaches them.
pub struct Programs {
    /// Holds what is attached.
    _ebpf: Ebpf,
    processes: HashMap<MapData, u32, u32>,
    flows: HashMap<MapData, FlowKeyWords, FlowWords>,
    lost: PerCpuArray<MapData, u64>,
    seen_lost: u64,
}

/// Whether this kernel's tracepoints and sockets are those that the programs read; gives where a socket's members lie.
///
/// # Errors
/// They are not, or cannot be looked at.
pub fn offsets() -> Result<Offsets, AttachError> {
    let fields = TRACEPOINTS.into_iter().flat_map(|name| {
        [
            ("void * sk", SK, 8),
            ("__u16 family", FAMILY, 2),
            ("__u16 protocol", PROTOCOL, 2),
            ("int ret", RET, 4),
            ("int flags", FLAGS, 4),
        ]
        .map(|(declaration, offset, size)| Field { tracepoint: ("sock", name), declaration, offset, size })
    });
    tracepoints::are_known(&fields.collect::<Vec<_>>())?;
    let data = fs::read(KERNEL).map_err(|_| AttachError::NoBtf)?;
    let btf = Btf::parse(&data)?;
    let offset = |member: &str| btf.offset_of("sock_common", member);
    let ports = offset("skc_dport")?;
    // Both are read at once.
    if offset("skc_num")? != ports + 2 {
        return Err(BtfError::NoMember("sock_common.skc_num behind skc_dport".to_owned()).into());
    }
    Ok(Offsets {
        remote: offset("skc_daddr")?,
        local: offset("skc_rcv_saddr")?,
        ports,
        remote6: offset("skc_v6_daddr")?,
        local6: offset("skc_v6_rcv_saddr")?,
    })
}

impl Programs {
    /// Loads and attaches them. No process is watched yet.
    ///
    /// # Errors
    /// The kernel refuses, or it is not what the programs read.
    pub fn start() -> Result<Self, AttachError> {
        let Offsets { remote, local, ports, remote6, local6 } = offsets()?;
        let mut ebpf = EbpfLoader::new().load(PROGRAMS)?;
        let map = ebpf.take_map("SOCKET_OFFSETS").ok_or(AttachError::Missing("SOCKET_OFFSETS"))?;
        let mut words: Array<_, [u32; Offsets::WORDS]> = Array::try_from(map)?;
        words.set(0, &[remote, local, ports, remote6, local6], 0)?;
        tracepoints::attach(&mut ebpf, "sock", &TRACEPOINTS)?;
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(AttachError::Missing(name));
        Ok(Self {
            processes: HashMap::try_from(take("SOCKET_PROCESSES")?)?,
            flows: HashMap::try_from(take("SOCKET_FLOWS")?)?,
            lost: PerCpuArray::try_from(take("SOCKET_LOST")?)?,
            _ebpf: ebpf,
            seen_lost: 0,
        })
    }

    /// Watches a process from now on.
    ///
    /// # Errors
    /// There are too many.
    pub fn watch(&mut self, pid: u32) -> Result<(), AttachError> {
        Ok(self.processes.insert(&pid, &1, 0)?)
    }

    /// Watches it no more.
    pub fn leave(&mut self, pid: u32) {
        // Gone already where the map was full.
        let _ = self.processes.remove(&pid);
    }

    /// All connections.
    pub fn flows(&self) -> Vec<(FlowKeyWords, FlowWords)> {
        self.flows.iter().filter_map(Result::ok).collect()
    }

    /// Forgets a connection.
    pub fn forget(&mut self, key: FlowKeyWords) {
        // Gone already if it was forgotten before.
        let _ = self.flows.remove(&key);
    }

    /// Calls that were not counted since the last time.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn lost(&mut self) -> Result<u64, AttachError> {
        let now: u64 = self.lost.get(&0, 0)?.iter().sum();
        Ok(now - std::mem::replace(&mut self.seen_lost, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernels_sockets_are_where_they_have_always_been() {
        match offsets() {
            // net/sock.h: the addresses come first, the ports behind the hash.
            Ok(found) => assert_eq!((found.remote, found.local, found.ports), (0, 4, 12), "{found:?}"),
            Err(error @ (AttachError::NoTracefs(_) | AttachError::NoBtf)) => {
                eprintln!("SKIPPED this_kernels_sockets_are_where_they_have_always_been: {error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}
