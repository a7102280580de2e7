//! Ring records to rows. Pure: names come from the caller. Any words give rows or a count, never a panic.

use std::collections::HashMap;

use kvpath_ring::RawRecord as Raw;
use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::gpu::{
    ApiCall, CudaEvent, CuptiOverhead, GpuSync, GraphLaunch, Kernel, Memcpy, Memset, copy_kind,
};
use kvpath_schema::tables::nvtx::NvtxRange;
use kvpath_schema::wire::calls;
use kvpath_schema::wire::ring::Kind;
use kvpath_schema::wire::ring::records::{self as wire, RingRecord, payload};

use super::names::{overhead_kind, sync_kind};
use super::rows::GpuRows;

/// Most open ranges of a process that are remembered; one more is written as if it never ended.
const OPEN_MAX: usize = 1 << 16;
/// How CUPTI says "none" for streams and events.
const NONE: u32 = u32::MAX;

/// What is known of one process's ring.
#[derive(Debug)]
pub struct Decoder {
    process_id: i64,
    /// What ended before this is not of this recording, ns.
    since_ns: i64,
    /// Numbers of the host's GPUs, by the process's own numbers; empty: it did not say which they are.
    pub devices: Vec<i32>,
    pushed: HashMap<(u32, u32, u32), NvtxRange>,
    started: HashMap<u64, NvtxRange>,
    words: HashMap<&'static str, Name>,
    /// Records of a kind or length that this agent does not know.
    pub unknown: u64,
}

/// What a record shows of a thread, beside its row.
#[derive(Debug, PartialEq, Eq)]
pub enum ThreadFact {
    /// A thread was seen.
    Thread(i32),
    /// A thread got a name.
    ThreadName(i32, Name),
}

fn signed(value: u32) -> i32 {
    value.cast_signed()
}

