//! From the events of a part of a trace to rows.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::ops::ControlFlow;

use kvpath_analysis::load::limits::{SPAN, TIME};
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{ApiCall, CudaEvent, CuptiOverhead, Gpu, GpuSync, Kernel, Memcpy, Memset};
use kvpath_schema::tables::nvtx::NvtxRange;

use super::actors::Actors;
use super::category::Category;
use super::counts::Counts;
use super::document::{self, Advance, State, Visitor};
use super::event::Event;
use super::facts::{self, Members};
use super::json::Text;
use super::kinds;
use super::names::TraceNames;
use super::tables::Tables;
use crate::launched::Launched;
use crate::nsys::without_version;

/// What a part of a trace holds. Its processes have no ids yet: where one is asked for, its pid stands.
#[derive(Debug, Default)]
pub(super) struct TracePart {
    pub(super) tables: Tables,
    pub(super) actors: Actors,
    pub(super) counts: Counts,
    pub(super) launches: Launched,
    /// What the trace says of itself, as it is written.
    pub(super) members: Members,
    /// GPUs that records name.
    pub(super) devices: BTreeMap<i32, Gpu>,
}

/// How the events of a trace are placed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placing {
    /// From the trace's zero to the run's, ns.
    pub(super) shift_ns: i64,
    /// The process whose GPU work it is.
    pub(super) pid: i32,
}

impl TracePart {
    /// Reads what is whole in `bytes`, which begin at `state`.
    pub(super) fn read(bytes: &[u8], state: State, placing: Placing) -> (Advance, Self) {
        let mut reader =
            Reader { part: Self::default(), names: TraceNames::default(), placing, recorded: HashSet::default() };
        // The process is of the run also where none of its events is.
        reader.part.actors.process(placing.pid.into());
        let Ok(advance) = document::advance(bytes, state, &mut reader);
        (advance, reader.part)
    }
}

struct Reader {
    part: TracePart,
    names: TraceNames,
    placing: Placing,
    /// Correlation ids of the calls that recorded events, as far as rows say so already.
    recorded: HashSet<i64, foldhash::fast::RandomState>,
}

impl Reader {
    /// Start and length, ns on the run's clock; `None` where the event has none, or such as cannot be.
    fn times(&self, event: &Event) -> Option<(i64, i64)> {
        let start = event.ts_ns?.checked_add(self.placing.shift_ns)?;
        let dur = event.dur_ns?;
        ((-TIME..=TIME).contains(&start) && (0..=SPAN).contains(&dur)).then_some((start, dur))
    }

    /// Makes the row of an event, and says whether there was one to be made.
    fn row(&mut self, event: &Event) -> Option<()> {
        match event.category {
            Category::CpuOp => self.range(event, "cpu_op"),
            Category::UserAnnotation => self.range(event, "user_annotation"),
            Category::ApiCall => self.api_call(event),
            Category::Kernel => self.kernel(event),
            Category::Memcpy => self.memcpy(event),
            Category::Memset => self.memset(event),
            Category::Sync => self.sync(event),
            Category::CudaEvent => self.cuda_event(event),
            Category::Overhead => self.overhead(event),
            Category::Other => None,
        }
    }

    fn range(&mut self, event: &Event, domain: &'static str) -> Option<()> {
        let ((start_ns, dur_ns), pid) = (self.times(event)?, self.host_process(event)?);
        let row = NvtxRange {
            start_ns,
            dur_ns: Some(dur_ns),
            process_id: pid.into(),
            tid: self.part.actors.thread(pid, event.tid, &mut self.names),
            kind: self.names.word("range"),
            domain: Some(self.names.word(domain)),
            text: self.names.get(event.name),
            payload: None,
        };
        self.part.tables.nvtx.push(row);
        Some(())
    }

