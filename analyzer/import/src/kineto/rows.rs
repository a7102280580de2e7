//! From a trace's events to rows.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use kvpath_schema::cell::Name;
use kvpath_schema::segment::SegmentError;
use kvpath_schema::tables::gpu::{ApiCall, CudaEvent, CuptiOverhead, Gpu, GpuSync, Kernel, Memcpy, Memset};
use kvpath_schema::tables::nvtx::NvtxRange;

use super::actors::{Actors, Pids};
use super::category::Category;
use super::counts::Counts;
use super::document::Visitor;
use super::error::ImportError;
use super::event::Event;
use super::facts::Facts;
use super::json::{Text, nanoseconds};
use super::kinds;
use super::launches::Launches;
use super::names::Names;
use super::sink::Sink;
use super::survey::Survey;
use crate::nsys::without_version;

/// One trace on its way into a run.
pub(super) struct Trace<'a> {
    sink: &'a mut Sink,
    names: &'a mut Names,
    pids: &'a mut Pids,
    /// From the trace's zero to the run's, ns.
    shift_ns: i64,
    /// The process whose GPU work it is.
    pub(super) process: i64,
    pub(super) actors: Actors,
    pub(super) counts: Counts,
    pub(super) launches: Launches,
    pub(super) facts: Facts,
    /// GPUs that records name.
    pub(super) devices: BTreeMap<i32, Gpu>,
    /// Correlation ids of the calls that recorded events, as far as rows say so already.
    recorded: HashSet<i64, foldhash::fast::RandomState>,
}

/// The largest time, ns (73 years), and the longest duration, ns (104 days), or size, bytes, that is believed.
const TIME: u64 = 1 << 61;
const SPAN: i64 = 1 << 53;

impl<'a> Trace<'a> {
    pub(super) fn new(
        survey: &Survey,
        shift_ns: i64,
        sink: &'a mut Sink,
        names: &'a mut Names,
        pids: &'a mut Pids,
    ) -> Self {
        let mut actors = Actors::default();
        let process = actors.process(survey.pid, pids).or_else(|| actors.process(0, pids)).unwrap_or_default();
        Self {
            sink,
            names,
            pids,
            shift_ns,
            process,
            actors,
            counts: Counts::default(),
            launches: Launches::default(),
            facts: Facts::default(),
            devices: BTreeMap::new(),
            recorded: HashSet::default(),
        }
    }

    /// Start and length, ns on the run's clock; `None` where the event has none, or such as cannot be.
    fn times(&self, event: &Event) -> Option<(i64, i64)> {
        let start = nanoseconds(event.ts)?.checked_add(self.shift_ns)?;
        let dur = nanoseconds(event.dur)?;
        (start.unsigned_abs() <= TIME && (0..=SPAN).contains(&dur)).then_some((start, dur))
    }

