//! What the analyzer joined with what, how, and how much of it.

use super::purposes::{Purpose, PurposeMethod};
use crate::cell::Name;

crate::define_table! {
    /// How rows of the recording were joined with each other: a row for each kind of join, process and method. Shares are
    /// `joined / rows` and `unknown / rows`; of the rows of a kind, each is joined by one method or by none. What may be a guess
    /// has a confidence below 0.9. A kind has no rows where nothing of it was recorded.
    Derived joins: Join, Joins, sorted by [process_id, kind, method] {
        /// Process whose rows these are, `processes.process_id` + number of its host * 2^48; null for waits for events that are
        /// not known, which are counted for the run as a whole.
        process_id: Option<i64> => Plain,
        /// Process title.
        process: Option<String> => Plain,
        /// `kernel_to_launch`, `copy_to_call`, `memset_to_call`, `graph_to_launch`: GPU work with the call that started it.
        /// `stream_wait_to_event`, `sync_to_event`, `sync_to_stream`: what a stream or a thread waited for, with what had been
        /// launched before. `send_to_receive`: NCCL kernels with their other end. `transfer_to_peer`: the process at the other
        /// end. `transfer_to_request`. `transfer_to_copies`: the GPU's copies, where the process makes copies to other devices.
        /// `notif_to_arrival`: notifs as sent with their arrival. `arrival_to_taking`: with the `getNotifs` that gave them.
        /// `transfer_to_ucx_ops`, `transfer_to_rdma_ops`: transfers with calls in their post (of RDMA, also make);
        /// `ucx_op_to_transfer`, `rdma_op_to_transfer`: calls that lie in one. `descriptor_to_region`: descriptors with
        /// registered memory of the poster. `region_to_layer`, `transfer_to_layers`: KV regions, and transfers of KV, with layers.
        kind: Name => Dict,
        /// Raw table whose rows are counted.
        table_name: Name => Dict,
        /// As `critical_path.method`: `order` (within a call of the same thread), `id`, `handle`, `neighbour`, `count` (n-th to
        /// n-th), `time`, `engine`; `address` (it lies in that memory); as `handoffs.layers_method`; `none`: nothing was joined.
        method: Name => Dict,
        /// How sure the join is, 0 to 1; 0 for `none`.
        confidence: f64 => Plain,
        /// Rows of this kind and process, joined or not.
        rows: i64 => Plain,
        /// Rows that were joined by this method.
        joined: i64 => Plain,
        /// Rows that were joined by none.
        unknown: i64 => Plain,
    }
}

crate::define_table! {
    /// What a NIXL transfer was joined with. Counts of calls are null where the run has none of that kind.
    Derived transfer_joins: TransferJoin, TransferJoins, sorted by [transfer_id] {
        /// `nixl_transfers.transfer_id` + number of its host * 2^48.
        transfer_id: i64 => Plain,
        /// Process that posted it.
        process_id: i64 => Plain,
        /// What it is for. What is for storage, embeddings or read back is of no stage, request or hand-off.
        purpose: Purpose => Dict,
        /// How that is known.
        purpose_method: PurposeMethod => Dict,
        /// `stages.stage_id` of the process whose KV it carries; null if not known.
        stage_id: Option<i32> => Plain,
        /// `requests.request`.
        request: Option<i32> => Plain,
        /// How: `id` (its notif names the request), `address` (it is an earlier chunk: a transfer that names the request goes on where it ended in
        /// memory of the receiver) or `time` (by activity).
        request_method: Option<Name> => Dict,
        /// How sure that is, 0 to 1.
        request_confidence: Option<f64> => Plain,
        /// Process at the other end.
        peer_process_id: Option<i64> => Plain,
        /// How: `id` (an agent was made with that name) or `count` (messages between the two show whose the name is).
        peer_method: Option<Name> => Dict,
        /// How sure that is, 0 to 1.
        peer_confidence: Option<f64> => Plain,
        /// Registered regions of the sender that its descriptors touch; null if not all of these are known.
        regions: Option<i32> => Plain,
        /// Layers of the stage whose KV it carries, as `handoffs.layers`.
        layers: Option<String> => Plain,
        /// How that is known, as `handoffs.layers_method`.
        layers_method: Option<Name> => Dict,
        /// How sure that is, 0 to 1.
        layers_confidence: Option<f64> => Plain,
        /// The same as layers of the receiver, as `handoffs.peer_layers`.
        peer_layers: Option<String> => Plain,
        /// Start of its first copy, ns, where the GPU made its copies and these are its bytes exactly (`time`).
        copy_start_ns: Option<i64> => Plain,
        /// Arrival of its notif, ns (`count`: of several with one text the n-th; where records are missing `time`: the one that no
        /// other is nearer to).
        notif_arrived_ns: Option<i64> => Plain,
        /// Send calls of UCX in its post (`order`).
        ucx_ops: Option<i64> => Plain,
        /// Calls that set RDMA up in its make and post (`order`).
        rdma_ops: Option<i64> => Plain,
    }
}
