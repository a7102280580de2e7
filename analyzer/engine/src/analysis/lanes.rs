//! What each process ran on its GPU: compute, communication, peer copies, and its forward passes.

use std::collections::{BTreeMap, HashMap};

use kvpath_schema::cell::Name;

use super::Raw;
use super::intervals::{Span, Union};
use super::mine;
use super::ranges::{self, Ranges};

/// The GPU side of one process.
#[derive(Debug, Default)]
pub struct Lane {
    /// CUDA ordinal of most of its kernels.
    pub device_id: Option<i32>,
    /// Kernels, of any kind.
    pub kernels: i64,
    /// Time in which a compute kernel ran.
    pub compute: Union,
    /// NCCL sends and receives, by start.
    pub p2p: Vec<Span>,
    /// Other NCCL kernels, by start.
    pub collectives: Vec<Span>,
    /// Forward passes on the stream that computes most, by start.
    pub passes: Vec<Pass>,
    /// Peer copies, by start.
    pub copies: Vec<Copy>,
    /// Start of the first and end of the last kernel.
    pub span: Option<Span>,
}

/// A forward pass.
#[derive(Debug, Clone)]
pub struct Pass {
    /// From its first to its last kernel.
    pub span: Span,
    /// Kernels on its stream.
    pub kernels: i64,
    /// Its layers.
    pub layers: Vec<PassLayer>,
}

/// A layer of a forward pass.
#[derive(Debug, Clone)]
pub struct PassLayer {
    /// From its first kernel to the next layer's first, or to its own last for the last layer.
    pub span: Span,
    /// Time in which a kernel of it ran, ns.
    pub busy_ns: i64,
    /// Kernels.
    pub kernels: i32,
    /// How it was found: `nvtx`, `graph` or `kernel_sequence`.
    pub method: &'static str,
    /// Share of its kernels of which a range or a graph node tells that they are of it; else of the kernels that run once in
    /// each layer, how many ran in it.
    pub confidence: f64,
}

/// A peer copy.
#[derive(Debug, Clone, Copy)]
pub struct Copy {
    /// When.
    pub span: Span,
    /// Size, bytes.
    pub bytes: i64,
    /// Source device.
    pub from: Option<i32>,
    /// Destination device.
    pub to: Option<i32>,
}

/// What a kernel does for its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// It computes.
    Compute,
    /// It sends to or receives from another rank.
    PointToPoint,
    /// It takes part in a collective.
    Collective,
}

impl Work {
    /// By name: NCCL calls its kernels `ncclDevKernel_*` (2.18 and later) or `ncclKernel_*`, and sends and receives
    /// `…SendRecv…`. Their time includes waiting for the peer, so it is never counted as compute.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if !name.contains("ncclDevKernel") && !name.contains("ncclKernel") {
            Self::Compute
        } else if name.contains("SendRecv") {
            Self::PointToPoint
        } else {
            Self::Collective
        }
    }
}

/// The lanes of all processes that ran kernels or peer copies, by process id.
#[must_use]
pub fn of(raw: &Raw) -> BTreeMap<i64, Lane> {
    let kernels = &raw.kernels;
    let symbols = Symbols::of(&kernels.name);
    let ranges = ranges::of(raw);
    let mut rows: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (row, process) in kernels.process_id.iter().enumerate() {
        rows.entry(*process).or_default().push(row);
    }
    let mut lanes: BTreeMap<i64, Lane> = BTreeMap::new();
    for (process, mut rows) in rows {
        rows.sort_by_key(|row| (kernels.start_ns[*row], *row));
        lanes.insert(process, lane(raw, &symbols, &ranges, &rows, regions(raw, process)));
    }
    for row in 0..raw.memcpys.start_ns.len() {
        if &*raw.memcpys.kind[row] == "PtoP" {
            let start = raw.memcpys.start_ns[row];
            lanes.entry(raw.memcpys.process_id[row]).or_default().copies.push(Copy {
                span: (start, start.saturating_add(raw.memcpys.dur_ns[row])),
                bytes: raw.memcpys.bytes[row],
                from: raw.memcpys.src_device_id[row],
                to: raw.memcpys.dst_device_id[row],
            });
        }
    }
    for lane in lanes.values_mut() {
        lane.copies.sort_by_key(|copy| (copy.span, copy.bytes));
    }
    lanes
}

/// A number for each distinct kernel name, grid and block.
fn shapes(raw: &Raw, symbols: &Symbols, rows: &[usize]) -> Vec<u32> {
    let k = &raw.kernels;
    let mut numbers: HashMap<(u32, [Option<i32>; 6]), u32> = HashMap::new();
    let mut number = |row: &usize| {
        let row = *row;
        let shape = [k.grid_x[row], k.grid_y[row], k.grid_z[row], k.block_x[row], k.block_y[row], k.block_z[row]];
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        *numbers.entry((symbols.of_row[row], shape)).or_insert(next)
    };
    rows.iter().map(&mut number).collect()
}

