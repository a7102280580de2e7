//! Traces read by many threads, put together again by one.
//!
//! A thread a trace reads and inflates it and cuts it into blocks ([`super::blocks`]); as many threads as there are cores make
//! rows of them, side by side, and write segments. What they have done is taken trace by trace and block by block here, so
//! how many threads there are changes no byte of the run.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use super::blocks::{Block, Blocks};
use super::crew::{JobQueue, WorkerThreads};
use super::document::{Advance, DocumentEnd, State, Unreadable};
use super::error::ImportError;
use super::file::TraceBytes;
use super::json::{Window, WindowError};
use super::rows::{Placing, TracePart};
use super::sink::{Sink, Writing, WrittenSegment};

/// A trace to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trace<'a> {
    /// File.
    pub(super) path: &'a Path,
    /// How its events are placed.
    pub(super) placing: Placing,
}

/// What comes of the work of others.
enum Outcome {
    /// Rows of a block.
    Rows(Box<BlockRows>),
    /// A trace was read: its blocks, and why there are no more if that is not its end.
    Read { trace: usize, blocks: usize, failed: Option<ImportError> },
    /// A segment was written.
    Segment(Box<WrittenSegment>),
}

/// Rows of a block, if it begins where it was thought to.
struct BlockRows {
    trace: usize,
    number: usize,
    offset: u64,
    state: State,
    advance: Advance,
    part: TracePart,
}

/// Blocks of a trace that may be read and not be taken yet: 64 MB of JSON, of which 15 MB of rows are made.
const AHEAD: usize = 128;

/// Who puts traces together.
pub(super) struct Gathering<'scope, 'env> {
    crew: WorkerThreads<'scope, 'env, Outcome>,
    threads: usize,
    traces: &'env [Trace<'env>],
    /// Traces whose reading has begun.
    begun: usize,
    /// A word from each of those for every block that is not taken; what is gone is not wanted any more.
    ahead: HashMap<usize, Receiver<()>>,
    rows: HashMap<(usize, usize), Box<BlockRows>>,
    read: HashMap<usize, (usize, Option<ImportError>)>,
}

