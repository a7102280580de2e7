//! From rows of raw tables to lanes.

use std::collections::{BTreeMap, HashMap};

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{
    ApiCalls, CudaEvents, CuptiOverheads, GpuSyncs, GraphLaunches, Kernels, Memcpys, Memsets,
};
use kvpath_schema::tables::nixl::NixlTransfers;
use kvpath_schema::tables::sched::OffCpus;

use super::recorded::{EventRecord, Records, Sync, SyncKind, Syncs};
use super::threads::Cause;
use super::{Class, Lane, LaneId, LaneKind, New, OpNames, Threads, Timeline, Waits, dispatch};
use crate::clocks::{HostClock, rows};
use crate::error::LoadError;
use crate::facts::{Consumer, WantedColumns};
use crate::load::batches::Batch;
use crate::spill::{Memory, Numbers};

/// Lanes while they are filled, of one host after another.
#[derive(Debug)]
pub struct Builder {
    syncs: Syncs,
    records: Records,
    lanes: Vec<(LaneId, Lane)>,
    by_id: HashMap<LaneId, usize>,
    last: usize,
    names: OpNames,
    threads: Threads,
    memory: Memory,
}

impl Builder {
    /// One whose lanes share that memory.
    #[must_use]
    pub fn within(memory: &Memory) -> Self {
        Self {
            syncs: Syncs::within(memory),
            records: Records::within(memory),
            lanes: Vec::new(),
            by_id: HashMap::new(),
            last: 0,
            names: OpNames::default(),
            threads: Threads::within(memory),
            memory: memory.clone(),
        }
    }

    /// Puts everything in order, with the NIXL calls of `transfers`, by row.
    ///
    /// # Errors
    /// It goes beyond the memory limit, and there is no room for files.
    pub fn finish(mut self, transfers: &NixlTransfers) -> Result<Timeline, LoadError> {
        nixl_calls(&mut self, transfers)?;
        let Self { syncs, records, lanes, names, threads, memory, .. } = self;
        let mut timeline = timeline(lanes, names)?;
        timeline.threads = threads.sorted(&memory)?;
        // Transports ask for events all the time; only waits of recorded calls can be on a path.
        let is_known =
            |sync: &Sync| sync.kind == SyncKind::StreamWait || timeline.call(sync.process, sync.correlation).is_some();
        timeline.waits = Waits::of((&syncs, &records), is_known, |id| timeline.find(id), &memory)?;
        for at in 0..u32::try_from(timeline.lanes.len()).unwrap_or(u32::MAX) {
            let dispatch_ns = dispatch::of(&timeline, at);
            timeline.lanes[at as usize].1.dispatch_ns = dispatch_ns;
        }
        Ok(timeline)
    }

    fn push(
        &mut self,
        id: LaneId,
        (start, end): (i64, i64),
        (key, name, node): (i64, u32, i64),
    ) -> Result<(), LoadError> {
        // Neighbouring rows are mostly of one lane.
        if self.lanes.get(self.last).is_none_or(|(last, _)| *last != id) {
            let (lanes, memory) = (&mut self.lanes, &self.memory);
            self.last = *self.by_id.entry(id).or_insert_with(|| {
                lanes.push((id, Lane::new(memory)));
                lanes.len() - 1
            });
        }
        self.lanes[self.last].1.push(New { start, end, key, name, node })
    }

    fn gpu(&mut self, batch: &Batch, names: &[u32], host: Option<&HostClock>) -> Result<(), LoadError> {
        let (start, dur) = (batch.i64("start_ns")?, batch.i64("dur_ns")?);
        let (process, correlation) = (batch.i64("process_id")?, batch.i64("correlation_id")?);
        let (context, stream, device) = (batch.i32("context_id")?, batch.i32("stream_id")?, batch.i32("device_id")?);
        let node = batch.optional_i64("graph_node_id")?;
        for row in 0..batch.len() {
            let kind = LaneKind::Stream { context: context[row], stream: stream[row] };
            let id = LaneId { process: rows::process(batch.table(), host, process[row])?, kind };
            let span = rows::span(batch.table(), host, start[row], dur[row])?;
            self.push(id, span, (correlation[row], names[row], node(row).unwrap_or(0)))?;
            self.lanes[self.last].1.device = Some(device[row]);
        }
        Ok(())
    }
}

