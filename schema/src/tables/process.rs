//! Who ran: processes and threads.

use crate::cell::Name;

crate::define_table! {
    /// A traced process.
    Raw processes: Process, Processes, sorted by [process_id] {
        /// Id in this run and host: the OS pid; if the pid was reused during the run, plus n * 2^32. Derived tables of a run of
        /// several hosts add the host's number * 2^48 (`clocks.host_index`).
        process_id: i64 => Delta,
        /// OS pid (thread group id) as the host sees it.
        pid: i32 => Delta,
        /// Title at the last look, as `ps` shows it: vLLM and SGLang write PP and TP rank there.
        name: String => Plain,
        /// When the process started, if known, ns.
        start_ns: Option<i64> => Delta,
        /// When the process was seen to have ended, ns; null while it ran at the end of the recording or if unknown.
        end_ns: Option<i64> => Delta,
        /// Process that started it, where both run the same program and the recorder looked: an engine's core starts its workers.
        parent_process_id: Option<i64> => Plain,
    }
}

crate::define_table! {
    /// A thread of a traced process that made a recorded call.
    Raw threads: Thread, Threads, sorted by [process_id, tid] {
        /// Its process: `processes.process_id`.
        process_id: i64 => Delta,
        /// OS thread id.
        tid: i32 => Delta,
        /// Thread name, if known.
        name: Option<Name> => Dict,
    }
}
