//! Telemetry in a recording: which files there are, and what is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kvpath_schema::cell::Name;
use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::capture::{RecordingState, SubjectKind};
use kvpath_schema::tables::nixl::{NixlTelemetry, NixlTelemetryRow};

use super::events;
use super::file::{Ring, RingError};
use crate::capture::error::AttachError;
use crate::capture::{Context, EndedProcess, RecordSource};
use crate::losses::{Cause, Losses};
use crate::states::Subject;

/// How often files are read, ns: a ring holds 1000 transfers.
const READ_EVERY_NS: i64 = 50_000_000;
/// How often new ones are looked for, ns.
const FIND_EVERY_NS: i64 = 200_000_000;
/// Files of a folder that are looked at, and files that are read, at most: a process says which folder it is.
const MOST_FILES: usize = 256;
/// Kinds that are told apart; NIXL has 21.
const KINDS: usize = 64;
/// A variable that NIXL reads.
const VARIABLE: &[u8] = b"NIXL_TELEMETRY_DIR=";

/// A folder of telemetry, reached through the root of a process that names it, and the user whose files are read there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Folder {
    path: PathBuf,
    uid: u32,
}

/// A file.
struct TelemetryFile {
    agent: String,
    /// `None`: something else, left alone.
    ring: Option<Ring>,
    /// Count and sum by kind, since they were written.
    sums: [(i64, i64); KINDS],
}

/// The source.
pub struct Telemetry {
    /// By process; `None`: its environment names none.
    folders: BTreeMap<i64, Option<Folder>>,
    /// By device and inode.
    files: BTreeMap<(u64, u64), TelemetryFile>,
    losses: Losses,
    began: SystemTime,
    read_ns: i64,
    found_ns: i64,
    from_ns: i64,
}

impl Telemetry {
    /// Files are found as processes become known.
    pub fn start(now_ns: i64) -> Self {
        Self {
            folders: BTreeMap::new(),
            files: BTreeMap::new(),
            losses: Losses::default(),
            began: SystemTime::now(),
            read_ns: now_ns,
            found_ns: now_ns - FIND_EVERY_NS,
            from_ns: now_ns,
        }
    }

    /// Looks for new files, and closes those that are gone.
    fn find(&mut self, context: &mut Context) {
        let folders: BTreeSet<&Folder> = self.folders.values().flatten().collect();
        let mut there = BTreeSet::new();
        for folder in folders {
            let entries = fs::read_dir(&folder.path).into_iter().flatten().flatten();
            for entry in entries.take(MOST_FILES) {
                // Not followed, if it is a link.
                let Ok(metadata) = entry.metadata() else { continue };
                let key = (metadata.dev(), metadata.ino());
                if !metadata.is_file() || metadata.uid() != folder.uid {
                    continue;
                }
                there.insert(key);
                if self.files.contains_key(&key) || self.files.len() >= MOST_FILES {
                    continue;
                }
                let agent = entry.file_name().to_string_lossy().into_owned();
                let opened = open(&entry.path(), key, folder.uid);
                let (said, state, reason) = match &opened {
                    Ok(_) => ("read".to_owned(), RecordingState::Recording, String::new()),
                    Err(RingError::Unfinished) => continue,
                    Err(error) => (format!("left alone: {error}"), RecordingState::Unreadable, error.to_string()),
                };
                context.facts.say("telemetry", format!("agent {agent}"), said);
                context.set(Subject::new("telemetry", SubjectKind::File, agent.as_str()), state, reason);
                let ring = opened.ok();
                if let Some(ring) = &ring
                    && metadata.created().is_ok_and(|created| created < self.began)
                {
                    // What was there before the recording is not of it. Errors come again with the next read.
                    let _ = ring.take(|_| ());
                }
                self.files.insert(key, TelemetryFile { agent, ring, sums: [(0, 0); KINDS] });
            }
        }
        let is_over = |seen: &TelemetryFile| seen.sums.iter().all(|(count, _)| *count == 0);
        if self.files.keys().any(|key| !there.contains(key)) {
            self.read();
            self.files.retain(|key, seen| there.contains(key) || !is_over(seen));
        }
    }