/// What lanes are made of: GPU work first, then calls, then what calls waited for.
const TABLES: [WantedColumns; 9] = [
    WantedColumns {
        table: Kernels::DEF,
        columns: &[
            "start_ns",
            "dur_ns",
            "process_id",
            "device_id",
            "context_id",
            "stream_id",
            "correlation_id",
            "name",
            "graph_node_id",
            "grid_x",
            "grid_y",
            "grid_z",
            "block_x",
            "block_y",
            "block_z",
        ],
    },
    WantedColumns {
        table: Memcpys::DEF,
        columns: &[
            "start_ns",
            "dur_ns",
            "process_id",
            "device_id",
            "context_id",
            "stream_id",
            "correlation_id",
            "kind",
            "graph_node_id",
        ],
    },
    WantedColumns {
        table: Memsets::DEF,
        columns: &["start_ns", "dur_ns", "process_id", "device_id", "context_id", "stream_id", "correlation_id"],
    },
    WantedColumns {
        table: GraphLaunches::DEF,
        columns: &[
            "start_ns",
            "dur_ns",
            "process_id",
            "device_id",
            "context_id",
            "stream_id",
            "correlation_id",
            "graph_id",
        ],
    },
    WantedColumns {
        table: ApiCalls::DEF,
        columns: &["start_ns", "dur_ns", "process_id", "tid", "correlation_id", "name"],
    },
    WantedColumns {
        table: GpuSyncs::DEF,
        columns: &["process_id", "context_id", "stream_id", "event_id", "event_sync_id", "correlation_id", "kind"],
    },
    WantedColumns {
        table: CudaEvents::DEF,
        columns: &["process_id", "context_id", "stream_id", "event_id", "event_sync_id", "correlation_id"],
    },
    WantedColumns { table: CuptiOverheads::DEF, columns: &["start_ns", "dur_ns", "process_id", "tid", "kind"] },
    WantedColumns {
        table: OffCpus::DEF,
        columns: &[
            "start_ns",
            "dur_ns",
            "process_id",
            "tid",
            "state",
            "off_ns",
            "run_queue_ns",
            "call",
            "file",
            "waker_process_id",
            "waker_tid",
            "waker",
        ],
    },
];
/// A kernel's grid and block.
const SHAPE: [&str; 6] = ["grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z"];

impl Consumer for Builder {
    fn wants(&self) -> &'static [WantedColumns] {
        &TABLES
    }

    fn take(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        match batch.table() {
            table if table == Kernels::DEF.name => self.kernels(batch, host),
            table if table == Memcpys::DEF.name => {
                let class = |text: &str| if text == "PtoP" { Class::PeerCopy } else { Class::Copy };
                let names = batch.names("kind", |text| self.names.intern(class(text), text))?;
                self.gpu(batch, &names, host)
            }
            table if table == Memsets::DEF.name => {
                let name = self.names.intern(Class::Memset, "memset");
                self.gpu(batch, &vec![name; batch.len()], host)
            }
            table if table == GraphLaunches::DEF.name => {
                let graphs = batch.i64("graph_id")?.iter();
                let names: Vec<u32> =
                    graphs.map(|id| self.names.intern(Class::GraphRun, &format!("graph {id}"))).collect();
                self.gpu(batch, &names, host)
            }
            table if table == ApiCalls::DEF.name => self.calls(batch, host),
            table if table == GpuSyncs::DEF.name => self.syncs(batch, host),
            table if table == CuptiOverheads::DEF.name => self.loads(batch, host),
            table if table == OffCpus::DEF.name => self.off_cpu(batch, host),
            _ => self.records(batch, host),
        }
    }
}

impl Builder {
    fn kernels(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        let mut names = batch.names("name", |text| self.names.kernel(text))?;
        let shape = batch.all_or_none_i32(SHAPE)?;
        for (row, name) in names.iter_mut().enumerate() {
            *name = self.names.shaped(*name, shape.map(|column| column.map_or(0, |column| column[row])));
        }
        self.gpu(batch, &names, host)
    }

