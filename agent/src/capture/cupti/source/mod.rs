//! The rings of the traced processes: found, drained, and removed when their process has gone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use kvpath_ring::ReadError;
use kvpath_ring::file::{self, OpenError};
use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::capture::{RecordingState, SubjectKind};
use kvpath_schema::wire::ring::{Level, header};

use super::folders::{Folders, host_pid, rings};
use super::rows::GpuRows;
use super::tap::Tap;
use crate::capture::error::AttachError;
use crate::capture::{Context, RecordSource};
use crate::losses::Losses;
use crate::states::Subject;

/// How often rings are looked for and drained, ns.
const DRAIN_EVERY_NS: i64 = 20_000_000;
/// How often losses, states and ends of processes are looked at, ns.
const LOOK_EVERY_NS: i64 = 200_000_000;
/// How long a ring may be taken, ns: whoever removes old ones has each for a moment.
const TAKEN_NS: i64 = 500_000_000;
/// Rows after which a segment is written before its time.
const ROWS_MAX: usize = 1 << 18;

/// All rings of a recording.
pub struct Rings {
    folders: Folders,
    ask_for: Option<Level>,
    since_ns: i64,
    taps: Vec<Tap>,
    refused: HashSet<PathBuf>,
    /// Rings that somebody else has, since when; they may become free.
    taken: HashMap<PathBuf, i64>,
    rows: GpuRows,
    losses: Losses,
    drained_ns: i64,
    looked_ns: i64,
    /// Rows in all.
    pub total: u64,
    /// Pids of processes that recorded, and of whose GPU work nothing came.
    silent: BTreeSet<i32>,
}

impl Rings {
    /// Drains the rings in `folders`; `ask_for` is the level to ask each process for.
    #[must_use]
    pub fn new(folders: Folders, ask_for: Option<Level>, since_ns: i64) -> Self {
        Self {
            folders,
            ask_for,
            since_ns,
            taps: Vec::new(),
            refused: HashSet::new(),
            taken: HashMap::new(),
            rows: GpuRows::default(),
            losses: Losses::default(),
            drained_ns: 0,
            looked_ns: 0,
            total: 0,
            silent: BTreeSet::new(),
        }
    }

    fn round(&mut self, context: &mut Context) {
        let now_ns = context.now_ns;
        for path in rings(&self.folders) {
            if !self.taps.iter().any(|tap| tap.path == path) && !self.refused.contains(&path) {
                self.open(path, context);
            }
        }
        let look = now_ns - self.looked_ns >= LOOK_EVERY_NS;
        if look {
            self.looked_ns = now_ns;
        }
        let mut taps = std::mem::take(&mut self.taps);
        taps.retain_mut(|tap| {
            // Asked before the last draining, so that nothing can come after it.
            let ended = look && matches!(file::is_alive(&tap.reader), Ok(false));
            let drained = tap.drain(now_ns, &mut self.rows, context);
            if look || ended {
                tap.count(&mut self.losses, context);
                tap.listen(now_ns, &mut self.silent, context);
            }
            match drained {
                Ok(()) if !ended => true,
                Ok(()) => {
                    tap.decoder.finish(&mut self.rows);
                    context.states.end(now_ns, &tap.subject());
                    let _ = fs::remove_file(&tap.path);
                    false
                }
                Err(error) => {
                    let key = format!("process.{}.ring", tap.pid);
                    context.facts.say("cupti", key, format!("cannot be read: {error}"));
                    context.set(tap.subject(), RecordingState::Unreadable, format!("its ring: {error}"));
                    self.losses.add(tap.cause(None, "ring cannot be read"), 1);
                    self.refused.insert(tap.path.clone());
                    false
                }
            }
        });
        self.taps = taps;
    }

