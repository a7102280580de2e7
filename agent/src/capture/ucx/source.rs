//! UCX in a recording: its libraries, what is drained, and what is written.

use std::collections::BTreeMap;

use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::ucx::{UcxTransportCall, UcxTransportCalls};
use kvpath_schema::wire::ucx::{Call, LOST_CALLS, LOST_ENDS, LOST_ENTRIES, LOST_OPS, return_slot};

use super::functions::{self, Function};
use super::ops::{Ops, Record, record};
use super::programs::Programs;
use crate::budget::Costs;
use crate::capture::error::AttachError;
use crate::capture::nixl::assemble::Lack;
use crate::capture::pairs::Links;
use crate::discover::library::Library;
use crate::discover::maps::Mapping;
use crate::elf::First;
use crate::processes::ProcessTable;
use crate::segments::{Facts, Segments};

/// What the kernel half counts as lost: slot, table and reason.
const LOSSES: [(u32, &str, &str); 4] = [
    (LOST_OPS, "ucx_ops", "ring buffer full"),
    (LOST_ENDS, "ucx_ops", "ends of ops: ring buffer full"),
    (LOST_ENTRIES, "ucx_ops", "too many calls in flight"),
    (LOST_CALLS, "ucx_transport_calls", "too many transports in too many processes"),
];

struct Seen {
    library: Library,
    functions: Vec<Function>,
    links: Option<Links>,
}

/// See the module.
pub struct Source {
    programs: Programs,
    /// Libraries stay open, so that their inodes cannot be given to other files.
    seen: Vec<Seen>,
    firsts: BTreeMap<Call, First>,
    is_shed: bool,
    ops: Ops,
    calls: UcxTransportCalls,
    calls_from_ns: i64,
    lacks: Vec<(Lack, u64)>,
}