/// Memory regions that the process registered for KV; those in host memory hold something else if others are on the GPU.
#[must_use]
pub fn regions(raw: &Raw, process: i64) -> Option<u32> {
    let own = |memory: Option<&str>| {
        let rows = (0..raw.regions.addr.len()).filter(|row| raw.regions.process_id[*row] == process);
        rows.filter(|row| memory.is_none_or(|memory| &*raw.regions.memory[*row] == memory)).count()
    };
    let count = if own(Some("VRAM")) > 0 { own(Some("VRAM")) } else { own(None) };
    u32::try_from(count).ok().filter(|n| *n > 0)
}

/// The passes of a stream.
fn passes(sequence: &[mine::Kernel], regions: Option<u32>) -> Vec<Pass> {
    let mut miner = mine::Miner::new(regions);
    let mut found = Vec::new();
    miner.feed(sequence, &mut found);
    miner.finish(&mut found);
    let marks = miner.pattern().map_or(0, mine::Pattern::marks);
    found.into_iter().map(|pass| Pass::of(&pass, marks)).collect()
}

impl Pass {
    fn of(pass: &mine::Pass, marks: u16) -> Self {
        Self {
            span: pass.span,
            kernels: i64::try_from(pass.kernels).unwrap_or(i64::MAX),
            layers: pass.layers.iter().map(|layer| PassLayer::of(layer, marks)).collect(),
        }
    }
}

impl PassLayer {
    fn of(layer: &mine::Layer, marks: u16) -> Self {
        let (method, part, whole) = if layer.ranges > 0 {
            ("nvtx", layer.ranges, layer.kernels)
        } else if layer.nodes > 0 {
            ("graph", layer.nodes, layer.kernels)
        } else {
            ("kernel_sequence", layer.marks, u32::from(marks))
        };
        Self {
            span: (layer.start_ns, layer.end_ns),
            busy_ns: layer.busy_ns,
            kernels: i32::try_from(layer.kernels).unwrap_or(i32::MAX),
            method,
            confidence: f64::from(part.min(whole)) / f64::from(whole.max(1)),
        }
    }
}

/// A number a distinct kernel name, and which of them communicate.
struct Symbols {
    of_row: Vec<u32>,
    work: Vec<Work>,
}

impl Symbols {
    fn of(names: &[Name]) -> Self {
        // Rows of one dictionary share a pointer, so most look-ups hash 8 bytes instead of a mangled name.
        let mut by_pointer: HashMap<*const u8, u32> = HashMap::new();
        let mut by_name: HashMap<&str, u32> = HashMap::new();
        let mut work = Vec::new();
        let of_row = names
            .iter()
            .map(|name| {
                *by_pointer.entry(name.as_ptr()).or_insert_with(|| {
                    *by_name.entry(name).or_insert_with(|| {
                        work.push(Work::of(name));
                        u32::try_from(work.len() - 1).unwrap_or(u32::MAX)
                    })
                })
            })
            .collect();
        Self { of_row, work }
    }

    fn work(&self, row: usize) -> Work {
        self.work[self.of_row[row] as usize]
    }
}

fn lane(raw: &Raw, symbols: &Symbols, ranges: &Ranges, rows: &[usize], regions: Option<u32>) -> Lane {
    let kernels = &raw.kernels;
    let span = |row: usize| (kernels.start_ns[row], kernels.start_ns[row].saturating_add(kernels.dur_ns[row]));
    let doing = |work: Work| rows.iter().copied().filter(move |row| symbols.work(*row) == work);
    let compute: Vec<usize> = doing(Work::Compute).collect();
    let mut busy: BTreeMap<i32, i64> = BTreeMap::new();
    let mut devices: BTreeMap<i32, usize> = BTreeMap::new();
    for row in &compute {
        let stream: &mut i64 = busy.entry(kernels.stream_id[*row]).or_default();
        *stream = stream.saturating_add(kernels.dur_ns[*row]);
        *devices.entry(kernels.device_id[*row]).or_default() += 1;
    }
    let main: Vec<usize> = match busy.iter().max_by_key(|(stream, ns)| (**ns, std::cmp::Reverse(**stream))) {
        Some((stream, _)) => compute.iter().copied().filter(|row| kernels.stream_id[*row] == *stream).collect(),
        None => Vec::new(),
    };
    let kernel = |row: &usize| mine::Kernel {
        symbol: symbols.of_row[*row],
        span: span(*row),
        node: kernels.graph_node_id[*row],
        range: ranges.get(&(kernels.process_id[*row], kernels.correlation_id[*row])).copied(),
    };
    let mut sequence: Vec<mine::Kernel> = main.iter().map(kernel).collect();
    let mut found = passes(&sequence, regions);
    if found.is_empty() {
        // Names alone repeat nothing; with their shapes they may.
        let shapes = shapes(raw, symbols, &main);
        for (kernel, shape) in sequence.iter_mut().zip(shapes) {
            kernel.symbol = shape;
        }
        found = passes(&sequence, regions);
    }
    Lane {
        device_id: devices.into_iter().max_by_key(|(_, count)| *count).map(|(device, _)| device),
        kernels: i64::try_from(rows.len()).unwrap_or(i64::MAX),
        compute: Union::of(compute.iter().map(|row| span(*row))),
        p2p: doing(Work::PointToPoint).map(span).collect(),
        collectives: doing(Work::Collective).map(span).collect(),
        passes: found,
        copies: Vec::new(),
        span: rows.iter().map(|row| span(*row)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
    }
}
