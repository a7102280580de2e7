//! What agents do before and beside their transfers, as the analyzer understands it.

use crate::cell::Name;

crate::define_table! {
    /// An agent met another one: the calls in which it made the peer known to itself, and what came first between them. A peer that was
    /// met before recording began, or by an agent of before NIXL's calls were recorded, has no row.
    Derived first_contacts: FirstContact, FirstContacts, sorted by [start_ns] {
        /// Process that met the peer.
        process_id: i64 => Dict,
        /// Name of its agent, if its making was seen.
        agent: Option<Name> => Dict,
        /// Name of the peer's agent.
        peer: Name => Dict,
        /// Process of the peer's agent, if that is known.
        peer_process_id: Option<i64> => Dict,
        /// Entry of the first of the calls, ns.
        start_ns: i64 => Delta,
        /// Return of the last of them that began before the first transfer was made, ns; null if one of them was not seen to return.
        end_ns: Option<i64> => Delta,
        /// Calls of these kinds with this peer, until then.
        calls: i32 => Plain,
        /// Those of them that failed.
        failed: i32 => Plain,
        /// Time in `fetchRemoteMD`, ns; null if it was not called.
        fetch_ns: Option<i64> => Plain,
        /// Time in `loadRemoteMD`, ns; null if it was not called.
        load_ns: Option<i64> => Plain,
        /// Time in `makeConnection`, ns; null if it was not called: then the backend connects at the first transfer.
        connect_ns: Option<i64> => Plain,
        /// Time in `prepXferDlist`, of the peer's memory, ns; null if it was not called.
        prepare_ns: Option<i64> => Plain,
        /// The first transfer between the two processes, whichever posts it; null if there is none: `nixl_transfers.transfer_id`.
        transfer_id: Option<i64> => Plain,
        /// The request that it is of: `requests.request`.
        request: Option<i32> => Plain,
        /// Part of the time from `start_ns` to `end_ns` in which that request had begun (`requests.sent_ns`, else `start_ns`), ns. Between the
        /// calls engines build the lists that they prepare.
        waited_ns: Option<i64> => Plain,
        /// That transfer, from its post to where its end was seen, ns.
        first_transfer_ns: Option<i64> => Plain,
        /// The median of the same of later transfers the same way that carry as many bytes or more, ns; null without any.
        later_transfer_ns: Option<i64> => Plain,
        /// How many these are.
        later_transfers: i32 => Plain,
    }
}