    fn calls(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        let names = batch.names("name", |text| self.names.intern(Class::Call, text))?;
        let (start, dur, tid) = (batch.i64("start_ns")?, batch.i64("dur_ns")?, batch.i32("tid")?);
        let (process, correlation) = (batch.i64("process_id")?, batch.i64("correlation_id")?);
        for row in 0..batch.len() {
            let id =
                LaneId { process: rows::process(batch.table(), host, process[row])?, kind: LaneKind::Thread(tid[row]) };
            let span = rows::span(batch.table(), host, start[row], dur[row])?;
            self.push(id, span, (correlation[row], names[row], 0))?;
        }
        Ok(())
    }

    /// Code is loaded into a GPU on first use; what CUPTI's own work cost is none of the program's.
    fn loads(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        let loads =
            batch.names("kind", |text| u32::from(text == "lazy_function_loading" || text == "module_loading"))?;
        let (start, dur, process) = (batch.i64("start_ns")?, batch.i64("dur_ns")?, batch.i64("process_id")?);
        let tid = batch.optional_i32("tid")?;
        for row in (0..batch.len()).filter(|row| loads[*row] == 1) {
            let Some(tid) = tid(row) else { continue };
            let thread = (rows::process(batch.table(), host, process[row])?, tid);
            self.threads.load(thread, rows::span(batch.table(), host, start[row], dur[row])?);
        }
        Ok(())
    }

    fn off_cpu(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        let mut texts: Numbers<Name> = Numbers::default();
        let state = batch.names("state", |text| texts.of(text.into()))?;
        let call = batch.optional_names("call", |text| texts.of(text.into()))?;
        let file = batch.optional_names("file", |text| texts.of(text.into()))?;
        let woken_by = batch.optional_names("waker", |text| texts.of(text.into()))?;
        let (start, dur) = (batch.i64("start_ns")?, batch.i64("dur_ns")?);
        let (off, queue) = (batch.i64("off_ns")?, batch.i64("run_queue_ns")?);
        let (process, tid) = (batch.i64("process_id")?, batch.i32("tid")?);
        let (waker_process, waker_tid) = (batch.optional_i64("waker_process_id")?, batch.optional_i32("waker_tid")?);
        let text = |number: Option<u32>| number.map(|number| &**texts.value(number));
        for row in 0..batch.len() {
            let table = batch.table();
            let thread = (rows::process(table, host, process[row])?, tid[row]);
            let span = rows::span(table, host, start[row], dur[row])?;
            let state = &**texts.value(state[row]);
            match state {
                "short" => self.threads.off_shortly(thread, span, off[row]),
                "unrecorded" => self.threads.unrecorded(thread, span),
                _ => {
                    let waker = waker_process(row).map(|process| rows::process(table, host, process)).transpose()?;
                    let cause =
                        Cause { state, call: text(call[row]), file: text(file[row]), waker: text(woken_by[row]) };
                    self.threads.off(thread, span, queue[row], &cause, waker.zip(waker_tid(row)))?;
                }
            }
        }
        Ok(())
    }

    fn syncs(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        let mut kinds: Vec<Option<SyncKind>> = Vec::new();
        let names = batch.names("kind", |text| {
            kinds.push(match text {
                "event" => Some(SyncKind::Event),
                "stream_wait_event" => Some(SyncKind::StreamWait),
                "stream" => Some(SyncKind::Stream),
                "context" => Some(SyncKind::Context),
                _ => None,
            });
            u32::try_from(kinds.len() - 1).unwrap_or(u32::MAX)
        })?;
        let (process, context) = (batch.i64("process_id")?, batch.i32("context_id")?);
        let (stream, event) = (batch.optional_i32("stream_id")?, batch.optional_i32("event_id")?);
        let (recording, correlation) = (batch.optional_i64("event_sync_id")?, batch.i64("correlation_id")?);
        for row in 0..batch.len() {
            let Some(kind) = kinds[names[row] as usize] else { continue };
            let (process, correlation) = (rows::process(batch.table(), host, process[row])?, correlation[row]);
            self.syncs.push(Sync {
                process,
                context: context[row],
                stream: stream(row),
                event: event(row),
                recording: recording(row),
                correlation,
                kind,
            })?;
        }
        Ok(())
    }