    fn api_call(&mut self, event: &Event) -> Option<()> {
        let ((start_ns, dur_ns), pid) = (self.times(event)?, self.host_process(event)?);
        let correlation_id = event.args.correlation.unwrap_or(0);
        let name = event.name.raw;
        self.part.launches.call(name, correlation_id);
        let stem = std::str::from_utf8(name).map_or(name, |name| without_version(name).as_bytes());
        let row = ApiCall {
            start_ns,
            dur_ns,
            process_id: pid.into(),
            tid: self.part.actors.thread(pid, event.tid, &mut self.names),
            correlation_id,
            name: self.names.get(Text { raw: stem, ..event.name }),
        };
        self.part.tables.api_calls.push(row);
        Some(())
    }

    fn kernel(&mut self, event: &Event) -> Option<()> {
        let (start_ns, dur_ns) = self.times(event)?;
        let args = &event.args;
        let (grid, block) = (args.grid, args.block);
        let correlation_id = args.correlation.unwrap_or(0);
        self.part.launches.kernel(correlation_id);
        let row = Kernel {
            start_ns,
            dur_ns,
            process_id: self.placing.pid.into(),
            device_id: self.device(event),
            context_id: context(event),
            stream_id: stream(event).unwrap_or(-1),
            correlation_id,
            name: self.names.get(event.name),
            graph_node_id: args.graph_node.filter(|node| *node != 0),
            grid_x: grid.map(|[x, _, _]| x),
            grid_y: grid.map(|[_, y, _]| y),
            grid_z: grid.map(|[_, _, z]| z),
            block_x: block.map(|[x, _, _]| x),
            block_y: block.map(|[_, y, _]| y),
            block_z: block.map(|[_, _, z]| z),
        };
        self.part.tables.kernels.push(row);
        Some(())
    }

    fn memcpy(&mut self, event: &Event) -> Option<()> {
        let ((start_ns, dur_ns), bytes) = (self.times(event)?, size(event)?);
        let args = &event.args;
        self.part.launches.work(args.correlation.unwrap_or(0));
        let row = Memcpy {
            start_ns,
            dur_ns,
            process_id: self.placing.pid.into(),
            device_id: self.device(event),
            context_id: context(event),
            stream_id: stream(event).unwrap_or(-1),
            correlation_id: args.correlation.unwrap_or(0),
            bytes,
            kind: self.names.word(kinds::copy(event.name.raw)),
            src_device_id: args.from_device.and_then(small),
            dst_device_id: args.to_device.and_then(small),
            graph_node_id: args.graph_node.filter(|node| *node != 0),
        };
        self.part.tables.memcpys.push(row);
        Some(())
    }

    fn memset(&mut self, event: &Event) -> Option<()> {
        let ((start_ns, dur_ns), bytes) = (self.times(event)?, size(event)?);
        self.part.launches.work(event.args.correlation.unwrap_or(0));
        let row = Memset {
            start_ns,
            dur_ns,
            process_id: self.placing.pid.into(),
            device_id: self.device(event),
            context_id: context(event),
            stream_id: stream(event).unwrap_or(-1),
            correlation_id: event.args.correlation.unwrap_or(0),
            bytes,
        };
        self.part.tables.memsets.push(row);
        Some(())
    }

    fn sync(&mut self, event: &Event) -> Option<()> {
        let (start_ns, dur_ns) = self.times(event)?;
        let args = &event.args;
        let kind = kinds::sync(if args.sync_kind.raw.is_empty() { event.name.raw } else { args.sync_kind.raw });
        let event_id = args.wait_on_event.and_then(small).filter(|id| *id >= 0);
        // Kineto writes -1 where it saw no recording of the event.
        let record = args.wait_on_record.filter(|record| *record >= 0);
        if event_id.is_some() && record.is_none() {
            self.part.counts.waits_without_record += 1;
        }
        let recorded_into = args.wait_on_stream.and_then(small).filter(|stream| *stream >= 0);
        if let (Some(event_id), Some(record), Some(stream_id)) = (event_id, record, recorded_into) {
            self.record(event_id, record, stream_id, context(event));
        }
        let row = GpuSync {
            start_ns,
            dur_ns,
            process_id: self.placing.pid.into(),
            kind: self.names.word(kind),
            context_id: context(event),
            stream_id: stream(event).filter(|stream| *stream >= 0),
            event_id,
            event_sync_id: record,
            correlation_id: args.correlation.unwrap_or(0),
        };
        self.part.tables.gpu_syncs.push(row);
        Some(())
    }