impl Source {
    /// Loads the programs; libraries come by [`Self::mapped`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn start(now_ns: i64) -> Result<Self, AttachError> {
        Ok(Self {
            programs: Programs::load()?,
            seen: Vec::new(),
            firsts: BTreeMap::new(),
            is_shed: false,
            ops: Ops::default(),
            calls: UcxTransportCalls::default(),
            calls_from_ns: now_ns,
            lacks: Vec::new(),
        })
    }

    /// A process maps a file whose name may be a library's of UCX.
    pub fn mapped(&mut self, pid: i32, mapping: &Mapping, facts: &mut Facts) {
        match Library::of_mapping(pid, mapping) {
            Ok(library) => self.found(library, mapping.file_name(), facts),
            Err(error) => {
                facts.say(
                    "ucx",
                    format!("library {}", mapping.path),
                    format!("cannot be opened by pid {pid}: {error}"),
                );
            }
        }
    }

    /// A library with that file name: it is attached to, once.
    pub fn found(&mut self, library: Library, file_name: &str, facts: &mut Facts) {
        let key = format!("library {}", library.path);
        if self.seen.iter().any(|seen| seen.library.is_same_below(&library)) {
            return;
        }
        let data = library.read().map_err(|error| error.to_string());
        let functions = data.and_then(|data| functions::find(file_name, &data)).unwrap_or_else(|error| {
            facts.say("ucx", key.as_str(), format!("probes off: {error}"));
            Vec::new()
        });
        for Function { call, point, .. } in &functions {
            let first = self.firsts.entry(*call).or_insert(point.first);
            *first = (*first).max(point.first);
        }
        let mut seen = Seen { library, functions, links: None };
        if !self.is_shed && !seen.functions.is_empty() {
            let said = match seen.attach(&mut self.programs) {
                Ok(()) => format!("{} functions probed", seen.functions.len()),
                Err(error) => format!("probes off: {error}"),
            };
            facts.say("ucx", key, said);
        }
        self.seen.push(seen);
    }

    /// Takes all probes off.
    pub fn shed(&mut self, facts: &mut Facts) {
        self.is_shed = true;
        // Their ends will not be seen, and their requests' addresses are used again.
        self.ops.end(None);
        for seen in &mut self.seen {
            if let Some(Err(error)) = seen.links.take().map(|links| self.programs.detach(links)) {
                facts.say(
                    "ucx",
                    format!("library {}", seen.library.path),
                    format!("probes cannot be taken off: {error}"),
                );
            }
        }
        // A later call on the same thread must not be taken for the end of one of these.
        self.programs.forget_in_flight();
    }

    /// Puts them on again, on all libraries or on none; gives whether that is done.
    pub fn restore(&mut self, facts: &mut Facts) -> bool {
        self.is_shed = false;
        let mut are_on = true;
        for seen in &mut self.seen {
            if let Err(error) = seen.attach(&mut self.programs) {
                are_on = false;
                facts.say("ucx", format!("library {}", seen.library.path), format!("probes stay off: {error}"));
            }
        }
        if !are_on {
            // All or none: what is off is not counted against the budget, and would be attached twice the next time.
            self.shed(facts);
        }
        are_on
    }

    /// Takes what the kernel half has written.
    pub fn drain(&mut self, processes: &mut ProcessTable) {
        let Self { programs, ops, lacks, .. } = self;
        let mut records = Vec::new();
        programs.drain(|bytes| records.push(record(bytes)));
        for record in records {
            match record {
                Some(Record::Op { pid, tid, time_ns, call, entry, result }) => {
                    let process_id = processes.id_of(pid);
                    processes.saw_thread(pid, tid);
                    let transport = programs.transport(entry.function);
                    ops.returned(process_id, (tid, time_ns), call, &entry, result, transport);
                }
                Some(Record::Freed { pid, time_ns, request }) => {
                    if let Some(process_id) = processes.known(pid) {
                        ops.freed(process_id, time_ns, request);
                    }
                }
                None => lacks.push((Lack::of("ucx_ops", "record that contradicts itself"), 1)),
            }
        }
    }

    /// What the hits since the last call have cost, ns; their losses are taken too.
    ///
    /// # Errors
    /// The map cannot be read.
    #[expect(clippy::cast_precision_loss, reason = "hits of a few ms")]
    pub fn spent_ns(&mut self, costs: Costs) -> Result<f64, AttachError> {
        let counts = self.programs.counts()?;
        for (slot, table, reason) in LOSSES {
            if counts[slot as usize] > 0 {
                self.lacks.push((Lack::of(table, reason), counts[slot as usize]));
            }
        }
        let spent = |call: Call| {
            let first = self.firsts.get(&call).copied().unwrap_or(First::Push);
            let (entries, returns) = (counts[call as usize], counts[return_slot(call) as usize]);
            costs.entry_ns(first) * entries as f64 + costs.returning * returns as f64
        };
        Ok(Call::ALL.into_iter().map(spent).sum())
    }

    /// A process runs another program now.
    pub fn image_replaced(&mut self, process_id: i64) {
        self.ops.end(Some(process_id));
    }

    /// A process has ended.
    pub fn process_ended(&mut self, pid: i32, process_id: i64, now_ns: i64, processes: &mut ProcessTable) {
        self.drain(processes);
        self.count_calls(now_ns, Some(pid), processes);
        self.ops.end(Some(process_id));
        self.programs.forget(pid);
    }

    /// Writes what is ready; `is_last`: all that is open too.
    ///
    /// # Errors
    /// A segment cannot be written.
    pub fn write(
        &mut self,
        now_ns: i64,
        is_last: bool,
        processes: &mut ProcessTable,
        segments: &mut Segments,
    ) -> Result<(), SegmentError> {
        self.count_calls(now_ns, None, processes);
        self.calls_from_ns = now_ns;
        if is_last {
            self.ops.end(None);
        }
        let lost = |table| self.lacks.iter().filter(|(lack, _)| lack.table == table).map(|(_, count)| count).sum();
        segments.table("ucx", &self.ops.take_rows(), lost("ucx_ops"))?;
        segments.table("ucx", &std::mem::take(&mut self.calls), lost("ucx_transport_calls"))?;
        segments.drops("ucx", now_ns, &std::mem::take(&mut self.lacks))
    }

    fn count_calls(&mut self, now_ns: i64, only: Option<i32>, processes: &mut ProcessTable) {
        for (pid, number, calls) in self.programs.calls(only) {
            if let Some((transport, function)) = self.programs.transport(number) {
                self.calls.push(UcxTransportCall {
                    start_ns: self.calls_from_ns,
                    dur_ns: now_ns - self.calls_from_ns,
                    process_id: processes.id_of(pid),
                    transport: transport.as_str().into(),
                    function: function.as_str().into(),
                    calls: i64::try_from(calls).unwrap_or(i64::MAX),
                });
            }
        }
    }
}

impl Seen {
    fn attach(&mut self, programs: &mut Programs) -> Result<(), AttachError> {
        self.links = Some(programs.attach(&self.library.attach_path(), &self.functions)?);
        Ok(())
    }
}
