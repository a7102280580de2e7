//! What went over sockets.

use crate::cell::Name;

crate::define_table! {
    /// A connection of a traced process in a span of time (`--with sockets`): UCX over TCP, NIXL's and the engine's side
    /// channels. Counted in the kernel; one row a connection and span in which anything went over it.
    Raw sockets: Socket, Sockets, sorted by [start_ns] {
        /// Start of the span, ns.
        start_ns: i64 => Delta,
        /// Its length, ns.
        dur_ns: i64 => Delta,
        /// Process.
        process_id: i64 => Dict,
        /// `inet`, `inet6`, `unix`, `netlink` or a number.
        family: Name => Dict,
        /// `tcp`, `udp` or a number.
        protocol: Name => Dict,
        /// Own address and port; null for families without.
        local: Option<Name> => Dict,
        /// The other end's.
        remote: Option<Name> => Dict,
        /// Address of the kernel's socket: one connection's rows have the same.
        socket: u64 => Dict,
        /// Sent, bytes.
        sent_bytes: i64 => Plain,
        /// Calls that sent.
        sent_calls: i64 => Plain,
        /// Received, bytes.
        received_bytes: i64 => Plain,
        /// Calls that received.
        received_calls: i64 => Plain,
        /// Calls that failed, but for those that would have had to wait.
        errors: i64 => Plain,
        /// First call on the connection that was recorded, ns.
        first_ns: i64 => Delta,
        /// Last call before the end of the span, ns.
        last_ns: i64 => Delta,
    }
}