    fn read(&mut self) {
        let Self { files, losses, .. } = self;
        for TelemetryFile { agent, ring, sums } in files.values_mut() {
            let taken = ring.as_ref().map(|ring| {
                ring.take(|event| {
                    let kind = usize::try_from(event.kind).unwrap_or(KINDS).min(KINDS - 1);
                    sums[kind].0 += 1;
                    sums[kind].1 = sums[kind].1.saturating_add(i64::try_from(event.value).unwrap_or(i64::MAX));
                })
            });
            match taken {
                None | Some(Ok(false)) => {}
                Some(Ok(true)) => losses.add(Cause::of("nixl_telemetry", "ring full: NIXL drops what comes then"), 1),
                Some(Err(error)) => {
                    losses.add(Cause::of("nixl_telemetry", format!("{agent}: {error}")), 1);
                    *ring = None;
                }
            }
        }
    }
}

impl RecordSource for Telemetry {
    fn name(&self) -> &'static str {
        "telemetry"
    }

    fn process_ended(&mut self, process: EndedProcess, context: &mut Context) {
        self.find(context);
        self.read();
        self.folders.remove(&process.process_id);
    }

    fn step(&mut self, context: &mut Context) -> Result<(), AttachError> {
        if context.now_ns - self.found_ns >= FIND_EVERY_NS {
            self.found_ns = context.now_ns;
            for pid in context.processes.pids() {
                if let Some(process_id) = context.processes.known(pid)
                    && !self.folders.contains_key(&process_id)
                    && let Ok(folder) = folder_of(pid)
                {
                    self.folders.insert(process_id, folder);
                }
            }
            self.find(context);
        }
        if context.now_ns - self.read_ns >= READ_EVERY_NS {
            self.read_ns = context.now_ns;
            self.read();
        }
        Ok(())
    }

    fn write(&mut self, context: &mut Context) -> Result<(), SegmentError> {
        self.read();
        let mut rows = NixlTelemetry::default();
        for seen in self.files.values_mut() {
            let sums = std::mem::replace(&mut seen.sums, [(0, 0); KINDS]);
            for (kind, (count, value)) in (0..).zip(sums).filter(|(_, (count, _))| *count > 0) {
                rows.push(NixlTelemetryRow {
                    start_ns: self.from_ns,
                    dur_ns: context.now_ns - self.from_ns,
                    agent: Name::from(seen.agent.clone()),
                    event: Name::from(events::name(kind)),
                    count,
                    value,
                });
            }
        }
        self.from_ns = context.now_ns;
        let losses = std::mem::take(&mut self.losses);
        context.segments.table("telemetry", &rows, losses.total())?;
        context.segments.drops("telemetry", context.now_ns, &losses)
    }
}

/// Opens a file that was seen in a folder, if it is still the same one, of that user.
fn open(path: &Path, key: (u64, u64), uid: u32) -> Result<Ring, RingError> {
    let open = |options: &mut OpenOptions| -> io::Result<File> {
        // Neither follows a link nor waits for a pipe's other end, should it have been replaced.
        let file = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
        let now = file.metadata()?;
        let is_same = now.is_file() && now.uid() == uid && (now.dev(), now.ino()) == key;
        if is_same { Ok(file) } else { Err(io::Error::other("it was replaced")) }
    };
    // Only what is such a file is opened for writing: that alone can disturb others.
    Ring::new(open(&mut OpenOptions::new())?)?;
    Ring::new(open(OpenOptions::new().write(true))?)
}

/// The folder that a process's environment names, which need not be there yet, reached through its own root. Files of other users than the process's own
/// are not read there, so that it can lead us to nothing that it could not write itself.
fn folder_of(pid: i32) -> io::Result<Option<Folder>> {
    let environment = fs::read(format!("/proc/{pid}/environ"))?;
    let Some(value) = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(VARIABLE)) else {
        return Ok(None);
    };
    let relative = Path::new(std::ffi::OsStr::from_bytes(value));
    let path = if relative.is_absolute() {
        PathBuf::from(format!("/proc/{pid}/root")).join(relative.strip_prefix("/").unwrap_or(relative))
    } else {
        PathBuf::from(format!("/proc/{pid}/cwd")).join(relative)
    };
    let uid = fs::metadata(format!("/proc/{pid}"))?.uid();
    Ok(Some(Folder { path, uid }))
}
