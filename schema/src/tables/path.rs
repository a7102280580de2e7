//! Critical paths.

use crate::cell::Name;

crate::define_table! {
    /// A request's critical path as a whole: where it begins and ends, and how much of it is explained. In a run that knows no requests,
    /// a step's.
    #[derive(Default)]
    Derived paths: Path, Paths, sorted by [request] {
        /// `requests.request`; requests that only a client reports have numbers after those. Of a step `steps.request`.
        request: i32 => Plain,
        /// Id by the serving engine; null where the recording holds none. Of a step the text of its range.
        request_id: Option<String> => Plain,
        /// Where it begins, ns: the request's arrival, else its first record.
        source_ns: i64 => Plain,
        /// Where it ends, ns: the first token at the client, else the end of `sink`.
        end_ns: i64 => Plain,
        /// Its length, ns: the time to first token, or what the recording shows of it; of a step, from its start to its last work. The
        /// segments sum to it exactly.
        ttft_ns: i64 => Plain,
        /// How `source_ns` is known: `client`, `first_record`. A step, which is no request, has `range` (the start of its range, also of
        /// `kvpath path --range`) or `pass` (the first kernel of a forward pass).
        source: Name => Dict,
        /// What the last recorded work is: `decode_pass` (the last kernel of decode's first pass), `before_first_token` (the
        /// last work that ended before the client had its token), `handoff` (decode's GPU was not recorded), `prefill_pass`; of a step
        /// `last_work`, the last that ended in it.
        sink: Name => Dict,
        /// Time of which no record shows what it was spent on, ns: of segments that are not `critical_path.is_explained`.
        unexplained_ns: i64 => Plain,
        /// 1 - `unexplained_ns` / `ttft_ns`: the share that is explained. Below 0.8 no cause should be named.
        coverage: f64 => Plain,
        /// The audit: of the time in which exactly one prefill stage computed, and this request alone was in flight, the share in
        /// which the path is on that stage's GPU. It is reckoned from the GPU's records alone, without the path's gates. Below 0.95
        /// the path is wrong somewhere, and says nothing for those times. Null where there was no such time, and of steps.
        agreement: Option<f64> => Plain,
        /// The time that `agreement` is of, ns.
        judged_ns: i64 => Plain,
        /// Start of the longest of these times in which the path is elsewhere, ns; null where `agreement` is 0.95 or more.
        disputed_from_ns: Option<i64> => Plain,
        /// Its end, ns.
        disputed_to_ns: Option<i64> => Plain,
        /// `stages.stage_id` of the stage that computed alone in it; of several ranks the first.
        disputed_stage_id: Option<i32> => Plain,
        /// Segments.
        segments: i32 => Plain,
        /// Time that rests on joins of a confidence below 0.9, ns.
        guessed_ns: i64 => Plain,
        /// By how much boundaries within it may be elsewhere, ns: completions that were seen only by polling, and the errors
        /// of clocks where it crosses hosts. The sum is exact all the same.
        uncertain_ns: i64 => Plain,
        /// `requests.incomplete`: `true` if a hand-off that was begun is not wholly recorded, or a stage's records end before
        /// it, so that the path may miss what it waited for. Null where `requests` does not hold it.
        incomplete: Option<bool> => Plain,
    }
}

crate::define_columns! {
    /// What an operation is, whose, and which record shows it.
    Operation, with_operation {
        /// `stages.stage_id`.
        stage_id: Option<i32> => Plain,
        /// `chunks.chunk`.
        chunk: Option<i32> => Plain,
        /// `layers.layer`.
        layer: Option<i32> => Plain,
        /// First of the layers that it may be of; the last is `layer`. Another one where it is among the `layers.seam_kernels` of
        /// its layer: a fused kernel may be of both.
        layer_from: Option<i32> => Plain,
        /// Request whose work it is, where that is known; another one's work may keep this one waiting, and a batch may serve both.
        of_request: Option<i32> => Plain,
        /// Process.
        process_id: Option<i64> => Plain,
        /// Thread, of calls.
        tid: Option<i32> => Plain,
        /// CUDA stream, of work on a GPU.
        stream_id: Option<i32> => Plain,
        /// Raw table that holds the operation; null for what lies between records.
        table_name: Option<Name> => Dict,
        /// Joins `kernels`, `memcpys` and `api_calls` of that process.
        correlation_id: Option<i64> => Plain,
        /// `kernels.graph_node_id`.
        graph_node_id: Option<i64> => Plain,
        /// `nixl_transfers.transfer_id`.
        transfer_id: Option<i64> => Plain,
        /// Name of the kernel or call.
        name: Option<Name> => Dict,
    }
}

