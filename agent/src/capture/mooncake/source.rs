//! Mooncake in a recording: its libraries, what is drained, and what is written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kvpath_schema::segment::SegmentError;
use kvpath_schema::tables::capture::{RecordingState, SubjectKind};
use kvpath_schema::wire::mooncake::{COUNT_SLOTS, Kind, Layout, Loss, RING_BYTES, hit_slot, loss_slot};

use super::assemble::{Assembler, Caller, MooncakeRows};
use super::attach::{Examined, PAIR, Programs, examine, table_of};
use super::{builds, decode, memory};
use crate::budget::{Costs, Group, Spent};
use crate::capture::error::AttachError;
use crate::capture::nixl::builds::UNKNOWN_CURE;
use crate::capture::{Budgeted, Context, EndedProcess, RecordSource};
use crate::discover::library::Library;
use crate::discover::maps::Mapping;
use crate::elf::First;
use crate::error::AgentError;
use crate::libraries::Libraries;
use crate::losses::{Cause, Losses};
use crate::seccomp::WOULD_KILL;
use crate::states::Subject;
use crate::units;

/// The source.
pub struct Mooncake {
    programs: Programs,
    libraries: Libraries,
    layouts: Vec<Layout>,
    firsts: BTreeMap<Kind, First>,
    assembler: Assembler,
    losses: Losses,
    /// Hits so far, of entries and of returns.
    hits: BTreeMap<(Kind, bool), u64>,
    /// Whether returns may be probed.
    may_return: bool,
    /// Whether rooms are read from the engine's memory.
    reads_room: bool,
}

impl Mooncake {
    /// Loads the programs. Where return probes would end processes confined by seccomp, `spares_confined`, there are none, and
    /// peers have no names.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn start(spares_confined: bool, reads_room: bool, context: &mut Context) -> Result<Self, AttachError> {
        let facts = &mut context.facts;
        facts.say("mooncake", "setting.ring_bytes", RING_BYTES.to_string());
        facts.say("mooncake", "setting.reads_room", reads_room.to_string());
        facts.say("mooncake", "builds.known", builds::known_releases());
        Ok(Self {
            programs: Programs::load()?,
            libraries: Libraries::new("mooncake", PAIR),
            layouts: builds::layouts(),
            firsts: BTreeMap::new(),
            assembler: Assembler::default(),
            losses: Losses::default(),
            hits: BTreeMap::new(),
            may_return: !spares_confined,
            reads_room,
        })
    }

    /// Attaches to a library that was not seen before; gives whether it is probed.
    fn is_probed(&mut self, library: Library, context: &mut Context) -> bool {
        if let Some(is_probed) = self.libraries.is_probed(&library) {
            return is_probed;
        }
        let data = library.read().map_err(|error| error.to_string());
        match data.and_then(|data| examine(&data).map_err(|error| error.to_string())) {
            Ok(examined) if examined.is_mooncake => return self.probe(library, &examined, context),
            // Others call theirs so too.
            Ok(_) => {}
            Err(error) => {
                context.facts.say("mooncake", format!("library {}", library.path), format!("probes off: {error}"));
                context.set(Subject::library("mooncake", library.path.as_str()), RecordingState::Unreadable, error);
            }
        }
        self.libraries.leave(library);
        false
    }

    fn probe(&mut self, library: Library, examined: &Examined, context: &mut Context) -> bool {
        let path = library.path.clone();
        let (key, subject) = (format!("library {path}"), Subject::library("mooncake", path.as_str()));
        let id = examined.build_id.as_deref().unwrap_or("none");
        let Some(mooncake) = &examined.mooncake else {
            let known = builds::known_releases();
            let text = format!("Build ID {id} is unknown; known releases of Mooncake: {known}");
            context.facts.say("mooncake", key, format!("probes off: {text}"));
            context.set(subject, RecordingState::UnknownBuild, format!("{text}; {UNKNOWN_CURE}"));
            self.libraries.leave(library);
            return false;
        };
        let probes = examined.probes_to_attach(self.may_return, self.reads_room);
        let attached = self.libraries.attach(self.programs.ebpf(), library, probes);
        match &attached {
            Ok(points) => {
                context.facts.say(
                    "mooncake",
                    key,
                    format!("Mooncake {mooncake}, Build ID {id}, {points} points attached"),
                );
                context.set(subject, RecordingState::Recording, format!("Mooncake {mooncake}, {points} points"));
            }
            Err(error) => {
                context.facts.say("mooncake", key, format!("Mooncake {mooncake}, Build ID {id}, probes off: {error}"));
                context.set(subject, RecordingState::Refused, error.to_string());
            }
        }
        for state in &examined.probes {
            let name = format!("{} {path}", state.probe.kind.name());
            let off = match &state.point {
                Err(error) => Some(error.to_string()),
                Ok(_) if state.probe.kind.has_return() && !self.may_return => Some(WOULD_KILL.to_owned()),
                Ok(point) => {
                    let first = self.firsts.entry(state.probe.kind.wire()).or_insert(point.first);
                    *first = (*first).max(point.first);
                    None
                }
            };
            if let (Some(why), Ok(_)) = (off, &attached) {
                let subject = Subject::new("mooncake", SubjectKind::Probe, name);
                context.set(subject, RecordingState::Unavailable, why);
            }
        }
        attached.is_ok()
    }

    /// Adds what was lost in the kernel half, and the hits.
    fn count(&mut self, counts: &[u64; COUNT_SLOTS as usize]) {
        for (loss, kind) in Loss::ALL.into_iter().flat_map(|loss| Kind::ALL.into_iter().map(move |kind| (loss, kind))) {
            let cause = Cause::of(table_of(kind), reason_of(loss));
            self.losses.add(cause, counts[loss_slot(loss, kind) as usize]);
        }
        for (kind, is_return) in Kind::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            let count = counts[hit_slot(kind, is_return) as usize];
            if count > 0 {
                *self.hits.entry((kind, is_return)).or_default() += count;
            }
        }
    }
}

