//! UCX below NIXL: what was sent, and through which transports. Names follow UCX: endpoint, put, get, active message.

use crate::cell::Name;

crate::define_table! {
    /// A send call of UCX's public interface (`ucp_*_nbx`), recorded with `--with ucx`. Ops of a NIXL transfer are those of
    /// its thread between `posted_ns` and `post_end_ns`.
    Raw ucx_ops: UcxOp, UcxOps, sorted by [start_ns] {
        /// Entry, ns.
        start_ns: i64 => Delta,
        /// Time in the call, ns.
        dur_ns: i64 => Split,
        /// Process.
        process_id: i64 => Dict,
        /// Thread.
        tid: i32 => Dict,
        /// `put`, `get`, `am` (active message), `tag` or `flush` (waits for all before it on the endpoint).
        op: Name => Dict,
        /// Payload, bytes; null for data that is not contiguous, 0 for a flush.
        bytes: Option<i64> => Dict,
        /// Address of the endpoint in that process.
        ep: u64 => Dict,
        /// Remote address of a put or get.
        remote_addr: Option<u64> => Delta,
        /// `done` (when the call returned), `ended` (its request was freed by its owner, who had seen that), `pending` (not
        /// seen to end), or `error N` with UCX's status.
        status: Name => Dict,
        /// When it had ended at the latest, ns: return of the call if `done`, `ucp_request_free` if `ended`.
        ended_by_ns: Option<i64> => Delta,
        /// Transport whose function the call itself entered first: `cuda_ipc`, `tcp`, `rc_mlx5`, `mm` (shared memory); null if
        /// it entered none: queued, or left to UCX's progress.
        transport: Option<Name> => Dict,
        /// That function's last words: `put_zcopy`, `am_bcopy`, ...
        function: Option<Name> => Dict,
    }
}

crate::define_table! {
    /// How often functions of UCX's transports were entered in a span of time, within send calls or by progress. Large ops
    /// are cut into many. Doorbells that they ring in mapped device memory are invisible.
    Raw ucx_transport_calls: UcxTransportCall, UcxTransportCalls, sorted by [start_ns] {
        /// Start of the span, ns.
        start_ns: i64 => Delta,
        /// Its length, ns.
        dur_ns: i64 => Delta,
        /// Process.
        process_id: i64 => Dict,
        /// Transport.
        transport: Name => Dict,
        /// Function.
        function: Name => Dict,
        /// Calls.
        calls: i64 => Plain,
    }
}
