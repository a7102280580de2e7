//! Sockets in a recording: which processes are watched, and what is written.

use std::collections::{BTreeMap, HashMap};

use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::sockets::Sockets;
use kvpath_schema::wire::sockets::Flow;

use super::programs::{FlowKeyWords, Programs};
use super::rows::{flow, key, row};
use crate::capture::error::AttachError;
use crate::capture::{Context, EndedProcess, RecordSource};
use crate::losses::{Cause, Losses};

/// A connection that was silent for so long is forgotten, ns; should it speak again, it is a new one.
const SILENT_NS: u64 = 60_000_000_000;

/// The source.
pub struct SocketCalls {
    programs: Programs,
    /// Process ids by pid.
    watched: BTreeMap<u32, i64>,
    seen: HashMap<FlowKeyWords, Flow>,
    rows: Sockets,
    losses: Losses,
    from_ns: i64,
}

impl SocketCalls {
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
            losses: Losses::default(),
            from_ns: now_ns,
        })
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

impl RecordSource for SocketCalls {
    fn name(&self) -> &'static str {
        "sockets"
    }

    fn drain(&mut self, context: &mut Context) {
        for pid in context.processes.pids() {
            let (Ok(number), Some(process_id)) = (u32::try_from(pid), context.processes.known(pid)) else { continue };
            if self.watched.get(&number) != Some(&process_id) {
                match self.programs.watch(number) {
                    Ok(()) => _ = self.watched.insert(number, process_id),
                    Err(error) => {
                        self.losses.add(Cause::of("sockets", format!("a process cannot be watched: {error}")), 1);
                    }
                }
            }
        }
    }

    fn process_ended(&mut self, process: EndedProcess, _context: &mut Context) {
        let Ok(pid) = u32::try_from(process.pid) else { return };
        self.programs.leave(pid);
        self.look(process.end_ns, Some(pid), |_| true);
        self.watched.remove(&pid);
    }

    fn write(&mut self, context: &mut Context) -> Result<(), SegmentError> {
        let now = u64::try_from(context.now_ns).unwrap_or(0);
        self.look(context.now_ns, None, |flow| now.saturating_sub(flow.last_ns) > SILENT_NS);
        self.from_ns = context.now_ns;
        match self.programs.lost() {
            Ok(count) => self.losses.add(Cause::of("sockets", "too many connections"), count),
            Err(error) => self.losses.add(Cause::of("sockets", format!("losses cannot be counted: {error}")), 1),
        }
        let losses = std::mem::take(&mut self.losses);
        context.segments.table("sockets", &std::mem::take(&mut self.rows), losses.total())?;
        context.segments.drops("sockets", context.now_ns, &losses)
    }
}