impl RecordSource for Mooncake {
    fn name(&self) -> &'static str {
        "mooncake"
    }

    fn is_candidate(&self, file_name: &str) -> bool {
        builds::is_candidate(file_name)
    }

    fn named(&mut self, path: &Path, context: &mut Context) -> Result<bool, AgentError> {
        let unreadable = |error| AgentError::Library { path: path.to_owned(), error };
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !self.is_candidate(name) {
            return Ok(false);
        }
        let library = Library::open(path).map_err(unreadable)?;
        let data = library.read().map_err(unreadable)?;
        let examined = examine(&data).map_err(|error| AgentError::NotALibrary { path: path.to_owned(), error })?;
        if examined.is_mooncake && self.libraries.is_probed(&library).is_none() {
            self.probe(library, &examined, context);
        }
        Ok(examined.is_mooncake)
    }

    fn mapped(&mut self, pid: i32, mapping: &Mapping, context: &mut Context) {
        let Some(library) = self.libraries.open(pid, mapping, context) else { return };
        if self.is_probed(library, context) {
            context.processes.id_of(pid);
        }
    }

    fn image_replaced(&mut self, process_id: i64, _context: &mut Context) {
        self.assembler.image_replaced(process_id);
    }

    fn process_ended(&mut self, process: EndedProcess, _context: &mut Context) {
        self.assembler.process_ended(process.process_id);
    }

    fn drain(&mut self, context: &mut Context) {
        let Self { programs, assembler, layouts, losses, .. } = self;
        let processes = &mut context.processes;
        programs.drain(|bytes| match decode::record(bytes, layouts) {
            Ok((at, event)) => {
                let process_id = processes.id_of(at.pid);
                processes.saw_thread(at.pid, at.tid);
                let caller = Caller { process_id, tid: at.tid, time_ns: at.time_ns };
                let mut maps = None;
                assembler.push(caller, event, |address| {
                    // Read once a record; a process that is gone has none, and then nothing is known to be a GPU's.
                    let maps = maps.get_or_insert_with(|| fs::read_to_string(format!("/proc/{}/maps", at.pid)));
                    let text = maps.as_deref().ok().filter(|text| !text.is_empty());
                    text.map_or(memory::UNKNOWN, |text| memory::mapped(text, address))
                });
            }
            Err(error) => losses.add(Cause::of("nixl_transfers", error.to_string()), 1),
        });
    }

    fn budgeted(&mut self) -> Option<&mut dyn Budgeted> {
        Some(self)
    }

    fn finish(&mut self, context: &mut Context) -> Result<(), AttachError> {
        self.drain(context);
        self.assembler.finish();
        let counts = self.programs.counts()?;
        self.count(&counts);
        for ((kind, is_return), count) in &self.hits {
            let what = if *is_return { "return" } else { "entry" };
            context.facts.say("mooncake", format!("hits.{kind:?}.{what}"), count.to_string());
        }
        Ok(())
    }

    fn write(&mut self, context: &mut Context) -> Result<(), SegmentError> {
        self.losses.append(self.assembler.take_losses());
        let losses = std::mem::take(&mut self.losses);
        let MooncakeRows { agents, regions, transfers, descriptors } = self.assembler.take_rows();
        let segments = &mut context.segments;
        segments.table("mooncake", &agents, losses.of("nixl_agents"))?;
        segments.table("mooncake", &regions, losses.of("nixl_regions"))?;
        segments.table("mooncake", &transfers, losses.of("nixl_transfers"))?;
        segments.table("mooncake", &descriptors, losses.of("nixl_descriptors"))?;
        segments.drops("mooncake", context.now_ns, &losses)
    }

    fn summary(&self) -> Option<String> {
        let totals = self.assembler.totals();
        if totals.transfers == 0 && totals.unopened == 0 {
            return None;
        }
        let bytes = units::bytes(totals.bytes);
        let text = format!("{} transfers over Mooncake ({} done, {bytes})", totals.transfers, totals.done);
        Some(match totals.unopened {
            0 => text,
            unopened => format!("{text}, {unopened} peers of it could not be opened"),
        })
    }
}

