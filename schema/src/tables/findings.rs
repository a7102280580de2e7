//! What the tables of a run justify saying of it.

crate::define_values! {
    /// What a finding says.
    Code {
        /// One prefill stage computes longer than the others.
        SlowStage = "slow_stage",
        /// No prefill stage computes notably longer than the others.
        BalancedStages = "balanced_stages",
        /// One rank of a prefill stage computes longer than its others, which wait for it in collectives.
        SlowRank = "slow_rank",
        /// No rank of a prefill stage computes notably longer than its others.
        BalancedRanks = "balanced_ranks",
        /// The same bytes took much longer because they went in small pieces.
        ScatteredHandoff = "scattered_handoff",
        /// The thread that posted a hand-off, and polls it, was off the CPU for a large part of it.
        PollerOffCpu = "poller_off_cpu",
        /// How much of the slowest hand-off was inside the post call.
        SlowestPost = "slowest_post",
        /// Transfers that were not seen to end: `stuck.kind` `pending`.
        PendingTransfer = "pending_transfer",
        /// Transfers that failed.
        FailedTransfer = "failed_transfer",
        /// Requests that went on after their hand-off had failed.
        WentOn = "went_on",
        /// KV was pulled after prefill's lease on it had run out.
        LeaseOver = "lease_over",
        /// Notifications that did not arrive.
        NotArrived = "not_arrived",
        /// Notifications that the program did not ask for.
        NotTaken = "not_taken",
        /// Requests that nothing was handed over for.
        NoTransfer = "no_transfer",
        /// Memory that two hand-offs moved at once, at least one of them into it.
        OverlappingMemory = "overlapping_memory",
        /// A request waited while two agents met for the first time, or its transfer, the first between them, took longer than later ones.
        FirstContact = "first_contact",
        /// Heartbeats name none of the requests.
        UnknownHeartbeats = "unknown_heartbeats",
        /// Records of a process are missing that nobody counted as lost.
        LostRecords = "lost_records",
    }
}

crate::define_values! {
    /// What a finding is about.
    Subject {
        /// A stage or rank, in all requests: `stage_id`.
        Stage = "stage",
        /// The transfers of one hand-off: `request` and `stage_id`.
        Transfer = "transfer",
        /// A process: `process_id`.
        Process = "process",
    }
}

crate::define_table! {
    /// What the other tables justify saying of the run, as `report` prints it: rules over those tables, none of which names a
    /// cause that the recording does not show.
    Derived findings: Finding, Findings, sorted by [finding] {
        /// Number in the order of the report, from 0.
        finding: i32 => Plain,
        /// What it says.
        code: Code => Dict,
        /// What it is about.
        subject: Subject => Dict,
        /// `requests.request`; null where it is about no single one.
        request: Option<i32> => Plain,
        /// `stages.stage_id`; null where it is about no single one.
        stage_id: Option<i32> => Plain,
        /// `processes.process_id`; null where it is about no single one.
        process_id: Option<i64> => Plain,
        /// Tables that it rests on, the one that it is about first, with commas.
        tables: String => Plain,
        /// SQL condition that picks its rows of the first of `tables`.
        row_keys: String => Plain,
        /// SQL that shows it: `kvpath sql RUN QUERY`.
        query: String => Plain,
        /// Time on the critical paths of the requests that it regards which was spent on what it is about, ns: the most that
        /// could be gained there. Null where it is about no time, or none of those requests has a path.
        path_ns: Option<i64> => Plain,
        /// Share of the rows that it could have been judged by which were recorded whole enough to judge by, 0 to 1.
        confidence: f64 => Plain,
        /// The finding as a sentence.
        text: String => Plain,
    }
}
