//! Telemetry in a recording: which files there are, and what is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kvpath_schema::cell::Name;
use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::nixl::{NixlTelemetry, NixlTelemetryRow};

use super::events;
use super::file::{Ring, RingError};
use crate::capture::nixl::assemble::Lack;
use crate::processes::ProcessTable;
use crate::segments::{Facts, Segments};

/// How often files are looked at, ns: a ring holds 1000 transfers.
const LOOK_EVERY_NS: i64 = 50_000_000;
/// A variable that NIXL reads.
const VARIABLE: &[u8] = b"NIXL_TELEMETRY_DIR=";

/// A ring and its agent's name; `None`: a file that is something else.
struct Seen {
    agent: String,
    ring: Option<Ring>,
}

/// See the module.
pub struct Source {
    /// Folders, as seen by a process that names them, by process.
    folders: BTreeMap<i64, Option<PathBuf>>,
    /// By device and inode.
    files: BTreeMap<(u64, u64), Seen>,
    /// Count and sum, by agent and event.
    counts: BTreeMap<(String, u32), (i64, i64)>,
    lacks: Vec<(Lack, u64)>,
    looked_ns: i64,
    from_ns: i64,
}

impl Source {
    /// Files are found as processes become known.
    pub fn start(now_ns: i64) -> Self {
        Self {
            folders: BTreeMap::new(),
            files: BTreeMap::new(),
            counts: BTreeMap::new(),
            lacks: Vec::new(),
            looked_ns: now_ns,
            from_ns: now_ns,
        }
    }

    /// Leaves out what is in the files of processes that were there before the recording.
    pub fn begin(&mut self, processes: &ProcessTable, facts: &mut Facts) {
        self.step(self.looked_ns + LOOK_EVERY_NS, processes, facts);
        self.counts.clear();
        self.lacks.clear();
    }

    /// One round.
    pub fn step(&mut self, now_ns: i64, processes: &ProcessTable, facts: &mut Facts) {
        if now_ns - self.looked_ns < LOOK_EVERY_NS {
            return;
        }
        self.looked_ns = now_ns;
        for pid in processes.pids() {
            if let Some(process_id) = processes.known(pid) {
                self.folders.entry(process_id).or_insert_with(|| folder_of(pid));
            }
        }
        self.find(facts);
        self.read();
    }

    /// Reads what a process has left that is about to be forgotten.
    pub fn process_ended(&mut self, process_id: i64, facts: &mut Facts) {
        self.find(facts);
        self.read();
        self.folders.remove(&process_id);
    }

    fn find(&mut self, facts: &mut Facts) {
        let folders: BTreeSet<&PathBuf> = self.folders.values().flatten().collect();
        for path in folders.into_iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten()) {
            let Ok(metadata) = path.metadata() else { continue };
            let key = (metadata.dev(), metadata.ino());
            if !metadata.is_file() || self.files.contains_key(&key) {
                continue;
            }
            let agent = path.file_name().to_string_lossy().into_owned();
            let opened =
                OpenOptions::new().read(true).write(true).open(path.path()).map_err(Into::into).and_then(Ring::new);
            let said = match &opened {
                Ok(_) => "read".to_owned(),
                Err(RingError::Unfinished) => continue,
                Err(error) => format!("left alone: {error}"),
            };
            facts.say("telemetry", format!("agent {agent}"), said);
            self.files.insert(key, Seen { agent, ring: opened.ok() });
        }
    }

    fn read(&mut self) {
        let Self { files, counts, lacks, .. } = self;
        for Seen { agent, ring } in files.values_mut() {
            let taken = ring.as_ref().map(|ring| {
                ring.take(|event| {
                    let sums = counts.entry((agent.clone(), event.kind)).or_default();
                    sums.0 += 1;
                    sums.1 = sums.1.saturating_add(i64::try_from(event.value).unwrap_or(i64::MAX));
                })
            });
            match taken {
                None | Some(Ok(false)) => {}
                Some(Ok(true)) => lacks.push((Lack::of("nixl_telemetry", "ring full: NIXL drops what comes then"), 1)),
                Some(Err(error)) => {
                    lacks.push((Lack::of("nixl_telemetry", format!("{agent}: {error}")), 1));
                    *ring = None;
                }
            }
        }
    }

    /// Writes what is ready.
    ///
    /// # Errors
    /// A segment cannot be written.
    pub fn write(&mut self, now_ns: i64, segments: &mut Segments) -> Result<(), SegmentError> {
        self.read();
        let mut rows = NixlTelemetry::default();
        for ((agent, kind), (count, value)) in std::mem::take(&mut self.counts) {
            rows.push(NixlTelemetryRow {
                start_ns: self.from_ns,
                dur_ns: now_ns - self.from_ns,
                agent: Name::from(agent),
                event: Name::from(events::name(kind)),
                count,
                value,
            });
        }
        self.from_ns = now_ns;
        let lost = self.lacks.iter().map(|(_, count)| count).sum();
        segments.table("telemetry", &rows, lost)?;
        segments.drops("telemetry", now_ns, &std::mem::take(&mut self.lacks))
    }
}

/// The folder that a process's environment names, reached through its own root.
fn folder_of(pid: i32) -> Option<PathBuf> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(VARIABLE))?;
    let relative = Path::new(std::ffi::OsStr::from_bytes(value));
    let inside = if relative.is_absolute() {
        PathBuf::from(format!("/proc/{pid}/root")).join(relative.strip_prefix("/").ok()?)
    } else {
        PathBuf::from(format!("/proc/{pid}/cwd")).join(relative)
    };
    inside.is_dir().then_some(inside)
}
