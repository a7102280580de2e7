//! NIXL in a recording: its libraries, what is drained, and what is written.

mod records;

use std::collections::BTreeMap;
use std::path::Path;

use kvpath_schema::segment::SegmentError;
use kvpath_schema::wire::nixl::{DESCRIPTOR_LIMIT, Kind, Loss, PREPARED_ROWS, RING_BYTES, TEXT_MAX};

use super::assemble::{Assembler, NixlRows};
use super::attach::{InFlight, Programs};
use super::builds;
use super::judge::{Caller, Judge, Waiting};
use super::libraries::NixlLibraries;
use crate::budget::{Costs, Group, Spent};
use crate::capture::error::AttachError;
use crate::capture::{Budgeted, Context, EndedProcess, RecordSource};
use crate::discover::maps::Mapping;
use crate::error::AgentError;
use crate::learn::kept::Learned;
use crate::losses::{Cause, Losses};
use crate::units;

/// How often losses, and which processes are confined, are looked at, ns.
const CHECK_EVERY_NS: i64 = 200_000_000;

/// The source.
pub struct Nixl {
    programs: Programs,
    libraries: NixlLibraries,
    judge: Judge,
    assembler: Assembler,
    losses: Losses,
    /// Hits so far, of entries and of returns.
    hits: BTreeMap<(Kind, bool), u64>,
    checked_ns: i64,
}

impl Nixl {
    /// With programs that are loaded; libraries that confined processes map are left alone if `spares_confined`.
    pub fn new(programs: Programs, spares_confined: bool, learned: Vec<Learned>, context: &mut Context) -> Self {
        let facts = &mut context.facts;
        facts.say("nixl", "setting.ring_bytes", RING_BYTES.to_string());
        facts.say("nixl", "setting.text_limit_bytes", TEXT_MAX.to_string());
        facts.say("nixl", "setting.descriptor_limit", DESCRIPTOR_LIMIT.to_string());
        facts.say("nixl", "setting.prepared_limit", PREPARED_ROWS.to_string());
        facts.say("nixl", "builds.known", builds::known_releases());
        Self {
            programs,
            libraries: NixlLibraries::new(spares_confined, learned),
            judge: Judge::default(),
            assembler: Assembler::default(),
            losses: Losses::default(),
            hits: BTreeMap::new(),
            checked_ns: context.now_ns,
        }
    }

    fn count_losses(&mut self) -> Result<(), AttachError> {
        for (loss, kind, count) in self.programs.losses()? {
            self.losses.add(Cause::of(table_of(kind), reason_of(loss)), count);
        }
        Ok(())
    }

    /// What the kernel half remembers of calls and transfers that have not ended, of one process or of all.
    fn leftovers(&mut self, pid: Option<i32>, context: &mut Context) {
        self.calls_in_flight(|of, _| pid.is_none_or(|pid| pid == of), context);
        for (pid, handle, polls) in self.programs.take_polls(pid) {
            if let Some(process_id) = context.processes.known(pid) {
                let caller = Caller { process_id, pid, tid: pid, time_ns: context.now_ns };
                self.take_unless_held(caller, Waiting::PollsLeft { handle, polls });
            }
        }
    }

    /// Forgets calls whose return will not be seen; what was posted so is a transfer all the same.
    fn calls_in_flight(&mut self, wanted: impl Fn(i32, Kind) -> bool, context: &mut Context) {
        for call in self.programs.take_in_flight(wanted) {
            if call.kind == Kind::Post {
                let process_id = context.processes.id_of(call.pid);
                let caller = Caller { process_id, pid: call.pid, tid: call.tid, time_ns: context.now_ns };
                let InFlight { agent_ptr, handle, entry_ns, .. } = call;
                self.take_unless_held(caller, Waiting::PostInFlight { agent_ptr, handle, entry_ns });
            }
        }
    }

    fn say_hits(&self, context: &mut Context) {
        for ((kind, is_return), count) in &self.hits {
            let what = if *is_return { "return" } else { "entry" };
            context.facts.say("nixl", format!("hits.{kind:?}.{what}"), count.to_string());
        }
    }
}