impl<'scope, 'env> Gathering<'scope, 'env> {
    /// Of so many threads that compute.
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, threads: usize, traces: &'env [Trace<'env>]) -> Self {
        let (ahead, rows, read) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { crew: WorkerThreads::new(scope, threads), threads, traces, begun: 0, ahead, rows, read }
    }

    /// Hands the parts of a trace on, in their order. Traces are asked for one after another.
    pub(super) fn parts(
        &mut self,
        trace: usize,
        sink: &mut Sink,
        mut take: impl FnMut(TracePart, &mut Sink),
    ) -> Result<DocumentEnd, ImportError> {
        let path = self.traces[trace].path;
        let of = |offset, unreadable| ImportError::of(path, offset, unreadable);
        let (mut state, mut offset) = (State::Start, 0);
        for number in 0.. {
            let Some(rows) = self.next(trace, number, sink)? else {
                return state.end(offset).map_err(|unreadable| of(offset, unreadable));
            };
            if (rows.offset, rows.state) != (offset, state) {
                // Cut elsewhere than between events.
                self.ahead.remove(&trace);
                return self.rest(trace, (offset, state), sink, take);
            }
            rows.advance.check(offset).map_err(|unreadable| of(offset, unreadable))?;
            take(rows.part, sink);
            self.write_full(sink)?;
            state = rows.advance.state;
            offset += rows.advance.whole as u64;
        }
        unreachable!("numbers do not end")
    }

    /// The same from a place on, without guesses and without help.
    fn rest(
        &mut self,
        trace: usize,
        (offset, mut state): (u64, State),
        sink: &mut Sink,
        mut take: impl FnMut(TracePart, &mut Sink),
    ) -> Result<DocumentEnd, ImportError> {
        let Trace { path, placing } = self.traces[trace];
        let of = |offset, unreadable| ImportError::of(path, offset, unreadable);
        let window = Window::behind(TraceBytes::open(path)?, offset);
        let mut window = window.map_err(|error| of(offset, Unreadable::Window(WindowError::Io(error))))?;
        loop {
            let (advance, part) = TracePart::read(window.bytes(), state, placing);
            advance.check(window.offset()).map_err(|unreadable| of(window.offset(), unreadable))?;
            take(part, sink);
            self.write_full(sink)?;
            state = advance.state;
            window.consume(advance.whole);
            let is_more = window.fill().map_err(|error| of(window.offset(), Unreadable::Window(error)))?;
            if !is_more {
                return state.end(window.offset()).map_err(|unreadable| of(window.offset(), unreadable));
            }
        }
    }

    /// Writes all that is left, and waits for it.
    pub(super) fn finish(&mut self, sink: &mut Sink, small: Vec<Writing>) -> Result<(), ImportError> {
        self.write(small);
        loop {
            let (writings, is_more) = sink.rest();
            self.write(writings);
            if !is_more && sink.is_idle() {
                return Ok(());
            }
            self.receive(sink)?;
        }
    }

    /// Waits where a table that is full writes a segment still.
    fn write_full(&mut self, sink: &mut Sink) -> Result<(), ImportError> {
        loop {
            let (writings, is_more) = sink.full();
            self.write(writings);
            if !is_more {
                return Ok(());
            }
            self.receive(sink)?;
        }
    }

    fn write(&self, writings: Vec<Writing>) {
        for writing in writings {
            self.crew.give(|| Outcome::Segment(Box::new(writing())));
        }
    }

    /// The rows of a block; none behind the last.
    fn next(&mut self, trace: usize, number: usize, sink: &mut Sink) -> Result<Option<Box<BlockRows>>, ImportError> {
        while self.begun < self.traces.len().min(trace + self.threads) {
            self.begin();
        }
        loop {
            if let Some(rows) = self.rows.remove(&(trace, number)) {
                // It was said before the block was handed in.
                let _ = self.ahead[&trace].recv();
                return Ok(Some(rows));
            }
            if self.read.get(&trace).is_some_and(|(blocks, _)| *blocks == number) {
                self.ahead.remove(&trace);
                let failed = self.read.remove(&trace).and_then(|(_, failed)| failed);
                return failed.map_or(Ok(None), Err);
            }
            self.receive(sink)?;
        }
    }

    fn receive(&mut self, sink: &mut Sink) -> Result<(), ImportError> {
        match self.crew.take() {
            Outcome::Rows(rows) => {
                if self.ahead.contains_key(&rows.trace) {
                    self.rows.insert((rows.trace, rows.number), rows);
                }
            }
            Outcome::Read { trace, blocks, failed } => {
                self.read.insert(trace, (blocks, failed));
            }
            Outcome::Segment(done) => sink.done(*done)?,
        }
        Ok(())
    }

    /// Begins to read the next trace.
    fn begin(&mut self) {
        let number = self.begun;
        let trace = self.traces[number];
        self.begun += 1;
        let (ahead, taken) = sync_channel(AHEAD);
        self.ahead.insert(number, taken);
        self.crew.beside(move |desk| {
            let (blocks, failed) = match TraceBytes::open(trace.path) {
                Ok(source) => cut((number, trace), Blocks::new(source), &ahead, &desk),
                Err(error) => (0, Some(error)),
            };
            // Nobody waits where another error came first.
            let _ = desk.done(Outcome::Read { trace: number, blocks, failed });
        });
    }
}

/// Cuts a trace into blocks and hands them in; says how many they are and why there are no more.
fn cut(
    (trace, Trace { path, placing }): (usize, Trace),
    mut blocks: Blocks<TraceBytes>,
    ahead: &SyncSender<()>,
    desk: &JobQueue<Outcome>,
) -> (usize, Option<ImportError>) {
    let memory = Memory::default();
    for number in 0.. {
        let block = match blocks.next(memory.take()) {
            Ok(Some(block)) => block,
            Ok(None) => return (number, None),
            Err(error) => {
                let unreadable = Unreadable::Window(WindowError::Io(error));
                return (number, Some(ImportError::of(path, 0, unreadable)));
            }
        };
        let again = memory.clone();
        let job = move || rows((trace, number), block, placing, &again);
        if ahead.send(()).is_err() || desk.give(job).is_none() {
            return (number, None);
        }
    }
    unreachable!("numbers do not end")
}

/// Memory of blocks, used again: new memory costs more than what is read into it.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<Vec<u8>>>>);