    fn cuda_event(&mut self, event: &Event) -> Option<()> {
        let args = &event.args;
        let (event_id, stream_id, record) = (args.event_id.and_then(small)?, stream(event)?, args.correlation?);
        self.record(event_id, record, stream_id, context(event));
        Some(())
    }

    /// An event was recorded by the call `record`. Kineto does not write which recording that was; the call's id says so
    /// as well, since each call records once.
    fn record(&mut self, event_id: i32, record: i64, stream_id: i32, context_id: i32) {
        if !self.recorded.insert(record) {
            return;
        }
        let row = CudaEvent {
            process_id: self.placing.pid.into(),
            context_id,
            stream_id,
            event_id,
            event_sync_id: Some(record),
            correlation_id: record,
        };
        self.part.tables.cuda_events.push(row);
    }

    fn overhead(&mut self, event: &Event) -> Option<()> {
        let (start_ns, dur_ns) = self.times(event)?;
        let row = CuptiOverhead {
            start_ns,
            dur_ns,
            process_id: self.placing.pid.into(),
            tid: event.tid.number().and_then(small).filter(|tid| *tid > 0),
            kind: self.names.word(kinds::overhead(event.name.raw)),
        };
        self.part.tables.overheads.push(row);
        Some(())
    }

    fn host_process(&mut self, event: &Event) -> Option<i32> {
        self.part.actors.process(event.pid.number()?)
    }

    /// The GPU of an event; its `pid` is the device as well.
    fn device(&mut self, event: &Event) -> i32 {
        let device_id = event.args.device.or(event.pid.number()).and_then(small).unwrap_or(-1);
        self.part.devices.entry(device_id).or_insert(Gpu { device_id, name: None, uuid: None, memory_bytes: None });
        device_id
    }

    /// Takes the names of processes and threads.
    fn describe(&mut self, event: &Event) {
        let (Some(pid), name) = (event.pid.number(), event.args.name) else { return };
        match event.name.raw {
            b"process_name" => self.part.actors.name_process(pid, self.names.get(name)),
            b"thread_name" => {
                if let Some(tid) = event.tid.number() {
                    self.part.actors.name_thread(pid, tid, self.names.get(name));
                }
            }
            _ => {}
        }
    }
}

impl Visitor for Reader {
    type Error = Infallible;

    fn fact(&mut self, name: &[u8], value: &[u8]) {
        if facts::says_something(name) {
            self.part.members.push((name.to_vec(), value.to_vec()));
        }
    }

    fn event(&mut self, event: &Event) -> Result<ControlFlow<()>, Infallible> {
        if event.phase == b'M' {
            self.describe(event);
            return Ok(ControlFlow::Continue(()));
        }
        self.part.counts.events += 1;
        match event.category.table() {
            Some(table) if event.phase == b'X' => match self.row(event) {
                Some(()) => self.part.counts.kept += 1,
                None => self.part.counts.impossible(table),
            },
            _ => self.part.counts.left_out(event),
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn small(number: i64) -> Option<i32> {
    i32::try_from(number).ok()
}

fn context(event: &Event) -> i32 {
    event.args.context.and_then(small).unwrap_or(0)
}

/// The stream of an event; its `tid` is the stream as well. None is -1, or 2^32 - 1 in older traces.
fn stream(event: &Event) -> Option<i32> {
    small(event.args.stream.or(event.tid.number())?)
}

/// The size, bytes; 0 where it is not written, `None` where it cannot be one.
fn size(event: &Event) -> Option<i64> {
    let bytes = event.args.bytes.unwrap_or(0);
    (0..=SPAN).contains(&bytes).then_some(bytes)
}