    /// Makes the row of an event, and says whether there was one to be made.
    fn row(&mut self, event: &Event) -> Result<Option<()>, SegmentError> {
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
            Category::Other => Ok(None),
        }
    }

    fn range(&mut self, event: &Event, domain: &'static str) -> Result<Option<()>, SegmentError> {
        let (Some((start_ns, dur_ns)), Some(process_id)) = (self.times(event), self.host_process(event)) else {
            return Ok(None);
        };
        let row = NvtxRange {
            start_ns,
            dur_ns: Some(dur_ns),
            process_id,
            tid: self.actors.thread(process_id, event.tid, self.names),
            kind: self.constant("range"),
            domain: Some(self.constant(domain)),
            text: self.names.get(event.name),
            payload: None,
        };
        self.sink.push(|tables| &mut tables.nvtx, row).map(Some)
    }

    fn api_call(&mut self, event: &Event) -> Result<Option<()>, SegmentError> {
        let (Some((start_ns, dur_ns)), Some(process_id)) = (self.times(event), self.host_process(event)) else {
            return Ok(None);
        };
        let correlation_id = event.args.correlation.unwrap_or(0);
        self.launches.call(correlation_id);
        let name = event.name.raw;
        let stem = std::str::from_utf8(name).map_or(name, |name| without_version(name).as_bytes());
        let row = ApiCall {
            start_ns,
            dur_ns,
            process_id,
            tid: self.actors.thread(process_id, event.tid, self.names),
            correlation_id,
            name: self.names.get(Text { raw: stem, ..event.name }),
        };
        self.sink.push(|tables| &mut tables.api_calls, row).map(Some)
    }

    fn kernel(&mut self, event: &Event) -> Result<Option<()>, SegmentError> {
        let Some((start_ns, dur_ns)) = self.times(event) else { return Ok(None) };
        let args = &event.args;
        let (grid, block) = (args.grid, args.block);
        let correlation_id = args.correlation.unwrap_or(0);
        self.launches.kernel(correlation_id);
        let row = Kernel {
            start_ns,
            dur_ns,
            process_id: self.process,
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
        self.sink.push(|tables| &mut tables.kernels, row).map(Some)
    }

    fn memcpy(&mut self, event: &Event) -> Result<Option<()>, SegmentError> {
        let (Some((start_ns, dur_ns)), Some(bytes)) = (self.times(event), size(event)) else { return Ok(None) };
        let args = &event.args;
        let row = Memcpy {
            start_ns,
            dur_ns,
            process_id: self.process,
            device_id: self.device(event),
            context_id: context(event),
            stream_id: stream(event).unwrap_or(-1),
            correlation_id: args.correlation.unwrap_or(0),
            bytes,
            kind: self.constant(kinds::copy(event.name.raw)),
            src_device_id: args.from_device.and_then(small),
            dst_device_id: args.to_device.and_then(small),
            graph_node_id: args.graph_node.filter(|node| *node != 0),
        };
        self.sink.push(|tables| &mut tables.memcpys, row).map(Some)
    }

    fn memset(&mut self, event: &Event) -> Result<Option<()>, SegmentError> {
        let (Some((start_ns, dur_ns)), Some(bytes)) = (self.times(event), size(event)) else { return Ok(None) };
        let row = Memset {
            start_ns,
            dur_ns,
            process_id: self.process,
            device_id: self.device(event),
            context_id: context(event),
            stream_id: stream(event).unwrap_or(-1),
            correlation_id: event.args.correlation.unwrap_or(0),
            bytes,
        };
        self.sink.push(|tables| &mut tables.memsets, row).map(Some)
    }

    fn sync(&mut self, event: &Event) -> Result<Option<()>, SegmentError> {
        let Some((start_ns, dur_ns)) = self.times(event) else { return Ok(None) };
        let args = &event.args;
        let kind = kinds::sync(if args.sync_kind.raw.is_empty() { event.name.raw } else { args.sync_kind.raw });
        let event_id = args.wait_on_event.and_then(small).filter(|id| *id >= 0);
        // Kineto writes -1 where it saw no recording of the event.
        let record = args.wait_on_record.filter(|record| *record >= 0);
        if event_id.is_some() && record.is_none() {
            self.counts.waits_without_record += 1;
        }
        let recorded_into = args.wait_on_stream.and_then(small).filter(|stream| *stream >= 0);
        if let (Some(event_id), Some(record), Some(stream_id)) = (event_id, record, recorded_into) {
            self.record(event_id, record, stream_id, context(event))?;
        }
        let row = GpuSync {
            start_ns,
            dur_ns,
            process_id: self.process,
            kind: self.constant(kind),
            context_id: context(event),
            stream_id: stream(event).filter(|stream| *stream >= 0),
            event_id,
            event_sync_id: record,
            correlation_id: args.correlation.unwrap_or(0),
        };
        self.sink.push(|tables| &mut tables.gpu_syncs, row).map(Some)
    }

    fn cuda_event(&mut self, event: &Event) -> Result<Option<()>, SegmentError> {
        let args = &event.args;
        let (Some(event_id), Some(stream_id), Some(record)) =
            (args.event_id.and_then(small), stream(event), args.correlation)
        else {
            return Ok(None);
        };
        self.record(event_id, record, stream_id, context(event)).map(Some)
    }

    /// An event was recorded by the call `record`. Kineto does not write which recording that was; the call's id says so
    /// as well, since each call records once.
    fn record(&mut self, event_id: i32, record: i64, stream_id: i32, context_id: i32) -> Result<(), SegmentError> {
        if !self.recorded.insert(record) {
            return Ok(());
        }
        let row = CudaEvent {
            process_id: self.process,
            context_id,
            stream_id,
            event_id,
            event_sync_id: Some(record),
            correlation_id: record,
        };
        self.sink.push(|tables| &mut tables.cuda_events, row)
    }

    fn overhead(&mut self, event: &Event) -> Result<Option<()>, SegmentError> {
        let Some((start_ns, dur_ns)) = self.times(event) else { return Ok(None) };
        let row = CuptiOverhead {
            start_ns,
            dur_ns,
            process_id: self.process,
            tid: event.tid.number().and_then(small).filter(|tid| *tid > 0),
            kind: self.constant(kinds::overhead(event.name.raw)),
        };
        self.sink.push(|tables| &mut tables.overheads, row).map(Some)
    }

    /// A word of ours as a shared string.
    fn constant(&mut self, word: &'static str) -> Name {
        self.names.get(Text { raw: word.as_bytes(), escaped: false })
    }

    fn host_process(&mut self, event: &Event) -> Option<i64> {
        self.actors.process(event.pid.number()?, self.pids)
    }

    /// The GPU of an event; its `pid` is the device as well.
    fn device(&mut self, event: &Event) -> i32 {
        let device_id = event.args.device.or(event.pid.number()).and_then(small).unwrap_or(-1);
        self.devices.entry(device_id).or_insert(Gpu { device_id, name: None, uuid: None, memory_bytes: None });
        device_id
    }

    /// Takes the names of processes and threads.
    fn describe(&mut self, event: &Event) {
        let (Some(pid), name) = (event.pid.number(), event.args.name) else { return };
        match event.name.raw {
            b"process_name" => self.actors.name_process(pid, self.names.get(name)),
            b"thread_name" => {
                if let Some(tid) = event.tid.number() {
                    self.actors.name_thread(pid, tid, self.names.get(name));
                }
            }
            _ => {}
        }
    }
}

impl Visitor for Trace<'_> {
    type Error = ImportError;

    fn fact(&mut self, name: &[u8], value: &[u8]) {
        self.facts.take(name, value);
    }

    fn event(&mut self, event: &Event) -> Result<ControlFlow<()>, ImportError> {
        if event.phase == b'M' {
            self.describe(event);
            return Ok(ControlFlow::Continue(()));
        }
        self.counts.events += 1;
        match event.category.table() {
            Some(table) if event.phase == b'X' => match self.row(event)? {
                Some(()) => self.counts.kept += 1,
                None => self.counts.impossible(table),
            },
            _ => self.counts.left_out(event),
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
