//! RDMA verbs: what sets transfers up.

use crate::cell::Name;

crate::define_table! {
    /// A call of libibverbs (or libmlx5) that registers memory or makes and connects queue pairs (`--with rdma`): the price of
    /// a first transfer. Posting and polling go past the kernel and ring doorbells in mapped device memory: invisible here;
    /// `ucx_ops` and `ucx_transport_calls` show what was sent.
    Raw rdma_ops: RdmaOp, RdmaOps, sorted by [start_ns] {
        /// Entry, ns.
        start_ns: i64 => Delta,
        /// Time in the call, ns.
        dur_ns: i64 => Split,
        /// Process.
        process_id: i64 => Dict,
        /// Thread.
        tid: i32 => Dict,
        /// `reg_mr`, `reg_dmabuf_mr` (GPU memory), `dereg_mr`, `create_qp`, `modify_qp`, `destroy_qp`, `create_cq` or
        /// `devx_obj_create` (mlx5 objects, queue pairs among them).
        op: Name => Dict,
        /// Memory that is registered, bytes.
        bytes: Option<i64> => Dict,
        /// Its address; for memory of a dmabuf, the address that the device sees.
        addr: Option<u64> => Delta,
        /// `modify_qp`: the state that is asked for: `INIT`, `RTR`, `RTS`, `RESET`, `ERR` or a number.
        qp_state: Option<Name> => Dict,
        /// The memory region or queue pair, as its address in that process.
        object: Option<u64> => Dict,
        /// `ok`, or `error` with the number that was returned (for calls that return an object, without).
        status: Name => Dict,
    }
}