fn time(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn length(start_ns: u64, end_ns: u64) -> i64 {
    time(end_ns.saturating_sub(start_ns))
}

fn some(value: u32) -> Option<i32> {
    (value != NONE).then(|| signed(value))
}

fn node(value: u64) -> Option<i64> {
    (value != 0).then(|| value.cast_signed())
}

impl Decoder {
    /// For the process with that id; records that ended before `since_ns` are left out.
    pub fn new(process_id: i64, since_ns: i64) -> Self {
        Self {
            process_id,
            since_ns,
            devices: Vec::new(),
            pushed: HashMap::new(),
            started: HashMap::new(),
            words: HashMap::new(),
            unknown: 0,
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each kind of record")]
    /// Takes one record; `name` gives the name with an id.
    pub fn take(
        &mut self,
        raw: &Raw<'_>,
        name: &mut impl FnMut(u32) -> Name,
        rows: &mut GpuRows,
    ) -> Option<ThreadFact> {
        let process_id = self.process_id;
        let tid = signed(raw.tid);
        let known = match Kind::from_word(u64::from(raw.kind)) {
            Some(Kind::Kernel) => self.timed::<wire::Kernel>(
                raw,
                |k| k.end_ns,
                |this, kernel| {
                    rows.kernels.push(Kernel {
                        start_ns: time(kernel.start_ns),
                        dur_ns: length(kernel.start_ns, kernel.end_ns),
                        process_id,
                        device_id: this.device(kernel.device),
                        context_id: signed(kernel.context),
                        stream_id: signed(kernel.stream),
                        correlation_id: kernel.correlation.into(),
                        name: name(kernel.name),
                        graph_node_id: node(kernel.graph_node),
                        grid_x: Some(signed(kernel.grid_x)),
                        grid_y: Some(signed(kernel.grid_y)),
                        grid_z: Some(signed(kernel.grid_z)),
                        block_x: Some(signed(kernel.block_x)),
                        block_y: Some(signed(kernel.block_y)),
                        block_z: Some(signed(kernel.block_z)),
                    });
                },
            ),
            Some(Kind::Memcpy) => self.timed::<wire::Memcpy>(
                raw,
                |c| c.end_ns,
                |this, copy| {
                    let kind = this.word(copy_kind(copy.copy_kind));
                    let device = |number: u32| number.checked_sub(1).map(|number| this.device(number));
                    rows.memcpys.push(Memcpy {
                        start_ns: time(copy.start_ns),
                        dur_ns: length(copy.start_ns, copy.end_ns),
                        process_id,
                        device_id: this.device(copy.device),
                        context_id: signed(copy.context),
                        stream_id: signed(copy.stream),
                        correlation_id: copy.correlation.into(),
                        bytes: time(copy.bytes),
                        kind,
                        src_device_id: device(copy.src_device),
                        dst_device_id: device(copy.dst_device),
                        graph_node_id: node(copy.graph_node),
                    });
                },
            ),
            Some(Kind::Memset) => self.timed::<wire::Memset>(
                raw,
                |m| m.end_ns,
                |this, memset| {
                    rows.memsets.push(Memset {
                        start_ns: time(memset.start_ns),
                        dur_ns: length(memset.start_ns, memset.end_ns),
                        process_id,
                        device_id: this.device(memset.device),
                        context_id: signed(memset.context),
                        stream_id: signed(memset.stream),
                        correlation_id: memset.correlation.into(),
                        bytes: time(memset.bytes),
                    });
                },
            ),
            Some(Kind::Sync) => self.timed::<wire::Sync>(
                raw,
                |s| s.end_ns,
                |this, sync| {
                    let kind = this.word(sync_kind(sync.sync_kind));
                    rows.syncs.push(GpuSync {
                        start_ns: time(sync.start_ns),
                        dur_ns: length(sync.start_ns, sync.end_ns),
                        process_id,
                        kind,
                        context_id: signed(sync.context),
                        stream_id: some(sync.stream),
                        event_id: some(sync.event),
                        event_sync_id: node(sync.event_sync),
                        correlation_id: sync.correlation.into(),
                    });
                },
            ),
            Some(Kind::Call) => self.timed::<wire::Call>(
                raw,
                |c| c.end_ns,
                |this, call| {
                    let word = this.word(calls::name(call.domain, call.cbid).unwrap_or("unknown"));
                    rows.calls.push(ApiCall {
                        start_ns: time(call.start_ns),
                        dur_ns: length(call.start_ns, call.end_ns),
                        process_id,
                        tid,
                        correlation_id: call.correlation.into(),
                        name: word,
                    });
                },
            ),
            Some(Kind::Graph) => self.timed::<wire::Graph>(
                raw,
                |g| g.end_ns,
                |this, graph| {
                    rows.graphs.push(GraphLaunch {
                        start_ns: time(graph.start_ns),
                        dur_ns: length(graph.start_ns, graph.end_ns),
                        process_id,
                        device_id: this.device(graph.device),
                        context_id: signed(graph.context),
                        stream_id: signed(graph.stream),
                        graph_id: graph.graph.into(),
                        correlation_id: graph.correlation.into(),
                    });
                },
            ),
            Some(Kind::Overhead) => self.timed::<wire::Overhead>(
                raw,
                |o| o.end_ns,
                |this, overhead| {
                    let kind = this.word(overhead_kind(overhead.overhead_kind));
                    rows.overheads.push(CuptiOverhead {
                        start_ns: time(overhead.start_ns),
                        dur_ns: length(overhead.start_ns, overhead.end_ns),
                        process_id,
                        tid: (tid != 0).then_some(tid),
                        kind,
                    });
                },
            ),
            Some(Kind::Event) => wire::Event::read(raw.words).map(|event| {
                rows.events.push(CudaEvent {
                    process_id,
                    context_id: signed(event.context),
                    stream_id: signed(event.stream),
                    event_id: signed(event.event),
                    event_sync_id: node(event.event_sync),
                    correlation_id: event.correlation.into(),
                });
            }),
            Some(Kind::ThreadName) => match (wire::ThreadName::read(raw.words), raw.text(wire::ThreadName::WORDS)) {
                (Some(named), Some(text)) => return Some(ThreadFact::ThreadName(signed(named.tid), text.into())),
                _ => None,
            },
            Some(Kind::Push | Kind::Pop | Kind::Start | Kind::End | Kind::Mark) => self.nvtx(raw, name, rows),
            Some(Kind::Other) | None => None,
        };
        self.unknown += u64::from(known.is_none());
        (tid != 0 && known.is_some()).then_some(ThreadFact::Thread(tid))
    }

    fn timed<R: RingRecord>(
        &mut self,
        raw: &Raw<'_>,
        end_ns: impl FnOnce(&R) -> u64,
        push: impl FnOnce(&mut Self, R),
    ) -> Option<()> {
        let record = R::read(raw.words)?;
        if time(end_ns(&record)) >= self.since_ns {
            push(self, record);
        }
        Some(())
    }

    /// The number of a GPU on this host, by the process's own one.
    fn device(&self, own: u32) -> i32 {
        self.devices.get(own as usize).copied().unwrap_or_else(|| signed(own))
    }

    fn word(&mut self, word: &'static str) -> Name {
        self.words.entry(word).or_insert_with(|| word.into()).clone()
    }

    fn nvtx(&mut self, raw: &Raw<'_>, name: &mut impl FnMut(u32) -> Name, rows: &mut GpuRows) -> Option<()> {
        let text = |id: u32, fixed: usize, name: &mut dyn FnMut(u32) -> Name| {
            if id == 0 { raw.text(fixed).map(Name::from) } else { Some(name(id)) }
        };
        let domain = |id: u32, name: &mut dyn FnMut(u32) -> Name| (id != 0).then(|| name(id));
        let tid = signed(raw.tid);
        let before = match Kind::from_word(u64::from(raw.kind))? {
            Kind::Push => {
                let push = wire::Push::read(raw.words)?;
                let mut range = self.begun("range", push.time_ns, tid, text(push.text, wire::Push::WORDS, name)?);
                range.domain = domain(push.domain, name);
                range.payload = number(push.payload_kind, push.payload);
                let before = self.pushed.insert((raw.tid, push.domain, push.depth), range);
                if self.pushed.len() > OPEN_MAX { self.pushed.drain().next().map(|open| open.1) } else { before }
            }
            Kind::Pop => {
                let pop = wire::Pop::read(raw.words)?;
                let open = self.pushed.remove(&(raw.tid, pop.domain, pop.depth));
                open.map(|range| ended(range, pop.time_ns))
            }
            Kind::Start => {
                let start = wire::Start::read(raw.words)?;
                let mut range = self.begun("range", start.time_ns, tid, text(start.text, wire::Start::WORDS, name)?);
                range.domain = domain(start.domain, name);
                range.payload = number(start.payload_kind, start.payload);
                let before = self.started.insert(start.id, range);
                if self.started.len() > OPEN_MAX { self.started.drain().next().map(|open| open.1) } else { before }
            }
            Kind::End => {
                let end = wire::End::read(raw.words)?;
                self.started.remove(&end.id).map(|range| ended(range, end.time_ns))
            }
            _ => {
                let mark = wire::Mark::read(raw.words)?;
                let mut range = self.begun("marker", mark.time_ns, tid, text(mark.text, wire::Mark::WORDS, name)?);
                range.domain = domain(mark.domain, name);
                range.payload = number(mark.payload_kind, mark.payload);
                Some(range)
            }
        };
        self.write(before, rows);
        Some(())
    }

    fn begun(&mut self, kind: &'static str, start_ns: u64, tid: i32, text: Name) -> NvtxRange {
        NvtxRange {
            start_ns: time(start_ns),
            dur_ns: None,
            process_id: self.process_id,
            tid,
            kind: self.word(kind),
            domain: None,
            text,
            payload: None,
        }
    }

    fn write(&self, range: Option<NvtxRange>, rows: &mut GpuRows) {
        if let Some(range) = range
            && range.start_ns.saturating_add(range.dur_ns.unwrap_or(0)) >= self.since_ns
        {
            rows.ranges.push(range);
        }
    }

    /// The ranges that have not ended: the process or the recording is over.
    pub fn finish(&mut self, rows: &mut GpuRows) {
        let open: Vec<NvtxRange> =
            self.pushed.drain().map(|open| open.1).chain(self.started.drain().map(|open| open.1)).collect();
        for range in open {
            rows.ranges.push(range);
        }
    }
}

fn ended(mut range: NvtxRange, end_ns: u64) -> NvtxRange {
    range.dur_ns = Some(time(end_ns).saturating_sub(range.start_ns).max(0));
    range
}

/// A payload as a number.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, as the column says")]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what the program gave")]
fn number(kind: u32, bits: u64) -> Option<f64> {
    match kind {
        payload::U64 => Some(bits as f64),
        payload::I64 => Some(bits.cast_signed() as f64),
        payload::F64 => Some(f64::from_bits(bits)),
        payload::U32 => Some(f64::from(bits as u32)),
        payload::I32 => Some(f64::from((bits as u32).cast_signed())),
        payload::F32 => Some(f64::from(f32::from_bits(bits as u32))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take<R: RingRecord>(decoder: &mut Decoder, rows: &mut GpuRows, tid: u32, record: &R) -> Option<ThreadFact> {
        let mut words = [0; 20];
        record.write(&mut words);
        let raw = Raw { kind: R::KIND as u8, tid, words: &words[..R::WORDS] };
        decoder.take(&raw, &mut |id| format!("name {id}").into(), rows)
    }

    #[test]
    fn kernels_and_copies_become_rows() {
        let (mut decoder, mut rows) = (Decoder::new(7, 0), GpuRows::default());
        let kernel = wire::Kernel { start_ns: 10, end_ns: 15, name: 3, device: 1, ..wire::Kernel::default() };
        take(&mut decoder, &mut rows, 0, &kernel);
        let node = wire::Kernel { graph_node: 9, ..kernel };
        take(&mut decoder, &mut rows, 0, &node);
        let peer = wire::Memcpy { copy_kind: 10, src_device: 1, dst_device: 3, bytes: 5, ..wire::Memcpy::default() };
        take(&mut decoder, &mut rows, 0, &peer);
        assert_eq!((rows.kernels.dur_ns[0], &*rows.kernels.name[0], rows.kernels.process_id[0]), (5, "name 3", 7));
        assert_eq!(rows.kernels.graph_node_id, [None, Some(9)]);
        assert_eq!((&*rows.memcpys.kind[0], rows.memcpys.bytes[0]), ("PtoP", 5));
        assert_eq!((rows.memcpys.src_device_id[0], rows.memcpys.dst_device_id[0]), (Some(0), Some(2)));
    }

    #[test]
    fn devices_are_those_of_the_host_where_the_process_says_which_it_sees() {
        let (mut decoder, mut rows) = (Decoder::new(7, 0), GpuRows::default());
        decoder.devices = vec![5, 3];
        for device in [0, 1, 2] {
            take(&mut decoder, &mut rows, 0, &wire::Kernel { device, ..wire::Kernel::default() });
        }
        let peer = wire::Memcpy { copy_kind: 10, device: 1, src_device: 2, dst_device: 1, ..wire::Memcpy::default() };
        take(&mut decoder, &mut rows, 0, &peer);
        assert_eq!(rows.kernels.device_id, [5, 3, 2], "one that it did not tell of stays as it is");
        let copy = (rows.memcpys.device_id[0], rows.memcpys.src_device_id[0], rows.memcpys.dst_device_id[0]);
        assert_eq!(copy, (3, Some(3), Some(5)));
    }

    #[test]
    fn calls_carry_their_thread_and_name_and_none_is_null() {
        let (mut decoder, mut rows) = (Decoder::new(7, 0), GpuRows::default());
        let call = wire::Call { cbid: 211, domain: 1, ..wire::Call::default() };
        assert_eq!(take(&mut decoder, &mut rows, 12, &call), Some(ThreadFact::Thread(12)));
        assert_eq!((&*rows.calls.name[0], rows.calls.tid[0]), ("cudaLaunchKernel", 12));
        let sync = wire::Sync { sync_kind: 4, stream: NONE, event: NONE, ..wire::Sync::default() };
        take(&mut decoder, &mut rows, 0, &sync);
        assert_eq!((&*rows.syncs.kind[0], rows.syncs.stream_id[0], rows.syncs.event_id[0]), ("context", None, None));
    }

    #[test]
    fn ranges_pair_by_depth_even_if_some_were_lost() {
        let (mut decoder, mut rows) = (Decoder::new(7, 0), GpuRows::default());
        let push = |depth, time_ns| wire::Push { time_ns, depth, text: 1, ..wire::Push::default() };
        let pop = |depth, time_ns| wire::Pop { time_ns, depth, domain: 0 };
        take(&mut decoder, &mut rows, 5, &push(0, 10));
        take(&mut decoder, &mut rows, 6, &push(0, 11));
        take(&mut decoder, &mut rows, 5, &push(1, 12));
        // The end of depth 1 is lost; another begins there.
        take(&mut decoder, &mut rows, 5, &push(1, 20));
        take(&mut decoder, &mut rows, 5, &pop(1, 25));
        take(&mut decoder, &mut rows, 5, &pop(0, 30));
        take(&mut decoder, &mut rows, 5, &pop(3, 31));
        assert_eq!(rows.ranges.start_ns, [12, 20, 10]);
        assert_eq!(rows.ranges.dur_ns, [None, Some(5), Some(20)]);
        decoder.finish(&mut rows);
        assert_eq!((rows.ranges.start_ns[3], rows.ranges.tid[3], rows.ranges.dur_ns[3]), (11, 6, None));
    }

    #[test]
    fn starts_end_on_any_thread_with_their_payload() {
        let (mut decoder, mut rows) = (Decoder::new(7, 0), GpuRows::default());
        let start = wire::Start {
            time_ns: 10,
            payload: (-5i64).cast_unsigned(),
            id: 4,
            domain: 2,
            text: 1,
            payload_kind: payload::I64,
        };
        take(&mut decoder, &mut rows, 5, &start);
        take(&mut decoder, &mut rows, 6, &wire::End { time_ns: 14, id: 4 });
        assert_eq!((rows.ranges.tid[0], rows.ranges.dur_ns[0], rows.ranges.payload[0]), (5, Some(4), Some(-5.0)));
        assert_eq!(rows.ranges.domain[0].as_deref(), Some("name 2"));
        assert_eq!(number(payload::F32, u64::from(1.5f32.to_bits())), Some(1.5));
        assert_eq!(number(payload::I32, u64::from(u32::MAX)), Some(-1.0));
        assert_eq!(number(99, 1), None);
    }

    #[test]
    fn what_is_short_unknown_or_older_than_the_recording_gives_no_row() {
        let (mut decoder, mut rows) = (Decoder::new(7, 100), GpuRows::default());
        for kind in 0..=255 {
            for length in 0..12 {
                let words = vec![u64::MAX; length];
                decoder.take(&Raw { kind, tid: 1, words: &words }, &mut |_| "".into(), &mut rows);
            }
        }
        assert!(decoder.unknown > 0);
        let mut rows = GpuRows::default();
        take(&mut decoder, &mut rows, 0, &wire::Kernel { start_ns: 10, end_ns: 99, ..wire::Kernel::default() });
        assert_eq!(rows.count(), 0);
    }
}
