//! Heartbeats of serving engines.

use crate::cell::Name;

crate::define_table! {
    /// What decode's heartbeats say of one request to one peer: vLLM's decode names the requests whose KV prefill is to keep, in
    /// notifications `HB:ID,ID`. KV of a request without heartbeats is freed when its lease has run out.
    Derived heartbeats: Heartbeat, Heartbeats, sorted by [first_ns] {
        /// The id that they name, without the suffix that vLLM appends.
        request_id: String => Plain,
        /// `requests.request` of that id; null if there is none: one that was not handed over in this recording, or an id that the other end
        /// does not know either.
        request: Option<i32> => Plain,
        /// Process that sent them; null if only their arrival was recorded and whose the sender's name is is not known.
        process_id: Option<i64> => Dict,
        /// Name of the agent that they went to; null if only their arrival was recorded.
        peer: Option<Name> => Dict,
        /// Process where they arrived, if that was recorded.
        peer_process_id: Option<i64> => Dict,
        /// How many were sent.
        sent: i64 => Plain,
        /// How many arrived.
        arrived: i64 => Plain,
        /// The first of them, ns: when it was sent, else arrived.
        first_ns: i64 => Delta,
        /// The last of them, ns.
        last_ns: i64 => Delta,
        /// The longest time between two, ns; null of a single one.
        longest_gap_ns: Option<i64> => Plain,
    }
}