impl Memory {
    fn take(&self) -> Vec<u8> {
        // Nothing is done under the lock that could panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn put(&self, memory: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }
}

fn rows((trace, number): (usize, usize), block: Block, placing: Placing, memory: &Memory) -> Outcome {
    let Block { offset, state, .. } = block;
    let (advance, part) = TracePart::read(block.bytes(), state, placing);
    memory.put(block.memory);
    Outcome::Rows(Box::new(BlockRows { trace, number, offset, state, advance, part }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::num::NonZero;
    use std::path::PathBuf;

    use kvpath_analysis::load::Run;
    use kvpath_schema::table::Columns as _;
    use kvpath_schema::tables::gpu::{ApiCalls, CudaEvents};
    use kvpath_schema::tables::nvtx::NvtxRanges;

    use crate::kineto::{Imported, import_with};

    /// A trace of several blocks: operators of two threads, one of which has no number, each with a call that records an
    /// event; what `args` holds may look like the border between two events.
    fn trace(events: usize, args: &str) -> String {
        let mut json = String::from("{\"schemaVersion\": 1, \"traceEvents\": [");
        for at in 0..events {
            let (ts, tid) = (10 * at, if at % 2 == 0 { "8" } else { "\"loader\"" });
            let comma = if at == 0 { "" } else { "," };
            write!(
                json,
                "{comma}\n  {{\"ph\": \"X\", \"cat\": \"cpu_op\", \"name\": \"op {}\", \"pid\": 7, \"tid\": {tid}, \
                 \"ts\": {ts}.001, \"dur\": 9, \"args\": {args}}},\n  {{\"ph\": \"X\", \"cat\": \"cuda_runtime\", \
                 \"name\": \"cudaEventRecord\", \"pid\": 7, \"tid\": 8, \"ts\": {ts}.5, \"dur\": 1, \
                 \"args\": {{\"correlation\": {at}}}}},\n  {{\"ph\": \"X\", \"cat\": \"cuda_event\", \"name\": \"e\", \
                 \"pid\": 0, \"tid\": 7, \"ts\": {ts}.6, \"dur\": 0.001, \"args\": {{\"event_id\": 3, \"stream\": 7, \
                 \"correlation\": {}}}}}",
                at % 700,
                at / 2,
            )
            .unwrap();
        }
        json + "\n], \"baseTimeNanoseconds\": 1711964646000000000}"
    }

    fn import(traces: &[String], threads: usize) -> (tempfile::TempDir, Imported) {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = (0..traces.len()).map(|at| folder.path().join(format!("{at}.json"))).collect();
        for (file, json) in files.iter().zip(traces) {
            std::fs::write(file, json).unwrap();
        }
        let imported = import_with(&files, &folder.path().join("run"), NonZero::new(threads).unwrap()).unwrap();
        (folder, imported)
    }

    /// Every file of a run.
    fn bytes(folder: &tempfile::TempDir) -> BTreeMap<PathBuf, Vec<u8>> {
        let run = Run::open(&folder.path().join("run").to_string_lossy()).unwrap();
        let name = |path: &std::path::Path| path.strip_prefix(folder.path()).unwrap().to_owned();
        run.segments.iter().map(|segment| (name(&segment.path), std::fs::read(&segment.path).unwrap())).collect()
    }

    #[test]
    fn threads_change_no_byte() {
        let traces = [trace(6_000, "{}"), trace(9_000, "{\"x\": [{}, {}, {}, {}]}"), trace(3, "{}")];
        let (folder, imported) = import(&traces, 1);
        let (one, events) = (bytes(&folder), imported.events);
        assert_eq!(events, 3 * (6_000 + 9_000 + 3));
        for threads in [2, 5] {
            let (folder, imported) = import(&traces, threads);
            assert_eq!(imported.events, events);
            assert_eq!(bytes(&folder), one, "{threads} threads");
        }
    }

    #[test]
    fn blocks_that_are_cut_within_events_lose_nothing() {
        let many = |count| format!("{{\"x\": [{}]}}", vec!["{\"y\": 1}"; count].join(",\n  "));
        let plain = import(&[trace(40, "{}")], 2);
        // Longer than a block each.
        let nested = import(&[trace(40, &many(60_000))], 2);
        let rows = |(folder, _): &(tempfile::TempDir, Imported)| {
            let run = Run::open(&folder.path().join("run").to_string_lossy()).unwrap();
            let table = (run.table::<NvtxRanges>().unwrap(), run.table::<ApiCalls>().unwrap());
            (table.0, table.1, run.table::<CudaEvents>().unwrap())
        };
        assert_eq!(rows(&plain), rows(&nested));
        let (ranges, calls, recordings) = rows(&nested);
        assert_eq!((ranges.len(), calls.len(), recordings.len()), (40, 40, 20));
    }

    #[test]
    fn processes_and_threads_keep_their_ids_from_block_to_block() {
        let (folder, _) = import(&[trace(6_000, "{}"), trace(6_000, "{}")], 2);
        let run = Run::open(&folder.path().join("run").to_string_lossy()).unwrap();
        let (ranges, recordings): (NvtxRanges, CudaEvents) = (run.table().unwrap(), run.table().unwrap());
        let mut actors: BTreeMap<(i64, i32), usize> = BTreeMap::new();
        for row in 0..ranges.len() {
            *actors.entry((ranges.process_id[row], ranges.tid[row])).or_default() += 1;
        }
        let other = 7 + (1 << 32);
        let each = [((7, i32::MIN), 3_000), ((7, 8), 3_000), ((other, i32::MIN), 3_000), ((other, 8), 3_000)];
        assert_eq!(actors, BTreeMap::from(each));
        // Two events a recording: the second says nothing new, in whatever block it is.
        assert_eq!(recordings.len(), 2 * 3_000);
    }
}
