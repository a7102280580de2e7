//! What the sockets' tracepoints count, for processes that the agent names.

/// Most processes of a recording.
pub const PROCESSES: u32 = 4096;
/// Most connections at a time.
pub const FLOWS: u32 = 65_536;

/// Offset of `sk` (pointer) in the tracepoints `sock_send_length` and `sock_recv_length`; the agent compares these with the
/// kernel's own description.
pub const SK: usize = 8;
/// Of `family` (u16).
pub const FAMILY: usize = 16;
/// Of `protocol` (u16).
pub const PROTOCOL: usize = 18;
/// Of `ret` (i32): bytes, or an error.
pub const RET: usize = 20;
/// Of `flags` (i32): those of the receiving call.
pub const FLAGS: usize = 24;

/// Where members of the kernel's `struct sock_common` lie, by its BTF, bytes. In the map `SOCKET_OFFSETS` as words of 4 bytes in
/// this order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// `skc_daddr`.
    pub remote: u32,
    /// `skc_rcv_saddr`.
    pub local: u32,
    /// `skc_dport`, big-endian; `skc_num`, the local port, follows it.
    pub ports: u32,
    /// `skc_v6_daddr`.
    pub remote6: u32,
    /// `skc_v6_rcv_saddr`.
    pub local6: u32,
}

impl Offsets {
    /// Words in the map.
    pub const WORDS: usize = 5;
}

/// Key of the map `SOCKET_FLOWS`. A socket's address is used again, its ports with it hardly ever.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowKey {
    /// The kernel's socket.
    pub sk: u64,
    /// Process.
    pub tgid: u32,
    /// Remote port (big-endian) and local port, as they lie in the socket; 0 for families without.
    pub ports: u32,
}

/// Value of the map: in it as [`Flow::WORDS`] words of 8 bytes in this order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// First call, ns.
    pub first_ns: u64,
    /// Last call, ns.
    pub last_ns: u64,
    /// Sent, bytes.
    pub sent_bytes: u64,
    /// Calls that sent.
    pub sent_calls: u64,
    /// Received, bytes.
    pub received_bytes: u64,
    /// Calls that received.
    pub received_calls: u64,
    /// Calls that failed, but for those that would have had to wait.
    pub errors: u64,
    /// Family in the lower half, protocol above it.
    pub family: u64,
    /// Local address, 16 bytes; those of IPv4 are the first 4.
    pub local: [u64; 2],
    /// Remote address.
    pub remote: [u64; 2],
}

impl Flow {
    /// Words in the map.
    pub const WORDS: usize = 12;
}

const _: () = {
    assert!(size_of::<Offsets>() == 4 * Offsets::WORDS);
    assert!(size_of::<FlowKey>() == 16);
    assert!(size_of::<Flow>() == 8 * Flow::WORDS);
};
