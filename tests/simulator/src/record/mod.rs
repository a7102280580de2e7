//! Operations become records of the schema, as the agent would have written them, distorted as asked.

mod cuda;
mod nixl;
mod probes;
mod tables;

use std::collections::BTreeMap;
use std::path::Path;

use kvpath_schema::cell::Name;
use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::capture::{CaptureInfo, CaptureInfos, Drop, Drops};
use kvpath_schema::tables::clock::ClockProbes;
use kvpath_schema::tables::gpu::{ApiCalls, CudaEvents, Gpu, GpuSyncs, Gpus, Kernels};
use kvpath_schema::tables::nixl::{NixlAgents, NixlDescriptors, NixlNotifs, NixlPrepared, NixlRegions, NixlTransfers};
use kvpath_schema::tables::process::{Process, Processes, Thread, Threads};

use crate::distort::{Distortions, Random};
use crate::engine::{Ns, Op};
use crate::rig::{LaneKind, Rig};

pub use nixl::{Piece, Region, TransferPlan};
use tables::{Buffers, Disk};

/// Program and version, for footers.
pub const WRITER: &str = concat!("kvpath-sim ", env!("CARGO_PKG_VERSION"));

/// Buffers of one host.
#[derive(Debug)]
struct Host {
    kernels: Buffers<Kernels>,
    api_calls: Buffers<ApiCalls>,
    gpu_syncs: Buffers<GpuSyncs>,
    cuda_events: Buffers<CudaEvents>,
    agents: Buffers<NixlAgents>,
    regions: Buffers<NixlRegions>,
    prepared: Buffers<NixlPrepared>,
    transfers: Buffers<NixlTransfers>,
    descriptors: Buffers<NixlDescriptors>,
    notifs: Buffers<NixlNotifs>,
    probes: Buffers<ClockProbes>,
    drops: Drops,
    next_transfer: i64,
    /// Uses of each handle address so far.
    epochs: BTreeMap<(usize, u64), i64>,
    /// Regions registered so far, by process.
    next_region: BTreeMap<usize, i32>,
    /// Lists prepared so far, by process.
    next_list: BTreeMap<usize, i32>,
    first_ns: Option<Ns>,
    last_ns: Ns,
}

/// Takes what happened and writes records.
#[derive(Debug)]
pub struct Recorder {
    hosts: Vec<Host>,
    distort: Distortions,
    loss: Random,
    shuffle: Random,
    disk: Disk,
    words: RecurringTexts,
    /// Rows by table: (written, lost).
    rows: BTreeMap<&'static str, (u64, u64)>,
    /// Events of a process have as many handles; a handle is used again after so many recordings.
    event_handles: u64,
    /// First and last time, of those that records show, on the simulator's own clock.
    seen: Option<(Ns, Ns)>,
}

/// Texts that recur.
#[derive(Debug)]
struct RecurringTexts {
    kernels: Vec<Name>,
    launch: Name,
    graph_launch: Name,
    event_record: Name,
    stream_wait: Name,
    event_sync: Name,
    kind_event: Name,
    kind_wait: Name,
    by_text: BTreeMap<String, Name>,
}

impl RecurringTexts {
    fn new() -> Self {
        Self {
            kernels: Rig::names().iter().map(|kernel| kernel.name.into()).collect(),
            launch: "cudaLaunchKernel".into(),
            graph_launch: "cudaGraphLaunch".into(),
            event_record: "cudaEventRecord".into(),
            stream_wait: "cudaStreamWaitEvent".into(),
            event_sync: "cudaEventSynchronize".into(),
            kind_event: "event".into(),
            kind_wait: "stream_wait_event".into(),
            by_text: BTreeMap::new(),
        }
    }

    fn get(&mut self, text: &str) -> Name {
        if let Some(name) = self.by_text.get(text) {
            return name.clone();
        }
        let name: Name = text.into();
        self.by_text.insert(text.to_owned(), name.clone());
        name
    }
}

impl Recorder {
    /// Writes below `run`; only counts rows where that is `None`.
    #[must_use]
    pub fn new(run: Option<&Path>, seed: u64, distort: Distortions) -> Self {
        let hosts: Vec<&str> = distort.clocks.iter().map(|clock| clock.host.as_str()).collect();
        let disk = run.map_or_else(Disk::nowhere, |run| Disk::new(run, &hosts));
        let host = || Host {
            kernels: Buffers::new("cupti", &distort),
            api_calls: Buffers::new("cupti", &distort),
            gpu_syncs: Buffers::new("cupti", &distort),
            cuda_events: Buffers::new("cupti", &distort),
            agents: Buffers::new("nixl", &distort),
            regions: Buffers::new("nixl", &distort),
            prepared: Buffers::new("nixl", &distort),
            transfers: Buffers::new("nixl", &distort),
            descriptors: Buffers::new("nixl", &distort),
            notifs: Buffers::new("nixl", &distort),
            probes: Buffers::new("clock", &distort),
            drops: Drops::default(),
            next_transfer: 0,
            epochs: BTreeMap::new(),
            next_region: BTreeMap::new(),
            next_list: BTreeMap::new(),
            first_ns: None,
            last_ns: 0,
        };
        Self {
            hosts: distort.clocks.iter().map(|_| host()).collect(),
            loss: Random::new(seed, Random::LOSS),
            shuffle: Random::new(seed, Random::SHUFFLE),
            distort,
            disk,
            words: RecurringTexts::new(),
            rows: BTreeMap::new(),
            event_handles: 64,
            seen: None,
        }
    }