impl Budgeted for Mooncake {
    fn groups(&self) -> &'static [Group] {
        &[Group::Mooncake]
    }

    #[expect(clippy::cast_precision_loss, reason = "hits of a few ms")]
    fn add_spent(&mut self, costs: Costs, spent: &mut Spent) -> Result<(), AttachError> {
        let counts = self.programs.counts()?;
        self.count(&counts);
        let cost = |kind: Kind| {
            let first = self.firsts.get(&kind).copied().unwrap_or(First::Push);
            let hits = |is_return: bool| counts[hit_slot(kind, is_return) as usize] as f64;
            costs.entry_ns(first) * hits(false) + costs.returning * hits(true)
        };
        *spent.entry(Group::Mooncake).or_default() += Kind::ALL.into_iter().map(cost).sum::<f64>();
        Ok(())
    }

    fn shed(&mut self, group: Group, context: &mut Context) {
        self.libraries.shed(self.programs.ebpf(), group, &mut context.facts);
        // What came before them first. What is open then ends unseen, and its batch's address is used again.
        self.drain(context);
        self.assembler.leave_open();
        self.programs.forget_in_flight();
    }

    fn restore(&mut self, group: Group, context: &mut Context) -> Result<(), AttachError> {
        self.libraries.restore(self.programs.ebpf(), group, &mut context.facts)
    }
}

fn reason_of(loss: Loss) -> &'static str {
    match loss {
        Loss::RingFull => "ring buffer full",
        Loss::EntriesFull => "too many calls in flight",
        Loss::Unreadable => "memory of the process could not be read",
    }
}
