//! UCX in a recording: its libraries, what is drained, and what is written.

use std::collections::BTreeMap;

use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::capture::RecordingState;
use kvpath_schema::tables::ucx::{UcxTransportCall, UcxTransportCalls};
use kvpath_schema::wire::ucx::{Call, LOST_CALLS, LOST_ENDS, LOST_ENTRIES, LOST_OPS, return_slot};

use super::functions::{self, Function};
use super::ops::{Ops, UcxRecord, record};
use super::programs::{PAIR, Programs};
use crate::budget::{Costs, Group, Spent};
use crate::capture::error::AttachError;
use crate::capture::{Budgeted, Context, EndedProcess, RecordSource};
use crate::discover::library::Library;
use crate::discover::maps::Mapping;
use crate::elf::First;
use crate::libraries::Libraries;
use crate::losses::{Cause, Losses};
use crate::processes::ProcessTable;
use crate::states::Subject;

/// What the kernel half counts as lost: slot, table and reason.
const LOSSES: [(u32, &str, &str); 4] = [
    (LOST_OPS, "ucx_ops", "ring buffer full"),
    (LOST_ENDS, "ucx_ops", "ends of ops: ring buffer full"),
    (LOST_ENTRIES, "ucx_ops", "too many calls in flight"),
    (LOST_CALLS, "ucx_transport_calls", "too many transports in too many processes"),
];

/// The source.
pub struct Ucx {
    programs: Programs,
    libraries: Libraries,
    firsts: BTreeMap<Call, First>,
    ops: Ops,
    calls: UcxTransportCalls,
    calls_from_ns: i64,
    losses: Losses,
}

impl Ucx {
    /// Loads the programs.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn start(now_ns: i64) -> Result<Self, AttachError> {
        Ok(Self {
            programs: Programs::load()?,
            libraries: Libraries::new("ucx", PAIR),
            firsts: BTreeMap::new(),
            ops: Ops::default(),
            calls: UcxTransportCalls::default(),
            calls_from_ns: now_ns,
            losses: Losses::default(),
        })
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

impl RecordSource for Ucx {
    fn name(&self) -> &'static str {
        "ucx"
    }

    fn is_candidate(&self, file_name: &str) -> bool {
        functions::is_candidate(file_name)
    }

    fn found(&mut self, library: Library, file_name: &str, context: &mut Context) {
        if self.libraries.is_probed(&library).is_some() {
            return;
        }
        let (key, subject) = (format!("library {}", library.path), Subject::library("ucx", library.path.as_str()));
        let data = library.read().map_err(|error| error.to_string());
        let functions = match data.and_then(|data| functions::find(file_name, &data)) {
            Ok(functions) => functions,
            Err(error) => {
                context.facts.say("ucx", key, format!("probes off: {error}"));
                context.set(subject, RecordingState::Unavailable, error);
                return self.libraries.leave(library);
            }
        };
        for Function { call, point, .. } in &functions {
            let first = self.firsts.entry(*call).or_insert(point.first);
            *first = (*first).max(point.first);
        }
        let probes = self.programs.probes(&functions);
        match self.libraries.attach(self.programs.ebpf(), library, probes) {
            Ok(0) => {}
            Ok(_) => {
                let text = format!("{} functions probed", functions.len());
                context.facts.say("ucx", key, text.as_str());
                context.set(subject, RecordingState::Recording, text);
            }
            Err(error) => {
                context.facts.say("ucx", key, format!("probes off: {error}"));
                context.set(subject, RecordingState::Refused, error.to_string());
            }
        }
    }

    fn mapped(&mut self, pid: i32, mapping: &Mapping, context: &mut Context) {
        if let Some(library) = self.libraries.open(pid, mapping, context) {
            self.found(library, mapping.file_name(), context);
        }
    }

    fn image_replaced(&mut self, process_id: i64, _context: &mut Context) {
        self.ops.end(Some(process_id));
    }

    fn process_ended(&mut self, process: EndedProcess, context: &mut Context) {
        self.count_calls(process.end_ns, Some(process.pid), &mut context.processes);
        self.ops.end(Some(process.process_id));
        self.programs.forget(process.pid);
    }

    fn drain(&mut self, context: &mut Context) {
        let Self { programs, ops, losses, .. } = self;
        let processes = &mut context.processes;
        let mut records = Vec::new();
        programs.drain(|bytes| records.push(record(bytes)));
        for record in records {
            match record {
                Some(UcxRecord::Op { pid, tid, time_ns, call, entry, result }) => {
                    let process_id = processes.id_of(pid);
                    processes.saw_thread(pid, tid);
                    let transport = programs.transport(entry.function);
                    ops.returned(process_id, (tid, time_ns), call, &entry, result, transport);
                }
                Some(UcxRecord::Freed { pid, time_ns, request }) => {
                    if let Some(process_id) = processes.known(pid) {
                        ops.freed(process_id, time_ns, request);
                    }
                }
                None => losses.add(Cause::of("ucx_ops", "record that contradicts itself"), 1),
            }
        }
    }

    fn budgeted(&mut self) -> Option<&mut dyn Budgeted> {
        Some(self)
    }

    fn finish(&mut self, _context: &mut Context) -> Result<(), AttachError> {
        self.ops.end(None);
        Ok(())
    }

    fn write(&mut self, context: &mut Context) -> Result<(), SegmentError> {
        self.count_calls(context.now_ns, None, &mut context.processes);
        self.calls_from_ns = context.now_ns;
        let losses = std::mem::take(&mut self.losses);
        let segments = &mut context.segments;
        segments.table("ucx", &self.ops.take_rows(), losses.of("ucx_ops"))?;
        segments.table("ucx", &std::mem::take(&mut self.calls), losses.of("ucx_transport_calls"))?;
        segments.drops("ucx", context.now_ns, &losses)
    }
}

impl Budgeted for Ucx {
    fn groups(&self) -> &'static [Group] {
        &[Group::Ucx]
    }

    /// Takes the counters of losses too, which lie beside.
    #[expect(clippy::cast_precision_loss, reason = "hits of a few ms")]
    fn add_spent(&mut self, costs: Costs, spent: &mut Spent) -> Result<(), AttachError> {
        let counts = self.programs.counts()?;
        for (slot, table, reason) in LOSSES {
            self.losses.add(Cause::of(table, reason), counts[slot as usize]);
        }
        let cost = |call: Call| {
            let first = self.firsts.get(&call).copied().unwrap_or(First::Push);
            let (entries, returns) = (counts[call as usize], counts[return_slot(call) as usize]);
            costs.entry_ns(first) * entries as f64 + costs.returning * returns as f64
        };
        *spent.entry(Group::Ucx).or_default() += Call::ALL.into_iter().map(cost).sum::<f64>();
        Ok(())
    }

    fn shed(&mut self, group: Group, context: &mut Context) {
        // Their ends will not be seen, and their requests' addresses are used again.
        self.ops.end(None);
        self.libraries.shed(self.programs.ebpf(), group, &mut context.facts);
        // A later call on the same thread must not be taken for the end of one of these.
        self.programs.forget_in_flight();
    }

    fn restore(&mut self, group: Group, context: &mut Context) -> Result<(), AttachError> {
        let outcome = self.libraries.restore(self.programs.ebpf(), group, &mut context.facts);
        if outcome.is_err() {
            self.ops.end(None);
            self.programs.forget_in_flight();
        }
        outcome
    }
}