    fn open(&mut self, path: PathBuf, context: &mut Context) {
        let mut reader = match file::open(&path) {
            Ok(reader) => reader,
            // Not ready: looked at again in the next round.
            Err(OpenError::Ring(ReadError::NotReady) | OpenError::Io(_)) => return,
            Err(OpenError::Taken) => {
                let since_ns = *self.taken.entry(path.clone()).or_insert(context.now_ns);
                if context.now_ns - since_ns >= TAKEN_NS {
                    say_taken(&path, context);
                }
                return;
            }
            Err(error) => {
                context.facts.say("cupti", format!("ring.{}", path.display()), format!("not drained: {error}"));
                context.set(subject(&path), RecordingState::Unreadable, error.to_string());
                self.refused.insert(path);
                return;
            }
        };
        if self.taken.remove(&path).is_some() {
            context.states.end(context.now_ns, &subject(&path));
        }
        // What was lost before this recording is not its loss, and a process that ended before is not of it.
        let is_before = |ns: u64| i64::try_from(ns).is_ok_and(|ns| ns < self.since_ns);
        let is_older = is_before(reader.word(header::CREATED_NS));
        let last_ns = reader.word(header::HEARTBEAT_NS);
        if is_older && last_ns > 0 && is_before(last_ns) && matches!(file::is_alive(&reader), Ok(false)) {
            let _ = fs::remove_file(&path);
            return;
        }
        let told = i32::try_from(reader.word(header::PID)).unwrap_or(0);
        let pid = host_pid(told, reader.word(header::START_TICKS)).unwrap_or(told);
        let process_id = context.processes.id_of(pid);
        if let Some(level) = self.ask_for
            && let Err(error) = reader.ask_for(level)
        {
            context.facts.say("cupti", format!("process.{pid}.level"), format!("cannot be asked for: {error}"));
        }
        let _ = reader.look();
        self.taps.push(Tap::new(path, reader, pid, process_id, self.since_ns, is_older));
    }
}

impl RecordSource for Rings {
    fn name(&self) -> &'static str {
        "cupti"
    }

    fn step(&mut self, context: &mut Context) -> Result<(), AttachError> {
        if context.now_ns - self.drained_ns >= DRAIN_EVERY_NS {
            self.drained_ns = context.now_ns;
            self.round(context);
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.rows.count() >= ROWS_MAX
    }

    fn finish(&mut self, context: &mut Context) -> Result<(), AttachError> {
        self.looked_ns = 0;
        self.round(context);
        for path in self.taken.keys() {
            say_taken(path, context);
        }
        for tap in &mut self.taps {
            tap.decoder.finish(&mut self.rows);
        }
        // Where processes live on, their rings stay, and so do the folders.
        self.folders.remove_empty();
        Ok(())
    }

    fn write(&mut self, context: &mut Context) -> Result<(), SegmentError> {
        let mut losses = std::mem::take(&mut self.losses);
        self.total += self.rows.count() as u64;
        let written = self.rows.write(&mut context.segments, |table| losses.of(table));
        self.rows.clear();
        written?;
        let devices = context.devices.take_added();
        if !devices.is_empty() {
            context.segments.table("capture", &devices, 0)?;
        }
        let nvtx = losses.take_of("nvtx_ranges");
        context.segments.drops("cupti", context.now_ns, &losses)?;
        context.segments.drops("nvtx", context.now_ns, &nvtx)
    }

    fn summary(&self) -> Option<String> {
        (self.total > 0).then(|| format!("{} GPU and NVTX records", self.total))
    }

    fn warning(&self) -> Option<String> {
        warning(&self.silent)
    }
}

fn say_taken(path: &Path, context: &mut Context) {
    let error = OpenError::Taken;
    if context.set(subject(path), RecordingState::NotDrained, error.to_string()) {
        context.facts.say("cupti", format!("ring.{}", path.display()), format!("not drained: {error}"));
    }
}

/// A ring, in `source_states`.
fn subject(path: &Path) -> Subject {
    Subject::new("cupti", SubjectKind::Ring, path.display().to_string())
}

/// Names the processes that recorded, and sent nothing of the GPU.
fn warning(silent: &BTreeSet<i32>) -> Option<String> {
    let pids = silent.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    (!silent.is_empty()).then(|| {
        format!(
            "no GPU record came from pid {pids}, though CUPTI was on and the process made calls or NVTX ranges: it did not \
             use its GPU, or CUPTI is at fault (table `capture_info`, key `process.PID.silence`)"
        )
    })
}

#[cfg(test)]
mod tests;