    fn records(&mut self, batch: &Batch, host: Option<&HostClock>) -> Result<(), LoadError> {
        let (process, correlation) = (batch.i64("process_id")?, batch.i64("correlation_id")?);
        let (context, stream, event) = (batch.i32("context_id")?, batch.i32("stream_id")?, batch.i32("event_id")?);
        let recording = batch.optional_i64("event_sync_id")?;
        for row in 0..batch.len() {
            self.records.push(EventRecord {
                process: rows::process(batch.table(), host, process[row])?,
                context: context[row],
                stream: stream[row],
                event: event[row],
                recording: recording(row),
                correlation: correlation[row],
            })?;
        }
        Ok(())
    }
}

fn nixl_calls(builder: &mut Builder, transfers: &NixlTransfers) -> Result<(), LoadError> {
    let make = builder.names.intern(Class::Make, "makeXferReq");
    let post = builder.names.intern(Class::Post, "postXferReq");
    for row in 0..transfers.transfer_id.len() {
        let id = LaneId { process: transfers.process_id[row], kind: LaneKind::Thread(transfers.tid[row]) };
        // Below zero: correlation ids are above.
        let key = nixl_key(row);
        if let (Some(made), Some(dur)) = (transfers.made_ns[row], transfers.make_dur_ns[row]) {
            builder.push(id, (made, made.saturating_add(dur)), (key, make, 0))?;
        }
        if let (Some(posted), Some(end)) = (transfers.posted_ns[row], transfers.post_end_ns[row]) {
            builder.push(id, (posted, end.max(posted)), (key, post, 0))?;
        }
    }
    Ok(())
}

fn timeline(mut lanes: Vec<(LaneId, Lane)>, mut names: OpNames) -> Result<Timeline, LoadError> {
    lanes.sort_by_key(|(id, _)| *id);
    // Numbers follow the order in which rows were met; the texts do not.
    let mut by_text: Vec<u32> = (0..names.count()).collect();
    by_text.sort_by_key(|number| names.text(*number).clone());
    let mut rank = vec![0; by_text.len()];
    for (at, number) in by_text.into_iter().enumerate() {
        rank[number as usize] = at;
    }
    for (_, lane) in &mut lanes {
        lane.sort(|name| rank[name as usize])?;
    }
    super::relayout::mark(lanes.iter_mut().map(|(_, lane)| lane), &mut names);
    let processes = processes(&lanes, &names);
    Ok(Timeline { lanes, names, processes, ..Timeline::default() })
}

/// The lanes of each process.
pub(super) fn processes(lanes: &[(LaneId, Lane)], names: &OpNames) -> BTreeMap<i64, super::ProcessLanes> {
    let mut processes: BTreeMap<i64, super::ProcessLanes> = BTreeMap::new();
    let mut busiest: BTreeMap<i64, i64> = BTreeMap::new();
    for (at, (id, lane)) in lanes.iter().enumerate() {
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        let own = processes.entry(id.process).or_default();
        match id.kind {
            LaneKind::Stream { .. } => {
                own.streams.push(at);
                let computes = (0..lane.len()).filter(|op| names.class(lane.name[*op]).is_compute());
                let busy = computes.fold(0i64, |sum, op| sum.saturating_add(lane.end[op] - lane.start[op]));
                if busy > busiest.get(&id.process).copied().unwrap_or(0) {
                    busiest.insert(id.process, busy);
                    own.main = Some(at);
                }
            }
            LaneKind::Thread(_) => own.threads.push(at),
        }
    }
    processes
}

/// The key of a NIXL call: correlation ids are above 0, rows of transfers below.
#[must_use]
pub fn nixl_key(row: usize) -> i64 {
    -1 - i64::try_from(row).unwrap_or(i64::MAX - 1)
}

/// The row of `nixl_transfers` that a NIXL call's key names.
#[must_use]
pub fn nixl_row(key: i64) -> Option<u32> {
    u32::try_from(-1 - key).ok()
}