    /// Lets events of a process share so many handles.
    #[must_use]
    pub fn with_event_handles(mut self, handles: u64) -> Self {
        self.event_handles = handles;
        self
    }

    /// Rows so far, by table: (written or buffered, lost).
    #[must_use]
    pub fn rows(&self) -> BTreeMap<String, (u64, u64)> {
        self.rows.iter().map(|(table, counts)| ((*table).to_owned(), *counts)).collect()
    }

    /// What is done to the records.
    #[must_use]
    pub fn distortions(&self) -> &Distortions {
        &self.distort
    }

    /// Records an operation, if a recorder would see it.
    pub fn op(&mut self, rig: &Rig, op: &Op) {
        if let Some(process) = rig.lanes[usize::from(op.lane)].process {
            cuda::record(self, rig, process, op);
        }
    }

    /// Whether a record of that table is lost; counts it either way.
    fn is_lost(&mut self, table: &'static str) -> bool {
        let is_lost = self.distort.loss_ppm > 0 && self.loss.below(1_000_000) < u64::from(self.distort.loss_ppm);
        let counts = self.rows.entry(table).or_default();
        *(if is_lost { &mut counts.1 } else { &mut counts.0 }) += 1;
        is_lost
    }

    /// Which of the open segments the next row goes to.
    fn slot(&mut self) -> usize {
        match self.distort.shuffle {
            ..=1 => 0,
            open => usize::try_from(self.shuffle.below(u64::from(open))).unwrap_or(0),
        }
    }

    /// What the clock of a process shows at a time, which is taken as time of a record.
    fn clock(&mut self, rig: &Rig, process: usize, t: Ns) -> Ns {
        let host = rig.processes[process].host;
        self.seen = Some(self.seen.map_or((t, t), |(first, last)| (first.min(t), last.max(t))));
        let shown = self.distort.clocks[host].read(t);
        let host = &mut self.hosts[host];
        host.first_ns.get_or_insert(shown);
        host.last_ns = host.last_ns.max(shown);
        shown
    }

    /// Writes what is left, and what the recording says of itself.
    ///
    /// # Errors
    /// A segment could not be written, now or earlier.
    pub fn finish(mut self, rig: &Rig) -> Result<(), SegmentError> {
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            macro_rules! flush {
                ($($table:ident),+) => { $( host.$table.finish(at, &self.disk, &mut host.drops, host.last_ns); )+ };
            }
            flush!(
                kernels,
                api_calls,
                gpu_syncs,
                cuda_events,
                agents,
                regions,
                prepared,
                transfers,
                descriptors,
                notifs,
                probes
            );
            let drops = std::mem::take(&mut host.drops);
            self.disk.write(at, "capture", drops, 0);
            let (processes, threads, gpus) = inventory(rig, at);
            self.disk.write(at, "process", processes, 0);
            self.disk.write(at, "process", threads, 0);
            self.disk.write(at, "cupti", gpus, 0);
            let infos = self.capture_info(at);
            self.disk.write(at, "capture", infos, 0);
        }
        self.disk.finish()
    }

    fn capture_info(&self, host: usize) -> CaptureInfos {
        let mut infos = CaptureInfos::default();
        let state = &self.hosts[host];
        for (key, value) in [
            ("clock", "CLOCK_MONOTONIC".to_owned()),
            ("host", self.distort.clocks[host].host.clone()),
            ("writer", WRITER.to_owned()),
            ("started_ns", state.first_ns.unwrap_or(0).to_string()),
            ("ended_ns", state.last_ns.to_string()),
        ] {
            infos.push(CaptureInfo { source: "capture".into(), key: key.to_owned(), value });
        }
        infos
    }
}

fn inventory(rig: &Rig, host: usize) -> (Processes, Threads, Gpus) {
    let (mut processes, mut threads, mut gpus) = (Processes::default(), Threads::default(), Gpus::default());
    for (at, process) in rig.processes.iter().enumerate().filter(|(_, process)| process.host == host) {
        processes.push(Process {
            process_id: process.process_id,
            pid: i32::try_from(process.process_id).unwrap_or(0),
            name: process.title.clone(),
            start_ns: None,
            end_ns: None,
            parent_process_id: None,
        });
        let own = rig.lanes.iter().filter(|lane| lane.process == Some(at) && lane.kind == LaneKind::Thread);
        for (tid, name) in own.filter_map(|lane| Some((lane.tid?, &lane.name))) {
            threads.push(Thread { process_id: process.process_id, tid, name: Some(name.as_str().into()) });
        }
        if !gpus.device_id.contains(&process.device_id) {
            gpus.push(Gpu {
                device_id: process.device_id,
                name: Some("NVIDIA H200".to_owned()),
                uuid: None,
                memory_bytes: Some(150_754_820_096),
            });
        }
    }
    (processes, threads, gpus)
}
