//! What transfers are for.

use crate::cell::Name;

crate::define_values! {
    /// What a transfer is for.
    Purpose {
        /// KV goes from prefill to decode.
        HandOff = "hand_off",
        /// What an engine sends beside the KV of a request: its first token, where its blocks lie.
        Metadata = "metadata",
        /// State of layers that are no attention, or of an indexer, beside the KV of a request.
        State = "state",
        /// To or from files, objects and block devices, or within one agent: offload, and what is loaded from there.
        Storage = "storage",
        /// Prefill reads from decode what it had handed over before, and what decode has added to it.
        ReadBack = "read_back",
        /// Embeddings of images and the like, for prefill.
        Embeddings = "embeddings",
        /// Nothing tells. It is taken for a hand-off where stages and requests are told apart.
        Unknown = "unknown",
    }
}

impl Purpose {
    /// Whether it is of a hand-off, for all that is known: only these tell stages and requests.
    #[must_use]
    pub const fn is_handed_over(self) -> bool {
        matches!(self, Self::HandOff | Self::Metadata | Self::State | Self::Unknown)
    }
}

crate::define_values! {
    /// How it is known what a transfer is for.
    PurposeMethod {
        /// By the text of its notification.
        Text = "text",
        /// By the kind of memory at its ends; of metadata, also by being smaller than all KV of its sender.
        Memory = "memory",
        /// It is posted to the agent itself.
        OwnAgent = "own_agent",
        /// It goes between the same two processes as an earlier one of the same request, the other way.
        Request = "request",
        /// It goes from one process to another one, and nothing speaks against it.
        Ends = "ends",
        /// Not at all.
        None = "none",
    }
}

crate::define_table! {
    /// Transfers that hand nothing over, by what they are for, their ends and the memory that they move. They are in no stage, request or
    /// hand-off; `transfer_joins.purpose` tells them apart one by one.
    Derived other_transfers: OtherTransfer, OtherTransfers, sorted by [first_ns] {
        /// What they are for.
        purpose: Purpose => Dict,
        /// How that is known.
        purpose_method: PurposeMethod => Dict,
        /// Process that posted them.
        process_id: i64 => Dict,
        /// Its agent, if that is known.
        agent: Option<Name> => Dict,
        /// The other end's agent, which may be the same.
        peer: Option<Name> => Dict,
        /// Which way the data goes: `WRITE` or `READ`.
        op: Name => Dict,
        /// Memory of the poster's side.
        local_memory: Option<Name> => Dict,
        /// Memory of the other side.
        remote_memory: Option<Name> => Dict,
        /// How many there are.
        transfers: i64 => Plain,
        /// Those that failed.
        failed: i64 => Plain,
        /// Their payload, bytes; null if that of one is not known.
        bytes: Option<i64> => Plain,
        /// When the first was posted, ns.
        first_ns: i64 => Delta,
        /// When the last was seen to end, else posted, ns.
        last_ns: i64 => Delta,
        /// Time in which at least one was under way, from its post to where its end was seen, ns.
        busy_ns: i64 => Plain,
    }
}
