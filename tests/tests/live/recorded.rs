//! A run read back from its segments.

use std::path::Path;

use kvpath_schema::segment::read_into;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::capture::{CaptureInfos, Drops, SourceState, SourceStates};
use kvpath_schema::tables::nixl::{
    NixlAgents, NixlCalls, NixlDescriptors, NixlNotifs, NixlPrepared, NixlRegions, NixlTelemetry, NixlTransfer,
    NixlTransfers,
};
use kvpath_schema::tables::process::{Processes, Threads};
use kvpath_schema::tables::rdma::RdmaOps;
use kvpath_schema::tables::sched::OffCpus;
use kvpath_schema::tables::sockets::Sockets;
use kvpath_schema::tables::ucx::{UcxOps, UcxTransportCalls};

use kvpath_analysis::serving::notifications::name_transfers;

use crate::setup::walk;

/// All tables of a run.
#[derive(Debug, Default)]
pub struct Recorded {
    pub processes: Processes,
    pub threads: Threads,
    pub agents: NixlAgents,
    pub calls: NixlCalls,
    pub regions: NixlRegions,
    pub prepared: NixlPrepared,
    pub transfers: NixlTransfers,
    pub descriptors: NixlDescriptors,
    pub notifs: NixlNotifs,
    pub telemetry: NixlTelemetry,
    pub ucx_ops: UcxOps,
    pub ucx_calls: UcxTransportCalls,
    pub rdma_ops: RdmaOps,
    pub sockets: Sockets,
    pub sched: OffCpus,
    pub drops: Drops,
    pub facts: CaptureInfos,
    pub states: SourceStates,
}

impl Recorded {
    /// Reads every segment about NIXL, processes and the capture itself; all must be whole.
    pub fn read(run: &Path) -> Self {
        let mut all = Self::default();
        for path in walk(run) {
            // What the injected library takes is of no concern here: NIXL for CUDA 13 marks its calls with NVTX since 1.4,
            // and a recording of the whole machine holds whatever else runs.
            let is_ours = [
                "source=nixl",
                "source=mooncake",
                "source=ucx",
                "source=rdma",
                "source=sockets",
                "source=sched",
                "source=telemetry",
                "source=process",
                "source=capture",
            ]
            .iter()
            .any(|of| path.parent().is_some_and(|folder| folder.ends_with(of)));
            if !is_ours || path.extension().is_none_or(|ext| ext != "parquet") {
                continue;
            }
            let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
            let table = name.rsplit_once('-').expect("TABLE-NNNNNN.parquet").0;
            match table {
                "processes" => add(&path, &mut all.processes),
                "threads" => add(&path, &mut all.threads),
                "nixl_agents" => add(&path, &mut all.agents),
                "nixl_calls" => add(&path, &mut all.calls),
                "nixl_regions" => add(&path, &mut all.regions),
                "nixl_prepared" => add(&path, &mut all.prepared),
                "nixl_transfers" => add(&path, &mut all.transfers),
                "nixl_descriptors" => add(&path, &mut all.descriptors),
                "nixl_notifs" => add(&path, &mut all.notifs),
                "nixl_telemetry" => add(&path, &mut all.telemetry),
                "ucx_ops" => add(&path, &mut all.ucx_ops),
                "ucx_transport_calls" => add(&path, &mut all.ucx_calls),
                "rdma_ops" => add(&path, &mut all.rdma_ops),
                "sockets" => add(&path, &mut all.sockets),
                "sched" => add(&path, &mut all.sched),
                "drops" => add(&path, &mut all.drops),
                "capture_info" => add(&path, &mut all.facts),
                "source_states" => add(&path, &mut all.states),
                other => panic!("a table `{other}`"),
            }
        }
        // The agent stores texts; the analyzer reads them.
        name_transfers(&mut all.transfers);
        all
    }

    /// The transfers as rows.
    pub fn transfer_rows(&self) -> Vec<NixlTransfer> {
        (0..self.transfers.len()).map(|i| self.transfers.row(i)).collect()
    }

    /// The value of the fact whose key holds all of these words.
    pub fn fact(&self, words: &[&str]) -> Option<&str> {
        let at = self.facts.key.iter().position(|key| words.iter().all(|word| key.contains(word)))?;
        Some(&self.facts.value[at])
    }

    /// The states of what has that word in its name, in the order in which they began.
    pub fn states_of(&self, subject: &str, word: &str) -> Vec<SourceState> {
        let all = (0..self.states.len()).map(|row| self.states.row(row));
        all.filter(|row| &*row.subject == subject && row.name.contains(word)).collect()
    }

    /// Panics if anything was lost.
    pub fn assert_nothing_lost(&self) {
        let lost: Vec<_> = (0..self.drops.len()).map(|i| self.drops.row(i)).collect();
        assert!(lost.is_empty(), "{lost:#?}");
    }

    /// Panics unless each use of each handle is a row of its own.
    pub fn assert_keys(&self) {
        let mut keys: Vec<_> = self.transfer_rows().iter().map(|t| (t.process_id, t.handle, t.epoch)).collect();
        keys.sort_unstable();
        for pair in keys.windows(2) {
            assert_ne!(pair[0], pair[1], "one key twice");
            let same_handle = (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1);
            assert_eq!(pair[1].2, if same_handle { pair[0].2 + 1 } else { 0 }, "epochs count from 0: {pair:?}");
        }
        let mut ids = self.transfers.transfer_id.clone();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), self.transfers.len(), "one transfer_id twice");
    }
}

fn add<C: Columns>(path: &Path, columns: &mut C) {
    if let Err(error) = read_into(path, columns) {
        panic!("{error}");
    }
}
