//! Hand-offs that failed, or that somebody waited for in vain.

crate::define_values! {
    /// What is wrong.
    StuckKind {
        /// A transfer was posted and was not seen to end, nor its notification to arrive.
        Pending = "pending",
        /// A transfer failed: `nixl_transfers.status` says how.
        Failed = "failed",
        /// A transfer of the request failed, was not made again, and its client had a first token after that: of KV that decode does not have,
        /// or has computed itself.
        WentOn = "went_on",
        /// A notification was sent to a process that records arrivals, and did not arrive.
        NotArrived = "not_arrived",
        /// A notification arrived, and the program did not ask for it in the time that was recorded after that.
        NotTaken = "not_taken",
        /// Nothing was handed over for a request that its client had no token of, while others had hand-offs.
        NoTransfer = "no_transfer",
        /// KV was pulled after prefill's lease on it had run out: it may have been another request's by then.
        LeaseOver = "lease_over",
        /// Two transfers of different requests were under way over the same memory, and one of them wrote to it.
        Overlapping = "overlapping",
    }
}

crate::define_values! {
    /// What shows why.
    StuckCause {
        /// The process that waited has ended.
        OwnEnded = "own_ended",
        /// The process at the other end had ended.
        PeerEnded = "peer_ended",
        /// The process that is to ask for it no longer did, though it lived.
        NotPolled = "not_polled",
        /// No heartbeat of decode's asked to keep it for longer.
        NoHeartbeat = "no_heartbeat",
        /// The recording ended so soon after that it may have come.
        RecordingEnded = "recording_ended",
        /// None of these.
        Unknown = "unknown",
    }
}

crate::define_table! {
    /// Hand-offs that failed or did not end, messages that did not arrive or were not asked for, requests that nothing was handed over for:
    /// a row each. No rows of messages and leases where records of messages were lost, for then what is missing may have been.
    Derived stuck: StuckItem, Stuck, sorted by [item] {
        /// Number, by `since_ns`, from 0.
        item: i32 => Plain,
        /// What is wrong.
        kind: StuckKind => Dict,
        /// What shows why.
        cause: StuckCause => Dict,
        /// `requests.request`; null where it is not known.
        request: Option<i32> => Plain,
        /// `nixl_transfers.transfer_id`, of a run of several hosts + number of the host * 2^48; null where it is about none. Of two the later.
        transfer_id: Option<i64> => Plain,
        /// The process that waits: who posted the transfer, who is to receive the notification, or whose memory it is. Null where it is not known, and of
        /// `no_transfer`.
        process_id: Option<i64> => Plain,
        /// The process that it waits for: the other end. Null where it is not known.
        peer_process_id: Option<i64> => Plain,
        /// Since when: post, sending, arrival, ns.
        since_ns: i64 => Plain,
        /// Until when: it failed, a process ended, or the recording did, ns.
        until_ns: i64 => Plain,
        /// What the transfer was to move, bytes.
        bytes: Option<i64> => Plain,
        /// It as a sentence.
        text: String => Plain,
    }
}
