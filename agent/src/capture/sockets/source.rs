//! Sockets in a recording: which processes are watched, and what is written.

use std::collections::{BTreeMap, HashMap};

use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::sockets::Sockets;
use kvpath_schema::wire::sockets::Flow;

use super::programs::{Key, Programs};
use super::rows::{flow, key, row};
use crate::capture::error::AttachError;
use crate::capture::nixl::assemble::Lack;
use crate::processes::ProcessTable;
use crate::segments::Segments;

/// A connection that was silent for so long is forgotten, ns; should it speak again, it is a new one.
const SILENT_NS: u64 = 60_000_000_000;

/// See the module.
pub struct Source {
    programs: Programs,
    /// Process ids by pid.
    watched: BTreeMap<u32, i64>,
    seen: HashMap<Key, Flow>,
    rows: Sockets,
    lacks: Vec<(Lack, u64)>,
    from_ns: i64,
}

impl Source {
    /// Attaches; processes are watched as they become known.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn start(now_ns: i64) -> Result<Self, AttachError> {
        Ok(Self {
            programs: Programs::start()?,
            watched: BTreeMap::new(),
            seen: HashMap::new(),
            rows: Sockets::default(),
            lacks: Vec::new(),
            from_ns: now_ns,
        })
    }

    /// One round: processes that have become known.
    pub fn step(&mut self, processes: &ProcessTable) {
        for pid in processes.pids() {
            let (Ok(number), Some(process_id)) = (u32::try_from(pid), processes.known(pid)) else { continue };
            if self.watched.get(&number) != Some(&process_id) {
                match self.programs.watch(number) {
                    Ok(()) => _ = self.watched.insert(number, process_id),
                    Err(error) => {
                        self.lacks.push((Lack::of("sockets", format!("a process cannot be watched: {error}")), 1));
                    }
                }
            }
        }
    }

    /// A process has ended.
    pub fn process_ended(&mut self, pid: i32, now_ns: i64) {
        let Ok(pid) = u32::try_from(pid) else { return };
        self.programs.leave(pid);
        self.look(now_ns, Some(pid), |_| true);
        self.watched.remove(&pid);
    }

    /// Writes what is ready.
    ///
    /// # Errors
    /// A segment cannot be written.
    pub fn write(&mut self, now_ns: i64, segments: &mut Segments) -> Result<(), SegmentError> {
        let now = u64::try_from(now_ns).unwrap_or(0);
        self.look(now_ns, None, |flow| now.saturating_sub(flow.last_ns) > SILENT_NS);
        self.from_ns = now_ns;
        match self.programs.lost() {
            Ok(0) => {}
            Ok(count) => self.lacks.push((Lack::of("sockets", "too many connections"), count)),
            Err(error) => self.lacks.push((Lack::of("sockets", format!("losses cannot be counted: {error}")), 1)),
        }
        let lost = self.lacks.iter().map(|(_, count)| count).sum();
        segments.table("sockets", &std::mem::take(&mut self.rows), lost)?;
        segments.drops("sockets", now_ns, &std::mem::take(&mut self.lacks))
    }

    /// Takes what went over each connection (of one process, or all) since the last look, and forgets those that are `over`.
    fn look(&mut self, now_ns: i64, only: Option<u32>, over: impl Fn(&Flow) -> bool) {
        for (words, counters) in self.programs.flows() {
            let (parts, now) = (key(words), flow(counters));
            if only.is_some_and(|pid| pid != parts.tgid) {
                continue;
            }
            let Some(process_id) = self.watched.get(&parts.tgid) else { continue };
            let before = self.seen.insert(words, now).unwrap_or_default();
            if let Some(row) = row(parts, *process_id, (self.from_ns, now_ns), &before, &now) {
                self.rows.push(row);
            }
            if over(&now) {
                self.programs.forget(words);
                self.seen.remove(&words);
            }
        }
    }
}