impl RecordSource for Nixl {
    fn name(&self) -> &'static str {
        "nixl"
    }

    fn is_candidate(&self, file_name: &str) -> bool {
        builds::is_candidate(file_name)
    }

    fn named(&mut self, path: &Path, context: &mut Context) -> Result<bool, AgentError> {
        // Whatever its name is: no other source wanted it.
        self.libraries.named(path, &mut self.programs, context)?;
        Ok(true)
    }

    fn mapped(&mut self, pid: i32, mapping: &Mapping, context: &mut Context) {
        if self.libraries.mapped(pid, mapping, &mut self.programs, context) {
            context.processes.id_of(pid);
        }
    }

    fn image_replaced(&mut self, process_id: i64, context: &mut Context) {
        let caller = Caller { process_id, pid: 0, tid: 0, time_ns: context.now_ns };
        self.take_unless_held(caller, Waiting::ImageReplaced);
    }

    fn process_ended(&mut self, process: EndedProcess, context: &mut Context) {
        self.leftovers(Some(process.pid), context);
        let EndedProcess { pid, process_id, end_ns } = process;
        self.take_unless_held(Caller { process_id, pid, tid: pid, time_ns: end_ns }, Waiting::Ended);
        self.judge.process_ended(process_id);
    }

    fn drain(&mut self, context: &mut Context) {
        self.take_all(context);
    }

    fn step(&mut self, context: &mut Context) -> Result<(), AttachError> {
        if context.now_ns - self.checked_ns >= CHECK_EVERY_NS {
            self.checked_ns = context.now_ns;
            self.count_losses()?;
            let pids = context.processes.pids();
            self.libraries.spare_confined(&pids, &mut self.programs, context);
        }
        Ok(())
    }

    fn budgeted(&mut self) -> Option<&mut dyn Budgeted> {
        Some(self)
    }

    fn finish(&mut self, context: &mut Context) -> Result<(), AttachError> {
        self.drain(context);
        self.leftovers(None, context);
        self.drain(context);
        self.take_held(context);
        self.assembler.finish();
        self.say_hits(context);
        self.count_losses()
    }

    fn write(&mut self, context: &mut Context) -> Result<(), SegmentError> {
        self.assembler.settle(context.now_ns);
        self.losses.append(self.assembler.take_losses());
        self.losses.append(self.judge.take_losses());
        let losses = std::mem::take(&mut self.losses);
        let NixlRows { agents, calls, regions, prepared, transfers, descriptors, notifs } = self.assembler.take_rows();
        let segments = &mut context.segments;
        segments.table("nixl", &agents, losses.of("nixl_agents"))?;
        segments.table("nixl", &calls, losses.of("nixl_calls"))?;
        segments.table("nixl", &regions, losses.of("nixl_regions"))?;
        segments.table("nixl", &prepared, losses.of("nixl_prepared"))?;
        segments.table("nixl", &transfers, losses.of("nixl_transfers"))?;
        segments.table("nixl", &descriptors, losses.of("nixl_descriptors"))?;
        segments.table("nixl", &notifs, losses.of("nixl_notifs"))?;
        segments.drops("nixl", context.now_ns, &losses)
    }

    fn summary(&self) -> Option<String> {
        let totals = self.assembler.totals();
        Some(format!(
            "{} transfers ({} done, {}), {} notifications sent and {} arrived",
            totals.transfers,
            totals.done,
            units::bytes(totals.bytes),
            totals.notifs_sent,
            totals.notifs_arrived
        ))
    }
}

impl Budgeted for Nixl {
    fn groups(&self) -> &'static [Group] {
        &[Group::NotificationsReceived, Group::Polls, Group::Notifs, Group::Transfers]
    }

    #[expect(clippy::cast_precision_loss, reason = "hits of a few ms")]
    fn add_spent(&mut self, costs: Costs, spent: &mut Spent) -> Result<(), AttachError> {
        for (kind, is_return, count) in self.programs.hits()? {
            *self.hits.entry((kind, is_return)).or_default() += count;
            let each = if is_return { costs.returning } else { costs.entry_ns(self.libraries.first_of(kind)) };
            *spent.entry(Group::of(kind)).or_default() += each * count as f64;
        }
        Ok(())
    }

    fn shed(&mut self, group: Group, context: &mut Context) {
        self.libraries.tracked.shed(self.programs.ebpf(), group, &mut context.facts);
        if group == Group::Polls {
            self.assembler.record_polls(false);
            self.judge.miss_polls();
        }
        // What came before them first. A later call on the same thread must not be taken for the end of one of these.
        self.drain(context);
        self.calls_in_flight(|_, kind| Group::of(kind) == group, context);
        self.say_hits(context);
    }

    fn restore(&mut self, group: Group, context: &mut Context) -> Result<(), AttachError> {
        let outcome = self.libraries.tracked.restore(self.programs.ebpf(), group, &mut context.facts);
        if group == Group::Polls {
            self.assembler.record_polls(outcome.is_ok());
            self.judge.miss_polls();
        }
        self.say_hits(context);
        outcome
    }
}

/// The table that a record of that kind would have gone to.
fn table_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Agent => "nixl_agents",
        Kind::Regions | Kind::RegionsEnd => "nixl_regions",
        Kind::MakeSpan
        | Kind::MakeVector
        | Kind::Create
        | Kind::Post
        | Kind::Status
        | Kind::Release
        | Kind::Contradicted => "nixl_transfers",
        Kind::LoadMd
        | Kind::Connect
        | Kind::FetchMd
        | Kind::SendMd
        | Kind::InvalidateMd
        | Kind::Deregister
        | Kind::Call
        | Kind::CallEnd => "nixl_calls",
        Kind::Descriptors => "nixl_descriptors",
        Kind::Prepare | Kind::PrepareStrided | Kind::PreparedRow => "nixl_prepared",
        Kind::NotifSent | Kind::NotifArrived | Kind::NotifPassed | Kind::NotifTaken => "nixl_notifs",
    }
}

fn reason_of(loss: Loss) -> &'static str {
    match loss {
        Loss::RingFull => "ring buffer full",
        Loss::EntriesFull => "too many calls in flight",
        Loss::PollsFull => "too many transfers in flight: their polls are not counted",
        Loss::Unreadable => "memory of the process could not be read",
        Loss::Unrecorded => "more notifications taken at once than are recorded, or into a map that held some",
    }
}