with_operation! {
    /// A segment of a request's critical path: from the first token back over what was waited for last. The segments of a
    /// request follow each other without holes and sum to its time to first token.
    Derived critical_path: PathSegment, CriticalPath, sorted by [request, position] {
        /// `requests.request`.
        request: i32 => Plain,
        /// Position on the path, from 0 at the arrival.
        position: i32 => Plain,
        /// Start, ns.
        start_ns: i64 => Plain,
        /// Length, ns.
        dur_ns: i64 => Plain,
        /// What the time is spent on: `queue`, `host`, `waiting`, `launch`, `kernel_gap`, `compute`, `p2p`, `collective`, `copy`,
        /// `sync`, `ready_wait`, `handshake`, `make`, `post`, `wire`, `notify` (until the other end has received the notification),
        /// `relayout`, `staging_out`, `staging_in`, `schedule`, `respond`, `unexplained`.
        category: Name => Dict,
        /// `work` of the operation, its `completion` after the last thing that it waited for, the `gap` between its last
        /// gate and its start, `untaken`: the beginning of such a gap, while the program had not received the notification
        /// that had arrived (what it did meanwhile, if recorded, is on the path in its place), or `source`: from the
        /// request's arrival to the first operation.
        kind: Name => Dict,
        /// Why the operation waited for what precedes it on the path: `program_order`, `stream_order`, `default_stream`,
        /// `graph_order`, `launch`, `event_wait`, `host_sync`, `loading`, `peer_started`, `copied_in`, `peer_done`, `peer_sends`
        /// (the thread of the stage before had come to send, and announced it over a socket), `met`, `kv_written`, `registered`, `prefill_done`, `posted`, `link_free`, `failed`, `transferred`, `notified`, `blocked` (the
        /// thread itself had waited until then), `woken` (the waker's call), `step_given` (the engine's core had
        /// waited, and then gave its worker a step). Null at the source.
        gate: Option<Name> => Dict,
        /// How that was found: `order`, `id`, `handle`, `neighbour`, `count`, `time`, `engine`, `structure` (a stage cannot begin
        /// before the one before it is done, though no record shows how it waited); `partial`: records are missing that may have
        /// shown something later, and the time is `unexplained`; `withdrawn`: the audit contradicts the path there
        /// (`paths.agreement`), and the time is `unexplained`.
        method: Option<Name> => Dict,
        /// How sure the join is, 0 to 1; 1 follows from ids and order. `waiting` is 0.5 at most where no record says for what; and so is all before an operation
        /// that waited for another lane, where a lost record of its own lane may have ended later.
        confidence: f64 => Plain,
        /// Records show what the time was spent on: work that ran, or waiting for what a join of a confidence of 0.9 or more shows.
        /// Never of `queue`, `respond` and `unexplained`, of `waiting` only where a thread slept or waited for a disk or a signal, which is on
        /// record; nor of what a lost record may have belonged to.
        is_explained: bool => Plain,
        /// How much earlier the next-to-last gate opened, ns: what removing the last one would gain here at most. Null where
        /// there was no other.
        margin_ns: Option<i64> => Plain,
        /// By how much its ends may lie elsewhere, ns: a completion that was seen by polling only, and the error of the clocks
        /// where it goes from one host to another.
        uncertain_ns: i64 => Plain,
    }
}

crate::define_table! {
    /// What the operations of a path waited for, all of it: the gate that opened last and bound, and those that had opened
    /// before. A function of one request: `edges(0)`, `edges('id')`.
    Derived edges: Edge, Edges, sorted by [request, node] {
        /// `requests.request`.
        request: i32 => Plain,
        /// Position of the node on the path, from 0 at the source; each operation has two, its start and its end.
        node: i32 => Plain,
        /// `critical_path.position` of the segment that ends at the node; where the path stays at the same ns, of the next one.
        position: Option<i32> => Plain,
        /// When the node happened, ns.
        time_ns: i64 => Plain,
        /// The node is the end of the operation, not its start.
        is_end: bool => Plain,
        /// `stages.stage_id` of the operation.
        stage_id: Option<i32> => Plain,
        /// Process of the operation.
        process_id: Option<i64> => Plain,
        /// Joins `kernels`, `memcpys` and `api_calls` of that process.
        correlation_id: Option<i64> => Plain,
        /// `nixl_transfers.transfer_id`.
        transfer_id: Option<i64> => Plain,
        /// Name of the kernel or call.
        name: Option<Name> => Dict,
        /// Why it waited, as `critical_path.gate`.
        gate: Name => Dict,
        /// How that was found, as `critical_path.method`.
        method: Name => Dict,
        /// How sure the join is, 0 to 1.
        confidence: f64 => Plain,
        /// It opened last: the path goes on over it. Of an operation that was not kept waiting after its start, none of its
        /// end is.
        is_bound: bool => Plain,
        /// When it opened, ns.
        at_ns: i64 => Plain,
        /// How much earlier it opened than the one that bound, ns; null where none did.
        margin_ns: Option<i64> => Plain,
        /// It opened with the end of the other operation, not with its start.
        from_is_end: bool => Plain,
        /// `stages.stage_id` of the other operation.
        from_stage_id: Option<i32> => Plain,
        /// Its process.
        from_process_id: Option<i64> => Plain,
        /// As `correlation_id`.
        from_correlation_id: Option<i64> => Plain,
        /// As `transfer_id`.
        from_transfer_id: Option<i64> => Plain,
        /// Its name.
        from_name: Option<Name> => Dict,
    }
}

with_operation! {
    /// How much longer operations could have taken without a later first token: those within a request's time from which its
    /// first token can be reached. 0 on the path. It is the most that there can be: only recorded waits count, and what waited
    /// is taken to react as quickly as the quickest twentieth of its kind does. Each operation's holds if the others stay as
    /// they were. A function of one request: `slack(0)`, `slack('id')`.
    Derived slack: Slack, Slacks, sorted by [request, start_ns] {
        /// `requests.request`.
        request: i32 => Plain,
        /// Start, ns.
        start_ns: i64 => Plain,
        /// Length, ns.
        dur_ns: i64 => Plain,
        /// How much longer it could have taken, all else as it was, ns.
        slack_ns: i64 => Plain,
        /// How much longer before anything that waited for it would have been later, ns.
        free_slack_ns: i64 => Plain,
    }
}
